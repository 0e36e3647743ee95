//! The path of a secret.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

/// A validated path such as `production/openai/api-key`.
///
/// A path is 1 to 512 bytes long and consists of `/`-separated segments of the characters
/// `A-Z a-z 0-9 . _ - @ : +`. No segment is empty, `.` or `..`. Paths are case-sensitive.
/// Cloning shares the text.
///
/// # Examples
/// ```
/// use strongroom_core::SecretPath;
///
/// let path = SecretPath::parse("production/openai/api-key")?;
/// assert_eq!(path.name(), "api-key");
/// assert!(SecretPath::parse("../etc/passwd").is_err());
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretPath(Arc<str>);

impl SecretPath {
    /// The longest path, in bytes.
    pub const MAX_LEN: usize = 512;

    /// Validates `path`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the rule that was broken and where. The text itself is not
    /// repeated: it may be a value that was passed by mistake.
    pub fn parse(path: &str) -> Result<Self> {
        validate(path)?;
        Ok(Self(Arc::from(path)))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, from the first to the last.
    #[must_use]
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// This path with further segments below it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `below` is not a path or the whole is over 512 bytes.
    pub fn join(&self, below: &str) -> Result<Self> {
        validate(below)?;
        let whole = format!("{}/{below}", self.0);
        if whole.len() > Self::MAX_LEN {
            return Err(too_long(whole.len()));
        }
        Ok(Self(Arc::from(whole)))
    }

    /// The rest of this path below `prefix`, or `None` if it does not lie below it.
    ///
    /// Whole segments count: `prod` is no prefix of `production/key`.
    #[must_use]
    pub fn below(&self, prefix: &SecretPath) -> Option<&str> {
        self.0.strip_prefix(&*prefix.0)?.strip_prefix('/')
    }
}

fn validate(path: &str) -> Result<()> {
    if path.is_empty() {
        return Err(invalid("a path is empty"));
    }
    if path.len() > SecretPath::MAX_LEN {
        return Err(too_long(path.len()));
    }
    if let Some(at) = path.bytes().position(|byte| !is_path_byte(byte)) {
        return Err(invalid(format!("byte {at} of a path is not allowed")));
    }
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(invalid("a segment of a path is empty, `.` or `..`"));
    }
    Ok(())
}

const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'@' | b':' | b'+')
}

fn too_long(len: usize) -> Error {
    invalid(format!("a path has {len} bytes, more than {}", SecretPath::MAX_LEN))
}

fn invalid(cause: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "use segments of `A-Z a-z 0-9 . _ - @ : +` with a `/` between them and none at either end, \
         such as `openai/api-key`",
    )
    .because(cause)
}

impl AsRef<str> for SecretPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Looks up text in a map with paths as keys; hash and order are those of the text.
impl Borrow<str> for SecretPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl FromStr for SecretPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self> {
        Self::parse(path)
    }
}

impl TryFrom<&str> for SecretPath {
    type Error = Error;

    fn try_from(path: &str) -> Result<Self> {
        Self::parse(path)
    }
}

impl Serialize for SecretPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_every_allowed_character() {
        for path in ["a", "A/b.c_d-e@f:g+h/0", "..a", "a/...", &"x".repeat(512)] {
            assert_eq!(SecretPath::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn refuses_paths_that_a_store_could_read_differently() {
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/./b",
            "a b",
            "a\nb",
            "a\tb",
            "a\0b",
            "ä",
            "a%2fb",
            "a\\b",
            "a?b",
            "a#b",
            "a*b",
            &"x".repeat(513),
        ] {
            let error = SecretPath::parse(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}");
        }
    }

    #[test]
    fn an_invalid_path_is_not_repeated() {
        let error = SecretPath::parse("hunter2 is the password").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn prefixes_are_whole_segments() {
        let path = SecretPath::parse("production/openai/key").unwrap();
        let below = |prefix| path.below(&SecretPath::parse(prefix).unwrap());
        assert_eq!(below("production"), Some("openai/key"));
        assert_eq!(below("prod"), None);
        assert_eq!(below("production/openai/key"), None);
    }

    #[test]
    fn a_set_of_paths_is_searched_by_text() {
        let paths = ["b", "a/b", "a-b"].map(|path| SecretPath::parse(path).unwrap());
        let (hashed, ordered) = (HashSet::from(paths.clone()), BTreeSet::from(paths));
        assert!(hashed.contains("a/b") && ordered.contains("a/b"));
        assert!(!hashed.contains("a") && !ordered.contains("a"));
    }

    #[test]
    fn joining_keeps_the_limit() {
        let long = SecretPath::parse(&"x".repeat(500)).unwrap();
        assert!(long.join("12345678901").is_ok());
        assert_eq!(long.join("123456789012").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(long.join("..").is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in ".{0,600}") {
            if let Ok(path) = SecretPath::parse(&text) {
                prop_assert_eq!(path.as_str(), text.as_str());
                prop_assert!(path.segments().all(|s| !matches!(s, "" | "." | "..")));
                prop_assert_eq!(path.segments().next_back(), Some(path.name()));
            }
        }

        #[test]
        fn every_path_of_allowed_segments_parses(
            segments in prop::collection::vec("[A-Za-z0-9_@:+-][A-Za-z0-9._@:+-]{0,20}", 1..8)
        ) {
            let joined = segments.join("/");
            let path = SecretPath::parse(&joined).unwrap();
            prop_assert_eq!(path.segments().count(), segments.len());
        }
    }
}
