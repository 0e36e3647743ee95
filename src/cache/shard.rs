//! One shard of the cache: a table of entries that readers load without a lock and writers replace whole, and,
//! behind a lock, the flights under way.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use hashbrown::HashTable;
use strongroom_core::{SecretPath, VersionSelector};

use super::entry::{Entry, Key};
use super::in_flight::InFlight;
use crate::clock::Tick;
use crate::sync::{ArcSwap, AtomicU64, Mutex, MutexGuard};

/// Entries by the hash of their path.
pub(super) type Table = HashTable<Arc<Entry>>;

/// A reader loads the table and writes to no shared memory. A writer holds the state's lock.
pub(super) struct Shard {
    table: ArcSwap<Table>,
    /// The number of the table, unique in the process; [`NO_TABLE`] while the table is replaced. So a reader that
    /// loads a number and then a table gets that table or a later one, and no reader that finds the number of a table
    /// uses it after another one has seen the next.
    number: AtomicU64,
    state: Mutex<ShardState>,
}

/// What is under way for the keys of a shard.
#[derive(Default)]
pub(super) struct ShardState {
    pub(super) in_flight: InFlight,
    /// Secrets that an interrupted write may still change, and until when.
    uncertain: Vec<(SecretPath, Tick)>,
    /// The cache keeps nothing any more.
    pub(super) is_closed: bool,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            table: ArcSwap::default(),
            number: AtomicU64::new(next_number()),
            state: Mutex::default(),
        }
    }
}

/// The number of no table.
pub(super) const NO_TABLE: u64 = 0;

fn next_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Shard {
    /// Finds an entry without a lock. `visit` runs while the table is loaded: it has to be short.
    #[inline]
    pub(super) fn find<T>(
        &self,
        hash: u64,
        path: &str,
        selector: &VersionSelector,
        visit: impl FnOnce(&Arc<Entry>) -> T,
    ) -> Option<T> {
        let table = self.table.load();
        table.find(hash, |entry| entry.key.is(path, selector)).map(visit)
    }

    /// As [`find`](Self::find), for a key.
    pub(super) fn find_key<T>(&self, key: &Key, visit: impl FnOnce(&Arc<Entry>) -> T) -> Option<T> {
        self.find(key.hash, key.path.as_str(), &key.selector, visit)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ShardState> {
        // A panic cannot leave the state half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Replaces the table. Entries that only the old one holds are dropped at once, or with the last reader
    /// that looks at them.
    pub(super) fn replace(&self, _: &mut ShardState, table: Table) {
        self.number.store(NO_TABLE, Ordering::Release);
        self.table.store(Arc::new(table));
        self.renumber();
    }

    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Makes readers look at the table again.
    pub(super) fn renumber(&self) {
        self.number.store(next_number(), Ordering::Release);
    }
}

impl ShardState {
    /// Marks that an interrupted write may change the secret until then.
    pub(super) fn set_uncertain(&mut self, path: &SecretPath, until: Tick, now: Tick) {
        self.uncertain.retain(|(other, until)| other != path && now < *until);
        self.uncertain.push((path.clone(), until));
    }

    pub(super) fn is_uncertain(&mut self, path: &SecretPath, now: Tick) -> bool {
        self.uncertain.retain(|(_, until)| now < *until);
        self.uncertain.iter().any(|(uncertain, _)| uncertain == path)
    }
}

/// A copy of `table` without the entries that `keep` rejects.
pub(super) fn copy_retaining(table: &Table, mut keep: impl FnMut(&Entry) -> bool) -> Table {
    let mut kept = Table::with_capacity(table.len() + 1);
    for entry in table.iter().filter(|entry| keep(entry)) {
        insert(&mut kept, Arc::clone(entry));
    }
    kept
}

pub(super) fn insert(table: &mut Table, entry: Arc<Entry>) {
    table.insert_unique(entry.key.hash, entry, |entry| entry.key.hash);
}
