//! Why shares cannot be made, read or combined. No error has a word of a share.

use std::error::Error;
use std::fmt;

/// Why a text is not a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareError {
    /// A word is not in the list of SLIP-0039.
    UnknownWord {
        /// Which word of the share, from 1 on.
        position: usize,
    },
    /// There are as many words as no share has.
    WordCount {
        /// How many there are; 60 stands for more as well.
        words: usize,
    },
    /// The checksum does not match: at least one word is another one, or words are swapped.
    Checksum,
    /// The words are those of no share, although their checksum matches.
    Malformed,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownWord { position } => {
                write!(f, "word {position} is not in the word list of SLIP-0039")
            }
            Self::WordCount { words: 60.. } => f.write_str("it has more than 59 words"),
            Self::WordCount { words } => {
                write!(f, "it has {words} words, but a share of a 32-byte key has 33")
            }
            Self::Checksum => {
                f.write_str("its checksum does not match: at least one word is wrong")
            }
            Self::Malformed => f.write_str("it is not a share of SLIP-0039"),
        }
    }
}

impl Error for ShareError {}

/// Why shares do not belong together, or do not recover a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError {
    /// A share belongs to another set than the first one.
    OtherSet {
        /// The identifier of the first share.
        expected: u16,
        /// The identifier of this share; it may be the same, and other parameters differ.
        found: u16,
    },
    /// The set has a share of this number already.
    Duplicate {
        /// The share's number, from 1 on.
        number: u8,
    },
    /// More shares are needed.
    TooFew {
        /// How many there are.
        given: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The shares are not those of one key: one of them was forged, or belongs to another set with the same identifier.
    Digest,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSet { expected, found } if expected == found => {
                write!(
                    f,
                    "it belongs to another set than the first share, with the same identifier {found}"
                )
            }
            Self::OtherSet { expected, found } => {
                write!(
                    f,
                    "it belongs to the set {found}, but the first share to the set {expected}"
                )
            }
            Self::Duplicate { number } => write!(f, "share {number} is given twice"),
            Self::TooFew { given, needed } => {
                write!(f, "too few shares: {given} given, {needed} needed")
            }
            Self::Digest => f.write_str("the shares do not belong to one key"),
        }
    }
}

impl Error for SetError {}

/// Why a key cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitError {
    /// The numbers of shares are not 2 ≤ threshold ≤ shares ≤ 16.
    Counts,
    /// The identifier has more than 15 bits.
    Identifier,
    /// The key does not have 16 to 64 bytes, or an odd number.
    KeyLength,
    /// The operating system gave no random bytes.
    Random,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counts => "choose 2 to 16 shares, and how many of them are needed: at least 2",
            Self::Identifier => "the identifier of a set has 15 bits",
            Self::KeyLength => "a key to split has 16 to 64 bytes, an even number",
            Self::Random => "the random generator failed",
        })
    }
}

impl Error for SplitError {}
