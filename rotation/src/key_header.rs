//! The header that carries a key.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use strongroom_core::{Error, ErrorKind, Result, SecretValue};

/// The header that carries a key: `Authorization: Bearer …` by default.
///
/// The value of the header is built once for each generation of a key. All requests with that generation
/// share it, and its memory is wiped when the last of them and the key itself are gone. It is marked as
/// sensitive, so `Debug` masks it and HTTP/2 keeps it out of its compression tables. Each generation
/// caches one value only: if you send one key in two different headers, the second is built for each
/// request.
///
/// An HTTP client copies headers into its write buffers, and TLS encrypts them there. This crate cannot
/// wipe those copies.
///
/// # Examples
/// ```
/// use strongroom_rotation::KeyHeader;
///
/// let bearer = KeyHeader::bearer(); // Authorization: Bearer abc
/// let named = KeyHeader::new("X-Api-Key")?; // X-Api-Key: abc
/// let prefixed = KeyHeader::new("Authorization")?.prefix("Token ")?; // Authorization: Token abc
/// # let _ = (bearer, named, prefixed);
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHeader {
    name: HeaderName,
    prefix: Cow<'static, str>,
}

impl KeyHeader {
    /// `Authorization: Bearer …` (RFC 6750).
    #[must_use]
    pub const fn bearer() -> Self {
        Self { name: header::AUTHORIZATION, prefix: Cow::Borrowed("Bearer ") }
    }

    /// A header with this name, in upper or lower case, and the key as its value.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if a header cannot have this name.
    pub fn new(name: &str) -> Result<Self> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, "name a header such as `X-Api-Key`")
                .because("a header cannot have this name")
        })?;
        Ok(Self { name, prefix: Cow::Borrowed("") })
    }

    /// Sets the text before the key, with the space between them if there is to be one.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is not printable ASCII.
    pub fn prefix(self, prefix: impl Into<Cow<'static, str>>) -> Result<Self> {
        let prefix = prefix.into();
        if prefix.bytes().all(is_printable) {
            return Ok(Self { prefix, ..self });
        }
        Err(Error::new(ErrorKind::InvalidInput, "use printable ASCII before a key in a header"))
    }

    /// The header's name.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    fn build(&self, key: &SecretValue) -> Result<HeaderValue> {
        let unfit = || {
            let advice = "store the key as printable ASCII, without line ends or spaces around it";
            Error::new(ErrorKind::WrongType, advice)
                .because("this key cannot be sent in an HTTP header")
        };
        let key = key.expose_bytes();
        let ends = [key.first(), key.last()];
        if ends.iter().any(|end| end.is_none_or(|end| *end == b' '))
            || !key.iter().copied().all(is_printable)
        {
            return Err(unfit());
        }
        // The buffer never grows, so it leaves no copy behind.
        let mut text = Vec::with_capacity(self.prefix.len() + key.len());
        text.extend_from_slice(self.prefix.as_bytes());
        text.extend_from_slice(key);
        let text = Bytes::from_owner(Wiped(SecretValue::binary(text)));
        let mut value = HeaderValue::from_maybe_shared(text).map_err(|_| unfit())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// `Authorization: Bearer …`.
impl Default for KeyHeader {
    fn default() -> Self {
        Self::bearer()
    }
}

/// RFC 9110, section 5.5: other bytes may arrive changed.
fn is_printable(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

/// The buffer of a header value, wiped on drop.
struct Wiped(SecretValue);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_bytes()
    }
}

/// The header value of one generation of a key, built by the first request.
#[derive(Default)]
pub(super) struct CachedHeader(OnceLock<(KeyHeader, HeaderValue)>);

impl CachedHeader {
    pub(super) fn value(&self, header: &KeyHeader, key: &SecretValue) -> Result<HeaderValue> {
        if let Some((built_for, value)) = self.0.get()
            && built_for == header
        {
            return Ok(value.clone());
        }
        let value = header.build(key)?;
        // The first value stays.
        let _ = self.0.set((header.clone(), value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use strongroom_testkit::memory::Planted;

    use super::*;
    use crate::RotatingKey;

    fn put(header: &KeyHeader, key: &str) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        header.put(&RotatingKey::fixed(key, 1).0.acquire(), &mut headers)?;
        Ok(headers)
    }

    #[test]
    fn writes_the_key_after_the_prefix() {
        let named = KeyHeader::new("X-Api-Key").unwrap();
        for (header, name, expected) in [
            (KeyHeader::bearer(), "authorization", "Bearer k-1"),
            (KeyHeader::default(), "authorization", "Bearer k-1"),
            (named.clone(), "x-api-key", "k-1"),
            (named.prefix("key=").unwrap(), "x-api-key", "key=k-1"),
        ] {
            let headers = put(&header, "k-1").unwrap();
            assert_eq!(headers.get(name).unwrap(), expected);
            assert!(headers.get(name).unwrap().is_sensitive());
            assert_eq!(headers.len(), 1);
        }
    }

    #[test]
    fn replaces_all_values_that_the_header_has() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", "Basic abc".parse().unwrap());
        headers.append("authorization", "Basic def".parse().unwrap());
        KeyHeader::bearer().put(&RotatingKey::fixed("k", 1).0.acquire(), &mut headers).unwrap();
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["Bearer k"]);
    }

    #[test]
    fn refuses_keys_that_a_header_cannot_carry_and_does_not_quote_them() {
        for key in
            ["", " ", "secret\n", "sec\r\nret", " secret", "secret ", "secr\u{e9}t", "\0secret"]
        {
            let error = put(&KeyHeader::bearer(), key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongType, "{key:?}");
            assert!(!format!("{error} {error:?}").contains("ret"), "{error}");
        }
        put(&KeyHeader::bearer(), "two words").unwrap();
    }

    #[test]
    fn refuses_names_and_prefixes_that_a_header_cannot_have() {
        for name in ["", "X Api", "X-Api-Key:", "\u{e9}"] {
            assert_eq!(KeyHeader::new(name).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        for prefix in ["a\r\nb: ", "\u{e9}", "\t"] {
            let error = KeyHeader::bearer().prefix(prefix).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn builds_one_buffer_for_each_generation() {
        fn buffer(key: &RotatingKey, header: &KeyHeader) -> *const u8 {
            let mut headers = HeaderMap::new();
            header.put(&key.acquire(), &mut headers).unwrap();
            // The cached value keeps the buffer at its address.
            headers.get(header.name()).unwrap().as_bytes().as_ptr()
        }
        let (key, _drained) = RotatingKey::fixed("k-1", 1);
        let first = buffer(&key, &KeyHeader::bearer());
        assert_eq!(buffer(&key, &KeyHeader::bearer()), first);
        let other = KeyHeader::new("x-api-key").unwrap();
        assert_ne!(buffer(&key, &other), first);
        assert_eq!(buffer(&key, &KeyHeader::bearer()), first);
        let mut headers = HeaderMap::new();
        key.replace("k-2");
        KeyHeader::bearer().put(&key.acquire(), &mut headers).unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Bearer k-2");
    }

    #[test]
    fn the_last_request_wipes_the_buffer() {
        let planted = Planted::new();
        let (key, _drained) = RotatingKey::fixed(&planted.expose(), 1);
        let (mut one, mut other) = (HeaderMap::new(), HeaderMap::new());
        for headers in [&mut one, &mut other] {
            KeyHeader::bearer().put(&key.acquire(), headers).unwrap();
        }
        let named = KeyHeader::new("x-api-key").unwrap();
        named.put(&key.acquire(), &mut other).unwrap();
        assert_eq!(planted.count_in_own_memory(), 3, "the key and two headers");
        drop(other);
        assert_eq!(planted.count_in_own_memory(), 2);
        drop(key);
        assert_eq!(planted.count_in_own_memory(), 1);
        drop(one);
        assert_eq!(planted.count_in_own_memory(), 0);
    }
}
