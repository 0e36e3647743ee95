//! Writes the body of a block.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// How many records a block has at most.
const MAX_RECORDS: u64 = 1024;
/// From how many bytes on a block takes no other record.
const FULL_BYTES: usize = 256 * 1024;

/// Builds a block. `T` is what the bodies of records have in common.
pub(crate) struct BlockWriter<'a, T> {
    principals: Table<&'a str>,
    paths: Table<&'a str>,
    templates: Table<T>,
    entries: Vec<u8>,
    records: u64,
}

impl<'a, T: Eq + Hash> BlockWriter<'a, T> {
    pub(crate) fn new() -> Self {
        Self {
            principals: Table::new(),
            paths: Table::new(),
            templates: Table::new(),
            entries: Vec::new(),
            records: 0,
        }
    }

    /// Adds a record whose body is the beginning of its template, `own`, and the end of its template. The template is
    /// written, as beginning and end, for the first record that has it.
    pub(crate) fn push<E>(
        &mut self,
        principal: &'a str,
        path: Option<&'a str>,
        own: &[u8],
        template: T,
        write_template: impl FnOnce() -> Result<(Vec<u8>, Vec<u8>), E>,
    ) -> Result<(), E> {
        let template = self.templates.index(template, |bytes| {
            let (beginning, end) = write_template()?;
            write_text(bytes, &beginning);
            write_text(bytes, &end);
            Ok(())
        })?;
        let principal = self.principals.index_of_text(principal);
        let path = path.map_or(0, |path| self.paths.index_of_text(path) + 1);
        for number in [principal, path, template] {
            write_number(&mut self.entries, number);
        }
        write_text(&mut self.entries, own);
        self.records += 1;
        Ok(())
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Whether it should take no other record.
    pub(crate) fn is_full(&self) -> bool {
        let tables =
            self.principals.bytes.len() + self.paths.bytes.len() + self.templates.bytes.len();
        self.records >= MAX_RECORDS || tables + self.entries.len() >= FULL_BYTES
    }

    /// The body.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(FULL_BYTES / 8);
        self.principals.write(&mut body);
        self.paths.write(&mut body);
        self.templates.write(&mut body);
        body.extend(self.entries);
        body
    }
}

/// A table: each key once, in the order of their first use.
struct Table<K> {
    indexes: HashMap<K, u64, RandomState>,
    bytes: Vec<u8>,
}

impl<K: Eq + Hash> Table<K> {
    fn new() -> Self {
        Self { indexes: HashMap::default(), bytes: Vec::new() }
    }

    /// The index of a key, which is written if it is new.
    fn index<E>(
        &mut self,
        key: K,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<u64, E> {
        if let Some(index) = self.indexes.get(&key) {
            return Ok(*index);
        }
        let index = count(self.indexes.len());
        write(&mut self.bytes)?;
        self.indexes.insert(key, index);
        Ok(index)
    }

    fn write(&self, body: &mut Vec<u8>) {
        write_number(body, count(self.indexes.len()));
        body.extend_from_slice(&self.bytes);
    }
}

impl<'a> Table<&'a str> {
    fn index_of_text(&mut self, text: &'a str) -> u64 {
        let index = self.index::<std::convert::Infallible>(text, |bytes| {
            write_text(bytes, text.as_bytes());
            Ok(())
        });
        match index {
            Ok(index) => index,
        }
    }
}

/// No buffer has 2^64 bytes, so the count is exact.
fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn write_text(bytes: &mut Vec<u8>, text: &[u8]) {
    write_number(bytes, count(text.len()));
    bytes.extend_from_slice(text);
}

/// Seven bits a byte, the lowest first; the highest bit says that another byte follows.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while let high @ 1.. = number >> 7 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number = high;
    }
    bytes.push(number.to_le_bytes()[0]);
}
