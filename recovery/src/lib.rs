//! Shares of a key as words, of which some are enough to recover it: Shamir's secret sharing in the format of
//! [SLIP-0039](https://github.com/satoshilabs/slips/blob/master/slip-0039.md).
//!
//! ```
//! use secrecy::ExposeSecret;
//! use strongroom_recovery::{Share, ShareSet, split};
//!
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let key = [7; 32];
//! // Any two of three shares recover the key, and one says nothing about it.
//! let shares = split(&key, 2, 3, 0x1234)?;
//! let written: Vec<_> = shares.iter().map(Share::to_words).collect();
//!
//! let mut set = ShareSet::new();
//! set.add(Share::parse(written[2].expose_secret())?)?;
//! assert_eq!(set.missing(), 1);
//! set.add(Share::parse(written[0].expose_secret())?)?;
//! assert_eq!(**set.recover(b"")?, key);
//! # Ok(())
//! # }
//! # run().unwrap();
//! ```
//!
//! [`split`] makes shares of one group with the extendable flag, the iteration exponent 0 and an empty passphrase: 33 words for
//! a key of 32 bytes. [`Share::parse`] and [`ShareSet`] read the shares of all implementations of SLIP-0039: with
//! several groups, a passphrase, and master secrets of 16 to 64 bytes.
//!
//! # Secrets
//! Values of shares, and what is computed from them, are in buffers that are wiped on drop (PBKDF2 leaves a block on the stack). The arithmetic in GF(256), the
//! checksum and the comparison of digests take the same time for all values. The way from and to words looks them up in a
//! table, so its memory accesses depend on the words.
//!
//! The standard advises that a program does not correct words: a checksum that does not match is an error, and says no more.

mod checksum;
mod encryption;
mod error;
mod field;
mod set;
mod shamir;
mod share;
mod split;
mod words;

pub use error::{SetError, ShareError, SplitError};
pub use set::ShareSet;
pub use share::Share;
pub use split::split;

/// The most shares of a group, and the most groups.
pub const MAX_SHARES: u8 = 16;

/// A value or a key, which is wiped on drop.
type Bytes = zeroize::Zeroizing<Vec<u8>>;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
