//! RS1024, the checksum of a share: a Reed-Solomon code over GF(1024) that detects up to three wrong words, and misses
//! less than one in 10⁹ of larger errors.

use zeroize::Zeroizing;

/// The words of a checksum.
pub(crate) const WORDS: usize = 3;

/// The generator, from the section "Checksum" of SLIP-0039.
const GENERATOR: [u32; 10] = [
    0x00e0_e040,
    0x01c1_c080,
    0x0383_8100,
    0x0707_0200,
    0x0e0e_0009,
    0x1c0c_2412,
    0x3808_6c24,
    0x3090_fc48,
    0x21b1_f890,
    0x03f3_f120,
];

/// The text that the checksum of a share begins with.
fn customization(is_extendable: bool) -> &'static [u8] {
    if is_extendable { b"shamir_extendable" } else { b"shamir" }
}

fn remainder(is_extendable: bool, words: impl Iterator<Item = u16>) -> u32 {
    let customization = customization(is_extendable).iter().map(|byte| u32::from(*byte));
    let mut checksum = Zeroizing::new(1_u32);
    for value in customization.chain(words.map(u32::from)) {
        let carry = *checksum >> 20;
        *checksum = ((*checksum & 0xf_ffff) << 10) ^ value;
        for (bit, generator) in GENERATOR.iter().enumerate() {
            *checksum ^= generator & 0_u32.wrapping_sub((carry >> bit) & 1);
        }
    }
    *checksum
}

/// Whether words, with their checksum at the end, are unchanged.
pub(crate) fn is_valid(is_extendable: bool, words: &[u16]) -> bool {
    remainder(is_extendable, words.iter().copied()) == 1
}

/// The checksum of words.
pub(crate) fn of(is_extendable: bool, words: &[u16]) -> [u16; WORDS] {
    let with_zeros = words.iter().copied().chain([0; WORDS]);
    let checksum = remainder(is_extendable, with_zeros) ^ 1;
    [20, 10, 0].map(|shift| u16::try_from((checksum >> shift) & 0x3ff).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_makes_words_valid_with_its_own_customization_alone() {
        for is_extendable in [false, true] {
            let mut words = vec![0, 1023, 512, 7, 7, 300];
            words.extend(of(is_extendable, &words));
            assert!(is_valid(is_extendable, &words));
            assert!(!is_valid(!is_extendable, &words));
            words[2] ^= 1;
            assert!(!is_valid(is_extendable, &words));
        }
    }
}
