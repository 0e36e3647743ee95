//! Patterns over the paths of secrets.

use std::borrow::Cow;
use std::fmt;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::glob::{Glob, GlobError};
use crate::text::impl_text;

/// A pattern over the paths of secrets, such as `production/*/api-key` or `production/**`.
///
/// A pattern is written like a [`SecretPath`], and two wildcards stand for whole segments: `*` for exactly one,
/// anywhere; `**` for one or more, only as the last segment. Everything else is compared byte for byte, so
/// `prod/*` never matches `production/x`, and `prod` matches neither `prod/x` nor `Prod`.
///
/// Cloning shares the text.
///
/// # Examples
/// ```
/// use strongroom_access::PathPattern;
///
/// let pattern = PathPattern::parse("production/**")?;
/// assert!(pattern.matches("production/openai/api-key"));
/// assert!(!pattern.matches("production"));
/// assert!(pattern.covers(&PathPattern::parse("production/*/api-key")?));
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern(Glob);

impl PathPattern {
    /// The longest pattern, in bytes. A `/**` at the end does not count, so that every path has a pattern for what
    /// is [below](Self::below) it.
    pub const MAX_LEN: usize = SecretPath::MAX_LEN;
    /// The most segments of a pattern. A path, and a path with `/**`, may have more.
    pub const MAX_SEGMENTS: usize = 32;

    /// Parses a pattern.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the rule that was broken. The text itself is not repeated: it may be a value
    /// that was passed by mistake.
    pub fn parse(text: &str) -> Result<Self> {
        let path = text.strip_suffix("/**").unwrap_or(text);
        if path.len() > Self::MAX_LEN {
            let cause = format!("a pattern has {} bytes, more than {}", path.len(), Self::MAX_LEN);
            return Err(invalid(cause));
        }
        let glob = Glob::parse("", text, is_path_byte).map_err(|error| {
            invalid(match error {
                GlobError::RestNotLast => "`**` is not the last segment of a pattern",
                GlobError::PartialWildcard => "a wildcard in a pattern is only part of a segment",
                GlobError::Segment => {
                    "a segment of a pattern is empty, `.`, `..` or has a character that is not allowed"
                }
            })
        })?;
        let segments = text.split('/').count();
        if segments > Self::MAX_SEGMENTS && path.contains('*') {
            let cause =
                format!("a pattern has {segments} segments, more than {}", Self::MAX_SEGMENTS);
            return Err(invalid(cause));
        }
        Ok(Self(glob))
    }

    /// The pattern `**`, which matches every path.
    #[must_use]
    pub fn everything() -> Self {
        Self(Glob::rest_of(""))
    }

    /// The pattern that matches `path` alone.
    #[must_use]
    pub fn exact(path: &SecretPath) -> Self {
        Self(Glob::exact(path.as_str()))
    }

    /// The pattern `path/**`, which matches every path below `path`, at any depth, but not `path` itself.
    #[must_use]
    pub fn below(path: &SecretPath) -> Self {
        Self(Glob::rest_of(&format!("{path}/")))
    }

    /// Whether the pattern matches `path`, which is the text of a valid [`SecretPath`].
    ///
    /// Takes time linear in the length of `path` and allocates nothing. For text that is no path the answer means
    /// nothing, though a wildcard never matches an empty segment, `.` or `..`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.0.matches(path)
    }

    /// Whether this pattern matches every path that `other` matches.
    ///
    /// Takes linear time and allocates nothing. The limit on the length of a path is left out of the account: a
    /// pattern at that limit may count as not covered although no path makes the difference.
    #[must_use]
    pub fn covers(&self, other: &PathPattern) -> bool {
        self.0.covers(&other.0)
    }

    /// Whether the pattern can match some path below `prefix`, or any path at all if there is no prefix.
    ///
    /// A listing below `prefix` needs no further look if not. `prefix` is the text of a valid [`SecretPath`].
    #[must_use]
    pub fn could_match_below(&self, prefix: Option<&str>) -> bool {
        prefix.is_none_or(|prefix| self.0.could_match_below(prefix))
    }

    /// Whether the pattern has no wildcard and so matches one path alone.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.0.is_exact()
    }

    /// The segments, from the first to the last; wildcards are `*` and `**`.
    #[must_use]
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.as_str().split('/')
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl_text!(PathPattern);

/// The bytes of a segment of a [`SecretPath`].
const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b':' | b'+')
}

fn invalid(cause: impl Into<Cow<'static, str>>) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "use segments of `A-Z a-z 0-9 . _ - @ : +` with a `/` between them, `*` for a whole segment and `**` as the \
         last one for any depth, such as `production/**`",
    )
    .because(cause)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests;
