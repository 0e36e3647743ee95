//! Blocks: rows of several records of one tenant, one event and one time, which cost little to write and to keep.
//!
//! The body of a block has three tables and then the records. Every number is an unsigned LEB128 varint, and every text
//! is its length in bytes and the bytes:
//!
//! ```text
//! principals   how many, and each of them
//! paths        how many, and each of them
//! templates    how many, and of each the beginning and the end of the body of a record
//! records      each: the index of its principal; 0, or 1 + the index of its path; the index of its template; and
//!              what its body has between the beginning and the end
//! ```
//!
//! How many records there are is in the row, so that a query can skip the block without its body. The MAC of the row
//! covers both. A query for a principal or a path finds in the tables whether the block can have a record of it: there is
//! no other index, and to look through the blocks of 1,000,000 records takes some 0.1 s.

mod read;
mod write;

use std::ops::Range;

use strongroom_core::Result;

pub(crate) use self::read::Block;
use self::read::malformed;
pub(crate) use self::write::BlockWriter;
use super::{Record, RecordFilter, Row};

/// Collects the records that a query selects.
pub(super) struct Page<'a> {
    seqs: Range<u64>,
    limit: usize,
    filter: &'a RecordFilter,
    pub(super) records: Vec<Record>,
}

impl<'a> Page<'a> {
    /// A page of at most `limit` records, from after `after` to `last`.
    pub(super) fn new(after: u64, last: u64, limit: usize, filter: &'a RecordFilter) -> Self {
        let seqs = after.saturating_add(1)..last.saturating_add(1);
        Self { seqs, limit, filter, records: Vec::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= self.limit
    }

    /// Adds the records of a row that match, until the page is full.
    pub(super) fn add(&mut self, row: &Row) -> Result<()> {
        if !self.filter.matches_row(row) {
            return Ok(());
        }
        if row.records != 1 {
            return self.add_block(row);
        }
        let path = row.path.as_deref();
        let matches = self.filter.matches_principal(&row.principal)
            && self.filter.matches_path(path)
            && self.seqs.contains(&row.seq);
        if matches && !self.is_full() {
            self.records.push(record(row, row.seq, &row.principal, path, row.body.clone()));
        }
        Ok(())
    }

    fn add_block(&mut self, row: &Row) -> Result<()> {
        let block = Block::parse(row)?;
        let (principals, paths) = (block.principals(self.filter), block.paths(self.filter));
        if !principals.contains(&true) || !paths.contains(&true) {
            return Ok(());
        }
        let matches =
            |flags: &[bool], index| flags.get(index).copied().ok_or_else(|| malformed(row));
        for (seq, entry) in (row.seq..).zip(block.entries()) {
            let entry = entry?;
            if self.is_full() || seq >= self.seqs.end {
                break;
            }
            let matches = matches(&principals, entry.principal)? && matches(&paths, entry.path)?;
            if matches && seq >= self.seqs.start {
                let (principal, path) = block.names(&entry)?;
                self.records.push(record(row, seq, principal, path, block.body(&entry)?));
            }
        }
        Ok(())
    }
}

fn record(row: &Row, seq: u64, principal: &str, path: Option<&str>, body: Vec<u8>) -> Record {
    Record {
        seq,
        time: row.time,
        event: row.event.clone(),
        tenant: row.tenant.clone(),
        principal: principal.to_owned(),
        path: path.map(ToOwned::to_owned),
        body,
    }
}
