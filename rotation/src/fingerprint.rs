//! Fingerprints of keys, for logs.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use strongroom_core::SecretValue;

/// Identifies a key in logs: it is the same in all instances of a service, and does not help an attacker. It is
/// the first 32 bits of an HMAC-SHA-256 (RFC 2104) under a salt that is stored beside the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(Arc<str>);

impl Fingerprint {
    pub(crate) fn of(key: &SecretValue, salt: &[u8]) -> Self {
        // An HMAC accepts keys of any length, so this never fails.
        let tag = Hmac::<Sha256>::new_from_slice(salt).map(|mac| {
            let tag = mac.chain_update(key.expose_bytes()).finalize().into_bytes();
            tag.iter().take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
        });
        Self(Arc::from(format!("{:08x}", tag.unwrap_or_default())))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.0)
    }
}
