//! Shamir's secret sharing over GF(256), for each byte of a value: a polynomial has the secret at 255, and at 254 a digest by
//! which a recovery is checked.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Bytes;
use crate::error::SplitError;
use crate::field::{invert, multiply};

/// Where a polynomial has the secret.
const SECRET: u8 = 255;
/// Where it has the digest.
const DIGEST: u8 = 254;
/// The bytes of a digest; random bytes, which are its key, follow.
const DIGEST_LEN: usize = 4;

/// The values of polynomials, one for each byte, at one place.
pub(crate) struct Point {
    pub(crate) x: u8,
    pub(crate) values: Bytes,
}

/// The value is not one that was split: shares were changed, or are not those of one secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongDigest;

/// The values at `x` of the polynomials of the lowest degree through all points, by Lagrange's formula. The places of the
/// points differ, and their values have the same length.
fn interpolate(points: &[Point], x: u8) -> Bytes {
    let length = points.first().map_or(0, |point| point.values.len());
    let mut sum = Zeroizing::new(vec![0; length]);
    for point in points {
        let mut numerator = 1;
        let mut denominator = 1;
        for other in points.iter().filter(|other| other.x != point.x) {
            numerator = multiply(numerator, x ^ other.x);
            denominator = multiply(denominator, point.x ^ other.x);
        }
        let basis = multiply(numerator, invert(denominator));
        for (byte, value) in sum.iter_mut().zip(point.values.iter()) {
            *byte ^= multiply(basis, *value);
        }
    }
    sum
}

fn digest(key: &[u8], secret: &[u8]) -> Zeroizing<[u8; DIGEST_LEN]> {
    let mut digest = Zeroizing::new([0; DIGEST_LEN]);
    // HMAC takes a key of any length.
    if let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(key) {
        hmac.update(secret);
        let mut tag = hmac.finalize().into_bytes();
        for (byte, tag) in digest.iter_mut().zip(tag.iter()) {
            *byte = *tag;
        }
        tag.as_mut_slice().zeroize();
    }
    digest
}

/// Splits a secret of at least 16 bytes into `count` points, of which `threshold` recover it: 2 to `count`, of at most 16.
pub(crate) fn split(secret: &[u8], threshold: u8, count: u8) -> Result<Vec<Point>, SplitError> {
    let mut points = Vec::with_capacity(usize::from(count));
    for x in 0..threshold.saturating_sub(2) {
        points.push(Point { x, values: random(secret.len())? });
    }
    let mut checked = random(secret.len())?;
    if let Some((start, key)) = checked.split_at_mut_checked(DIGEST_LEN) {
        start.copy_from_slice(&*digest(key, secret));
    }
    let mut base = Vec::with_capacity(usize::from(threshold));
    base.extend(points.iter().map(|point| Point { x: point.x, values: point.values.clone() }));
    base.push(Point { x: DIGEST, values: checked });
    base.push(Point { x: SECRET, values: Zeroizing::new(secret.to_vec()) });
    for x in threshold.saturating_sub(2)..count {
        points.push(Point { x, values: interpolate(&base, x) });
    }
    Ok(points)
}

/// Recovers a secret from as many points as its threshold says.
pub(crate) fn recover(points: &[Point]) -> Result<Bytes, WrongDigest> {
    if let [point] = points {
        return Ok(point.values.clone());
    }
    let secret = interpolate(points, SECRET);
    let checked = interpolate(points, DIGEST);
    let (start, key) = checked.split_at_checked(DIGEST_LEN).ok_or(WrongDigest)?;
    if bool::from(start.ct_eq(&*digest(key, &secret))) { Ok(secret) } else { Err(WrongDigest) }
}

fn random(length: usize) -> Result<Bytes, SplitError> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    getrandom::fill(&mut bytes).map_err(|_| SplitError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_point_does_not_match_the_digest() {
        let mut points = split(&[9; 32], 3, 5).unwrap();
        points.truncate(3);
        assert_eq!(*recover(&points).unwrap(), [9; 32]);
        points[1].values[31] ^= 1;
        assert_eq!(recover(&points), Err(WrongDigest));
    }

    #[test]
    fn fewer_points_than_the_threshold_do_not_recover() {
        for _ in 0..50 {
            let points = split(&[9; 32], 3, 3).unwrap();
            assert_eq!(recover(&points[..2]), Err(WrongDigest));
        }
    }
}
