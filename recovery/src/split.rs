//! Splitting a key into shares of one group.

use crate::error::SplitError;
use crate::share::{Common, Share};
use crate::{MAX_SHARES, encryption, shamir};

/// Splits a key into `shares` shares, of which any `threshold` recover it, and fewer say nothing about it.
///
/// `identifier` is in the clear in every share, and the same in all of them: 15 bits, which should be random. The key is the
/// master secret of SLIP-0039, with an empty passphrase.
///
/// # Errors
/// [`SplitError`] unless 2 ≤ `threshold` ≤ `shares` ≤ 16, `identifier` is below 2¹⁵, and the key has 16 to 64 bytes, an even
/// number; and if the operating system gives no random bytes.
pub fn split(
    key: &[u8],
    threshold: u8,
    shares: u8,
    identifier: u16,
) -> Result<Vec<Share>, SplitError> {
    if threshold < 2 || threshold > shares || shares > MAX_SHARES {
        return Err(SplitError::Counts);
    }
    if identifier >= 1 << 15 {
        return Err(SplitError::Identifier);
    }
    if !(16..=64).contains(&key.len()) || !key.len().is_multiple_of(2) {
        return Err(SplitError::KeyLength);
    }
    let common = Common::of_one_group(identifier);
    let encrypted = encryption::encrypt(key, b"", common);
    let points = shamir::split(&encrypted, threshold, shares)?;
    Ok(points.into_iter().map(|point| Share::of_one_group(common, threshold, point)).collect())
}
