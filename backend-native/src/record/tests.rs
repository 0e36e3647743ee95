use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const STORE: [u8; 16] = [7; 16];

/// A record context with an owned path.
#[derive(Clone, Debug, PartialEq)]
struct OwnedContext {
    secret_id: [u8; 16],
    version: u64,
    created_at: i64,
    path: SecretPath,
}

impl OwnedContext {
    fn borrow(&self) -> RecordContext<'_> {
        RecordContext {
            store_id: &STORE,
            secret_id: &self.secret_id,
            version: self.version,
            created_at: self.created_at,
            path: &self.path,
        }
    }
}

fn owned_context() -> impl Strategy<Value = OwnedContext> {
    let path = "[a-z0-9]{1,8}(/[A-Za-z0-9_@:+-]{1,20}){0,4}";
    (any::<[u8; 16]>(), any::<u64>(), any::<i64>(), path).prop_map(
        |(secret_id, version, created_at, path)| {
            let path = SecretPath::parse(&path).unwrap();
            OwnedContext { secret_id, version, created_at, path }
        },
    )
}

fn value() -> impl Strategy<Value = SecretValue> {
    prop_oneof![
        ".{0,100}".prop_map(SecretValue::from),
        vec(any::<u8>(), 0..300).prop_map(SecretValue::binary),
        (".{0,20}", ".{0,20}").prop_map(|(a, b)| SecretValue::fields([("a", &*a), ("b", &*b)])),
    ]
}

/// A corrupt copy: a byte changed, removed or added at any position.
fn corrupt_copy(bytes: &[u8], (kind, at, mask): (u8, Index, u8)) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    let at = at.index(copy.len());
    match kind {
        0 => copy[at] ^= mask,
        1 => copy.truncate(at),
        2 => drop(copy.remove(at)),
        _ => copy.insert(at, mask),
    }
    copy
}

/// Kind of damage, position, and a byte that is not zero.
fn damage() -> impl Strategy<Value = (u8, Index, u8)> {
    (0..4_u8, any::<Index>(), 1..=u8::MAX)
}

fn kek() -> AeadKey {
    AeadKey::new(&crypto::random_key().unwrap())
}

fn open(
    sealed: &Sealed,
    context: &RecordContext<'_>,
    kek: &AeadKey,
) -> Result<SecretValue, NotAuthentic> {
    open_body(&sealed.body, context, &unwrap(&sealed.wrap, context, kek)?)
}

proptest! {
    #[test]
    fn a_sealed_value_opens_in_its_context(value in value(), context in owned_context(), id: u32) {
        let kek = kek();
        let sealed = seal(&value, &context.borrow(), id, &kek).unwrap();
        prop_assert_eq!(kek_id(&sealed.wrap), Ok(id));
        let opened = open(&sealed, &context.borrow(), &kek).unwrap();
        prop_assert_eq!(opened.format(), value.format());
        prop_assert_eq!(opened.expose_bytes(), value.expose_bytes());
    }

    #[test]
    fn nothing_opens_in_another_context(value in value(), context in owned_context(), other in owned_context()) {
        prop_assume!(context != other);
        let kek = kek();
        let sealed = seal(&value, &context.borrow(), 2, &kek).unwrap();
        let data_key = unwrap(&sealed.wrap, &context.borrow(), &kek).unwrap();
        // The whole context differs, and each part of it alone.
        let contexts = [
            other.clone(),
            OwnedContext { secret_id: other.secret_id, ..context.clone() },
            OwnedContext { version: other.version, ..context.clone() },
            OwnedContext { created_at: other.created_at, ..context.clone() },
            OwnedContext { path: other.path, ..context.clone() },
        ];
        for changed in contexts.iter().filter(|changed| **changed != context) {
            prop_assert!(unwrap(&sealed.wrap, &changed.borrow(), &kek).is_err());
            prop_assert!(open_body(&sealed.body, &changed.borrow(), &data_key).is_err());
        }
        let foreign = RecordContext { store_id: &[8; 16], ..context.borrow() };
        prop_assert!(unwrap(&sealed.wrap, &foreign, &kek).is_err());
        prop_assert!(open_body(&sealed.body, &foreign, &data_key).is_err());
    }

    #[test]
    fn a_changed_record_is_refused(value in value(), context in owned_context(), damage in damage()) {
        let kek = kek();
        let sealed = seal(&value, &context.borrow(), 2, &kek).unwrap();
        let data_key = unwrap(&sealed.wrap, &context.borrow(), &kek).unwrap();
        let body = corrupt_copy(&sealed.body, damage);
        // Inserting a byte next to an equal one can give the same bytes.
        if body != sealed.body {
            prop_assert!(open_body(&body, &context.borrow(), &data_key).is_err());
        }
        let wrap = corrupt_copy(&sealed.wrap, damage);
        if wrap != sealed.wrap {
            prop_assert!(unwrap(&wrap, &context.borrow(), &kek).is_err());
        }
    }

    #[test]
    fn a_changed_key_of_the_key_ring_is_refused(id: u32, damage in damage()) {
        let (key, ring_key) = (crypto::random_key().unwrap(), kek());
        let sealed = seal_ring_key(&key, Purpose::Mac, id, &STORE, &ring_key).unwrap();
        let open = |sealed: &[u8], purpose, id, store_id| {
            open_ring_key(sealed, purpose, id, store_id, &ring_key)
        };
        prop_assert_eq!(open(&sealed, Purpose::Mac, id, &STORE).unwrap(), key);
        let changed = corrupt_copy(&sealed, damage);
        prop_assert!(changed == sealed || open(&changed, Purpose::Mac, id, &STORE).is_err());
        prop_assert!(open(&sealed, Purpose::KeyEncryption, id, &STORE).is_err());
        prop_assert!(open(&sealed, Purpose::Mac, id ^ 1, &STORE).is_err());
        prop_assert!(open(&sealed, Purpose::Mac, id, &[8; 16]).is_err());
    }
}

#[test]
fn a_body_is_bound_to_its_data_key() {
    let path = SecretPath::parse("a").unwrap();
    let context = OwnedContext { secret_id: [1; 16], version: 1, created_at: 0, path };
    let sealed = seal(&"value".into(), &context.borrow(), 2, &kek()).unwrap();
    let other = crypto::random_key().unwrap();
    assert_eq!(open_body(&sealed.body, &context.borrow(), &other).unwrap_err(), NotAuthentic);
}

/// One field of a row, as the tables have them.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(i64),
    OptionalNumber(Option<i64>),
    Bytes(Vec<u8>),
    OptionalBytes(Option<Vec<u8>>),
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        any::<i64>().prop_map(Field::Number),
        any::<Option<i64>>().prop_map(Field::OptionalNumber),
        vec(any::<u8>(), 0..20).prop_map(Field::Bytes),
        prop::option::of(vec(any::<u8>(), 0..20)).prop_map(Field::OptionalBytes),
    ]
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let input = fields.iter().fold(MacInput::new(b't', &STORE), |input, field| match field {
        Field::Number(number) => input.number(*number),
        Field::OptionalNumber(number) => input.optional_number(*number),
        Field::Bytes(bytes) => input.bytes(bytes),
        Field::OptionalBytes(bytes) => input.optional_bytes(bytes.as_deref()),
    });
    input.as_bytes().to_vec()
}

/// Reads fields of the same kinds as `like` back. An encoding that can be read back is unambiguous.
fn decode(mut bytes: &[u8], like: &[Field]) -> Vec<Field> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken
    }
    fn number(bytes: &mut &[u8]) -> i64 {
        i64::from_be_bytes(take(bytes, 8).try_into().unwrap())
    }
    fn blob(bytes: &mut &[u8]) -> Vec<u8> {
        let length = usize::try_from(number(bytes)).unwrap();
        take(bytes, length).to_vec()
    }
    assert_eq!(take(&mut bytes, 21), [b"SRM\x01t", &STORE[..]].concat());
    let fields = like
        .iter()
        .map(|field| match field {
            Field::Number(_) => Field::Number(number(&mut bytes)),
            Field::Bytes(_) => Field::Bytes(blob(&mut bytes)),
            Field::OptionalNumber(_) => Field::OptionalNumber(match take(&mut bytes, 1) {
                [0] => None,
                _ => Some(number(&mut bytes)),
            }),
            Field::OptionalBytes(_) => Field::OptionalBytes(match take(&mut bytes, 1) {
                [0] => None,
                _ => Some(blob(&mut bytes)),
            }),
        })
        .collect();
    assert!(bytes.is_empty());
    fields
}

proptest! {
    #[test]
    fn the_mac_covers_each_field_unambiguously(fields in vec(field(), 0..12)) {
        prop_assert_eq!(decode(&encode(&fields), &fields), fields);
    }

    #[test]
    fn a_byte_that_moves_to_its_neighbour_is_noticed(
        a in vec(any::<u8>(), 1..20),
        b in vec(any::<u8>(), 0..20),
    ) {
        let (rest, moved) = a.split_at(a.len() - 1);
        let longer = [moved, &b].concat();
        let before = encode(&[Field::Bytes(a.clone()), Field::Bytes(b)]);
        let after = encode(&[Field::Bytes(rest.to_vec()), Field::Bytes(longer)]);
        prop_assert_ne!(before, after);
    }
}

#[test]
fn absent_and_empty_differ_under_the_mac() {
    let absent = encode(&[Field::OptionalBytes(None)]);
    assert_ne!(absent, encode(&[Field::OptionalBytes(Some(Vec::new()))]));
    let absent = encode(&[Field::OptionalNumber(None)]);
    assert_ne!(absent, encode(&[Field::OptionalNumber(Some(0))]));
    let store = MacInput::new(b's', &STORE).as_bytes().to_vec();
    assert_ne!(store, MacInput::new(b'k', &STORE).as_bytes());
    assert_ne!(store, MacInput::new(b's', &[8; 16]).as_bytes());
}
