//! What the cache does after a change of the store that may be one of any secret.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Cache;
use super::shard::{self, Table};
use crate::clock::Tick;

impl Cache {
    /// Makes the next read of each secret ask the store. Reads that are under way will not be kept. The cache keeps its
    /// copies for an outage.
    pub(crate) fn revalidate_all(&self) {
        let now = Tick::now();
        for shard in &self.shards {
            let mut state = shard.lock();
            state.in_flight.clear();
            let table = shard.table();
            if table.iter().all(|entry| entry.awaits_revalidation(now)) {
                continue;
            }
            let (mut entries, mut bytes) = (0, 0);
            let mut edited = Table::with_capacity(table.len() + 1);
            for entry in table.iter() {
                // A caller would not fall back on the answer that there is no secret.
                let copy = entry.is_found().then(|| entry.revalidate());
                if let Some(copy) = copy.and_then(|copy| self.stale_only(copy, now)) {
                    shard::insert(&mut edited, Arc::new(copy));
                } else {
                    (entries, bytes) = (entries + 1, bytes + entry.size);
                }
            }
            self.entries.fetch_sub(entries, Ordering::Relaxed);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            shard.replace(&mut state, edited);
        }
    }

    pub(crate) fn has_entries(&self) -> bool {
        self.entries.load(Ordering::Relaxed) > 0
    }
}
