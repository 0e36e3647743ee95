//! A row of the `slots` table, under a MAC.

use strongroom_core::Result;

use super::error::changed;
use super::seal::SlotContext;
use crate::crypto::{KeyBytes, NotAuthentic, PrivateKey};
use crate::record::MacInput;
use crate::root_key::RootKey;
use crate::row_keys::RowKeys;
use crate::storage::Tables;

#[derive(Clone)]
/// A slot as it is stored.
pub(crate) struct SlotRow {
    pub(crate) id: u32,
    pub(crate) kind: String,
    pub(crate) label: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) opened_at: Option<i64>,
    /// A JSON object.
    pub(crate) parameters: String,
    pub(crate) private_key: Vec<u8>,
    pub(crate) root_key: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
    pub(crate) mac: Vec<u8>,
}

impl SlotRow {
    /// Loads all rows in the order of their ids, without a look at their MACs, which need the root key.
    pub(super) fn load_all(tables: &dyn Tables) -> Result<Vec<Self>> {
        let rows = tables.slots()?;
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
    pub(super) fn store(&mut self, tables: &dyn Tables, keys: &RowKeys) -> Result<()> {
        self.mac = keys.sign(&self.mac_input(&keys.store_id)).mac.to_vec();
        tables.write_slot(self)
    }
}
