//! The secret text of a token.

use std::fmt;
use std::hash::{Hash, Hasher};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use strongroom_core::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const PREFIX: &str = "srt_";
/// 43 digits of base 62 have 256.03 bits.
const RANDOM_LEN: usize = 43;
/// 6 digits of base 62 hold 32 bits.
const CHECKSUM_LEN: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The block size of SHA-256, in bytes.
const BLOCK_LEN: usize = 64;

/// The secret text of a token: `srt_`, 43 random letters and digits, and 6 of a checksum.
///
/// The random part is uniform over 62^43 texts, which is 256 bits. A scanner finds tokens with the regular expression
///
/// ```text
/// \bsrt_[0-9A-Za-z]{49}\b
/// ```
///
/// and knows real ones by the checksum: the first 4 bytes of SHA-256 over the text before it (`srt_` and the random
/// part), as a big-endian number in base 62 with the digits `0-9 A-Z a-z`, with zeros in front.
///
/// The text is masked in `Debug` and wiped when the token is dropped.
///
/// # Examples
/// ```
/// use strongroom_access::TokenSecret;
///
/// let token = TokenSecret::generate()?;
/// assert_eq!(token.expose_text().len(), 53);
/// let same = TokenSecret::parse(token.expose_text())?;
/// assert_eq!(token.hash(&[7; 32]), same.hash(&[7; 32]));
/// # Ok::<(), strongroom_core::Error>(())
/// ```
pub struct TokenSecret(Zeroizing<String>);

impl TokenSecret {
    /// The length of the text, in bytes.
    pub const LEN: usize = PREFIX.len() + RANDOM_LEN + CHECKSUM_LEN;

    /// Draws a new token from the random generator of the operating system.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the generator fails.
    pub fn generate() -> Result<Self> {
        // The text never grows beyond its capacity, so no copy of it stays behind.
        let mut text = Zeroizing::new(String::with_capacity(Self::LEN));
        text.push_str(PREFIX);
        let mut pool = Zeroizing::new([0_u8; BLOCK_LEN]);
        while text.len() < PREFIX.len() + RANDOM_LEN {
            getrandom::fill(&mut *pool).map_err(|_| {
                Error::new(ErrorKind::Internal, "report this with the platform you run on")
                    .because("the random generator failed")
            })?;
            let missing = PREFIX.len() + RANDOM_LEN - text.len();
            // 6 bits are a digit, or are dropped where they are 62 or 63: every digit is as likely.
            let digits = pool.iter().filter_map(|byte| DIGITS.get(usize::from(byte >> 2)));
            text.extend(digits.take(missing).copied().map(char::from));
        }
        let checksum = checksum(&text);
        text.extend(checksum.map(char::from));
        Ok(Self(text))
    }

    /// Validates the text of a token: its shape and its checksum, not whether the token exists.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`], with the same message for every fault.
    pub fn parse(text: &str) -> Result<Self> {
        if !is_well_formed(text) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "use the whole text of a token, which begins with `srt_`",
            )
            .because("malformed token"));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The text, to hand it to the owner of the token.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        &self.0
    }

    /// HMAC-SHA-256 of the random part under `key`, to store in place of the token.
    #[must_use]
    pub fn hash(&self, key: &[u8; 32]) -> TokenHash {
        let random = self.0.get(PREFIX.len()..PREFIX.len() + RANDOM_LEN).unwrap_or_default();
        // HMAC pads a shorter key with zeros (RFC 2104); a key of a whole block needs no check of its length.
        let mut block = Zeroizing::new([0_u8; BLOCK_LEN]);
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        let mac = Hmac::<Sha256>::new((&*block).into()).chain_update(random);
        TokenHash(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret([REDACTED])")
    }
}

fn is_well_formed(text: &str) -> bool {
    let parts = text.split_at_checked(TokenSecret::LEN - CHECKSUM_LEN);
    text.len() == TokenSecret::LEN
        && parts.is_some_and(|(body, sum)| {
            body.strip_prefix(PREFIX)
                .is_some_and(|random| random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
                && checksum(body) == *sum.as_bytes()
        })
}

/// The checksum of `body`, as digits.
fn checksum(body: &str) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::digest(body);
    let mut number = digest.iter().take(4).fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    let mut digits = [0; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS.get(number % DIGITS.len()).copied().unwrap_or_default();
        number /= DIGITS.len();
    }
    digits
}

/// The hash under which a token is stored. Two are compared in constant time; serde writes hexadecimal digits.
#[derive(Clone, Copy, Default)]
pub struct TokenHash(pub(crate) [u8; 32]);

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Masks the hash: it stands for the token in the store.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash([REDACTED])")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut hash = [0; 32];
        // The error of `hex` repeats a character of the text.
        hex::decode_to_slice(&*text, &mut hash)
            .map_err(|_| serde::de::Error::custom("not the hash of a token"))?;
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests;
