//! The keys that the protocol refers to by number.

use std::collections::BTreeMap;
use std::time::SystemTime;

use strongroom_core::SecretValue;
use strongroom_rotation_protocol::KeyRef;

use super::issuer::IssuedKey;

/// Gives each key a number, the same for the same bytes, so that the protocol holds no key.
#[derive(Default)]
pub(crate) struct KeyTable {
    keys: BTreeMap<KeyRef, IssuedKey>,
    last: u32,
}

impl KeyTable {
    /// Returns the number of a key, a new one for a key that is not in the table.
    pub(crate) fn intern(&mut self, value: &SecretValue) -> KeyRef {
        self.add(value, None)
    }

    /// Returns the number of a key that the issuer has issued.
    pub(crate) fn add_issued(&mut self, issued: &IssuedKey) -> KeyRef {
        self.add(&issued.value, issued.expires_at)
    }

    fn add(&mut self, value: &SecretValue, expires_at: Option<SystemTime>) -> KeyRef {
        let known = self.keys.iter_mut().find(|(_, known)| is_same_key(&known.value, value));
        if let Some((number, known)) = known {
            known.expires_at = expires_at.or(known.expires_at);
            return *number;
        }
        self.last = self.last.wrapping_add(1);
        let number = KeyRef(self.last);
        self.keys.insert(number, IssuedKey { value: value.clone(), expires_at });
        number
    }

    /// The key with a number.
    pub(crate) fn get(&self, number: KeyRef) -> Option<&IssuedKey> {
        self.keys.get(&number)
    }

    /// Forgets all keys but these. Their values are wiped.
    pub(crate) fn retain(&mut self, used: impl Iterator<Item = KeyRef>) {
        let used: Vec<_> = used.collect();
        self.keys.retain(|number, _| used.contains(number));
    }
}

/// Whether two keys have the same bytes, whether the store keeps them as text or as binary.
pub(crate) fn is_same_key(one: &SecretValue, other: &SecretValue) -> bool {
    let bytes = |key: &SecretValue| SecretValue::binary(key.expose_bytes().to_vec());
    one.constant_time_eq(other) || bytes(one).constant_time_eq(&bytes(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_has_one_number_as_text_and_as_binary() {
        let mut keys = KeyTable::default();
        let text = keys.intern(&"key".into());
        assert_eq!(keys.intern(&SecretValue::binary(b"key".to_vec())), text);
        assert_ne!(keys.intern(&"other".into()), text);
    }

    #[test]
    fn a_forgotten_key_gets_another_number() {
        let mut keys = KeyTable::default();
        let (one, two) = (keys.intern(&"one".into()), keys.intern(&"two".into()));
        keys.retain([two].into_iter());
        assert!(keys.get(one).is_none());
        assert_eq!(keys.intern(&"two".into()), two);
        assert!(![one, two].contains(&keys.intern(&"one".into())));
    }
}
