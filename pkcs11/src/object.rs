//! The key on a token: finds it, and encrypts and decrypts with it.

use cryptoki::error::Error as TokenError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use strongroom_core::{Error, ErrorKind, Result, SecretValue};

use crate::error::{
    cannot_encrypt, classify, is_not_authentic, mismatch, unavailable, unknown_length, unsupported,
    wrong_type,
};
use crate::uri::KeyUri;
use crate::wrapped::{IV_LEN, TAG_BITS, TAG_LEN, Wrapped};

/// The length of an AES-256 key, in bytes.
const KEY_LEN: usize = 32;

/// A key in an open session.
pub(crate) struct TokenKey<'a> {
    session: &'a Session,
    handle: ObjectHandle,
    /// Whether the token may give the key away.
    pub(crate) is_extractable: bool,
}

/// What the attributes of an object say. A token need not have them all.
#[derive(Default)]
struct Description {
    key_type: Option<KeyType>,
    length: Option<usize>,
    may_encrypt: Option<bool>,
    may_decrypt: Option<bool>,
    is_sensitive: Option<bool>,
    is_extractable: Option<bool>,
}

impl<'a> TokenKey<'a> {
    /// The only secret key that the URI names, if it can wrap and unwrap.
    pub(crate) fn find(session: &'a Session, uri: &KeyUri) -> Result<Self> {
        let mut template = vec![Attribute::Token(true)];
        template.extend(uri.object.iter().map(|label| Attribute::Label(label.clone().into())));
        template.extend(uri.id.iter().map(|id| Attribute::Id(id.clone())));
        let objects = session.find_objects(&template).map_err(|error| classify(&error))?;
        if objects.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                "check `object` and `id` in the URI, or generate an AES-256 key on the token, such as with \
                 `pkcs11-tool --keygen --key-type AES:32 --sensitive`",
            )
            .because("the token has no such key"));
        }
        let mut keys = Vec::new();
        for handle in objects {
            if is_secret_key(session, handle)? {
                keys.push(handle);
            }
        }
        let count = keys.len();
        let handle = keys.pop().ok_or_else(wrong_type)?;
        if count > 1 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "add the key's `id` to the URI, or give each key another label",
            )
            .because(format!("the URI names {count} keys")));
        }
        let found = describe(session, handle)?;
        if found.key_type != Some(KeyType::AES) {
            return Err(wrong_type());
        }
        if found.length.ok_or_else(unknown_length)? != KEY_LEN {
            return Err(wrong_type());
        }
        if found.may_encrypt == Some(false) || found.may_decrypt == Some(false) {
            return Err(cannot_encrypt());
        }
        let is_extractable =
            found.is_sensitive == Some(false) || found.is_extractable == Some(true);
        Ok(Self { session, handle, is_extractable })
    }

    /// Wraps a key, and checks that it can be unwrapped with this context alone: some tokens choose the IV themselves, and
    /// one that ignores the context would give a slot of one store to another.
    pub(crate) fn wrap(&self, key: &[u8], context: &[u8]) -> Result<Wrapped> {
        let wrapped = self.encrypt(key, context)?;
        if wrapped.sealed.len() != key.len() + TAG_LEN {
            return Err(unsupported(
                "the token's AES-GCM gives another length than the key's and that of a tag of 128 bits",
                "use a token whose AES-GCM follows PKCS#11 2.40",
            ));
        }
        let unwrapped = self.decrypt(&wrapped, context).map_err(|error| match error.kind() {
            ErrorKind::Corrupt => does_not_fit(),
            _ => error,
        })?;
        if !unwrapped.constant_time_eq(&SecretValue::binary(key.to_vec())) {
            return Err(does_not_fit());
        }
        let other = [context, b" "].concat();
        if self.try_decrypt(&wrapped, &other).is_ok() {
            return Err(unsupported(
                "the token does not authenticate the context",
                "use a token whose AES-GCM authenticates additional data",
            ));
        }
        Ok(wrapped)
    }

    fn encrypt(&self, key: &[u8], context: &[u8]) -> Result<Wrapped> {
        let mut iv = [0; IV_LEN];
        getrandom::fill(&mut iv)
            .map_err(|_| unavailable("the operating system gives no random bytes".into()))?;
        let encrypt = |iv: &mut [u8; IV_LEN]| {
            let parameters = GcmParams::new(iv, context, TAG_BITS.into())?;
            self.session.encrypt(&Mechanism::AesGcm(parameters), self.handle, key)
        };
        let sealed = encrypt(&mut iv).map_err(|error| classify(&error))?;
        Ok(Wrapped { iv, sealed })
    }

    /// Unwraps a key.
    pub(crate) fn decrypt(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretValue> {
        self.try_decrypt(wrapped, context).map_err(|error| {
            let failed = classify(&error);
            // Many tokens, SoftHSM2 among them, answer with the same value as to a failure of their own. Whether it is
            // one shows when they do the same with what they have encrypted just now.
            if is_not_authentic(&error)
                || (failed.kind() == ErrorKind::Unavailable && self.works(context))
            {
                return mismatch();
            }
            failed
        })
    }

    fn works(&self, context: &[u8]) -> bool {
        let probe = self.encrypt(&[0; 32], context);
        probe.is_ok_and(|probe| self.try_decrypt(&probe, context).is_ok())
    }

    fn try_decrypt(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretValue, TokenError> {
        let mut iv = wrapped.iv;
        let parameters = GcmParams::new(&mut iv, context, TAG_BITS.into())?;
        let mechanism = Mechanism::AesGcm(parameters);
        self.session.decrypt(&mechanism, self.handle, &wrapped.sealed).map(SecretValue::binary)
    }
}

fn does_not_fit() -> Error {
    unsupported(
        "the token does not decrypt what it has encrypted",
        "use a token whose AES-GCM takes or returns the IV, as PKCS#11 2.40 says",
    )
}

fn is_secret_key(session: &Session, handle: ObjectHandle) -> Result<bool> {
    let class = session.get_attributes(handle, &[AttributeType::Class]);
    let class = class.map_err(|error| classify(&error))?;
    Ok(class.contains(&Attribute::Class(ObjectClass::SECRET_KEY)))
}

/// What the token says of a key. An attribute that it does not have is left out.
fn describe(session: &Session, handle: ObjectHandle) -> Result<Description> {
    let attributes = [
        AttributeType::KeyType,
        AttributeType::ValueLen,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
        AttributeType::Sensitive,
        AttributeType::Extractable,
    ];
    let mut found = Description::default();
    let attributes = session.get_attributes(handle, &attributes);
    for attribute in attributes.map_err(|error| classify(&error))? {
        match attribute {
            Attribute::KeyType(key_type) => found.key_type = Some(key_type),
            Attribute::ValueLen(length) => found.length = Some(length.into()),
            Attribute::Encrypt(may) => found.may_encrypt = Some(may),
            Attribute::Decrypt(may) => found.may_decrypt = Some(may),
            Attribute::Sensitive(is) => found.is_sensitive = Some(is),
            Attribute::Extractable(is) => found.is_extractable = Some(is),
            _ => {}
        }
    }
    Ok(found)
}
