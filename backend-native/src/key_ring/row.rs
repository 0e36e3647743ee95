//! A row of the `keyring` table: one sealed key with its state, under a MAC.

use strongroom_core::{Error, Result};

use super::{KeyRing, KeyState};
use crate::crypto::NotAuthentic;
use crate::error::store_corrupt;
use crate::record::{MacInput, Purpose};
use crate::row_keys::{RowKeys, Signature};
use crate::storage::Tables;

/// A key as it is stored.
pub(crate) struct KeyRingRow {
    pub(crate) id: u32,
    pub(crate) purpose: u8,
    pub(crate) state: u8,
    pub(crate) uses: i64,
    pub(crate) created_at: i64,
    pub(crate) sealed: Vec<u8>,
    pub(crate) mac: Vec<u8>,
}

impl KeyRingRow {
    /// Loads and authenticates the row with this id, to change it and sign it again.
    pub(super) fn load_authentic(tables: &dyn Tables, key_ring: &KeyRing, id: u32) -> Result<Self> {
        let row = tables.key(id)?.ok_or_else(key_ring_corrupt)?;
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

    fn sign(&mut self, keys: &RowKeys) {
        self.mac = keys.sign(&self.mac_input(&keys.store_id)).mac.to_vec();
    }

    pub(super) fn verify(&self, keys: &RowKeys) -> Result<Signature, NotAuthentic> {
        keys.verify(&self.mac_input(&keys.store_id), &self.mac)
    }

    /// Signs the row and writes it.
    pub(super) fn store(&mut self, tables: &dyn Tables, keys: &RowKeys) -> Result<()> {
        self.sign(keys);
        tables.write_key(self)
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
