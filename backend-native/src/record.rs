//! The byte formats of stored records; the crate's documentation shows them byte by byte.

use strongroom_core::{Result, SecretPath, SecretValue, ValueFormat};
use zeroize::Zeroizing;

use crate::crypto::{
    self, AeadKey, DerivationKey, KEY_LEN, KeyBytes, NONCE_LEN, NotAuthentic, TAG_LEN,
};

/// AES-256-GCM under a key derived with HKDF-SHA-256, with a commitment to the data key.
const ALGORITHM: u8 = 1;
const BODY_MAGIC: [u8; 4] = *b"SRB\x01";
const WRAP_MAGIC: [u8; 4] = *b"SRW\x01";
const BODY_HEADER: usize = 6;
const WRAP_HEADER: usize = 9;
const BODY_KEY: &[u8] = b"strongroom v1 body key";
const BODY_COMMITMENT: &[u8] = b"strongroom v1 body commitment";

/// The store, secret and version of a record. Sealing binds it as associated data, so that the
/// record opens for no other.
#[derive(Clone, Copy)]
pub(crate) struct RecordContext<'a> {
    pub(crate) store_id: &'a [u8; 16],
    pub(crate) secret_id: &'a [u8; 16],
    pub(crate) version: u64,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) path: &'a SecretPath,
}

impl RecordContext<'_> {
    /// All parts but the last have a fixed size, so no two contexts share their bytes.
    fn associated_data(&self, header: &[u8]) -> AssociatedData {
        let mut data = AssociatedData { bytes: [0; AssociatedData::MAX], len: 0 };
        data.push(header);
        data.push(self.store_id);
        data.push(self.secret_id);
        data.push(&self.version.to_be_bytes());
        data.push(&self.created_at.to_be_bytes());
        data.push(self.path.as_str().as_bytes());
        data
    }
}

/// Associated data on the stack, since every read builds it twice.
struct AssociatedData {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl AssociatedData {
    const MAX: usize = WRAP_HEADER + 48 + SecretPath::MAX_LEN;

    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A value sealed under a data key of its own, and that data key under a key-encryption key.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) body: Vec<u8>,
    pub(crate) wrap: Vec<u8>,
}

pub(crate) fn seal(
    value: &SecretValue,
    context: &RecordContext<'_>,
    kek_id: u32,
    kek: &AeadKey,
) -> Result<Sealed> {
    // One call to the generator, since its cost is per call rather than per byte.
    let random = Zeroizing::new(crypto::random::<{ KEY_LEN + 2 * NONCE_LEN }>()?);
    let (data_key, nonces) = random.split_at(KEY_LEN);
    let (body_nonce, wrap_nonce) = nonces.split_at(NONCE_LEN);
    let mut key = KeyBytes::new([0; KEY_LEN]);
    key.copy_from_slice(data_key);
    Ok(Sealed {
        body: seal_body(value, context, &key, nonce(body_nonce))?,
        wrap: wrap_with(&key, context, kek_id, kek, nonce(wrap_nonce))?,
    })
}

fn nonce(bytes: &[u8]) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(bytes);
    nonce
}

fn seal_body(
    value: &SecretValue,
    context: &RecordContext<'_>,
    data_key: &KeyBytes,
    nonce: [u8; NONCE_LEN],
) -> Result<Vec<u8>> {
    let [m0, m1, m2, m3] = BODY_MAGIC;
    let header: [u8; BODY_HEADER] = [m0, m1, m2, m3, ALGORITHM, format_code(value.format())];
    let derivation = DerivationKey::new(data_key);
    let plaintext = value.expose_bytes();
    let mut body =
        Vec::with_capacity(BODY_HEADER + KEY_LEN + NONCE_LEN + plaintext.len() + TAG_LEN);
    body.extend_from_slice(&header);
    body.extend_from_slice(&*derivation.derive(BODY_COMMITMENT, &[]));
    AeadKey::new(&derivation.derive(BODY_KEY, &[])).seal(
        nonce,
        context.associated_data(&header).as_bytes(),
        plaintext,
        &mut body,
    )?;
    Ok(body)
}

/// Opens a body with its data key, which [`unwrap`] returns.
pub(crate) fn open_body(
    body: &[u8],
    context: &RecordContext<'_>,
    data_key: &KeyBytes,
) -> Result<SecretValue, NotAuthentic> {
    let (header, rest) = body.split_first_chunk::<BODY_HEADER>().ok_or(NotAuthentic)?;
    let (commitment, sealed) = rest.split_first_chunk::<KEY_LEN>().ok_or(NotAuthentic)?;
    let [m0, m1, m2, m3, algorithm, format] = *header;
    if [m0, m1, m2, m3] != BODY_MAGIC || algorithm != ALGORITHM {
        return Err(NotAuthentic);
    }
    let format = format_from_code(format).ok_or(NotAuthentic)?;
    let derivation = DerivationKey::new(data_key);
    crypto::equal(commitment, &*derivation.derive(BODY_COMMITMENT, &[]))?;
    let key = AeadKey::new(&derivation.derive(BODY_KEY, &[]));
    let mut plaintext = key.open(context.associated_data(header).as_bytes(), sealed)?;
    SecretValue::from_stored(format, std::mem::take(&mut *plaintext)).map_err(|_| NotAuthentic)
}

/// Wraps a data key under a key-encryption key.
pub(crate) fn wrap(
    data_key: &KeyBytes,
    context: &RecordContext<'_>,
    kek_id: u32,
    kek: &AeadKey,
) -> Result<Vec<u8>> {
    wrap_with(data_key, context, kek_id, kek, crypto::random()?)
}

fn wrap_with(
    data_key: &KeyBytes,
    context: &RecordContext<'_>,
    kek_id: u32,
    kek: &AeadKey,
    nonce: [u8; NONCE_LEN],
) -> Result<Vec<u8>> {
    let [m0, m1, m2, m3] = WRAP_MAGIC;
    let [k0, k1, k2, k3] = kek_id.to_be_bytes();
    let header: [u8; WRAP_HEADER] = [m0, m1, m2, m3, ALGORITHM, k0, k1, k2, k3];
    let mut wrap = Vec::with_capacity(WRAP_HEADER + NONCE_LEN + KEY_LEN + TAG_LEN);
    wrap.extend_from_slice(&header);
    kek.seal(nonce, context.associated_data(&header).as_bytes(), &**data_key, &mut wrap)?;
    Ok(wrap)
}

/// The id of the key-encryption key that a wrap names.
pub(crate) fn kek_id(wrap: &[u8]) -> Result<u32, NotAuthentic> {
    match wrap {
        [m0, m1, m2, m3, ALGORITHM, k0, k1, k2, k3, ..] if [*m0, *m1, *m2, *m3] == WRAP_MAGIC => {
            Ok(u32::from_be_bytes([*k0, *k1, *k2, *k3]))
        }
        _ => Err(NotAuthentic),
    }
}

/// Unwraps a data key with the key-encryption key that [`kek_id`] names.
pub(crate) fn unwrap(
    wrap: &[u8],
    context: &RecordContext<'_>,
    kek: &AeadKey,
) -> Result<KeyBytes, NotAuthentic> {
    let (header, sealed) = wrap.split_first_chunk::<WRAP_HEADER>().ok_or(NotAuthentic)?;
    kek.open_key(context.associated_data(header).as_bytes(), sealed)
}

const fn format_code(format: ValueFormat) -> u8 {
    match format {
        ValueFormat::Text => 0,
        ValueFormat::Fields => 2,
        // A format of a later release keeps its bytes.
        _ => 1,
    }
}

const fn format_from_code(code: u8) -> Option<ValueFormat> {
    match code {
        0 => Some(ValueFormat::Text),
        1 => Some(ValueFormat::Binary),
        2 => Some(ValueFormat::Fields),
        _ => None,
    }
}

const RING_MAGIC: [u8; 4] = *b"SRK\x01";
const RING_HEADER: usize = 10;

/// The purpose of a key of the key ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Wraps data keys.
    KeyEncryption = 1,
    /// Authenticates rows.
    Mac = 2,
}

/// Seals a key of the key ring under the ring key.
pub(crate) fn seal_ring_key(
    key: &KeyBytes,
    purpose: Purpose,
    id: u32,
    store_id: &[u8; 16],
    ring_key: &AeadKey,
) -> Result<Vec<u8>> {
    let header = ring_header(purpose, id);
    let mut sealed = Vec::with_capacity(RING_HEADER + NONCE_LEN + KEY_LEN + TAG_LEN);
    sealed.extend_from_slice(&header);
    let associated_data = [&header[..], store_id].concat();
    ring_key.seal(crypto::random()?, &associated_data, &**key, &mut sealed)?;
    Ok(sealed)
}

/// Opens a key of the key ring.
pub(crate) fn open_ring_key(
    sealed: &[u8],
    purpose: Purpose,
    id: u32,
    store_id: &[u8; 16],
    ring_key: &AeadKey,
) -> Result<KeyBytes, NotAuthentic> {
    let (header, rest) = sealed.split_first_chunk::<RING_HEADER>().ok_or(NotAuthentic)?;
    if *header != ring_header(purpose, id) {
        return Err(NotAuthentic);
    }
    ring_key.open_key(&[&header[..], store_id].concat(), rest)
}

const fn ring_header(purpose: Purpose, id: u32) -> [u8; RING_HEADER] {
    let [m0, m1, m2, m3] = RING_MAGIC;
    let [i0, i1, i2, i3] = id.to_be_bytes();
    [m0, m1, m2, m3, ALGORITHM, purpose as u8, i0, i1, i2, i3]
}

/// The bytes that a row's MAC covers. A length precedes each part of variable size.
pub(crate) struct MacInput(Vec<u8>);

impl MacInput {
    pub(crate) fn new(table: u8, store_id: &[u8; 16]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(b"SRM\x01");
        bytes.push(table);
        bytes.extend_from_slice(store_id);
        Self(bytes)
    }

    pub(crate) fn number(mut self, number: i64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn optional_number(mut self, number: Option<i64>) -> Self {
        self.0.push(u8::from(number.is_some()));
        number.into_iter().fold(self, Self::number)
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let mut input = self.number(length);
        input.0.extend_from_slice(bytes);
        input
    }

    pub(crate) fn optional_bytes(mut self, bytes: Option<&[u8]>) -> Self {
        self.0.push(u8::from(bytes.is_some()));
        bytes.into_iter().fold(self, Self::bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Parses a stored record as a reader does, with keys that cannot open it. For `fuzz/`.
#[cfg(fuzzing)]
pub fn fuzz_record(bytes: &[u8]) {
    use crate::row_keys::{RowKey, RowKeys};

    let (store_id, secret_id) = ([1; 16], [2; 16]);
    let Ok(path) = SecretPath::parse("fuzz/path") else { return };
    let context = RecordContext {
        store_id: &store_id,
        secret_id: &secret_id,
        version: 1,
        created_at: 0,
        path: &path,
    };
    let key = KeyBytes::new([3; KEY_LEN]);
    let kek = AeadKey::new(&key);
    let _ = kek_id(bytes);
    assert!(unwrap(bytes, &context, &kek).is_err(), "a forged wrap opened");
    assert!(open_body(bytes, &context, &key).is_err(), "a forged body opened");
    assert!(open_ring_key(bytes, Purpose::Mac, 1, &store_id, &kek).is_err(), "forged ring key");
    crate::slots::fuzz(bytes);
    let keys = RowKeys::new(store_id, RowKey::new(1, &key), None);
    crate::state::fuzz(bytes, &keys);
    crate::anchor::fuzz(bytes, &keys);
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vectors;
