//! The shape of a key, and how a text is compared with it.

use std::fmt;

/// A kind of key with a shape of its own.
#[derive(PartialEq, Eq)]
pub struct Rule {
    id: &'static str,
    name: &'static str,
    source: &'static str,
    beginnings: &'static [&'static str],
    rest: &'static [Piece],
}

/// A piece of a key after its beginning.
#[derive(PartialEq, Eq)]
pub(super) enum Piece {
    /// This text.
    Text(&'static str),
    /// One of these texts; of several that match, the first.
    OneOf(&'static [&'static str]),
    /// So many characters of a class.
    Exactly(Class, usize),
    /// All characters of a class that follow; at least the first number, and not more than the second.
    Run(Class, usize, usize),
}

/// A set of characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Digit,
    Hex,
    /// Capital letters and digits without `0`, `1`, `8` and `9`.
    Base32,
    Alphanumeric,
    /// Letters, digits, `-` and `_`.
    Url,
    /// Letters, digits, `+`, `/` and `=`.
    Base64,
    /// The characters of Bech32 in capitals (BIP 173).
    Bech32,
    /// Spaces and tabs.
    Blank,
}

/// What a rule says of the beginning of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    No,
    /// The text ends too early to say.
    NeedsMore,
    /// The key is so long.
    Match(usize),
}

pub(super) const fn rule(
    id: &'static str,
    name: &'static str,
    source: &'static str,
    beginnings: &'static [&'static str],
    rest: &'static [Piece],
) -> Rule {
    Rule { id, name, source, beginnings, rest }
}

/// A key whose variable part has fewer different characters is a placeholder, such as `ghp_xxxxxxxx`.
const MIN_DIFFERENT: usize = 6;

impl Rule {
    /// All rules.
    #[must_use]
    pub fn all() -> &'static [Self] {
        super::rules::RULES
    }

    /// The name for machines, such as `github-token`. It never changes.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// The name for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A page of the issuer about such keys.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.source
    }

    pub(super) fn beginnings(&self) -> impl Iterator<Item = &'static str> {
        self.beginnings.iter().copied()
    }

    /// Whether a key begins at the beginning of `text`. If that is its end, it never needs more.
    pub(super) fn match_at(&self, text: &[u8], is_end: bool) -> Outcome {
        let beginning = Piece::OneOf(self.beginnings);
        let mut len = 0;
        let mut fixed = 0;
        for (index, piece) in std::iter::once(&beginning).chain(self.rest).enumerate() {
            match piece.match_at(text.get(len..).unwrap_or_default(), is_end) {
                Outcome::Match(more) => len += more,
                other => return other,
            }
            if index == 0 {
                fixed = len;
            }
        }
        let variable = text.get(fixed..len).unwrap_or_default();
        if is_placeholder(variable) { Outcome::No } else { Outcome::Match(len) }
    }
}

/// Whether the variable part of a key is that of an example.
fn is_placeholder(variable: &[u8]) -> bool {
    let mut seen = [false; 256];
    for &byte in variable {
        if let Some(seen) = seen.get_mut(usize::from(byte)) {
            *seen = true;
        }
    }
    let different = seen.iter().filter(|seen| **seen).count();
    different < MIN_DIFFERENT || variable.ends_with(b"EXAMPLE")
}

impl Piece {
    fn match_at(&self, text: &[u8], is_end: bool) -> Outcome {
        match self {
            Self::Text(expected) => match_one_of(&[expected], text, is_end),
            Self::OneOf(options) => match_one_of(options, text, is_end),
            Self::Exactly(class, count) => {
                let found = class.count(text, *count);
                if found == *count {
                    Outcome::Match(found)
                } else if found == text.len() && !is_end {
                    Outcome::NeedsMore
                } else {
                    Outcome::No
                }
            }
            Self::Run(class, min, max) => {
                let found = class.count(text, max + 1);
                if found == text.len() && found <= *max && !is_end {
                    Outcome::NeedsMore
                } else if (*min..=*max).contains(&found) {
                    Outcome::Match(found)
                } else {
                    Outcome::No
                }
            }
        }
    }
}

fn match_one_of(options: &[&str], text: &[u8], is_end: bool) -> Outcome {
    for option in options.iter().map(|option| option.as_bytes()) {
        if text.starts_with(option) {
            return Outcome::Match(option.len());
        }
        if !is_end && option.starts_with(text) {
            return Outcome::NeedsMore;
        }
    }
    Outcome::No
}

impl Class {
    /// How many of the first `max` bytes in a row are of this class.
    fn count(self, text: &[u8], max: usize) -> usize {
        text.iter().take(max).take_while(|&&byte| self.contains(byte)).count()
    }

    fn contains(self, byte: u8) -> bool {
        match self {
            Self::Digit => byte.is_ascii_digit(),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Base32 => matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::Bech32 => b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".contains(&byte),
            Self::Blank => matches!(byte, b' ' | b'\t'),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({})", self.id)
    }
}
