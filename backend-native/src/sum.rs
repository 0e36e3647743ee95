//! Sums of 256-bit numbers modulo 2²⁵⁶.

use std::fmt;

const LIMBS: usize = 4;

/// A number of 256 bits; the least significant limb comes first. `Debug` hides it: an attacker who
/// knows sums of a store can search for rows with the same sum.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum([u64; LIMBS]);

impl Sum {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut sum = Self::default();
        let (chunks, _) = bytes.as_chunks();
        for (limb, chunk) in sum.0.iter_mut().rev().zip(chunks) {
            *limb = u64::from_be_bytes(*chunk);
        }
        sum
    }

    /// The number in 32 bytes, big-endian.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (chunks, _) = bytes.as_chunks_mut();
        for (chunk, limb) in chunks.iter_mut().zip(self.0.into_iter().rev()) {
            *chunk = limb.to_be_bytes();
        }
        bytes
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.combine(other, u64::overflowing_add)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.combine(other, u64::overflowing_sub)
    }

    /// Adds or subtracts limb by limb, and carries.
    fn combine(mut self, other: Self, step: impl Fn(u64, u64) -> (u64, bool)) -> Self {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            let (partial, first) = step(*limb, other);
            let (total, second) = step(partial, u64::from(carry));
            *limb = total;
            carry = first || second;
        }
        self
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sum(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(hex: &str) -> Sum {
        let mut bytes = [0; 32];
        hex::decode_to_slice(hex, &mut bytes).unwrap();
        Sum::from_bytes(&bytes)
    }

    #[test]
    fn carries_over_all_limbs_and_wraps() {
        let largest = Sum([u64::MAX; LIMBS]);
        let one = sum(&format!("{:0>64}", 1));
        assert_eq!(largest.plus(one), Sum::default());
        assert_eq!(Sum::default().minus(one), largest);
        let low = sum(&format!("{:0>64}", "ffffffffffffffff"));
        assert_eq!(low.plus(one), sum(&format!("{:0>64}", "10000000000000000")));
    }

    proptest! {
        #[test]
        fn what_is_added_can_be_subtracted(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let [a, b, c] = [a, b, c].map(|bytes| {
                let sum = Sum::from_bytes(&bytes);
                assert_eq!(sum.to_bytes(), bytes);
                sum
            });
            prop_assert_eq!(a.plus(b).minus(b), a);
            prop_assert_eq!(a.plus(b), b.plus(a));
            prop_assert_eq!(a.plus(b).plus(c), a.plus(b.plus(c)));
        }
    }
}
