//! Keys outside of a store that wrap the keys of the store.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use crate::{Error, ErrorKind, Result, SecretValue};

/// The largest key that [`WrappingKey::wrap`] takes, in bytes: AWS KMS encrypts no more; see
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html>.
const MAX_KEY_BYTES: usize = 4096;

/// A key in a KMS, an HSM or a keyring that wraps other keys.
///
/// A store keeps what [`wrap`](Self::wrap) returns, together with [`kind`](Self::kind) and
/// [`key_id`](Self::key_id), and passes it to [`unwrap`](Self::unwrap) when it opens. An implementation
/// authenticates the wrapped key and its [`WrapContext`]: if one bit of them differs, or another key wrapped
/// them, `unwrap` fails. Each call sends requests to the service; nothing is cached.
///
/// # Errors
/// Each error names the operation, the [`kind`](Self::kind) as its backend, and the key's id. It shows no key,
/// no wrapped key and no text of the service.
///
/// | cause | kind | a retry can help |
/// |---|---|---|
/// | the service is down or cannot be reached | [`Unavailable`](ErrorKind::Unavailable) | yes |
/// | the service limits the rate of requests | [`RateLimited`](ErrorKind::RateLimited) | yes |
/// | no answer within the time limit | [`Timeout`](ErrorKind::Timeout) | yes |
/// | the service does not accept the credentials | [`Unauthenticated`](ErrorKind::Unauthenticated) | no |
/// | a permission is missing | [`Denied`](ErrorKind::Denied) | no |
/// | the key does not exist | [`NotFound`](ErrorKind::NotFound) | no |
/// | the key is disabled, or is being deleted | [`Unavailable`](ErrorKind::Unavailable) | no |
/// | the key is of a type that cannot wrap or cannot bind a context | [`Unsupported`](ErrorKind::Unsupported) | no |
/// | the wrapped key or the context differs, or another key wrapped it | [`Corrupt`](ErrorKind::Corrupt) | no |
/// | the key to wrap is empty or larger than 4096 bytes | [`InvalidInput`](ErrorKind::InvalidInput) | no |
#[async_trait]
pub trait WrappingKey: fmt::Debug + Send + Sync {
    /// The kind of the service: `aws-kms`, `transit`, `pkcs11`, `os-keyring`. A store keeps it beside what the key wraps.
    fn kind(&self) -> &'static str;

    /// The key's name at the service. A store keeps it beside what the key wraps, and errors show it: it is not
    /// secret.
    fn key_id(&self) -> &str;

    /// Wraps a key of 1 to 4096 bytes. Each call returns other bytes. `context` is authenticated and not
    /// encrypted; the service may log it.
    async fn wrap(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>>;

    /// Unwraps what [`wrap`](Self::wrap) has returned for an equal context. The value is
    /// [`Binary`](crate::ValueFormat::Binary).
    async fn unwrap(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue>;

    /// Ends the session with the service: an implementation revokes a token that it got by a login. Later calls
    /// may fail with [`Closed`](ErrorKind::Closed).
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// What a wrapped key belongs to, such as the id of a store: names and values in the order of the names.
///
/// Names and values are short printable ASCII, not empty and not secret: the service may log them, and a policy
/// may require them. AWS KMS takes a context as its encryption context, of up to 8 KiB; other services
/// authenticate [`to_json`](Self::to_json).
///
/// # Examples
/// ```
/// use strongroom_core::WrapContext;
///
/// let context = WrapContext::new().with("store", "5f0c").with("slot", "1");
/// assert_eq!(context.to_json(), r#"{"slot":"1","store":"5f0c"}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrapContext(BTreeMap<&'static str, String>);

impl WrapContext {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. Of two with the same name the last counts.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(name, value.into());
        self
    }

    /// The names and values, in the order of the names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The entries as a JSON object without white space, in the order of the names. Equal contexts have the same
    /// bytes in every release, because a service authenticates them.
    #[must_use]
    pub fn to_json(&self) -> String {
        let member = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
        Value::Object(self.entries().map(member).collect()).to_string()
    }
}

/// Fails unless a key has a length that every service wraps: 1 to 4096 bytes. Implementations of
/// [`WrappingKey::wrap`] call it first.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub fn check_wrappable(key: &SecretValue) -> Result<()> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "wrap a key that encrypts the data, not the data")
        .because(format!("the key has {} bytes, not 1 to {MAX_KEY_BYTES}", key.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_a_context_does_not_depend_on_the_order_of_entries() {
        let context = WrapContext::new().with("b", "2").with("a", "1").with("b", r#"x"\y"#);
        let same = WrapContext::new().with("a", "1").with("b", r#"x"\y"#);
        assert_eq!(context, same);
        assert_eq!(context.to_json(), r#"{"a":"1","b":"x\"\\y"}"#);
        assert_eq!(context.entries().next(), Some(("a", "1")));
        assert_eq!(WrapContext::new().to_json(), "{}");
    }

    #[test]
    fn a_key_has_a_length_that_every_service_wraps() {
        for (length, fits) in [(0, false), (1, true), (4096, true), (4097, false)] {
            let checked = check_wrappable(&SecretValue::binary(vec![7; length]));
            assert_eq!(checked.is_ok(), fits, "{length}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
        }
    }
}
