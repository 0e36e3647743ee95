//! What a slot holds, sealed: its private key under the slot's key, the root key to its public key, and its public key
//! under the root key. The crate's documentation shows them byte by byte.

use strongroom_core::Result;

use crate::crypto::{self, AeadKey, DerivationKey, KEY_LEN, KeyBytes, NotAuthentic, PrivateKey};
use crate::root_key::RootKey;

const ALGORITHM: u8 = 1;
const PRIVATE_MAGIC: [u8; 4] = *b"SRP\x01";
const ROOT_MAGIC: [u8; 4] = *b"SRR\x01";
const PUBLIC_MAGIC: [u8; 4] = *b"SRU\x01";
const HEADER: usize = 9;

const SLOT_KEY: &[u8] = b"strongroom v2 slot key";
const SLOT_COMMITMENT: &[u8] = b"strongroom v2 slot commitment";
const AGREED_KEY: &[u8] = b"strongroom v2 agreed key";

/// The slot that a record belongs to. Sealing binds it as associated data.
#[derive(Clone, Copy)]
pub(super) struct SlotContext<'a> {
    pub(super) store_id: &'a [u8; 16],
    pub(super) id: u32,
}

/// Why a private key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// The slot belongs to another key.
    WrongKey,
    /// The slot belongs to this key, and was changed.
    Changed,
}

impl SlotContext<'_> {
    fn header(&self, magic: [u8; 4]) -> [u8; HEADER] {
        let [m0, m1, m2, m3] = magic;
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        [m0, m1, m2, m3, ALGORITHM, i0, i1, i2, i3]
    }

    /// The header, the store, and then what is particular to one record.
    fn associated_data(&self, magic: [u8; 4], more: &[u8]) -> Vec<u8> {
        [&self.header(magic)[..], self.store_id, more].concat()
    }

    fn commitment(&self, slot_key: &DerivationKey) -> KeyBytes {
        slot_key.derive(SLOT_COMMITMENT, &self.associated_data(PRIVATE_MAGIC, &[]))
    }

    /// Seals a slot's private key under its key. `description` is authenticated.
    pub(super) fn seal_private_key(
        &self,
        private: &PrivateKey,
        slot_key: &KeyBytes,
        description: &[u8],
    ) -> Result<Vec<u8>> {
        let slot_key = DerivationKey::new(slot_key);
        let mut sealed = self.header(PRIVATE_MAGIC).to_vec();
        // AES-GCM alone does not bind a ciphertext to one key.
        sealed.extend_from_slice(&*self.commitment(&slot_key));
        AeadKey::new(&slot_key.derive(SLOT_KEY, &[])).seal(
            crypto::random()?,
            &self.associated_data(PRIVATE_MAGIC, description),
            private.expose_bytes(),
            &mut sealed,
        )?;
        Ok(sealed)
    }

    pub(super) fn open_private_key(
        &self,
        sealed: &[u8],
        slot_key: &KeyBytes,
        description: &[u8],
    ) -> Result<PrivateKey, NotOpened> {
        let rest =
            self.rest_of(PRIVATE_MAGIC, sealed).map_err(|NotAuthentic| NotOpened::Changed)?;
        let (commitment, sealed) = rest.split_first_chunk::<KEY_LEN>().ok_or(NotOpened::Changed)?;
        let slot_key = DerivationKey::new(slot_key);
        crypto::equal(commitment, &*self.commitment(&slot_key))
            .map_err(|NotAuthentic| NotOpened::WrongKey)?;
        AeadKey::new(&slot_key.derive(SLOT_KEY, &[]))
            .open_key(&self.associated_data(PRIVATE_MAGIC, description), sealed)
            .map(|key| PrivateKey::new(&key))
            .map_err(|NotAuthentic| NotOpened::Changed)
    }

    /// Seals the root key so that the slot's private key opens it: X25519 with a key that is used once, HKDF, AES-256-GCM.
    pub(super) fn seal_root_key(&self, root: &KeyBytes, public: &[u8; KEY_LEN]) -> Result<Vec<u8>> {
        let once = PrivateKey::random()?;
        let agreed = once.agree(public).map_err(super::error::changed)?;
        let mut sealed = self.header(ROOT_MAGIC).to_vec();
        sealed.extend_from_slice(&once.public());
        self.agreed_key(&agreed, &once.public(), public).seal(
            crypto::random()?,
            &self.associated_data(ROOT_MAGIC, &[]),
            &**root,
            &mut sealed,
        )?;
        Ok(sealed)
    }

    pub(super) fn open_root_key(
        &self,
        sealed: &[u8],
        private: &PrivateKey,
    ) -> Result<KeyBytes, NotAuthentic> {
        let rest = self.rest_of(ROOT_MAGIC, sealed)?;
        let (once, sealed) = rest.split_first_chunk::<KEY_LEN>().ok_or(NotAuthentic)?;
        let agreed = private.agree(once)?;
        self.agreed_key(&agreed, once, &private.public())
            .open_key(&self.associated_data(ROOT_MAGIC, &[]), sealed)
    }

    fn agreed_key(
        &self,
        agreed: &DerivationKey,
        once: &[u8; KEY_LEN],
        public: &[u8; KEY_LEN],
    ) -> AeadKey {
        let context = [&once[..], public, &self.associated_data(ROOT_MAGIC, &[])].concat();
        AeadKey::new(&agreed.derive(AGREED_KEY, &context))
    }

    /// Seals the slot's public key under the root key: with it alone the next root key can be sealed to the slot, and a
    /// quantum computer that has the file does not learn it.
    pub(super) fn seal_public_key(
        &self,
        public: &[u8; KEY_LEN],
        root: &RootKey,
    ) -> Result<Vec<u8>> {
        let mut sealed = self.header(PUBLIC_MAGIC).to_vec();
        let associated_data = self.associated_data(PUBLIC_MAGIC, &[]);
        root.public_key_key(self.store_id).seal(
            crypto::random()?,
            &associated_data,
            public,
            &mut sealed,
        )?;
        Ok(sealed)
    }

    pub(super) fn open_public_key(
        &self,
        sealed: &[u8],
        root: &RootKey,
    ) -> Result<KeyBytes, NotAuthentic> {
        let rest = self.rest_of(PUBLIC_MAGIC, sealed)?;
        let associated_data = self.associated_data(PUBLIC_MAGIC, &[]);
        root.public_key_key(self.store_id).open_key(&associated_data, rest)
    }

    fn rest_of<'s>(&self, magic: [u8; 4], sealed: &'s [u8]) -> Result<&'s [u8], NotAuthentic> {
        let (header, rest) = sealed.split_first_chunk::<HEADER>().ok_or(NotAuthentic)?;
        if *header == self.header(magic) { Ok(rest) } else { Err(NotAuthentic) }
    }
}

/// Opens forged records, with keys that cannot open them. For `fuzz/`.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let context = SlotContext { store_id: &[1; 16], id: 1 };
    let key = KeyBytes::new([3; KEY_LEN]);
    assert!(context.open_private_key(bytes, &key, b"").is_err(), "a forged private key opened");
    let opened = context.open_root_key(bytes, &PrivateKey::new(&key));
    assert!(opened.is_err(), "a forged root key opened");
    let opened = context.open_public_key(bytes, &RootKey::new(&key));
    assert!(opened.is_err(), "a forged public key opened");
}
