//! The names of secrets in the store, which may differ from their paths here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use strongroom_core::SecretPath;

/// What is written as it is in the path of a URL (RFC 3986, section 2.3), and slashes.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The longest name, in bytes, as for paths.
const MAX_LEN: usize = 512;

/// The paths that stand for other names: for names that no path can have.
#[derive(Debug, Default)]
pub(crate) struct StoreNames(BTreeMap<SecretPath, StoreName>);

#[derive(Debug)]
struct StoreName {
    raw: String,
    /// As a part of a URL.
    encoded: String,
}

impl StoreNames {
    pub(crate) fn new(names: &BTreeMap<SecretPath, String>) -> Self {
        let entry = |(path, name): (&SecretPath, &String)| {
            let encoded = utf8_percent_encode(name, ENCODED).to_string();
            (path.clone(), StoreName { raw: name.clone(), encoded })
        };
        Self(names.iter().map(entry).collect())
    }

    /// The name of a secret, as a part of a URL. No character of a path needs an encoding.
    pub(crate) fn encoded<'a>(&'a self, path: &'a SecretPath) -> &'a str {
        self.0.get(path).map_or(path.as_str(), |name| &name.encoded)
    }

    /// The name of a secret, if it is not its path.
    pub(crate) fn get(&self, path: &SecretPath) -> Option<&str> {
        self.0.get(path).map(|name| name.raw.as_str())
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &SecretPath> {
        self.0.keys()
    }

    /// Whether a path stands for this name.
    pub(crate) fn contains_name(&self, name: &str) -> bool {
        self.0.values().any(|known| known.raw == name)
    }

    /// Whether a path stands for a name in this folder, which ends in `/`.
    pub(crate) fn has_names_below(&self, folder: &str) -> bool {
        self.0.values().any(|known| known.raw.starts_with(folder))
    }
}

/// Whether a text can be the name of a secret in a URL: a dot segment would lead elsewhere.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_LEN
        && !name.chars().any(char::is_control)
        && name.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// A text as a value in the query of a URL.
pub(crate) fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A part of a URL as the server understands it.
pub(crate) fn decode(encoded: &str) -> Cow<'_, str> {
    percent_decode_str(encoded).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_encoded_for_a_url_and_a_path_is_not() {
        let path = |text| SecretPath::parse(text).unwrap();
        let map = [(path("legacy/db"), "Legacy DB/käse?50%+!".to_owned())].into();
        let names = StoreNames::new(&map);
        let encoded = names.encoded(&path("legacy/db")).to_owned();
        assert_eq!(encoded, "Legacy%20DB/k%C3%A4se%3F50%25%2B%21");
        assert_eq!(decode(&encoded), "Legacy DB/käse?50%+!");
        let plain = path("a:b@c+d/e_f-g.h");
        assert_eq!(names.encoded(&plain), plain.as_str());
        assert_eq!(decode(plain.as_str()), plain.as_str());
        assert!(names.contains_name("Legacy DB/käse?50%+!") && names.has_names_below("Legacy DB/"));
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["a b", "ä", "a?b#c%", "a!", "a/b c"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "/a", "a/", "a//b", "..", "a/./b", "a\nb", &"x".repeat(513)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
