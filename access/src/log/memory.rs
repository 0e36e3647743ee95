//! A log in memory, for tests and for hosts without a file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_core::{Error, ErrorKind, Result};

use super::error::bad_append;
use super::{
    Appended, Head, LogId, LogStore, Record, RecordFilter, Row, RowMac, START, block, check_append,
};

/// A log in memory. A clone shares it, as another connection to the same file would.
#[derive(Clone)]
pub(crate) struct MemoryLog {
    state: Arc<Mutex<State>>,
    /// How many appends this handle has seen.
    seen: u64,
}

struct State {
    log_id: LogId,
    first: u64,
    before_first: RowMac,
    rows: Vec<Row>,
    appends: u64,
}

impl MemoryLog {
    /// An empty log with a random id.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if the operating system has no random bytes.
    pub(crate) fn new() -> Result<Self> {
        let log_id = random_log_id()?;
        let state = State { log_id, first: 1, before_first: START, rows: Vec::new(), appends: 0 };
        Ok(Self { state: Arc::new(Mutex::new(state)), seen: 0 })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn last_seq(&self) -> u64 {
        self.rows.last().map_or(self.first.saturating_sub(1), Row::last)
    }

    /// The rows that begin with this record or after it.
    fn from(&self, seq: u64) -> &[Row] {
        self.rows.get(self.rows.partition_point(|row| row.seq < seq)..).unwrap_or_default()
    }

    /// The rows that have this record, or begin after it.
    fn with(&self, seq: u64) -> &[Row] {
        self.rows.get(self.rows.partition_point(|row| row.last() < seq)..).unwrap_or_default()
    }

    fn mac_of(&self, seq: u64) -> Option<RowMac> {
        if seq.checked_add(1) == Some(self.first) {
            return Some(self.before_first);
        }
        self.with(seq).first().filter(|row| row.last() == seq).map(|row| row.mac)
    }
}

impl LogStore for MemoryLog {
    fn head(&mut self) -> Result<Head> {
        let state = self.lock();
        Ok(Head {
            log_id: state.log_id,
            first: state.first,
            before_first: state.before_first,
            last: state.rows.last().map(Row::tail),
        })
    }

    fn rows_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        let state = self.lock();
        Ok(state.from(seq.saturating_add(1)).iter().take(limit).cloned().collect())
    }

    fn rules_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        let state = self.lock();
        let rules = state.from(seq.saturating_add(1)).iter().filter(|row| row.is_rule);
        Ok(rules.take(limit).cloned().collect())
    }

    fn row_with(&mut self, seq: u64) -> Result<Option<Row>> {
        Ok(self.lock().with(seq).first().filter(|row| row.seq <= seq).cloned())
    }

    fn records_between(
        &mut self,
        after: u64,
        last: u64,
        limit: usize,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>> {
        let state = self.lock();
        let mut page = block::Page::new(after, last, limit, filter);
        for row in state.with(after.saturating_add(1)) {
            if row.seq > last || page.is_full() {
                break;
            }
            page.add(row)?;
        }
        Ok(page.records)
    }

    fn mac_of(&mut self, seq: u64) -> Result<Option<RowMac>> {
        Ok(self.lock().mac_of(seq))
    }

    fn append(&mut self, after: u64, rows: &[Row], prune_before: Option<u64>) -> Result<Appended> {
        check_append(after, rows, prune_before)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last_seq() != after {
            return Ok(Appended::Moved);
        }
        if prune_before.is_some_and(|before| before < state.first) {
            return Err(bad_append());
        }
        let length = state.rows.len();
        state.rows.extend_from_slice(rows);
        if let Some(before) = prune_before {
            let Some(before_first) = state.mac_of(before.saturating_sub(1)) else {
                state.rows.truncate(length);
                return Err(bad_append());
            };
            state.rows.retain(|row| row.seq >= before);
            (state.first, state.before_first) = (before, before_first);
        }
        if self.seen == state.appends {
            self.seen = self.seen.wrapping_add(1);
        }
        state.appends = state.appends.wrapping_add(1);
        Ok(Appended::Done)
    }

    fn changed(&mut self) -> Result<bool> {
        let appends = self.lock().appends;
        Ok(std::mem::replace(&mut self.seen, appends) != appends)
    }

    fn check_indexes(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A random id for a new log.
pub(super) fn random_log_id() -> Result<LogId> {
    let mut id = LogId::default();
    getrandom::fill(&mut id).map_err(|_| {
        Error::new(ErrorKind::Internal, "report this with the platform you run on")
            .because("the random generator failed")
    })?;
    Ok(id)
}
