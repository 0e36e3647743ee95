//! The bounds of the cache: what is evicted for others, and what is removed when its time is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::Entry;
use super::{Cache, SHARDS};
use crate::clock::Tick;

/// How often the search for entries to evict goes round, at most.
const EVICTION_ROUNDS: usize = 32;

/// The most that the cache takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Cache {
    /// Removes entries whose time is over; whether any others are left.
    pub(crate) fn sweep(&self) -> bool {
        let now = Tick::now();
        for shard in &self.shards {
            if shard.table().iter().any(|entry| entry.is_dead(now)) {
                self.edit(shard, &mut shard.book(), |entry| !entry.is_dead(now), None);
            }
        }
        self.entries.load(Ordering::Relaxed) > 0
    }

    /// Entries and bytes, as they are counted and as they are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> ((usize, usize), (usize, usize)) {
        let tables = self.shards.iter().map(super::shard::Shard::table);
        let entries = |(count, bytes), table: Arc<super::shard::Table>| {
            (count + table.len(), bytes + table.iter().map(|entry| entry.size).sum::<usize>())
        };
        let load = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
        ((load(&self.entries), load(&self.bytes)), tables.fold((0, 0), entries))
    }

    /// How often entries whose time is over are looked for.
    pub(crate) fn sweep_every(&self) -> Duration {
        (self.lifetimes.ttl / 2).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn is_over_limits(&self) -> bool {
        self.entries.load(Ordering::Relaxed) > self.limits.entries
            || self.bytes.load(Ordering::Relaxed) > self.limits.bytes
    }

    /// Removes entries until the limits hold: those that have not been used since the last time the
    /// search came by, which goes round the shards.
    pub(super) fn evict(&self) {
        // After the first round nothing counts as used any more, and each later one takes an eighth.
        for _ in 0..EVICTION_ROUNDS * SHARDS {
            if !self.is_over_limits() {
                return;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = self.shards.get(hand % SHARDS) else { return };
            let mut book = shard.book();
            let table = shard.table();
            let is_idle = |entry: &&Arc<Entry>| !entry.used.swap(false, Ordering::Relaxed);
            // A few at a time, so that a shard is not emptied for the sake of the others.
            let some = 1 + table.len() / 8;
            let idle: Vec<&Entry> = table.iter().filter(is_idle).map(|it| &**it).collect();
            let evicted = idle.get(..some.min(idle.len())).unwrap_or_default();
            let stays = |entry: &Entry| !evicted.iter().any(|it| std::ptr::eq(*it, entry));
            self.edit(shard, &mut book, stays, None);
        }
    }
}
