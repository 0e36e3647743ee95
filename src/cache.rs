//! The cache: what the store answered, for a time, bounded by entries and bytes.
//!
//! A hit takes no lock, allocates nothing, and writes to no memory that other threads use, except a reference
//! count. The entries lie in shards, each an immutable table in an `ArcSwap`. A change copies the table of one
//! shard, which is short, and swaps it in: an entry that is invalidated is dropped at once, and wiped with its
//! last reader.

mod entry;
mod in_flight;
mod limits;
mod outage;
mod recent;
mod revalidate;
mod shard;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use std::hash::BuildHasher as _;
use strongroom_core::{Error, ErrorKind, Secret, SecretPath, VersionSelector};

use crate::clock::Tick;
use crate::policy::{ReadPolicy, cap_duration};
use crate::sync::AtomicBool;

use self::entry::Entry;
pub(crate) use self::entry::{Freshness, Key, Lifetimes, Lookup};
pub(crate) use self::in_flight::{AskedAt, Flight, FlightOutcome};
use self::in_flight::{Join, Ticket};
use self::limits::CacheLimits;
pub(crate) use self::outage::is_outage;
use self::recent::Recent;
use self::shard::{NO_TABLE, Shard, ShardState, copy_retaining};

/// A power of two. Ten thousand entries make tables of some 160, which take about 2 µs to copy.
const SHARDS: usize = 64;
/// How long after its time a flight may end.
const LATENESS: Duration = Duration::from_secs(1);

pub(crate) struct Cache {
    shards: Box<[Shard]>,
    hasher: RandomState,
    lifetimes: Lifetimes,
    limits: CacheLimits,
    /// How long a flight asks the store.
    flight_time: Duration,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// Where the search for entries to evict resumes.
    hand: AtomicUsize,
    next_flight_id: std::sync::atomic::AtomicU64,
    /// Whether a task removes entries whose time is over.
    pub(crate) is_swept: AtomicBool,
}

/// What a caller gets that may have to wait for the store.
pub(crate) enum Access {
    /// The answer of the cache.
    Cached(Lookup),
    /// A flight to wait for.
    Wait {
        flight: Flight,
        is_new: bool,
        /// Whether the cache has a copy to fall back on if the store is unavailable.
        has_copy: bool,
    },
    Closed,
}

/// What a flight is started with.
pub(crate) struct FlightStart {
    pub(crate) id: u64,
    pub(crate) asked_at: AskedAt,
    /// The flight that has to end first.
    pub(crate) after: Option<Flight>,
}

/// What the cache made of a flight's outcome.
pub(crate) enum Settled {
    /// The outcome is not kept: a write has overtaken it, or the cache is closed.
    Overtaken,
    /// The outcome is kept. It replaces a stale entry if `recovered`.
    Kept { recovered: bool },
    /// The store is unavailable. The entry stays, and is stale from now on if `marked_stale`.
    Failed { marked_stale: bool },
}

impl Cache {
    pub(crate) fn new(policy: &ReadPolicy, ttl: Duration) -> Self {
        let ReadPolicy { stale_if_error, negative_ttl, max_entries, max_bytes, .. } = *policy;
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::default(),
            lifetimes: Lifetimes { ttl, stale_if_error, negative_ttl },
            limits: CacheLimits { entries: max_entries, bytes: max_bytes },
            flight_time: cap_duration(policy.timeout),
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            next_flight_id: std::sync::atomic::AtomicU64::new(0),
            is_swept: AtomicBool::new(false),
        }
    }

    pub(crate) fn key(&self, path: &SecretPath, selector: &VersionSelector) -> Key {
        let hash = self.hash(path.as_str());
        Key { hash, path: path.clone(), selector: selector.clone() }
    }

    /// What the cache has for a key, without a lock.
    #[inline]
    pub(crate) fn lookup(
        &self,
        path: &str,
        selector: &VersionSelector,
        freshness: Freshness,
    ) -> Lookup {
        let now = Tick::now();
        let is_plain = freshness.max_age.is_none() && *selector == VersionSelector::Active;
        let is_current = |recent: &Recent| {
            self.shards.get(recent.shard).is_some_and(|shard| shard.number() == recent.table)
        };
        if is_plain && let Some(secret) = recent::find(path, now, is_current) {
            return Lookup::Hit { result: Ok(secret), is_due: false };
        }
        self.lookup_shared(path, selector, freshness, now, is_plain)
    }

    /// As [`lookup`](Self::lookup), in the table that all threads share.
    fn lookup_shared(
        &self,
        path: &str,
        selector: &VersionSelector,
        freshness: Freshness,
        now: Tick,
        is_plain: bool,
    ) -> Lookup {
        let hash = self.hash(path);
        let shard = self.shard(hash);
        let table = shard.number();
        let serve = |entry: &Arc<Entry>| {
            let found = entry.serve(now, freshness);
            if is_plain
                && table != NO_TABLE
                && entry.is_recent(now)
                && let Lookup::Hit { result: Ok(secret), .. } = &found
            {
                let shard = shard_of(hash);
                recent::record(path, hash, || entry.recent(shard, table, secret));
            }
            found
        };
        shard.find(hash, path, selector, serve).unwrap_or(Lookup::MISS)
    }

    /// What the cache has for a key, or the flight to wait for: one under way that is as fresh as the caller
    /// needs, or the one that `start` makes. One lock covers the look and the entry of the flight, so a flight
    /// that ends in between is seen.
    pub(crate) fn join_or_start(
        &self,
        key: &Key,
        freshness: Freshness,
        start: impl FnOnce(FlightStart) -> Flight,
    ) -> Access {
        let shard = self.shard(key.hash);
        let mut state = shard.lock();
        let now = Tick::now();
        match self.lookup_locked(shard, &mut state, key, freshness, now) {
            Lookup::Miss { has_copy } => {
                self.join(&mut state, key, freshness, now, has_copy, start)
            }
            cached => Access::Cached(cached),
        }
    }

    /// The flight to wait for, even if the cache has an answer.
    pub(crate) fn join_or_start_refresh(
        &self,
        key: &Key,
        freshness: Freshness,
        start: impl FnOnce(FlightStart) -> Flight,
    ) -> Access {
        let shard = self.shard(key.hash);
        let mut state = shard.lock();
        let now = Tick::now();
        let has_copy = |entry: &Arc<Entry>| entry.is_copy(now, freshness);
        let has_copy = shard.find_key(key, has_copy).unwrap_or(false);
        self.join(&mut state, key, freshness, now, has_copy, start)
    }

    fn join(
        &self,
        state: &mut ShardState,
        key: &Key,
        freshness: Freshness,
        now: Tick,
        has_copy: bool,
        start: impl FnOnce(FlightStart) -> Flight,
    ) -> Access {
        if state.is_closed {
            return Access::Closed;
        }
        let after = match state.in_flight.join(key, freshness, now) {
            Join::Existing(flight) => return Access::Wait { flight, is_new: false, has_copy },
            Join::Start { after } => after,
        };
        let id = self.next_flight_id.fetch_add(1, Ordering::Relaxed);
        let is_next = after.is_some();
        // A flight that waits for another one has the time of both.
        let time = self.flight_time.saturating_mul(if is_next { 2 } else { 1 });
        let asked_at = AskedAt::never();
        let flight = start(FlightStart { id, asked_at: asked_at.clone(), after });
        // A flight that has ended already is not entered.
        if let Some(weak) = flight.downgrade() {
            let ticket = Ticket {
                id,
                asked_at,
                deadline: now.after(time + LATENESS),
                flight: weak,
                is_superseded: false,
            };
            state.in_flight.start(key, ticket, is_next);
        }
        Access::Wait { flight, is_new: true, has_copy }
    }

    /// Removes a flight that was dropped, or has ended. The next reader of an entry that is due for a refresh
    /// refreshes it.
    pub(crate) fn abandon(&self, key: &Key, id: u64) {
        self.shard(key.hash).lock().in_flight.finish(key, id);
        self.cancel_refresh(key);
    }

    /// Lets another reader refresh an entry.
    pub(crate) fn cancel_refresh(&self, key: &Key) {
        let cancel = |entry: &Arc<Entry>| entry.refreshing.store(false, Ordering::Relaxed);
        self.shard(key.hash).find_key(key, cancel);
    }

    /// Ends a flight and keeps its outcome, unless a write or another flight has overtaken it.
    pub(crate) fn settle(
        &self,
        key: &Key,
        id: u64,
        asked_at: (Tick, Instant),
        outcome: &Result<Secret, Error>,
    ) -> Settled {
        let shard = self.shard(key.hash);
        let mut state = shard.lock();
        if !state.in_flight.finish(key, id) {
            // Its callers get the outcome all the same, and no later read may give an older one.
            if !outcome.as_ref().is_err_and(is_outage) {
                state.in_flight.supersede(key);
                self.edit(shard, &mut state, |entry| entry.key != *key, None);
            }
            return Settled::Overtaken;
        }
        let is_uncertain = state.is_uncertain(&key.path, Tick::now());
        let entry = match outcome {
            Ok(secret) => {
                let entry = Entry::from_secret(key.clone(), secret, asked_at, &self.lifetimes);
                if is_uncertain {
                    entry.and_then(|entry| self.stale_only(entry, asked_at.0))
                } else {
                    entry
                }
            }
            Err(error) if is_outage(error) => {
                let marked_stale = self.record_failure(shard, &mut state, key, error);
                return Settled::Failed { marked_stale };
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !is_uncertain => {
                Entry::missing(key.clone(), error.clone(), asked_at.0, &self.lifetimes)
            }
            // The store refuses: that replaces what it said before.
            Err(_) => None,
        };
        let was_stale = shard.find_key(key, |entry| entry.is_stale()).unwrap_or(false);
        self.edit(shard, &mut state, |entry| entry.key != *key, entry);
        drop(state);
        self.evict();
        Settled::Kept { recovered: outcome.is_ok() && was_stale }
    }

    /// Removes a secret. Reads of it that are under way will not be kept.
    pub(crate) fn invalidate(&self, path: &SecretPath) {
        let shard = self.shard(self.hash(path.as_str()));
        let mut state = shard.lock();
        state.in_flight.forget(path);
        self.edit(shard, &mut state, |entry| entry.key.path != *path, None);
    }

    /// Removes everything, for good.
    pub(crate) fn close(&self) {
        for shard in &self.shards {
            let mut state = shard.lock();
            state.is_closed = true;
            state.in_flight.clear();
            self.edit(shard, &mut state, |_| false, None);
        }
    }

    /// Replaces the table of a shard: without the entries that `keep` rejects, and with one more.
    fn edit(
        &self,
        shard: &Shard,
        state: &mut ShardState,
        keep: impl Fn(&Entry) -> bool,
        add: Option<Entry>,
    ) {
        let add = add.filter(|entry| entry.size <= self.limits.bytes && !state.is_closed);
        let table = shard.table();
        if add.is_none() && table.iter().all(|entry| keep(entry)) {
            return;
        }
        let (mut entries, mut bytes) = (0, 0);
        let mut edited = copy_retaining(&table, |entry| {
            let kept = keep(entry);
            if !kept {
                (entries, bytes) = (entries + 1, bytes + entry.size);
            }
            kept
        });
        self.entries.fetch_sub(entries, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(entry) = add {
            self.entries.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(entry.size, Ordering::Relaxed);
            shard::insert(&mut edited, Arc::new(entry));
        }
        shard.replace(state, edited);
    }

    #[inline]
    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is below the number of shards")]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[shard_of(hash)]
    }
}

/// The table uses the lower and the topmost bits.
#[inline]
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// Counts alone: neither paths nor values.
impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("lifetimes", &self.lifetimes)
            .field("limits", &self.limits)
            .field("entries", &self.entries)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
