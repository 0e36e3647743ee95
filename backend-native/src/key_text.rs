//! Keys and passphrases as text.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use strongroom_core::{Error, Result, Setting};
use zeroize::Zeroizing;

use crate::crypto::{KEY_LEN, KeyBytes};

/// NIST SP 800-63B asks for at least 8 characters.
const MIN_PASSPHRASE: usize = 8;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Parses a key in base64. An error names `setting`, from which the text comes.
pub(crate) fn parse_key(text: &SecretString, setting: Setting) -> Result<KeyBytes> {
    decode_key(text.expose_secret().as_bytes()).ok_or_else(|| invalid_key(setting))
}

pub(crate) fn decode_key(text: &[u8]) -> Option<KeyBytes> {
    // The decoder reserves output in blocks of three bytes.
    let mut decoded = Zeroizing::new([0; KEY_LEN + 4]);
    let length = BASE64.decode_slice(text, &mut *decoded).ok()?;
    let raw = decoded.get(..length)?.try_into().ok()?;
    Some(Zeroizing::new(raw))
}

/// Returns a passphrase of sufficient length. An error names `setting`, from which it comes.
pub(crate) fn parse_passphrase(text: &SecretString, setting: Setting) -> Result<&[u8]> {
    let passphrase = text.expose_secret().as_bytes();
    check_length(passphrase, setting).map(|()| passphrase)
}

pub(crate) fn check_length(passphrase: &[u8], setting: Setting) -> Result<()> {
    if passphrase.len() < MIN_PASSPHRASE {
        return Err(Error::config(vec![format!(
            "`{setting}` is shorter than {MIN_PASSPHRASE} bytes; choose a longer passphrase"
        )]));
    }
    Ok(())
}

pub(crate) fn invalid_key(setting: Setting) -> Error {
    Error::config(vec![format!(
        "`{setting}` is not a key: it must hold 32 random bytes in base64, as from \
         `openssl rand -base64 32`"
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let key = decode_key(text.as_bytes()).unwrap();
        assert_eq!(key[31], 31);
        assert!(decode_key(text.trim_end_matches('=').as_bytes()).is_some());
        let too_long = "A".repeat(48);
        for wrong in ["", "hunter2", "AAECAwQFBgcICQoLDA0ODw==", too_long.as_str()] {
            assert!(decode_key(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
