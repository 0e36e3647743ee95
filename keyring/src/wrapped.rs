//! The bytes of a wrapped key: a version, the nonce, and the ciphertext with its tag.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version, 1: AES-256-GCM with a random 96-bit nonce and a 128-bit tag |
//! | 12 | the nonce |
//! | 1 to 4096 | the encrypted key |
//! | 16 | the tag, over the encrypted key and the context's JSON |

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use strongroom_core::{Result, SecretValue};
use zeroize::Zeroizing;

use crate::error::{crypto_failed, mismatch};
use crate::keyring::{KeyBytes, random};

/// The only version.
const VERSION: u8 = 1;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// The largest key that is wrapped, in bytes, as [`check_wrappable`](strongroom_core::check_wrappable) has it.
const MAX_KEY: usize = 4096;

/// Wraps a key.
pub(crate) fn seal(wrapping: &KeyBytes, key: &[u8], context: &[u8]) -> Result<Vec<u8>> {
    let nonce: [u8; NONCE_LEN] = random()?;
    let mut sealed = vec![0; key.len()];
    let buffer = InOutBuf::new(key, &mut sealed).map_err(|_| crypto_failed())?;
    let cipher = Aes256Gcm::new((&***wrapping).into());
    let tag = cipher
        .encrypt_inout_detached((&nonce).into(), context, buffer)
        .map_err(|_| crypto_failed())?;
    Ok([&[VERSION][..], &nonce, &sealed, &tag].concat())
}

/// Unwraps a key.
pub(crate) fn open(wrapping: &KeyBytes, wrapped: &[u8], context: &[u8]) -> Result<SecretValue> {
    let (nonce, sealed, tag) = split(wrapped).ok_or_else(mismatch)?;
    let mut key = Zeroizing::new(vec![0; sealed.len()]);
    let buffer = InOutBuf::new(sealed, &mut key).map_err(|_| crypto_failed())?;
    let cipher = Aes256Gcm::new((&***wrapping).into());
    cipher
        .decrypt_inout_detached(nonce.into(), context, buffer, tag.into())
        .map_err(|_| mismatch())?;
    Ok(SecretValue::binary(std::mem::take(&mut *key)))
}

/// Whether bytes can be a wrapped key.
pub(crate) fn is_wrapped(bytes: &[u8]) -> bool {
    split(bytes).is_some()
}

fn split(bytes: &[u8]) -> Option<(&[u8; NONCE_LEN], &[u8], &[u8; TAG_LEN])> {
    let (version, rest) = bytes.split_first()?;
    let (nonce, rest) = rest.split_first_chunk()?;
    let (sealed, tag) = rest.split_last_chunk()?;
    let fits = *version == VERSION && (1..=MAX_KEY).contains(&sealed.len());
    fits.then_some((nonce, sealed, tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_key_or_context_does_not_open_it() {
        let wrapping = Box::new(Zeroizing::new([7; 32]));
        let wrapped = seal(&wrapping, b"key", b"context").unwrap();
        assert_eq!(wrapped.len(), 3 + 29);
        assert_eq!(open(&wrapping, &wrapped, b"context").unwrap().expose_bytes(), b"key");
        assert!(open(&Box::new(Zeroizing::new([8; 32])), &wrapped, b"context").is_err());
        assert!(open(&wrapping, &wrapped, b"other").is_err());
        assert_ne!(wrapped, seal(&wrapping, b"key", b"context").unwrap());
    }

    proptest! {
        #[test]
        fn no_bytes_open_or_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(open(&Box::new(Zeroizing::new([7; 32])), &bytes, b"context").is_err());
        }
    }
}
