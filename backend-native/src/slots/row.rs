//! A row of the `slots` table, under a MAC.

use rusqlite::{Connection, Row};
use strongroom_core::Result;

use super::error::changed;
use super::seal::SlotContext;
use crate::crypto::{KeyBytes, NotAuthentic, PrivateKey};
use crate::error::from_sqlite;
use crate::record::MacInput;
use crate::root_key::RootKey;
use crate::row_keys::RowKeys;

#[derive(Clone)]
pub(super) struct SlotRow {
    pub(super) id: u32,
    pub(super) kind: String,
    pub(super) label: Option<String>,
    pub(super) created_at: i64,
    pub(super) opened_at: Option<i64>,
    /// A JSON object.
    pub(super) parameters: String,
    pub(super) private_key: Vec<u8>,
    pub(super) root_key: Vec<u8>,
    pub(super) public_key: Vec<u8>,
    pub(super) mac: Vec<u8>,
}

const COLUMNS: &str = "SELECT id, kind, label, created_at, opened_at, parameters, private_key, root_key, \
                       public_key, mac FROM slots";

impl SlotRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            kind: row.get(1)?,
            label: row.get(2)?,
            created_at: row.get(3)?,
            opened_at: row.get(4)?,
            parameters: row.get(5)?,
            private_key: row.get(6)?,
            root_key: row.get(7)?,
            public_key: row.get(8)?,
            mac: row.get(9)?,
        })
    }

    /// Loads all rows in the order of their ids, without a look at their MACs, which need the root key.
    pub(super) fn load_all(connection: &Connection) -> Result<Vec<Self>> {
        let rows: Vec<Self> = connection
            .prepare(&format!("{COLUMNS} ORDER BY id"))
            .and_then(|mut statement| statement.query_map([], Self::from_row)?.collect())
            .map_err(from_sqlite)?;
        // Each may cost an Argon2id, or a request to a KMS.
        if rows.len() > super::MAX_SLOTS { Err(changed(NotAuthentic)) } else { Ok(rows) }
    }

    pub(super) fn context<'a>(&self, store_id: &'a [u8; 16]) -> SlotContext<'a> {
        SlotContext { store_id, id: self.id }
    }

    /// What sealing the private key binds: how the slot's key is found.
    pub(super) fn description(&self) -> Vec<u8> {
        let length = u32::try_from(self.kind.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], self.kind.as_bytes(), self.parameters.as_bytes()].concat()
    }

    /// Seals the root key to this slot.
    pub(super) fn seal_root(
        &mut self,
        store_id: &[u8; 16],
        public: &[u8; 32],
        root: &KeyBytes,
    ) -> Result<()> {
        let context = self.context(store_id);
        self.root_key = context.seal_root_key(root, public)?;
        self.public_key = context.seal_public_key(public, &RootKey::new(root))?;
        Ok(())
    }

    pub(super) fn open_root(
        &self,
        store_id: &[u8; 16],
        private: &PrivateKey,
    ) -> Result<KeyBytes, NotAuthentic> {
        self.context(store_id).open_root_key(&self.root_key, private)
    }

    fn mac_input(&self, store_id: &[u8; 16]) -> MacInput {
        MacInput::new(b'l', store_id)
            .number(self.id.into())
            .bytes(self.kind.as_bytes())
            .optional_bytes(self.label.as_deref().map(str::as_bytes))
            .number(self.created_at)
            .optional_number(self.opened_at)
            .bytes(self.parameters.as_bytes())
            .bytes(&self.private_key)
            .bytes(&self.root_key)
            .bytes(&self.public_key)
    }

    pub(super) fn verify(&self, keys: &RowKeys) -> Result<()> {
        let verified = keys.verify(&self.mac_input(&keys.store_id), &self.mac);
        verified.map(drop).map_err(changed)
    }

    /// Signs the row and writes it over the one with its id.
    pub(super) fn store(&mut self, connection: &Connection, keys: &RowKeys) -> Result<()> {
        self.mac = keys.sign(&self.mac_input(&keys.store_id)).mac.to_vec();
        connection
            .execute(
                "INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.id,
                    &self.kind,
                    &self.label,
                    self.created_at,
                    self.opened_at,
                    &self.parameters,
                    &self.private_key,
                    &self.root_key,
                    &self.public_key,
                    &self.mac,
                ),
            )
            .map(drop)
            .map_err(from_sqlite)
    }
}
