//! A share, and its words of 10 bits each: 4 words of parameters, the padded value, and 3 words of checksum.

use std::fmt;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::ShareError;
use crate::shamir::Point;
use crate::{Bytes, checksum, words};

/// The bits of a word.
const WORD_BITS: usize = 10;
/// The words before the value.
const PARAMETER_WORDS: usize = 4;
/// The words besides the value.
const OTHER_WORDS: usize = PARAMETER_WORDS + checksum::WORDS;
/// A master secret has at least 128 bits.
const MIN_WORDS: usize = OTHER_WORDS + 13;
/// The longest master secret that this release reads has 512 bits.
const MAX_WORDS: usize = OTHER_WORDS + 52;
/// The most bits of padding.
const MAX_PADDING: usize = 8;

/// What all shares of a master secret have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) identifier: u16,
    pub(crate) is_extendable: bool,
    pub(crate) exponent: u8,
    pub(crate) group_threshold: u8,
    pub(crate) group_count: u8,
}

impl Common {
    pub(crate) fn of_one_group(identifier: u16) -> Self {
        let [group_threshold, group_count] = [1, 1];
        Self { identifier, is_extendable: true, exponent: 0, group_threshold, group_count }
    }

    /// What the salt of the encryption begins with.
    pub(crate) fn salt(self) -> Vec<u8> {
        if self.is_extendable {
            return Vec::new();
        }
        [&b"shamir"[..], &self.identifier.to_be_bytes()].concat()
    }
}

/// One share of a key. `Debug` shows its identifier, its number and how many are needed.
pub struct Share {
    pub(crate) common: Common,
    pub(crate) group: u8,
    pub(crate) index: u8,
    pub(crate) threshold: u8,
    pub(crate) value: Bytes,
}

impl Share {
    pub(crate) fn of_one_group(common: Common, threshold: u8, point: Point) -> Self {
        Self { common, group: 0, index: point.x, threshold, value: point.values }
    }

    /// Whether it is of the kind that [`split`](crate::split) makes of a key of 32 bytes: one group, at least two shares
    /// needed, the extendable flag, and the iteration exponent 0. To combine others can take hours, as their exponent says.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        let Common { is_extendable, exponent, group_threshold, group_count, .. } = self.common;
        is_extendable
            && exponent == 0
            && (group_threshold, group_count, self.group) == (1, 1, 0)
            && self.threshold >= 2
            && self.value.len() == 32
    }

    /// Reads a share: words in any case, with any white space between them, of which each may be cut off after its fourth
    /// letter.
    ///
    /// # Errors
    /// [`ShareError`] with the position of a word that is not known, or if the checksum does not match.
    pub fn parse(text: &str) -> Result<Self, ShareError> {
        let mut words = Zeroizing::new(Vec::with_capacity(MAX_WORDS));
        for (position, word) in (1..).zip(text.split_whitespace()) {
            if words.len() == MAX_WORDS {
                return Err(ShareError::WordCount { words: MAX_WORDS + 1 });
            }
            words.push(words::index(word).ok_or(ShareError::UnknownWord { position })?);
        }
        Self::from_words(&words)
    }

    fn from_words(words: &[u16]) -> Result<Self, ShareError> {
        let count = ShareError::WordCount { words: words.len() };
        let value_words = words.len().checked_sub(OTHER_WORDS).ok_or(count)?;
        let padding = value_words * WORD_BITS % 16;
        if words.len() < MIN_WORDS || padding > MAX_PADDING {
            return Err(count);
        }
        let (parameters, rest) = words.split_first_chunk::<PARAMETER_WORDS>().ok_or(count)?;
        let (value, _) = rest.split_last_chunk::<{ checksum::WORDS }>().ok_or(count)?;
        let parameters = parameters.iter().fold(0_u64, |bits, word| bits << 10 | u64::from(*word));
        let field = |shift: u32, bits: u32| (parameters >> shift) & ((1 << bits) - 1);
        let number = |shift| u8::try_from(field(shift, 4)).unwrap_or_default();
        let is_extendable = field(24, 1) == 1;
        if !checksum::is_valid(is_extendable, words) {
            return Err(ShareError::Checksum);
        }
        let common = Common {
            identifier: u16::try_from(field(25, 15)).unwrap_or_default(),
            is_extendable,
            exponent: number(20),
            group_threshold: number(12) + 1,
            group_count: number(8) + 1,
        };
        if common.group_threshold > common.group_count {
            return Err(ShareError::Malformed);
        }
        let value = decode_value(value, padding).ok_or(ShareError::Malformed)?;
        Ok(Self { common, group: number(16), index: number(4), threshold: number(0) + 1, value })
    }

    /// The share as words with a space between them.
    #[must_use]
    pub fn to_words(&self) -> SecretString {
        let indices = self.encode();
        // Of exact size: growing or shrinking it would leave a copy behind.
        let length = indices.iter().map(|index| words::word(*index).len() + 1).sum::<usize>();
        let mut text = String::with_capacity(length.saturating_sub(1));
        for (position, index) in indices.iter().enumerate() {
            if position > 0 {
                text.push(' ');
            }
            text.push_str(words::word(*index));
        }
        text.into()
    }

    fn encode(&self) -> Zeroizing<Vec<u16>> {
        let Common { identifier, is_extendable, exponent, group_threshold, group_count } =
            self.common;
        let parameters = u64::from(identifier) << 25
            | u64::from(is_extendable) << 24
            | u64::from(exponent) << 20
            | u64::from(self.group) << 16
            | u64::from(group_threshold - 1) << 12
            | u64::from(group_count - 1) << 8
            | u64::from(self.index) << 4
            | u64::from(self.threshold - 1);
        let mut words = Zeroizing::new(Vec::with_capacity(MAX_WORDS));
        let word = |shift: u32| u16::try_from((parameters >> shift) & 0x3ff).unwrap_or_default();
        words.extend([30, 20, 10, 0].map(word));
        encode_value(&self.value, &mut words);
        let checksum = checksum::of(is_extendable, &words);
        words.extend(checksum);
        words
    }

    /// What all shares of a key have in common, in the clear: 15 bits.
    #[must_use]
    pub fn identifier(&self) -> u16 {
        self.common.identifier
    }

    /// The number of the share in its group, from 1 on.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.index + 1
    }

    /// How many shares of its group are needed.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }
}

/// The bytes of a value behind `padding` bits, which are zero.
fn decode_value(words: &[u16], padding: usize) -> Option<Bytes> {
    let mut value = Zeroizing::new(Vec::with_capacity(words.len() * WORD_BITS / 8));
    let mut pending = Zeroizing::new(0_u32);
    let mut bits = 0;
    for (position, word) in words.iter().enumerate() {
        *pending = *pending << WORD_BITS | u32::from(*word);
        bits += WORD_BITS;
        if position == 0 {
            bits -= padding;
            if *pending >> bits != 0 {
                return None;
            }
        }
        while bits >= 8 {
            bits -= 8;
            value.push(u8::try_from((*pending >> bits) & 0xff).unwrap_or_default());
        }
        *pending &= (1 << bits) - 1;
    }
    Some(value)
}

/// Appends the words of a value, behind as many zero bits as make it a whole number of words.
fn encode_value(value: &[u8], words: &mut Vec<u16>) {
    let mut pending = Zeroizing::new(0_u32);
    let mut bits = (WORD_BITS - value.len() * 8 % WORD_BITS) % WORD_BITS;
    for byte in value {
        *pending = *pending << 8 | u32::from(*byte);
        bits += 8;
        while bits >= WORD_BITS {
            bits -= WORD_BITS;
            words.push(u16::try_from((*pending >> bits) & 0x3ff).unwrap_or_default());
        }
        *pending &= (1 << bits) - 1;
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("identifier", &self.identifier())
            .field("number", &self.number())
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}
