//! The findings that a person has looked at and wants to see no more.

use std::collections::BTreeMap;
use std::fmt;

use strongroom_core::{Error, ErrorKind, EscapedText, Result};

use super::fingerprint::parse_hex;
use super::{Fingerprint, FingerprintKey};

/// A list of findings to ignore, by fingerprint: it tells no secret and no line number, so it may be committed, and
/// holds when lines move.
///
/// In its text form, a line has a fingerprint and a note; `#` begins a comment. The key is in the line that begins with
/// `key`, unless the caller keeps it elsewhere: who has the list and its key can try guesses of weak secrets.
///
/// # Examples
/// ```
/// use strongroom_redact::IgnoreList;
///
/// let mut list = IgnoreList::new()?;
/// list.add("00112233445566778899aabbccddeeff".parse()?, "an example in the guide");
/// let again = IgnoreList::parse(&list.to_string())?;
/// assert_eq!(again, list);
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreList {
    key: FingerprintKey,
    /// Whether the text form leaves out the key.
    is_key_elsewhere: bool,
    notes: BTreeMap<Fingerprint, String>,
}

impl IgnoreList {
    /// An empty list with a random key.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the system has no random numbers.
    pub fn new() -> Result<Self> {
        let key = FingerprintKey::random()?;
        Ok(Self { key, is_key_elsewhere: false, notes: BTreeMap::new() })
    }

    /// An empty list with a key that its text form leaves out.
    #[must_use]
    pub fn with_key(key: FingerprintKey) -> Self {
        Self { key, is_key_elsewhere: true, notes: BTreeMap::new() }
    }

    /// Reads the text form of a list with its key.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the number of the line that is not understood, or if the key is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let (key, notes) = parse(text)?;
        let key = key.ok_or_else(|| {
            Error::new(ErrorKind::Config, "restore the line, or pass the key with `parse_with_key`")
                .because("the ignore list has no line `key`")
        })?;
        Ok(Self { key, is_key_elsewhere: false, notes })
    }

    /// Reads the text form of a list whose key the caller keeps.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the number of the line that is not understood, or if the list has a key of its own.
    pub fn parse_with_key(text: &str, key: FingerprintKey) -> Result<Self> {
        match parse(text)? {
            (None, notes) => Ok(Self { key, is_key_elsewhere: true, notes }),
            (Some(_), _) => {
                Err(Error::new(ErrorKind::Config, "remove the line, or read it without a key")
                    .because("the ignore list has a line `key`"))
            }
        }
    }

    /// The key of the fingerprints.
    #[must_use]
    pub fn key(&self) -> &FingerprintKey {
        &self.key
    }

    /// Adds a finding, with a note that says why. Control characters in it are escaped.
    pub fn add(&mut self, fingerprint: Fingerprint, note: &str) {
        self.notes.insert(fingerprint, EscapedText::name(note.trim()).to_string());
    }

    /// Removes a finding. Returns whether the list had it.
    pub fn remove(&mut self, fingerprint: &Fingerprint) -> bool {
        self.notes.remove(fingerprint).is_some()
    }

    /// Whether the list has this finding.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.notes.contains_key(fingerprint)
    }

    /// The number of findings in the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }
}

type Parsed = (Option<FingerprintKey>, BTreeMap<Fingerprint, String>);

fn parse(text: &str) -> Result<Parsed> {
    let mut key = None;
    let mut notes = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let is_understood = if word.is_empty() || word.starts_with('#') {
            true
        } else if word == "key" {
            let parsed = parse_hex(rest.trim()).map(FingerprintKey::from_bytes);
            // A second key would silently change the meaning of all lines.
            parsed.is_some_and(|parsed| key.replace(parsed).is_none())
        } else if let Ok(fingerprint) = word.parse() {
            notes.insert(fingerprint, rest.trim().trim_start_matches('#').trim().to_owned());
            true
        } else {
            false
        };
        if !is_understood {
            let advice =
                "write a fingerprint of 32 hexadecimal digits and a note, or a comment after `#`";
            return Err(Error::new(ErrorKind::Config, advice)
                .because(format!("line {number} of the ignore list is not understood")));
        }
    }
    Ok((key, notes))
}

/// The text form.
impl fmt::Display for IgnoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Findings of `strongroom scan` that were looked at: a fingerprint and a note."
        )?;
        if !self.is_key_elsewhere {
            f.write_str("key ")?;
            self.key.expose_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            writeln!(f)?;
        }
        for (fingerprint, note) in &self.notes {
            if note.is_empty() {
                writeln!(f, "{fingerprint}")?;
            } else {
                writeln!(f, "{fingerprint}  # {note}")?;
            }
        }
        Ok(())
    }
}
