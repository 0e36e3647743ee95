//! A part of the cache: a table that is read without a lock and replaced whole, and the book of what
//! is under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use strongroom_core::{SecretPath, VersionSelector};

use super::entry::Entry;
use crate::clock::Tick;
use crate::flight::Flights;

/// Entries by the hash of their path.
pub(super) type Table = HashTable<Arc<Entry>>;

/// Readers load the table, which costs them no write to shared memory; whoever changes it holds the
/// book.
pub(super) struct Shard {
    table: ArcSwap<Table>,
    book: Mutex<Book>,
}

/// What is under way for the keys of a shard.
#[derive(Default)]
pub(super) struct Book {
    pub(super) flights: Flights,
    /// Paths whose secret may still change, since nobody knows how a write ended, and until when.
    unsettled: Vec<(SecretPath, Tick)>,
    /// Whether nothing may be kept any more.
    pub(super) is_closed: bool,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self { table: ArcSwap::default(), book: Mutex::default() }
    }

    /// Looks an entry up, without a lock. `use_it` runs while the table is held: it has to be short.
    #[inline]
    pub(super) fn with<T>(
        &self,
        hash: u64,
        path: &str,
        selector: &VersionSelector,
        use_it: impl FnOnce(&Arc<Entry>) -> T,
    ) -> Option<T> {
        let table = self.table.load();
        table.find(hash, |entry| entry.key.is(path, selector)).map(use_it)
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        // A panic cannot leave the book half-written.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Puts another table in place of this one, on behalf of whoever holds the book. The entries
    /// that only the old one had are dropped at once, unless a reader is just looking at them.
    pub(super) fn replace(&self, _: &mut Book, table: Table) {
        self.table.store(Arc::new(table));
    }
}

impl Book {
    pub(super) fn unsettle(&mut self, path: &SecretPath, until: Tick, now: Tick) {
        self.unsettled.retain(|(known, until)| known != path && now < *until);
        self.unsettled.push((path.clone(), until));
    }

    pub(super) fn is_unsettled(&mut self, path: &SecretPath, now: Tick) -> bool {
        self.unsettled.retain(|(_, until)| now < *until);
        self.unsettled.iter().any(|(known, _)| known == path)
    }
}

/// A table with those of `table` that `keep` wants.
pub(super) fn filtered(table: &Table, mut keep: impl FnMut(&Entry) -> bool) -> Table {
    let mut kept = Table::with_capacity(table.len() + 1);
    for entry in table.iter().filter(|entry| keep(entry)) {
        insert(&mut kept, Arc::clone(entry));
    }
    kept
}

pub(super) fn insert(table: &mut Table, entry: Arc<Entry>) {
    table.insert_unique(entry.key.hash, entry, |entry| entry.key.hash);
}
