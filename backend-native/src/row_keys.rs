//! The keys that authenticate the rows of a store: one that signs, and during a rotation of the root key the one before
//! it, which verifies the rows that are not signed again yet.

use crate::crypto::{KeyBytes, MacKey, NotAuthentic};
use crate::record::MacInput;

/// What the rows of one store are signed and verified with.
pub(crate) struct RowKeys {
    pub(crate) store_id: [u8; 16],
    active: RowKey,
    retiring: Option<RowKey>,
}

/// A key of row MACs, with its id in the key ring.
pub(crate) struct RowKey {
    id: u32,
    mac: MacKey,
}

/// A MAC as it is stored in a row, and the key that has made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) key_id: u32,
    pub(crate) mac: [u8; 32],
}

impl RowKeys {
    pub(crate) fn new(store_id: [u8; 16], active: RowKey, retiring: Option<RowKey>) -> Self {
        Self { store_id, active, retiring }
    }

    /// The id of the key that signs.
    pub(crate) fn active_id(&self) -> u32 {
        self.active.id
    }

    /// Whether rows may still be signed by an earlier key.
    pub(crate) fn has_retiring(&self) -> bool {
        self.retiring.is_some()
    }

    pub(crate) fn sign(&self, input: &MacInput) -> Signature {
        Signature { key_id: self.active.id, mac: self.active.mac.sign(input.as_bytes()) }
    }

    /// Verifies a MAC with the key that signs, or with the one before it.
    pub(crate) fn verify(&self, input: &MacInput, mac: &[u8]) -> Result<Signature, NotAuthentic> {
        let keys = std::iter::once(&self.active).chain(&self.retiring);
        let mut verified = keys.filter(|key| key.mac.verify(input.as_bytes(), mac).is_ok());
        let key_id = verified.next().ok_or(NotAuthentic)?.id;
        Ok(Signature { key_id, mac: mac.try_into().map_err(|_| NotAuthentic)? })
    }
}

impl RowKey {
    pub(crate) fn new(id: u32, key: &KeyBytes) -> Self {
        Self { id, mac: MacKey::new(key) }
    }
}
