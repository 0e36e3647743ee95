//! Versions as entity tags, for `ETag`, `If-Match` and `If-None-Match`
//! ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3)).

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use strongroom_core::Version;

/// What a tag cannot hold, and the sign that begins an encoded byte.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The tag of a version: its text in double quotes, with what a tag cannot hold percent-encoded.
#[must_use]
pub fn entity_tag(version: &Version) -> String {
    format!("\"{}\"", utf8_percent_encode(&version.text(), ENCODED))
}

/// The version of a strong tag; `None` for any other text.
#[must_use]
pub fn version_of_tag(tag: &str) -> Option<Version> {
    let text = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
    if text.is_empty() || text.contains('"') {
        return None;
    }
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(Version::new(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_survive_a_tag() {
        for text in ["3", "018f-uuid", "with \"quotes\" and 100 %", "\u{e4}\n", "%41"] {
            let tag = entity_tag(&Version::new(text));
            assert!(tag.is_ascii(), "{tag}");
            assert_eq!(version_of_tag(&tag).unwrap().text(), text, "{tag}");
        }
        assert_eq!(entity_tag(&Version::from(3)), "\"3\"");
        for text in ["", "3", "\"\"", "W/\"3\"", "*", "\"a\", \"b\"", "\""] {
            assert_eq!(version_of_tag(text), None, "{text}");
        }
    }
}
