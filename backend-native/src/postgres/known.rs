//! What is known of the store between transactions.

use std::collections::HashMap;

use super::transaction::KnownRow;
use crate::state::StoredState;

/// How many rows are known at most, of some hundred bytes each.
const MAX_ROWS: usize = 16_384;

/// A state of the store, with rows of `secrets` and the keys as they are in it: no transaction changes them and leaves the
/// state. (Others do: the wraps of versions, the uses of keys, and when a slot was last used. They are not known here.)
pub(super) struct Known {
    pub(super) state: StoredState,
    /// The keys, if they are known.
    pub(super) key_states: Option<Vec<(u32, u8)>>,
    pub(super) rows: KnownRows,
}

/// Rows by their paths. The ones that were used least recently are forgotten.
#[derive(Default)]
pub(super) struct KnownRows {
    recent: HashMap<String, KnownRow>,
    earlier: HashMap<String, KnownRow>,
}

impl KnownRows {
    pub(super) fn get(&mut self, path: &str) -> Option<KnownRow> {
        if let Some(row) = self.recent.get(path) {
            return Some(row.clone());
        }
        let (path, row) = self.earlier.remove_entry(path)?;
        let found = row.clone();
        self.insert(path, row);
        Some(found)
    }

    /// Replaces what is known of a path. A row with a long description or many tags is not kept.
    pub(super) fn insert(&mut self, path: String, row: KnownRow) {
        self.earlier.remove(&path);
        if row.is_large() {
            self.recent.remove(&path);
            return;
        }
        self.recent.insert(path, row);
        if self.recent.len() >= MAX_ROWS / 2 {
            self.earlier = std::mem::take(&mut self.recent);
        }
    }
}

/// Whether to assume what is known, instead of locking the state first: not while other processes write as well, since a
/// transaction that has assumed an earlier state runs twice.
#[derive(Default)]
pub(super) struct Contention {
    /// How many transactions lock the state first.
    locked_left: u32,
    /// How many did so after the last one that has run twice.
    penalty: u32,
}

/// The first and the longest penalty.
const PENALTIES: [u32; 2] = [4, 256];

impl Contention {
    /// Whether the next transaction may assume what is known.
    pub(super) fn may_assume(&mut self) -> bool {
        let may_assume = self.locked_left == 0;
        self.locked_left = self.locked_left.saturating_sub(1);
        may_assume
    }

    /// A transaction has assumed a state that another process has replaced.
    pub(super) fn note_overtaken(&mut self) {
        let [first, longest] = PENALTIES;
        self.penalty = (self.penalty * 2).clamp(first, longest);
        self.locked_left = self.penalty;
    }

    /// A transaction has written on its assumption.
    pub(super) fn note_success(&mut self) {
        self.penalty /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_not_used_for_long_are_forgotten() {
        let mut rows = KnownRows::default();
        for number in 0..2 * MAX_ROWS {
            rows.insert(format!("path-{number}"), KnownRow::Absent);
            assert!(rows.get("path-0").is_some(), "it is used");
            assert!(rows.recent.len() + rows.earlier.len() <= MAX_ROWS);
        }
        assert!(rows.get("path-1").is_none());
        assert!(rows.get(&format!("path-{}", 2 * MAX_ROWS - 2)).is_some());
    }

    #[test]
    fn the_state_is_locked_first_for_longer_the_more_others_write() {
        let mut contention = Contention::default();
        let mut locked = Vec::new();
        for _ in 0..9 {
            assert!(contention.may_assume());
            contention.note_overtaken();
            let mut count = 0;
            while !contention.may_assume() {
                count += 1;
            }
            locked.push(count);
            // What the last call has permitted is overtaken at once.
            contention.locked_left = 0;
        }
        assert_eq!(locked, [4, 8, 16, 32, 64, 128, 256, 256, 256]);
        for _ in 0..9 {
            contention.note_success();
        }
        contention.note_overtaken();
        assert_eq!(contention.locked_left, 4);
    }
}
