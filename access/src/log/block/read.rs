//! Reads the body of a block. It was authenticated by the key of the log at most, so nothing of it is taken for granted.

use strongroom_core::{Error, Result};

use crate::log::error::corrupt;
use crate::log::{RecordFilter, Row};

/// The tables of a block, and its records as they are encoded.
pub(crate) struct Block<'a> {
    row: &'a Row,
    principals: Vec<&'a str>,
    paths: Vec<&'a str>,
    /// The beginnings and ends of bodies.
    templates: Vec<(&'a [u8], &'a [u8])>,
    entries: &'a [u8],
}

/// One record, with the places of its texts in the tables.
pub(crate) struct Entry<'a> {
    pub(super) principal: usize,
    /// 0 if it has no path.
    pub(super) path: usize,
    template: usize,
    own: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads the tables.
    ///
    /// # Errors
    /// [`Corrupt`](strongroom_core::ErrorKind::Corrupt) if they are malformed, as for the other functions.
    pub(crate) fn parse(row: &'a Row) -> Result<Self> {
        let mut rest = row.body.as_slice();
        let mut parse = || {
            if row.records < 2 || !row.principal.is_empty() || row.path.is_some() {
                return None;
            }
            let principals = read_table(&mut rest, read_str)?;
            let paths = read_table(&mut rest, read_str)?;
            let templates =
                read_table(&mut rest, |rest| Some((read_bytes(rest)?, read_bytes(rest)?)))?;
            Some((principals, paths, templates))
        };
        let (principals, paths, templates) = parse().ok_or_else(|| malformed(row))?;
        Ok(Self { row, principals, paths, templates, entries: rest })
    }

    /// Its records, as many as the row says; fewer only after an error.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>>> {
        let (mut rest, row) = (self.entries, self.row);
        let mut left = row.records;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let entry = read_entry(&mut rest);
            // The last one ends the body.
            let is_whole = entry.is_some() && (left > 0 || rest.is_empty());
            if !is_whole {
                left = 0;
            }
            Some(entry.filter(|_| is_whole).ok_or_else(|| malformed(row)))
        })
    }

    /// Fails unless each record can be read.
    pub(crate) fn check(&self) -> Result<()> {
        for entry in self.entries() {
            let entry = entry?;
            self.names(&entry)?;
            self.parts(&entry)?;
        }
        Ok(())
    }

    /// For each principal whether a filter selects it.
    pub(super) fn principals(&self, filter: &RecordFilter) -> Vec<bool> {
        self.principals.iter().map(|principal| filter.matches_principal(principal)).collect()
    }

    /// As [`principals`](Self::principals), for the paths; the first is that of a record without one.
    pub(super) fn paths(&self, filter: &RecordFilter) -> Vec<bool> {
        let paths = self.paths.iter().map(|path| Some(*path));
        std::iter::once(None).chain(paths).map(|path| filter.matches_path(path)).collect()
    }

    /// The principal and the path of a record.
    pub(super) fn names(&self, entry: &Entry<'a>) -> Result<(&'a str, Option<&'a str>)> {
        let path = match entry.path.checked_sub(1) {
            Some(index) => self.paths.get(index).map(|path| Some(*path)),
            None => Some(None),
        };
        let principal = self.principals.get(entry.principal);
        principal.copied().zip(path).ok_or_else(|| malformed(self.row))
    }

    /// The body of a record, as its own row would have it.
    pub(super) fn body(&self, entry: &Entry<'a>) -> Result<Vec<u8>> {
        Ok(self.parts(entry)?.concat())
    }

    fn parts(&self, entry: &Entry<'a>) -> Result<[&'a [u8]; 3]> {
        let (beginning, end) =
            self.templates.get(entry.template).ok_or_else(|| malformed(self.row))?;
        Ok([beginning, entry.own, end])
    }
}

pub(super) fn malformed(row: &Row) -> Error {
    corrupt(format!("{} of the audit log is malformed", row.name()))
}

fn read_entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    Some(Entry {
        principal: read_index(rest)?,
        path: read_index(rest)?,
        template: read_index(rest)?,
        own: read_bytes(rest)?,
    })
}

fn read_table<'a, T>(
    rest: &mut &'a [u8],
    mut read: impl FnMut(&mut &'a [u8]) -> Option<T>,
) -> Option<Vec<T>> {
    // Nothing is reserved: each item takes a byte at least, so the body bounds what is allocated.
    let mut items = Vec::new();
    for _ in 0..read_number(rest)? {
        items.push(read(rest)?);
    }
    Some(items)
}

fn read_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(read_bytes(rest)?).ok()
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = read_index(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn read_index(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(read_number(rest)?).ok()
}

/// A number in its shortest form alone.
fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return (*byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}
