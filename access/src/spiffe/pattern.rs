//! Patterns over SPIFFE IDs, for grants.

use std::fmt;

use strongroom_core::{Error, Result};

use super::{SCHEME, SpiffeId};
use crate::glob::{Glob, GlobError};
use crate::text::impl_text;

/// A pattern over SPIFFE IDs, such as `spiffe://hexr.cloud/agent/acme/*`.
///
/// A pattern is written like a [`SpiffeId`], and two wildcards stand for whole segments of the path: `*` for exactly
/// one, anywhere; `**` for one or more, only as the last segment. The trust domain is literal, and a pattern has a
/// path: the ID of a trust domain itself belongs to no workload. Cloning shares the text.
///
/// # Examples
/// ```
/// use strongroom_access::{SpiffeId, SpiffePattern};
///
/// let pattern = SpiffePattern::parse("spiffe://hexr.cloud/agent/acme/**")?;
/// assert!(pattern.matches(&SpiffeId::parse("spiffe://hexr.cloud/agent/acme/crawler/batch")?));
/// assert!(!pattern.matches(&SpiffeId::parse("spiffe://hexr.cloud/agent/acme-2/crawler")?));
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffePattern(Glob);

impl SpiffePattern {
    /// Parses a pattern of at most 2048 bytes.
    ///
    /// # Errors
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) with the rule that was broken. The text itself is
    /// not repeated: it may be a value that was passed by mistake.
    pub fn parse(text: &str) -> Result<Self> {
        let (trust_domain, path) = SpiffeId::split(text).map_err(invalid)?;
        let path = path.ok_or_else(|| invalid("it has no path"))?;
        let root = format!("{SCHEME}{trust_domain}/");
        let glob = Glob::parse(&root, path, SpiffeId::is_segment_byte).map_err(|error| {
            invalid(match error {
                GlobError::RestNotLast => "`**` is not its last segment",
                GlobError::PartialWildcard => "a wildcard is only part of a segment",
                GlobError::Segment => {
                    "a segment is empty, `.`, `..` or has a character other than `A-Z a-z 0-9 . - _`"
                }
            })
        })?;
        Ok(Self(glob))
    }

    /// Whether the pattern matches `id`. Takes time linear in the length of `id` and allocates nothing.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        self.0.matches(id.as_str())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl_text!(SpiffePattern);

fn invalid(rule: &'static str) -> Error {
    super::error(
        "use an ID, in whose path `*` stands for a whole segment and `**` as the last one for any depth, such as \
         `spiffe://example.org/agent/acme/**`",
        "pattern of SPIFFE IDs",
        rule,
    )
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests;
