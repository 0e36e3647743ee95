//! The root key: opens the key ring of one store, and is sealed to each of its slots.

use crate::crypto::{AeadKey, DerivationKey, KeyBytes};

const RING_KEY: &[u8] = b"strongroom v1 ring key";
const CHECK: &[u8] = b"strongroom v1 root check";
const PUBLIC_KEY_KEY: &[u8] = b"strongroom v2 public key key";

/// The key that opens the key ring of one store.
pub(crate) struct RootKey(Box<DerivationKey>);

impl RootKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(Box::new(DerivationKey::new(key)))
    }

    /// The key that wraps the ring of this store.
    pub(crate) fn ring_key(&self, store_id: &[u8; 16]) -> AeadKey {
        AeadKey::new(&self.0.derive(RING_KEY, store_id))
    }

    /// The key that wraps the public keys of this store's slots.
    pub(crate) fn public_key_key(&self, store_id: &[u8; 16]) -> AeadKey {
        AeadKey::new(&self.0.derive(PUBLIC_KEY_KEY, store_id))
    }

    /// A value that only this root key derives for this store; stored to detect a wrong key.
    pub(crate) fn check(&self, store_id: &[u8; 16]) -> KeyBytes {
        self.0.derive(CHECK, store_id)
    }
}
