//! The append-only log: rows that a chain of MACs authenticates. It knows bytes only, nothing of rules.
//!
//! A row has one record, or as a [block] several. Records are numbered, and a row has the number of its first one.
//!
//! A holder of the [`Keys`] can append rows; a process that can only write the file can damage it, and
//! [`verify`](verify::verify) finds that. It cannot find that the end is missing, or that the whole file is an
//! older copy, without a [signed checkpoint](checkpoint) that is kept elsewhere.

pub(crate) mod block;
pub(crate) mod chain;
pub(crate) mod checkpoint;
pub(crate) mod checkpoint_file;
mod error;
mod filter;
pub(crate) mod keys;
pub(crate) mod location;
pub(crate) mod memory;
#[cfg(feature = "postgres")]
mod postgres;
pub(crate) mod rules;
pub(crate) mod sqlite;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

pub(crate) use self::filter::{PathFilter, RecordFilter};
use strongroom_core::Result;

/// The event that records a prune. It must be a rule row, so that [`read_rules`](rules::read_rules) sees it; its
/// body is a JSON object whose `before` is the seq of the first row that is kept.
pub(crate) const PRUNED: &str = "audit.pruned";

/// The MAC of a row.
pub(crate) type RowMac = [u8; 32];

/// What stands for the MAC before row 1. It need not depend on the log, since the key of the MACs does.
pub(crate) const START: RowMac = [0; 32];

/// The random id of a log. Every row's MAC depends on it, so the rows of another log do not verify.
pub(crate) type LogId = [u8; 16];

/// The seq of the last record and the MAC of its row, and the seq of the newest rule row up to and including it.
pub(crate) type Tail = (u64, RowMac, u64);

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The number of its first record. Records count from 1, without gaps.
    pub(crate) seq: u64,
    /// How many records it has: 1, or more in a [block].
    pub(crate) records: u64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) event: String,
    pub(crate) tenant: Option<String>,
    /// Empty in a block, which has that of each record in its body.
    pub(crate) principal: String,
    /// `None` in a block.
    pub(crate) path: Option<String>,
    pub(crate) body: Vec<u8>,
    /// The seq of the newest rule row before this one; 0 if there is none.
    pub(crate) last_rule: u64,
    /// Whether the row changes state, and so is read when the log is opened.
    pub(crate) is_rule: bool,
    pub(crate) mac: RowMac,
}

impl Row {
    /// The number of its last record.
    pub(crate) fn last(&self) -> u64 {
        self.seq.saturating_add(self.records).saturating_sub(1)
    }

    /// The tail of a log that ends with this row.
    pub(crate) fn tail(&self) -> Tail {
        (self.last(), self.mac, if self.is_rule { self.seq } else { self.last_rule })
    }

    /// How an error names it.
    fn name(&self) -> String {
        match self.records {
            1 => format!("row {}", self.seq),
            _ => format!("row {}, a block of records up to {},", self.seq, self.last()),
        }
    }
}

/// One record, with what it shares with the others of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) event: String,
    pub(crate) tenant: Option<String>,
    pub(crate) principal: String,
    pub(crate) path: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// The content of a row before [`Chain::extend`](chain::Chain::extend) gives it its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// How many records it has.
    pub(crate) records: u64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) event: String,
    pub(crate) tenant: Option<String>,
    pub(crate) principal: String,
    pub(crate) path: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) is_rule: bool,
}

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) log_id: LogId,
    /// The seq of the first row that is kept; 1 until a prune.
    pub(crate) first: u64,
    /// The MAC of the row before the first.
    pub(crate) before_first: RowMac,
    /// `None` if the log has no rows.
    pub(crate) last: Option<Tail>,
}

impl Head {
    /// The end of the log, which the next row continues.
    pub(crate) fn tail(&self) -> Tail {
        self.last.unwrap_or((self.first.saturating_sub(1), self.before_first, 0))
    }
}

/// What [`LogStore::append`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// All rows are durable.
    Done,
    /// The log ends elsewhere: another writer has appended. Nothing was written.
    Moved,
}

/// Where the rows are. It checks no MAC; every call blocks.
pub(crate) trait LogStore: Send {
    /// Where the log begins and ends.
    fn head(&mut self) -> Result<Head>;

    /// The rows that begin after the record `seq`, in ascending order, at most `limit`.
    fn rows_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>>;

    /// As [`rows_after`](Self::rows_after), of rules alone.
    fn rules_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>>;

    /// The row that has the record `seq`.
    fn row_with(&mut self, seq: u64) -> Result<Option<Row>>;

    /// The records from after `after` to `last` that match, in ascending order, at most `limit`.
    fn records_between(
        &mut self,
        after: u64,
        last: u64,
        limit: usize,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>>;

    /// The MAC of the row whose last record is `seq`, or `before_first` for the row before the first; `None` if there
    /// is no such row.
    fn mac_of(&mut self, seq: u64) -> Result<Option<RowMac>>;

    /// Writes all rows in one durable transaction if the log ends with the record `after`, else nothing.
    /// `prune_before` removes the rows below that seq in the same transaction; `rows` then contain one rule row
    /// [`PRUNED`] that says so, and without it none.
    fn append(&mut self, after: u64, rows: &[Row], prune_before: Option<u64>) -> Result<Appended>;

    /// Whether another connection may have appended since the last call, or since the log was opened. Cheap.
    fn changed(&mut self) -> Result<bool>;

    /// Fails if an index disagrees with the rows, so that a filtered read would leave rows out. Reads all rows.
    fn check_indexes(&mut self) -> Result<()>;
}

/// Fails unless `rows` continue the log at `after`, and record the prune that happens with them and no other.
fn check_append(after: u64, rows: &[Row], prune_before: Option<u64>) -> Result<()> {
    let mut last = after;
    for row in rows {
        let continues = last.checked_add(1) == Some(row.seq) && row.records > 0;
        last = if continues { row.last() } else { return Err(error::bad_append()) };
    }
    let mut pruned = None;
    for row in rows.iter().filter(|row| row.event == PRUNED) {
        pruned = verify::pruned_before(row).filter(|_| row.is_rule && pruned.is_none());
        if pruned.is_none() {
            return Err(error::bad_append());
        }
    }
    match prune_before {
        _ if pruned != prune_before => Err(error::bad_append()),
        Some(before) if before == 0 || before > last => Err(error::bad_append()),
        _ => Ok(()),
    }
}
