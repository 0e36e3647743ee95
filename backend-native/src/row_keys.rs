//! The keys that authenticate the rows of a store: one that signs, and during a rotation of the root key the one before
//! it, which verifies the rows that are not signed again yet.

use crate::crypto::{KeyBytes, MacKey, NotAuthentic};
use crate::record::MacInput;
use crate::state_keys::StateKeys;

/// What the rows of one store are signed and verified with.
pub(crate) struct RowKeys {
    pub(crate) store_id: [u8; 16],
    active: RowKey,
    retiring: Option<RowKey>,
    active_state: StateKeys,
    retiring_state: Option<StateKeys>,
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
        let state_keys = |key: &RowKey| StateKeys::derive(key.id, &key.mac, &store_id);
        let (active_state, retiring_state) =
            (state_keys(&active), retiring.as_ref().map(state_keys));
        Self { store_id, active, retiring, active_state, retiring_state }
    }

    /// The keys that seal the state and sign the anchor.
    pub(crate) fn active_state_keys(&self) -> &StateKeys {
        &self.active_state
    }

    /// The keys of states and anchors that follow from the key of row MACs with this id.
    pub(crate) fn state_keys(&self, id: u32) -> Result<&StateKeys, NotAuthentic> {
        let mut keys = std::iter::once(&self.active_state).chain(&self.retiring_state);
        keys.find(|keys| keys.id() == id).ok_or(NotAuthentic)
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
