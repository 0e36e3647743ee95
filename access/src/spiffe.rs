//! SPIFFE IDs: the names of workloads.

mod pattern;
mod template;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result};

pub use self::pattern::SpiffePattern;
pub use self::template::SpiffeTemplate;
use crate::text::impl_text;

pub(crate) const SCHEME: &str = "spiffe://";

/// A SPIFFE ID such as `spiffe://hexr.cloud/agent/acme/crawler`, validated by the rules of the
/// [standard](https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md).
///
/// The trust domain has 1 to 255 bytes of `a-z 0-9 . - _`, the segments of the path have bytes of
/// `A-Z a-z 0-9 . - _` and none is empty, `.` or `..`, and the whole has at most 2048 bytes. An ID without a path
/// names the trust domain itself. IDs are compared byte for byte. Cloning shares the text.
///
/// # Examples
/// ```
/// use strongroom_access::SpiffeId;
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
        let (trust_domain, path) = split(text).map_err(invalid)?;
        if let Some(path) = path {
            path.split('/').try_for_each(check_segment).map_err(invalid)?;
        }
        Ok(Self { text: Arc::from(text), authority: SCHEME.len() + trust_domain.len() })
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

impl_text!(SpiffeId);

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

/// Splits the text of an ID, a pattern or a template into the trust domain, which it checks, and the path behind
/// the `/`. Says which rule was broken if not.
fn split(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if text.len() > SpiffeId::MAX_LEN {
        return Err("it has more than 2048 bytes");
    }
    let rest = text.strip_prefix(SCHEME).ok_or("it does not begin with `spiffe://`")?;
    let (trust_domain, path) =
        rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    if trust_domain.is_empty() || trust_domain.len() > SpiffeId::MAX_TRUST_DOMAIN_LEN {
        return Err("its trust domain is empty or has more than 255 bytes");
    }
    let is_allowed = |byte: u8| is_segment_byte(byte) && !byte.is_ascii_uppercase();
    if !trust_domain.bytes().all(is_allowed) {
        return Err("its trust domain has a character other than `a-z 0-9 . - _`");
    }
    Ok((trust_domain, path))
}

/// Checks one literal segment of a path.
fn check_segment(segment: &str) -> Result<(), &'static str> {
    if matches!(segment, "" | "." | "..") {
        return Err("a segment of its path is empty, `.` or `..`");
    }
    if !segment.bytes().all(is_segment_byte) {
        return Err("its path has a character other than `A-Z a-z 0-9 . - _`");
    }
    Ok(())
}

const fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn invalid(rule: &'static str) -> Error {
    error("use an ID such as `spiffe://example.org/agent/acme/crawler`", "SPIFFE ID", rule)
}

fn error(advice: impl Into<Cow<'static, str>>, what: &str, rule: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, advice).because(format!("not a {what}: {rule}"))
}

#[cfg(test)]
mod tests;
