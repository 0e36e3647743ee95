//! Bearer tokens.

use bytes::Bytes;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// A token as the value of an `Authorization` header
/// ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)): masked, and wiped when the last request that carries
/// it ends. `None` unless the token is visible ASCII.
#[must_use]
pub fn bearer(token: &[u8]) -> Option<HeaderValue> {
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let own = Bytes::from_owner(Zeroizing::new([b"Bearer ".as_slice(), token].concat()));
    let mut header = HeaderValue::from_maybe_shared(own).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_visible_ascii_and_masked() {
        let header = bearer(b"abc.DEF-1~+/=").unwrap();
        assert_eq!(header, "Bearer abc.DEF-1~+/=");
        assert!(header.is_sensitive() && !format!("{header:?}").contains("abc"));
        for token in ["", "a b", "a\n", "\u{e4}"] {
            assert!(bearer(token.as_bytes()).is_none(), "{token}");
        }
    }
}
