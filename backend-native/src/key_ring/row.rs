//! A row of the `keyring` table: one sealed key with its state, under a MAC.

use rusqlite::{Connection, Row};
use strongroom_core::{Error, Result};

use super::{KeyRing, KeyState};
use crate::crypto::NotAuthentic;
use crate::error::{from_sqlite, store_corrupt};
use crate::record::{MacInput, Purpose};
use crate::row_keys::{RowKeys, Signature};

pub(super) struct KeyRingRow {
    pub(super) id: u32,
    pub(super) purpose: u8,
    pub(super) state: u8,
    pub(super) uses: i64,
    pub(super) created_at: i64,
    pub(super) sealed: Vec<u8>,
    pub(super) mac: Vec<u8>,
}

const COLUMNS: &str = "SELECT id, purpose, state, uses, created_at, sealed, mac FROM keyring";

impl KeyRingRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            purpose: row.get(1)?,
            state: row.get(2)?,
            uses: row.get(3)?,
            created_at: row.get(4)?,
            sealed: row.get(5)?,
            mac: row.get(6)?,
        })
    }

    pub(super) fn load_all(connection: &Connection) -> Result<Vec<Self>> {
        connection
            .prepare(&format!("{COLUMNS} ORDER BY id"))
            .and_then(|mut statement| statement.query_map([], Self::from_row)?.collect())
            .map_err(from_sqlite)
    }

    fn load(connection: &Connection, id: u32) -> Result<Self> {
        connection
            .prepare_cached(&format!("{COLUMNS} WHERE id = ?"))
            .and_then(|mut statement| statement.query_row([id], Self::from_row))
            .map_err(from_sqlite)
    }

    /// Loads and authenticates the row with this id, to change it and sign it again.
    pub(super) fn load_authentic(
        connection: &Connection,
        key_ring: &KeyRing,
        id: u32,
    ) -> Result<Self> {
        let row = Self::load(connection, id)?;
        row.verify(&key_ring.rows).map_err(|NotAuthentic| key_ring_corrupt())?;
        Ok(row)
    }

    pub(super) fn state(&self) -> Result<KeyState> {
        [KeyState::Active, KeyState::DecryptOnly, KeyState::Retiring]
            .into_iter()
            .find(|state| *state as u8 == self.state)
            .ok_or_else(key_ring_corrupt)
    }

    pub(super) fn purpose(&self) -> Result<Purpose> {
        [Purpose::KeyEncryption, Purpose::Mac]
            .into_iter()
            .find(|purpose| *purpose as u8 == self.purpose)
            .ok_or_else(key_ring_corrupt)
    }

    fn mac_input(&self, store_id: &[u8; 16]) -> MacInput {
        MacInput::new(b'k', store_id)
            .number(self.id.into())
            .number(self.purpose.into())
            .number(self.state.into())
            .number(self.uses)
            .number(self.created_at)
            .bytes(&self.sealed)
    }

    pub(super) fn sign(&mut self, keys: &RowKeys) {
        self.mac = keys.sign(&self.mac_input(&keys.store_id)).mac.to_vec();
    }

    pub(super) fn verify(&self, keys: &RowKeys) -> Result<Signature, NotAuthentic> {
        keys.verify(&self.mac_input(&keys.store_id), &self.mac)
    }

    pub(super) fn insert(&self, connection: &Connection) -> Result<()> {
        connection
            .execute(
                "INSERT INTO keyring VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self.id,
                    self.purpose,
                    self.state,
                    self.uses,
                    self.created_at,
                    &self.sealed,
                    &self.mac,
                ),
            )
            .map_err(from_sqlite)
            .map(|_| ())
    }

    /// Signs the row with other keys, and writes all that may have changed.
    pub(super) fn replace(&mut self, connection: &Connection, keys: &RowKeys) -> Result<()> {
        self.sign(keys);
        connection
            .execute(
                "UPDATE keyring SET state = ?, sealed = ?, mac = ? WHERE id = ?",
                (self.state, &self.sealed, &self.mac, self.id),
            )
            .map(drop)
            .map_err(from_sqlite)
    }

    pub(super) fn update(&mut self, connection: &Connection, key_ring: &KeyRing) -> Result<()> {
        self.sign(&key_ring.rows);
        connection
            .prepare_cached("UPDATE keyring SET state = ?, uses = ?, mac = ? WHERE id = ?")
            .and_then(|mut statement| {
                statement.execute((self.state, self.uses, &self.mac, self.id))
            })
            .map_err(from_sqlite)
            .map(|_| ())
    }
}

pub(super) fn key_ring_corrupt() -> Error {
    store_corrupt("the store's key ring fails authentication: it was damaged or edited")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::vectors::{array, bytes, row_keys, vectors};

    #[test]
    fn committed_keys_authenticate() {
        let vectors = vectors();
        let store_id = array(&vectors["store_id"]);
        for key in vectors["keyring"].as_array().unwrap() {
            let number = |name: &str| key[name].as_i64().unwrap();
            let row = KeyRingRow {
                id: number("id").try_into().unwrap(),
                purpose: number("purpose").try_into().unwrap(),
                state: number("state").try_into().unwrap(),
                uses: number("uses"),
                created_at: number("created_at"),
                sealed: bytes(&key["sealed"]),
                mac: bytes(&key["mac"]),
            };
            assert_eq!(row.mac_input(&store_id).as_bytes(), bytes(&key["mac_input"]));
            row.verify(&row_keys(&vectors)).unwrap();
        }
    }
}
