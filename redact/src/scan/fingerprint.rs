//! What names a finding without telling the secret.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use strongroom_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::FindingKind;

const KEY_LEN: usize = 32;
const FINGERPRINT_LEN: usize = 16;

/// The key of fingerprints: without it, a fingerprint cannot be compared with guesses of a weak secret.
#[derive(Clone, PartialEq, Eq)]
pub struct FingerprintKey(Zeroizing<[u8; KEY_LEN]>);

impl FingerprintKey {
    /// A random key.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the system has no random numbers.
    pub fn random() -> Result<Self> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        getrandom::fill(&mut *key).map_err(|_| {
            Error::new(ErrorKind::Unavailable, "check the random number generator of the system")
        })?;
        Ok(Self(key))
    }

    /// A key that the caller keeps, for example in the store.
    #[must_use]
    pub fn from_bytes(key: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The key's bytes, in the clear.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The fingerprint of a secret in a file: HMAC-SHA-256 over what was found, the file and the secret, cut to 16
    /// bytes. Neither the position nor the form of a known value is part of it.
    pub(super) fn fingerprint(&self, kind: &FindingKind, file: &str, secret: &[u8]) -> Fingerprint {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.0) else {
            return Fingerprint([0; FINGERPRINT_LEN]);
        };
        let (label, name) = match kind {
            FindingKind::Known { path, .. } => ("known", path.as_str()),
            FindingKind::Shape { rule } => ("shape", rule.id()),
        };
        for field in [label.as_bytes(), name.as_bytes(), file.as_bytes(), secret] {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        let tag = mac.finalize().into_bytes();
        let mut fingerprint = [0; FINGERPRINT_LEN];
        for (to, from) in fingerprint.iter_mut().zip(tag) {
            *to = from;
        }
        Fingerprint(fingerprint)
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey([REDACTED])")
    }
}

/// The name of a finding: 32 hexadecimal digits, the same in each scan with the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_LEN]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_hex(text).map(Self).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "copy the 32 hexadecimal digits from a report")
                .because("this is not the fingerprint of a finding")
        })
    }
}

/// Exactly `N` bytes in hexadecimal digits.
pub(super) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
