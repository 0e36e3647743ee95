//! The encryption of a master secret under a passphrase, which may be empty: a Feistel network of four rounds whose function
//! is PBKDF2 (RFC 8018) with HMAC-SHA-256.

use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Bytes;
use crate::share::Common;

/// The iterations of a round with the exponent 0.
const ITERATIONS: u32 = 2_500;
const ROUNDS: u8 = 4;

pub(crate) fn encrypt(secret: &[u8], passphrase: &[u8], common: Common) -> Bytes {
    run(secret, passphrase, common, 0..ROUNDS)
}

pub(crate) fn decrypt(encrypted: &[u8], passphrase: &[u8], common: Common) -> Bytes {
    run(encrypted, passphrase, common, (0..ROUNDS).rev())
}

/// Runs the network over an even number of bytes.
fn run(input: &[u8], passphrase: &[u8], common: Common, rounds: impl Iterator<Item = u8>) -> Bytes {
    let half = input.len() / 2;
    let (left, right) = input.split_at(half);
    let (mut left, mut right) = (Zeroizing::new(left.to_vec()), Zeroizing::new(right.to_vec()));
    let prefix = common.salt();
    let mut salt = Zeroizing::new(Vec::with_capacity(prefix.len() + half));
    let mut password = Zeroizing::new(Vec::with_capacity(1 + passphrase.len()));
    let mut mixed = Zeroizing::new(vec![0; half]);
    for round in rounds {
        password.clear();
        password.push(round);
        password.extend_from_slice(passphrase);
        salt.clear();
        salt.extend_from_slice(&prefix);
        salt.extend_from_slice(&right);
        let iterations = ITERATIONS << common.exponent;
        pbkdf2::pbkdf2_hmac::<Sha256>(&password, &salt, iterations, &mut mixed);
        for (byte, mask) in left.iter_mut().zip(&*mixed) {
            *byte ^= mask;
        }
        std::mem::swap(&mut left, &mut right);
    }
    let mut output = Zeroizing::new(Vec::with_capacity(input.len()));
    output.extend_from_slice(&right);
    output.extend_from_slice(&left);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decrypts_what_it_has_encrypted_with_the_same_passphrase_alone() {
        for is_extendable in [false, true] {
            let common = Common { is_extendable, ..Common::of_one_group(77) };
            let encrypted = encrypt(&[5; 16], b"TREZOR", common);
            assert_ne!(*encrypted, [5; 16]);
            assert_eq!(*decrypt(&encrypted, b"TREZOR", common), [5; 16]);
            assert_ne!(*decrypt(&encrypted, b"", common), [5; 16]);
        }
    }
}
