//! What the cache does while the store does not answer.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, SecretPath};

use super::Cache;
use super::entry::{Entry, Freshness, Key, Lookup};
use super::shard::{Shard, ShardState};
use crate::clock::Tick;

/// How long the cache keeps no new answer for a secret after an interrupted write.
const UNCERTAIN: Duration = Duration::from_secs(60);
/// How long after a failed request a reader asks the store again in the background: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Cache {
    /// As [`lookup`](Self::lookup), under the shard's lock. In a known outage, the copy is served at once: it is
    /// stale from now on.
    pub(super) fn lookup_locked(
        &self,
        shard: &Shard,
        state: &mut ShardState,
        key: &Key,
        freshness: Freshness,
        now: Tick,
    ) -> Lookup {
        let Some(entry) = shard.find_key(key, Arc::clone) else { return Lookup::MISS };
        let found = entry.serve(now, freshness);
        let is_copy = matches!(found, Lookup::Miss { has_copy: true });
        if !is_copy || entry.failures == 0 || now < entry.good_until {
            return found;
        }
        let stale = entry.mark_stale(now);
        let found = match stale.serve(now, freshness) {
            Lookup::Stale { secret, is_due, .. } => {
                Lookup::Stale { secret, is_due, is_first: true }
            }
            other => other,
        };
        drop(entry);
        self.edit(shard, state, |entry| entry.key != *key, Some(stale));
        found
    }

    /// Records that the store did not answer a caller in time, unless the entry is stale already; whether it is
    /// stale from now on.
    pub(crate) fn record_timeout(&self, key: &Key, error: &Error) -> bool {
        let shard = self.shard(key.hash);
        let mut state = shard.lock();
        let is_stale = shard.find_key(key, |entry| entry.is_stale());
        is_stale == Some(false) && self.record_failure(shard, &mut state, key, error)
    }

    /// Keeps the entry of a key although a request has failed; whether it is stale from now on.
    pub(super) fn record_failure(
        &self,
        shard: &Shard,
        state: &mut ShardState,
        key: &Key,
        error: &Error,
    ) -> bool {
        let now = Tick::now();
        let entry = shard.find_key(key, Arc::clone);
        let Some(entry) = entry.filter(|entry| !entry.is_dead(now)) else { return false };
        let (first, longest) = PAUSES;
        let pause = longest.min(first * 2_u32.saturating_pow(entry.failures.min(16)));
        let pause = pause * fastrand::u32(50..=100) / 100;
        let failed = entry.after_failure(now, pause.max(error.retry_after().unwrap_or_default()));
        let is_newly_stale = failed.is_stale() && !entry.is_stale();
        drop(entry);
        self.edit(shard, state, |entry| entry.key != *key, Some(failed));
        is_newly_stale
    }

    /// Marks that an interrupted write may still change a secret: for a while, each read asks the store. The cache
    /// keeps its copy for an outage.
    pub(crate) fn set_uncertain(&self, path: &SecretPath) {
        let now = Tick::now();
        let shard = self.shard(self.hash(path.as_str()));
        let mut state = shard.lock();
        state.set_uncertain(path, now.after(UNCERTAIN), now);
        state.in_flight.forget(path);
        let is_of_path = |entry: &Entry| entry.key.path == *path;
        let table = shard.table();
        let copies = table.iter().filter(|entry| is_of_path(entry) && entry.is_found());
        let copies: Vec<_> =
            copies.filter_map(|entry| self.stale_only(entry.copy(), now)).collect();
        self.edit(shard, &mut state, |entry| !is_of_path(entry), None);
        for copy in copies {
            self.edit(shard, &mut state, |_| true, Some(copy));
        }
    }

    /// An entry that is served in an outage only; `None` if the policy wants no stale copies.
    pub(super) fn stale_only(&self, entry: Entry, now: Tick) -> Option<Entry> {
        (!self.lifetimes.stale_if_error.is_zero()).then(|| entry.stale_only(now))
    }

    /// Whether an interrupted write may still change a secret.
    pub(crate) fn is_uncertain(&self, path: &SecretPath) -> bool {
        self.shard(self.hash(path.as_str())).lock().is_uncertain(path, Tick::now())
    }
}

/// Whether the store is unavailable, rather than refusing the request.
pub(crate) fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable)
}
