//! What `tests/vectors/records.json` holds is read as it was written: one store's key ring, rows
//! and records, and passphrases. `tests/vectors/decode.py` reads the same without this crate.

use serde_json::Value;

use super::*;
use crate::argon2id::Argon2id;
use crate::crypto::MacKey;
use crate::root_key::RootKey;
use crate::row_keys::{RowKey, RowKeys};

pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/records.json")).unwrap()
}

pub(crate) fn bytes(hex: &Value) -> Vec<u8> {
    hex::decode(hex.as_str().unwrap()).unwrap()
}

pub(crate) fn array<const N: usize>(hex: &Value) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

/// The raw key of the ring with this purpose.
fn ring_key_of(vectors: &Value, purpose: Purpose) -> KeyBytes {
    let keyring = vectors["keyring"].as_array().unwrap();
    let key = keyring.iter().find(|key| key["purpose"] == purpose as u8).unwrap();
    KeyBytes::new(array(&key["key"]))
}

pub(crate) fn row_keys(vectors: &Value) -> RowKeys {
    let key = ring_key_of(vectors, Purpose::Mac);
    RowKeys::new(array(&vectors["store_id"]), RowKey::new(1, &key), None)
}

pub(crate) fn mac_key(vectors: &Value) -> MacKey {
    MacKey::new(&ring_key_of(vectors, Purpose::Mac))
}

#[test]
fn the_ring_opens_with_the_root_key() {
    let vectors = vectors();
    let store_id = array(&vectors["store_id"]);
    let root = RootKey::new(&KeyBytes::new(array(&vectors["root_key"])));
    assert_eq!(root.check(&store_id)[..], bytes(&vectors["root_check"]));

    let ring_key = root.ring_key(&store_id);
    let keyring = vectors["keyring"].as_array().unwrap();
    assert_eq!(keyring.len(), 2);
    for key in keyring {
        let purpose = [Purpose::KeyEncryption, Purpose::Mac]
            .into_iter()
            .find(|purpose| key["purpose"] == *purpose as u8);
        let id = key["id"].as_u64().unwrap().try_into().unwrap();
        let sealed = bytes(&key["sealed"]);
        let opened = open_ring_key(&sealed, purpose.unwrap(), id, &store_id, &ring_key).unwrap();
        assert_eq!(opened[..], bytes(&key["key"]));
    }
}

#[test]
fn passphrases_give_their_root_keys() {
    let vectors = vectors();
    let store_id = array(&vectors["store_id"]);
    let passphrases = vectors["passphrases"].as_array().unwrap();
    assert_eq!(passphrases.len(), 3);
    for passphrase in passphrases {
        let number = |name: &str| passphrase[name].as_u64().unwrap().try_into().unwrap();
        let argon2id = Argon2id {
            memory_kib: number("memory_kib"),
            passes: number("passes"),
            lanes: number("lanes"),
            salt: array(&passphrase["salt"]),
        };
        let text = passphrase["passphrase"].as_str().unwrap();
        let root = RootKey::new(&argon2id.derive(text.as_bytes()).unwrap());
        assert_eq!(root.check(&store_id)[..], bytes(&passphrase["root_check"]), "{argon2id:?}");
    }
}

#[test]
fn records_open_to_their_values() {
    let vectors = vectors();
    let store_id = array(&vectors["store_id"]);
    let kek = AeadKey::new(&ring_key_of(&vectors, Purpose::KeyEncryption));
    let records = vectors["records"].as_array().unwrap();
    assert_eq!(records.len(), 5);
    for record in records {
        let name = &record["name"];
        let (body, wrap) = (bytes(&record["body"]), bytes(&record["wrap"]));
        let context = RecordContext {
            store_id: &store_id,
            secret_id: &array(&record["secret_id"]),
            version: record["version"].as_u64().unwrap(),
            created_at: record["created_at"].as_i64().unwrap(),
            path: &SecretPath::parse(record["path"].as_str().unwrap()).unwrap(),
        };
        assert_eq!(kek_id(&wrap), Ok(2), "{name}");
        let data_key = unwrap(&wrap, &context, &kek).unwrap();
        assert_eq!(data_key[..], bytes(&record["data_key"]), "{name}");
        let value = open_body(&body, &context, &data_key).unwrap();
        assert_eq!(format!("{:?}", value.format()).to_lowercase(), record["format"], "{name}");
        assert_eq!(value.expose_bytes(), bytes(&record["value"]), "{name}");
    }
}
