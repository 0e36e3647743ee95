//! The limits of the cache: which entries it evicts, and how it removes those whose time is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::Entry;
use super::{Cache, SHARDS};
use crate::clock::Tick;

/// How often the search for entries to evict goes round all shards, at most.
const EVICTION_ROUNDS: usize = 32;

/// How much the cache holds at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheLimits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Cache {
    /// Removes entries whose time is over; whether others remain.
    pub(crate) fn sweep(&self) -> bool {
        let now = Tick::now();
        for shard in &self.shards {
            if shard.table().iter().any(|entry| entry.is_dead(now)) {
                self.edit(shard, &mut shard.lock(), |entry| !entry.is_dead(now), None);
            }
        }
        self.has_entries()
    }

    /// Entries and bytes: as the counters say, and as the tables hold them.
    #[cfg(test)]
    pub(crate) fn count(&self) -> ((usize, usize), (usize, usize)) {
        let tables = self.shards.iter().map(super::shard::Shard::table);
        let entries = |(count, bytes), table: Arc<super::shard::Table>| {
            (count + table.len(), bytes + table.iter().map(|entry| entry.size).sum::<usize>())
        };
        let load = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
        ((load(&self.entries), load(&self.bytes)), tables.fold((0, 0), entries))
    }

    /// How often the sweeper looks for entries whose time is over.
    pub(crate) fn sweep_every(&self) -> Duration {
        (self.lifetimes.ttl / 2).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn is_over_limits(&self) -> bool {
        self.entries.load(Ordering::Relaxed) > self.limits.entries
            || self.bytes.load(Ordering::Relaxed) > self.limits.bytes
    }

    /// Removes entries until the limits hold. The search goes round the shards and takes entries that no reader has
    /// used since it last came by (the clock algorithm, or second chance).
    pub(super) fn evict(&self) {
        // After the first round no entry counts as used, and each later round takes an eighth.
        for _ in 0..EVICTION_ROUNDS * SHARDS {
            if !self.is_over_limits() {
                return;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = self.shards.get(hand % SHARDS) else { return };
            let mut state = shard.lock();
            let table = shard.table();
            let is_idle = |entry: &&Arc<Entry>| !entry.used.swap(false, Ordering::Relaxed);
            // A few at a time, so that one shard does not lose all its entries.
            let some = 1 + table.len() / 8;
            let idle: Vec<&Entry> = table.iter().filter(is_idle).map(|it| &**it).collect();
            // Readers that remember an entry mark it as used again.
            shard.renumber();
            let evicted = idle.get(..some.min(idle.len())).unwrap_or_default();
            let keep = |entry: &Entry| !evicted.iter().any(|it| std::ptr::eq(*it, entry));
            self.edit(shard, &mut state, keep, None);
        }
    }
}
