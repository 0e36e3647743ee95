//! The append-only log: rows that a chain of MACs authenticates. It knows bytes only, nothing of rules.
//!
//! A holder of the [`Keys`] can append rows; a process that can only write the file can damage it, and
//! [`verify`](verify::verify) finds that. It cannot find that the end is missing, or that the whole file is an
//! older copy, without a [signed checkpoint](checkpoint) that is kept elsewhere.

pub(crate) mod chain;
pub(crate) mod checkpoint;
pub(crate) mod checkpoint_file;
mod error;
pub(crate) mod keys;
pub(crate) mod memory;
pub(crate) mod rules;
pub(crate) mod sqlite;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

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

/// The seq and MAC of the last row, and the seq of the newest rule row up to and including it.
pub(crate) type Tail = (u64, RowMac, u64);

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Counts from 1, without gaps.
    pub(crate) seq: u64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) event: String,
    pub(crate) tenant: Option<String>,
    pub(crate) principal: String,
    pub(crate) path: Option<String>,
    pub(crate) body: Vec<u8>,
    /// The seq of the newest rule row before this one; 0 if there is none.
    pub(crate) last_rule: u64,
    /// Whether the row changes state, and so is read when the log is opened.
    pub(crate) is_rule: bool,
    pub(crate) mac: RowMac,
}

impl Row {
    /// The tail of a log that ends with this row.
    pub(crate) fn tail(&self) -> Tail {
        (self.seq, self.mac, if self.is_rule { self.seq } else { self.last_rule })
    }
}

/// The content of a row before [`Chain::extend`](chain::Chain::extend) gives it its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) event: String,
    pub(crate) tenant: Option<String>,
    pub(crate) principal: String,
    pub(crate) path: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) is_rule: bool,
}

/// Which rows to read. The default matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowFilter {
    pub(crate) only_rules: bool,
    pub(crate) tenant: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) path: Option<PathFilter>,
    /// The names of events; empty matches all.
    pub(crate) events: Vec<String>,
    /// The earliest time, in milliseconds since 1970.
    pub(crate) from: Option<i64>,
    /// The time after the latest, in milliseconds since 1970.
    pub(crate) to: Option<i64>,
    /// The last seq to look at, which bounds the work of a read that matches few rows.
    pub(crate) last_seq: Option<u64>,
}

impl RowFilter {
    /// Matches rule rows alone.
    pub(crate) fn rules() -> Self {
        Self { only_rules: true, ..Self::default() }
    }

    fn matches(&self, row: &Row) -> bool {
        (!self.only_rules || row.is_rule)
            && (self.tenant.is_none() || self.tenant == row.tenant)
            && self.principal.as_ref().is_none_or(|principal| *principal == row.principal)
            && self.path.as_ref().is_none_or(|path| path.matches(row.path.as_deref()))
            && (self.events.is_empty() || self.events.contains(&row.event))
            && self.from.is_none_or(|from| row.time >= from)
            && self.to.is_none_or(|to| row.time < to)
            && self.last_seq.is_none_or(|last| row.seq <= last)
    }
}

/// Which paths to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathFilter {
    /// This path alone.
    Exact(String),
    /// The paths that begin with this one and a `/`.
    Below(String),
}

impl PathFilter {
    fn matches(&self, path: Option<&str>) -> bool {
        path.is_some_and(|path| match self {
            Self::Exact(exact) => path == exact,
            Self::Below(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
        })
    }
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

    /// The rows after `seq` that match, in ascending order, at most `limit`.
    fn read_after(&mut self, seq: u64, limit: usize, filter: &RowFilter) -> Result<Vec<Row>>;

    /// The MAC of a row, or `before_first` for the row before the first; `None` if there is no such row.
    fn mac_of(&mut self, seq: u64) -> Result<Option<RowMac>>;

    /// Writes all rows in one durable transaction if the log ends with the row `after`, else nothing.
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
        last = last.checked_add(1).filter(|seq| row.seq == *seq).ok_or_else(error::bad_append)?;
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
