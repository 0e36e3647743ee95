//! The keys of the state and of the anchor, which follow from a key of row MACs.

use crate::crypto::{AeadKey, MacKey, NotAuthentic};
use crate::row_keys::Signature;
use crate::sum::Sum;

const STATE_KEY: &[u8] = b"strongroom v2 state key";
const ELEMENT_KEY: &[u8] = b"strongroom v2 element key";
const ANCHOR_KEY: &[u8] = b"strongroom v2 anchor key";

pub(crate) struct StateKeys {
    /// The id of the key of row MACs.
    id: u32,
    state: MacKey,
    element: MacKey,
    anchor: MacKey,
}

impl StateKeys {
    pub(crate) fn derive(id: u32, key: &MacKey, store_id: &[u8; 16]) -> Self {
        let derive = |purpose| MacKey::new(&key.derive(purpose, store_id));
        Self {
            id,
            state: derive(STATE_KEY),
            element: derive(ELEMENT_KEY),
            anchor: derive(ANCHOR_KEY),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The key that seals the state with this number. Each number has its own, so that the bound on random nonces
    /// (NIST SP 800-38D, section 8.3) is no bound on transactions.
    pub(crate) fn seal_key(&self, number: u64) -> AeadKey {
        AeadKey::new(&self.state.derive(&number.to_be_bytes(), &[]))
    }

    /// What a row contributes to the sum of the state.
    pub(crate) fn element(&self, row: &Signature) -> Sum {
        Sum::from_bytes(&self.element.sign(&row.mac))
    }

    pub(crate) fn sign_anchor(&self, message: &[u8]) -> [u8; 32] {
        self.anchor.sign(message)
    }

    pub(crate) fn verify_anchor(&self, message: &[u8], mac: &[u8]) -> Result<(), NotAuthentic> {
        self.anchor.verify(message, mac)
    }
}
