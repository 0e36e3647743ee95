//! Arithmetic in GF(256) with the polynomial of AES, x⁸ + x⁴ + x³ + x + 1, in constant time: no branch and no memory access
//! depends on an element.

/// The polynomial without its highest term.
const REDUCTION: u8 = 0x1b;

/// The product of two elements: shift and add over the eight bits.
pub(crate) fn multiply(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut shifted = a;
    for bit in 0..8 {
        product ^= shifted & mask(b >> bit);
        shifted = (shifted << 1) ^ (REDUCTION & mask(shifted >> 7));
    }
    product
}

/// The inverse of an element, and 0 for 0: its power of 254.
pub(crate) fn invert(a: u8) -> u8 {
    // 254 is 11111110 in binary: the product of the powers of 2, 4, 8, 16, 32, 64 and 128.
    let mut square = a;
    let mut product = 1;
    for _ in 1..8 {
        square = multiply(square, square);
        product = multiply(product, square);
    }
    product
}

/// All bits set if the lowest one is, else none.
fn mask(bit: u8) -> u8 {
    0_u8.wrapping_sub(bit & 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_as_fips_197_does() {
        // The examples of FIPS 197, sections 4.2 and 4.2.1.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        assert_eq!(multiply(0x57, 0x02), 0xae);
    }

    #[test]
    fn is_a_field() {
        for a in 0..=255 {
            assert_eq!(multiply(a, 1), a);
            assert_eq!(multiply(a, 0), 0);
            assert_eq!(multiply(a, invert(a)), u8::from(a != 0));
            for b in 0..=255 {
                assert_eq!(multiply(a, b), multiply(b, a));
                assert_eq!(multiply(a, b ^ 0x35), multiply(a, b) ^ multiply(a, 0x35));
            }
        }
    }
}
