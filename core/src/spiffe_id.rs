//! SPIFFE IDs: the names of workloads.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, ErrorKind, Result};

const SCHEME: &str = "spiffe://";

/// A SPIFFE ID such as `spiffe://hexr.cloud/agent/acme/crawler`, validated by the rules of the
/// [standard](https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md).
///
/// The trust domain has 1 to 255 bytes of `a-z 0-9 . - _`, the segments of the path have bytes of
/// `A-Z a-z 0-9 . - _` and none is empty, `.` or `..`, and the whole has at most 2048 bytes. An ID without a path
/// names the trust domain itself. IDs are compared byte for byte. Cloning shares the text.
///
/// # Examples
/// ```
/// use strongroom_core::SpiffeId;
///
/// let id = SpiffeId::parse("spiffe://hexr.cloud/agent/acme/crawler")?;
/// assert_eq!(id.trust_domain(), "hexr.cloud");
/// assert_eq!(id.segments().collect::<Vec<_>>(), ["agent", "acme", "crawler"]);
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// The length of the scheme and the trust domain. The text alone determines it.
    authority: usize,
}

impl SpiffeId {
    /// The longest ID, in bytes.
    pub const MAX_LEN: usize = 2048;
    /// The longest trust domain, in bytes.
    pub const MAX_TRUST_DOMAIN_LEN: usize = 255;

    /// Validates `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the rule that was broken. The text itself is not repeated: it may be a value
    /// that was passed by mistake.
    pub fn parse(text: &str) -> Result<Self> {
        let (trust_domain, path) = Self::split(text).map_err(invalid)?;
        if let Some(path) = path {
            path.split('/').try_for_each(Self::check_segment).map_err(invalid)?;
        }
        Ok(Self { text: Arc::from(text), authority: SCHEME.len() + trust_domain.len() })
    }

    /// Splits the text of an ID, or of a pattern of IDs, into the trust domain, which it checks, and the path behind the
    /// `/`, which it does not.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn split(text: &str) -> Result<(&str, Option<&str>), &'static str> {
        if text.len() > Self::MAX_LEN {
            return Err("it has more than 2048 bytes");
        }
        let rest = text.strip_prefix(SCHEME).ok_or("it does not begin with `spiffe://`")?;
        let (trust_domain, path) =
            rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
        Self::check_trust_domain(trust_domain)?;
        Ok((trust_domain, path))
    }

    /// Checks the name of a trust domain, such as `hexr.cloud`.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn check_trust_domain(name: &str) -> Result<(), &'static str> {
        if name.is_empty() || name.len() > Self::MAX_TRUST_DOMAIN_LEN {
            return Err("its trust domain is empty or has more than 255 bytes");
        }
        let is_allowed = |byte: u8| Self::is_segment_byte(byte) && !byte.is_ascii_uppercase();
        if !name.bytes().all(is_allowed) {
            return Err("its trust domain has a character other than `a-z 0-9 . - _`");
        }
        Ok(())
    }

    /// Checks one segment of a path.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn check_segment(segment: &str) -> Result<(), &'static str> {
        if matches!(segment, "" | "." | "..") {
            return Err("a segment of its path is empty, `.` or `..`");
        }
        if !segment.bytes().all(Self::is_segment_byte) {
            return Err("its path has a character other than `A-Z a-z 0-9 . - _`");
        }
        Ok(())
    }

    /// Whether a segment of a path may hold the byte.
    #[must_use]
    pub const fn is_segment_byte(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain, such as `hexr.cloud`.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.authority).unwrap_or_default()
    }

    /// The segments of the path, from the first to the last; none if the ID names a trust domain.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let path = self.text.get(self.authority + 1..);
        path.into_iter().flat_map(|path| path.split('/'))
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}

fn invalid(rule: &'static str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "use an ID such as `spiffe://example.org/agent/acme/crawler`",
    )
    .because(format!("not a SPIFFE ID: {rule}"))
}

#[cfg(test)]
mod tests;
