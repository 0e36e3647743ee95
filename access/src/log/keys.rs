//! The keys of a log, all derived from one root key.

use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::LogId;
use super::checkpoint::VerifyingKey;

type KeyBytes = Zeroizing<[u8; 32]>;

/// One key per purpose, each `HMAC-SHA-256(root key, label)`. Wiped on drop.
pub(crate) struct Keys(Box<Derived>);

struct Derived {
    chain: KeyBytes,
    token: KeyBytes,
    signing: SigningKey,
    reference: KeyBytes,
}

impl Keys {
    pub(crate) fn new(root: &[u8; 32]) -> Self {
        let signing_seed = derive(root, b"strongroom-access/1/signing", b"");
        Self(Box::new(Derived {
            chain: derive(root, b"strongroom-access/1/chain", b""),
            token: derive(root, b"strongroom-access/1/token", b""),
            signing: SigningKey::from_bytes(&signing_seed),
            reference: derive(root, b"strongroom-access/1/reference", b""),
        }))
    }

    /// The key of the MACs, from which each log derives its own.
    pub(crate) fn chain(&self) -> &[u8; 32] {
        &self.0.chain
    }

    /// The key under which tokens are hashed.
    pub(crate) fn token(&self) -> &[u8; 32] {
        &self.0.token
    }

    /// The key that signs checkpoints.
    pub(super) fn signing(&self) -> &SigningKey {
        &self.0.signing
    }

    /// The public key that verifies the checkpoints of a log.
    pub(crate) fn verifying_key(&self, log_id: &LogId) -> VerifyingKey {
        VerifyingKey::new(log_id, self.0.signing.verifying_key())
    }

    /// The key under which exports show paths.
    pub(crate) fn reference(&self) -> &[u8; 32] {
        &self.0.reference
    }
}

/// `HMAC-SHA-256(key, label || context)`. No label is the beginning of another.
pub(super) fn derive(key: &[u8; 32], label: &[u8], context: &[u8]) -> KeyBytes {
    let mut hmac = hmac(key);
    hmac.update(label);
    hmac.update(context);
    let mut tag = hmac.finalize().into_bytes();
    let mut derived = Zeroizing::new([0; 32]);
    derived.copy_from_slice(&tag);
    tag.as_mut_slice().zeroize();
    derived
}

/// HMAC pads keys of up to one block of 64 bytes with zeros (RFC 2104, section 2).
pub(crate) fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    let (start, _) = block.split_at_mut(32);
    start.copy_from_slice(key);
    Hmac::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_and_root_key_has_its_own_key() {
        let mut all = Vec::new();
        for root in [[0; 32], [1; 32]] {
            let keys = Keys::new(&root);
            all.extend([
                *keys.chain(),
                *keys.token(),
                *keys.reference(),
                *keys.signing().as_bytes(),
            ]);
        }
        for (index, key) in all.iter().enumerate() {
            assert!(!all[..index].contains(key));
        }
    }

    /// `printf strongroom-access/1/chain | openssl dgst -sha256 -mac HMAC -macopt hexkey:0b0b…`
    #[test]
    fn derivation_is_hmac_sha_256_of_the_label() {
        assert_eq!(
            hex::encode(Keys::new(&[0x0b; 32]).chain()),
            "f0425c460ec2292f72c99e4742ff3b372d569e1019f29d1a4f870ca740fcfba7"
        );
    }
}
