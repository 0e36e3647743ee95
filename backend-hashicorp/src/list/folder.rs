//! The names in a folder, of which only as many are kept as a page needs.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use strongroom_core::Result;

use crate::error::invalid_response;
use crate::response::{ListedKeys, Response};

/// How many names of a folder are kept. If a page needs more, the folder is read again.
const MAX_NAMES: usize = 1_000;
/// The longest name that is kept, in bytes: a longer one cannot be a path.
const MAX_NAME_LEN: usize = 513;

/// A folder that a listing walks through.
pub(super) struct Folder {
    /// Empty for the root, else with a `/` at the end.
    pub(super) path: String,
    /// Names that the listing has not reached yet, last first.
    pub(super) names: Vec<String>,
    /// The last name that was kept, if others were not.
    pub(super) continues_after: Option<String>,
}

impl Folder {
    pub(super) fn empty(path: String) -> Self {
        Self { path, names: Vec::new(), continues_after: None }
    }

    /// The names of a response that can lead to a path after `after`.
    pub(super) fn parse(response: &Response, path: String, after: &str) -> Result<Self> {
        let ListedKeys { keys } = response.data()?;
        let mut deserializer = serde_json::Deserializer::from_str(keys.get());
        let visitor = Names { folder: &path, after };
        // The library's error may quote the body.
        let kept = deserializer.deserialize_seq(visitor).map_err(|_| invalid_response())?;
        let Kept { mut names, has_more } = kept;
        let continues_after = names.last().filter(|_| has_more).cloned();
        names.reverse();
        Ok(Self { path, names, continues_after })
    }
}

/// The first names in the order of whole paths.
struct Kept {
    names: Vec<String>,
    has_more: bool,
}

impl Kept {
    fn shrink(&mut self) {
        self.names.sort_unstable();
        self.names.dedup();
        if self.names.len() > MAX_NAMES {
            self.names.truncate(MAX_NAMES);
            self.has_more = true;
        }
    }
}

struct Names<'a> {
    folder: &'a str,
    after: &'a str,
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Kept;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut keys: A) -> Result<Kept, A::Error> {
        let mut kept = Kept { names: Vec::new(), has_more: false };
        while let Some(BorrowedName(name)) = keys.next_element()? {
            if !can_lead_past(self.folder, &name, self.after) {
                continue;
            }
            kept.names.push(shorten(&name).to_owned());
            if kept.names.len() >= 2 * MAX_NAMES {
                kept.shrink();
            }
        }
        kept.shrink();
        Ok(kept)
    }
}

/// A name without a copy, unless it has escapes.
#[derive(serde::Deserialize)]
struct BorrowedName<'a>(#[serde(borrow)] Cow<'a, str>);

/// The beginning of a name, which is no path if it was longer.
fn shorten(name: &str) -> &str {
    let longest = MAX_NAME_LEN.min(name.len());
    let end = (0..=longest).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    name.get(..end).unwrap_or_default()
}

/// Whether a name in a folder is that of a secret after the path `after`, or of a folder that may
/// contain one.
fn can_lead_past(folder: &str, name: &str, after: &str) -> bool {
    let path = [folder, name].concat();
    path.as_str() > after || (name.ends_with('/') && after.starts_with(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_continues_after_its_token() {
        for (folder, name, after, leads) in [
            ("", "a", "", true),
            ("", "a", "a", false),
            ("", "a/", "a", true),
            ("", "a/", "a/b", true),
            ("a/", "b", "a/b", false),
            ("a/", "c", "a/b", true),
            ("", "a-x", "a/b", false),
            ("", "a0", "a/b", true),
            ("", "a/", "a0", false),
        ] {
            assert_eq!(can_lead_past(folder, name, after), leads, "{folder}{name} after {after}");
        }
    }

    #[test]
    fn keeps_the_first_names_and_where_to_continue() {
        let names: Vec<_> = (0..5_000).rev().map(|number| format!("n{number:04}")).collect();
        let body = serde_json::json!({ "data": { "keys": names } }).to_string();
        let response = Response::new(200, None, Vec::from(body).into());
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let mut folder = Folder::parse(&response, String::new(), &after).unwrap();
            assert!(folder.names.len() <= MAX_NAMES);
            folder.names.reverse();
            found.extend(folder.names);
            match folder.continues_after {
                Some(name) => after = name,
                None => break,
            }
        }
        assert!(found.len() == 5_000 && found.is_sorted(), "{} names", found.len());
    }

    #[test]
    fn a_name_of_any_length_takes_little_room() {
        let name = "ä".repeat(100_000);
        let body = serde_json::json!({ "data": { "keys": [name] } }).to_string();
        let response = Response::new(200, None, Vec::from(body).into());
        let folder = Folder::parse(&response, String::new(), "").unwrap();
        assert_eq!(folder.names.concat().len(), MAX_NAME_LEN / 2 * 2);
    }
}
