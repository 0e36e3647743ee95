//! How a key is put into a request.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use strongroom_core::{Error, ErrorKind, Result, SecretValue};

use super::KeyGuard;

/// The header that carries a key: `Authorization: Bearer …` unless it is told otherwise.
///
/// The header's value is made once for each generation of a key, is shared by all requests with it, and
/// is wiped when the last of them and the key itself are gone. It is marked as sensitive, so that it
/// is masked in `Debug` and that HTTP/2 keeps it out of its compression tables. Only one value is kept
/// per generation: where two different headers are made of one key, the second is made anew for each
/// request.
///
/// An HTTP client copies headers into its write buffers, and TLS encrypts them there. Those copies are
/// out of reach and are not wiped.
///
/// # Examples
/// ```
/// use strongroom_rotation::KeyHeader;
///
/// let bearer = KeyHeader::bearer(); // Authorization: Bearer abc
/// let named = KeyHeader::named("X-Api-Key")?; // X-Api-Key: abc
/// let prefixed = KeyHeader::named("Authorization")?.prefix("Token ")?; // Authorization: Token abc
/// # let _ = (bearer, named, prefixed);
/// # Ok::<(), strongroom::Error>(())
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

    /// A header of this name, in any case, with the key alone.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if no header can have this name.
    pub fn named(name: &str) -> Result<Self> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, "name a header such as `X-Api-Key`")
                .because("this is not the name of a header")
        })?;
        Ok(Self { name, prefix: Cow::Borrowed("") })
    }

    /// Puts text before the key, with the space that shall part them.
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

    /// Puts a key into the headers of a request, in place of any value that the header has there.
    ///
    /// Keep the guard until the response has been read.
    ///
    /// # Errors
    /// [`WrongType`](ErrorKind::WrongType) if the key cannot be in a header: if it is empty, is not
    /// printable ASCII or has spaces at an end. [`InvalidInput`](ErrorKind::InvalidInput) if the
    /// request has as many headers as it can have.
    pub fn put(&self, guard: &KeyGuard, headers: &mut HeaderMap) -> Result<()> {
        let value = guard.header().value(self, guard.value())?;
        match headers.try_insert(self.name.clone(), value) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(ErrorKind::InvalidInput, "send fewer headers")),
        }
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
        // Both are copied once, into a buffer that never grows.
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

/// RFC 9110, section 5.5: other bytes are not sure to arrive as they were sent.
fn is_printable(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

/// The buffer of a header's value.
struct Wiped(SecretValue);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_bytes()
    }
}

/// The header that was made of a generation of a key, for the first that asked.
#[derive(Default)]
pub(super) struct Built(OnceLock<(KeyHeader, HeaderValue)>);

impl Built {
    fn value(&self, header: &KeyHeader, key: &SecretValue) -> Result<HeaderValue> {
        if let Some((made_for, value)) = self.0.get()
            && made_for == header
        {
            return Ok(value.clone());
        }
        let value = header.build(key)?;
        // Whoever was first is kept.
        let _ = self.0.set((header.clone(), value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
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
        let named = KeyHeader::named("X-Api-Key").unwrap();
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
    fn takes_the_place_of_what_is_there() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", "Basic abc".parse().unwrap());
        headers.append("authorization", "Basic def".parse().unwrap());
        KeyHeader::bearer().put(&RotatingKey::fixed("k", 1).0.acquire(), &mut headers).unwrap();
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["Bearer k"]);
    }

    #[test]
    fn refuses_keys_that_would_not_arrive_and_does_not_repeat_them() {
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
    fn refuses_names_and_prefixes_that_no_header_has() {
        for name in ["", "X Api", "X-Api-Key:", "\u{e9}"] {
            assert_eq!(KeyHeader::named(name).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        for prefix in ["a\r\nb: ", "\u{e9}", "\t"] {
            let error = KeyHeader::bearer().prefix(prefix).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn makes_one_buffer_for_each_generation() {
        fn buffer(key: &RotatingKey, header: &KeyHeader) -> *const u8 {
            let mut headers = HeaderMap::new();
            header.put(&key.acquire(), &mut headers).unwrap();
            // What the key holds on to stays where it is.
            headers.get(header.name()).unwrap().as_bytes().as_ptr()
        }
        let (key, _drained) = RotatingKey::fixed("k-1", 1);
        let first = buffer(&key, &KeyHeader::bearer());
        assert_eq!(buffer(&key, &KeyHeader::bearer()), first);
        let other = KeyHeader::named("x-api-key").unwrap();
        assert_ne!(buffer(&key, &other), first);
        assert_eq!(buffer(&key, &KeyHeader::bearer()), first);
        let mut headers = HeaderMap::new();
        key.replace("k-2");
        KeyHeader::bearer().put(&key.acquire(), &mut headers).unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Bearer k-2");
    }
    #[test]
    fn the_buffer_is_wiped_with_the_last_request() {
        let planted = Planted::new();
        let (key, _drained) = RotatingKey::fixed(&planted.expose(), 1);
        let (mut one, mut other) = (HeaderMap::new(), HeaderMap::new());
        for headers in [&mut one, &mut other] {
            KeyHeader::bearer().put(&key.acquire(), headers).unwrap();
        }
        let named = KeyHeader::named("x-api-key").unwrap();
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
