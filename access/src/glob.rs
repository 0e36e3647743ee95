//! Patterns of whole segments: the matching that paths and SPIFFE IDs share.

use std::sync::Arc;

/// A wildcard for exactly one segment.
const ONE: &[u8] = b"*";
/// A wildcard for one or more segments, only as the last one.
const REST: &[u8] = b"**";

/// A parsed pattern.
///
/// Wildcards stand for whole segments and `**` only at the end, so a match walks pattern and text once, side by
/// side, and never goes back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Glob {
    text: Arc<str>,
    /// Bytes before the first wildcard, which must be the same in the text. The text alone determines it.
    literal: usize,
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GlobError {
    /// `**` is not the last segment.
    RestNotLast,
    /// A wildcard shares its segment with other characters.
    PartialWildcard,
    /// A segment is empty, `.`, `..` or has a byte that is not allowed.
    Segment,
}

impl Glob {
    /// Parses `root` followed by the pattern `segments`. The caller has checked `root`, which is literal and either
    /// empty or ends with `/`.
    pub(crate) fn parse(
        root: &str,
        segments: &str,
        is_allowed: impl Fn(u8) -> bool,
    ) -> Result<Self, GlobError> {
        let mut literal = root.len();
        let mut wildcard = false;
        let mut rest = false;
        for segment in split(segments) {
            if rest {
                return Err(GlobError::RestNotLast);
            }
            rest = segment == REST;
            if rest || segment == ONE {
                wildcard = true;
            } else if segment.contains(&b'*') {
                return Err(GlobError::PartialWildcard);
            } else if !is_segment(segment) || !segment.iter().copied().all(&is_allowed) {
                return Err(GlobError::Segment);
            } else if !wildcard {
                literal += segment.len() + 1;
            }
        }
        let text = [root, segments].concat();
        // The last segment has no `/` behind it.
        let literal = literal.min(text.len());
        Ok(Self { text: Arc::from(text), literal })
    }

    /// A pattern that matches the checked `text` alone.
    pub(crate) fn exact(text: &str) -> Self {
        Self { text: Arc::from(text), literal: text.len() }
    }

    /// `**` behind the checked `root`, which is empty or ends with `/`.
    pub(crate) fn rest_of(root: &str) -> Self {
        Self { text: Arc::from([root, "**"].concat()), literal: root.len() }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.literal == self.text.len()
    }

    /// The pattern from its first wildcard on, and what follows the literal part in `text`.
    fn after_literal<'a>(&self, text: &'a str) -> Option<(&str, &'a str)> {
        let (literal, pattern) = self.text.split_at_checked(self.literal)?;
        Some((pattern, text.strip_prefix(literal)?))
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        if self.is_exact() {
            return *self.text == *text;
        }
        let Some((pattern, text)) = self.after_literal(text) else { return false };
        let mut segments = split(text);
        for wanted in split(pattern) {
            let Some(segment) = segments.next() else { return false };
            if wanted == REST {
                return is_segment(segment) && segments.all(is_segment);
            }
            if !accepts(wanted, segment) {
                return false;
            }
        }
        segments.next().is_none()
    }

    /// Whether `self` matches all that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        if other.is_exact() {
            return self.matches(&other.text);
        }
        // From here on `other` has a wildcard, which means more than any literal of `self`.
        if self.is_exact() {
            return false;
        }
        let Some((mine, others)) = self.after_literal(&other.text) else { return false };
        let mut others = split(others);
        for wanted in split(mine) {
            let Some(other) = others.next() else { return false };
            if wanted == REST {
                return true;
            }
            // `**` of `other` goes deeper than one segment.
            if other == REST || (wanted != ONE && wanted != other) {
                return false;
            }
        }
        others.next().is_none()
    }

    /// Whether `self` matches some text that begins with `prefix` and a further segment.
    pub(crate) fn could_match_below(&self, prefix: &str) -> bool {
        let mut wanted = split(&self.text);
        let mut segments = split(prefix);
        for segment in segments.by_ref() {
            match wanted.next() {
                Some(REST) => return is_segment(segment) && segments.all(is_segment),
                Some(wanted) if accepts(wanted, segment) => {}
                _ => return false,
            }
        }
        wanted.next().is_some()
    }
}

/// The segments of `text`. Most are so short that a look at each byte is faster than a vectorized search.
fn split(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(|byte| *byte == b'/')
}

/// Whether one segment of a pattern, other than `**`, matches `segment`.
fn accepts(wanted: &[u8], segment: &[u8]) -> bool {
    if wanted == ONE { is_segment(segment) } else { wanted == segment }
}

/// A wildcard must not match what a file system or a URL reads as another place.
fn is_segment(segment: &[u8]) -> bool {
    !matches!(segment, b"" | b"." | b"..")
}
