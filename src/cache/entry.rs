//! One entry of the cache: an answer of the store, and how long it holds.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::{Error, Result, Secret, SecretPath, VersionSelector};

use super::recent::Recent;
use crate::clock::{self, Tick};
use crate::expiry;
use crate::policy::cap_duration;
use crate::sync::AtomicBool;

/// An entry holds at most so many replicas of its secret.
const MAX_REPLICAS: usize = 8;
/// The share of an entry's lifetime, in per cent, after which a reader refreshes it: at random within this range,
/// so that entries that were read together are not refreshed together.
const REFRESH_AFTER: std::ops::Range<u32> = 75..90;
/// The bytes of an entry besides the text and bytes of its secret: its parts, their reference counts, what the
/// allocator adds, and a slot of the table.
const OVERHEAD: usize = 512;

/// How fresh an answer a caller needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    /// The store must have been asked less than this long ago.
    pub(crate) max_age: Option<Duration>,
    /// A stale copy will do while the store is unavailable.
    pub(crate) accepts_stale: bool,
}

impl Freshness {
    /// Anything that the cache serves.
    pub(crate) const ANY: Self = Self { max_age: None, accepts_stale: true };
    /// An answer that the store gives after the caller has asked.
    pub(crate) const NOW: Self = Self { max_age: Some(Duration::ZERO), accepts_stale: false };

    /// Whether a copy that the cache holds will do while the store is unavailable.
    pub(crate) fn accepts_copy(self) -> bool {
        self.accepts_stale && self.max_age != Some(Duration::ZERO)
    }

    pub(super) fn is_too_old(self, age: Duration) -> bool {
        self.max_age.is_some_and(|max_age| age >= max_age)
    }
}

/// What the cache has for a caller.
pub(crate) enum Lookup {
    /// An answer that is fresh enough: a secret, or the error that there is none.
    Hit {
        result: Result<Secret>,
        /// Whether this caller has to start a refresh in the background.
        is_due: bool,
    },
    /// A copy from before an outage.
    Stale {
        secret: Secret,
        is_due: bool,
        /// Whether it is served as stale for the first time.
        is_first: bool,
    },
    Miss {
        /// Whether there is a copy to fall back on if the store is unavailable.
        has_copy: bool,
    },
}

impl Lookup {
    pub(super) const MISS: Self = Self::Miss { has_copy: false };
}

/// What is cached: one selection of a version of one secret.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// The hash of the path alone, so that all selections of a secret lie in one shard.
    pub(super) hash: u64,
    pub(crate) path: SecretPath,
    pub(crate) selector: VersionSelector,
}

impl Key {
    #[inline]
    pub(super) fn is(&self, path: &str, selector: &VersionSelector) -> bool {
        self.path.as_str() == path && self.selector == *selector
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.path.as_str(), &other.selector)
    }
}

/// An answer of the store, and how long it holds. Only the flags of an entry change.
pub(crate) struct Entry {
    pub(super) key: Key,
    pub(super) answer: CachedResult,
    /// When the store was asked.
    asked_at: Tick,
    /// Until when the entry is served.
    pub(super) good_until: Tick,
    /// From when on a reader refreshes the entry.
    refresh_at: Tick,
    /// Until when the entry is kept in case the store becomes unavailable.
    stale_until: Tick,
    expires_at: Option<SystemTime>,
    /// How many requests to the store have failed since.
    pub(super) failures: u32,
    is_stale: bool,
    /// An estimate, in bytes.
    pub(super) size: usize,
    /// Whether a reader used the entry since the search for entries to evict came by.
    pub(super) used: AtomicBool,
    /// Whether a refresh is under way.
    pub(super) refreshing: AtomicBool,
}

pub(super) enum CachedResult {
    /// The secret, in replicas that share everything except their reference counts: threads that read one secret do
    /// not wait for each other.
    Found(Box<[Secret]>),
    /// The store has no such secret.
    Missing(Error),
}

/// The parts of the policy that give entries their lifetimes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) ttl: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) negative_ttl: Duration,
}

impl Entry {
    /// An entry for a secret that the store was asked for at `asked_at`; `None` if the cache may not keep it.
    pub(super) fn from_secret(
        key: Key,
        secret: &Secret,
        asked_at: (Tick, Instant),
        lifetimes: &Lifetimes,
    ) -> Option<Self> {
        let (asked_tick, asked_at) = asked_at;
        let stale_if_error = cap_duration(lifetimes.stale_if_error);
        // No entry outlives a lease or an expiry. The warning ahead of an expiry comes with a new read.
        let expires_at = secret.metadata().expires_at;
        let now = clock::wall();
        let until = |moment: SystemTime| moment.duration_since(now).unwrap_or_default();
        let end = match (secret.lease(), expires_at.map(until)) {
            (Some(lease), Some(left)) => Some(lease.min(left)),
            (lease, left) => lease.or(left),
        };
        let notice = expires_at.and_then(|expiry| expiry::next_notice(expiry, now)).map(until);
        let ends = end.map_or(Tick::NEVER, |left| asked_tick.after(left));
        let ttl = [end, notice].into_iter().flatten().fold(lifetimes.ttl, Duration::min);
        if ttl.is_zero() {
            return None;
        }
        let good_until = asked_tick.after(ttl);
        let size = OVERHEAD + size_of_secret(secret) + replicas() * size_of_replica();
        let replica = |_| secret.reissue(asked_at, false);
        Some(Self {
            answer: CachedResult::Found((0..replicas()).map(replica).collect()),
            asked_at: asked_tick,
            good_until,
            refresh_at: asked_tick.after(ttl * fastrand::u32(REFRESH_AFTER) / 100),
            stale_until: good_until.after(stale_if_error).min(ends),
            expires_at,
            failures: 0,
            is_stale: false,
            size,
            key,
            used: AtomicBool::new(true),
            refreshing: AtomicBool::new(false),
        })
    }

    /// An entry for the answer that there is no secret.
    pub(super) fn missing(
        key: Key,
        error: Error,
        asked_at: Tick,
        lifetimes: &Lifetimes,
    ) -> Option<Self> {
        let good_until = asked_at.after(lifetimes.negative_ttl);
        (good_until > asked_at).then(|| Self {
            size: OVERHEAD + key.path.as_str().len(),
            answer: CachedResult::Missing(error),
            asked_at,
            good_until,
            refresh_at: Tick::NEVER,
            stale_until: good_until,
            expires_at: None,
            failures: 0,
            is_stale: false,
            key,
            used: AtomicBool::new(true),
            refreshing: AtomicBool::new(false),
        })
    }

    /// What this entry answers.
    #[inline]
    pub(super) fn serve(&self, now: Tick, freshness: Freshness) -> Lookup {
        if now >= self.good_until
            || freshness.is_too_old(now.since(self.asked_at))
            || self.is_stale && !freshness.accepts_copy()
            || self.has_expired()
        {
            return Lookup::Miss { has_copy: self.is_copy(now, freshness) };
        }
        // Only the first use writes.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        match &self.answer {
            CachedResult::Found(replicas) => {
                let is_due = now >= self.refresh_at
                    && !self.refreshing.load(Ordering::Relaxed)
                    && !self.refreshing.swap(true, Ordering::Relaxed);
                // There is a power of two of them.
                let Some(secret) = replicas.get(thread_number() & (replicas.len() - 1)) else {
                    return Lookup::MISS;
                };
                let secret = secret.clone();
                if self.is_stale {
                    Lookup::Stale { secret, is_due, is_first: false }
                } else {
                    Lookup::Hit { result: Ok(secret), is_due }
                }
            }
            CachedResult::Missing(error) => {
                Lookup::Hit { result: Err(error.clone()), is_due: false }
            }
        }
    }

    /// Whether a thread may use this entry without a look at its refresh.
    pub(super) fn is_recent(&self, now: Tick) -> bool {
        now < self.refresh_at.min(self.good_until)
    }

    /// This entry for a slot of the thread that was given this replica.
    pub(super) fn recent(&self, shard: usize, table: u64, secret: &Secret) -> Recent {
        Recent {
            shard,
            table,
            path: self.key.path.clone(),
            secret: secret.downgrade(),
            until: self.refresh_at.min(self.good_until),
            expires_at: self.expires_at,
        }
    }

    /// Whether a caller can fall back on this entry while the store is unavailable.
    pub(super) fn is_copy(&self, now: Tick, freshness: Freshness) -> bool {
        self.is_found()
            && freshness.accepts_copy()
            && !self.is_dead(now)
            && !freshness.is_too_old(now.since(self.asked_at))
    }

    /// This entry after a request to the store has failed: a reader refreshes it after `pause`. An entry whose
    /// time is over is stale from now on.
    pub(super) fn after_failure(&self, now: Tick, pause: Duration) -> Self {
        let failures = self.failures.saturating_add(1);
        let kept = if now >= self.good_until { self.mark_stale(now) } else { self.copy() };
        Self { refresh_at: now.after(pause), failures, ..kept }
    }

    /// This entry, whose time is over, served as stale from now on.
    pub(super) fn mark_stale(&self, now: Tick) -> Self {
        let mut stale = self.copy();
        if let CachedResult::Found(replicas) = &mut stale.answer {
            *replicas = replicas.iter().map(|it| it.reissue(it.read_at(), true)).collect();
        }
        let refresh_at = if self.failures > 0 { self.refresh_at } else { now };
        Self { good_until: self.stale_until, refresh_at, is_stale: true, ..stale }
    }

    /// This entry, served from now on only while the store is unavailable.
    pub(super) fn stale_only(self, now: Tick) -> Self {
        Self { good_until: self.good_until.min(now), ..self }
    }

    /// A copy of this entry that the store may confirm or replace at once, even if it has failed before.
    pub(super) fn revalidate(&self) -> Self {
        let used = AtomicBool::new(self.used.load(Ordering::Relaxed));
        Self { failures: 0, used, ..self.copy() }
    }

    /// Whether a reader asks the store before it uses this entry.
    pub(super) fn awaits_revalidation(&self, now: Tick) -> bool {
        now >= self.good_until && self.failures == 0
    }

    /// A copy of this entry with flags of its own.
    pub(super) fn copy(&self) -> Self {
        let answer = match &self.answer {
            CachedResult::Found(replicas) => CachedResult::Found(replicas.clone()),
            CachedResult::Missing(error) => CachedResult::Missing(error.clone()),
        };
        Self {
            key: self.key.clone(),
            answer,
            asked_at: self.asked_at,
            good_until: self.good_until,
            refresh_at: self.refresh_at,
            stale_until: self.stale_until,
            expires_at: self.expires_at,
            failures: self.failures,
            is_stale: self.is_stale,
            size: self.size,
            used: AtomicBool::new(true),
            refreshing: AtomicBool::new(false),
        }
    }

    /// Whether this entry holds a secret.
    pub(super) fn is_found(&self) -> bool {
        matches!(self.answer, CachedResult::Found(_))
    }

    /// Whether this entry is a copy from before an outage.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Whether no caller can use this entry any more, even if the store becomes unavailable.
    pub(super) fn is_dead(&self, now: Tick) -> bool {
        now >= self.good_until && now >= self.stale_until || self.has_expired()
    }

    /// Whether the secret's expiry has passed, by a calendar that may have been corrected since.
    #[inline]
    fn has_expired(&self) -> bool {
        self.expires_at.is_some_and(clock::has_come)
    }
}

/// The number of this thread among those that have read from a cache.
#[inline]
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.with(|own| {
        own.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            own.set(Some(number));
            number
        })
    })
}

/// The number of replicas of a secret: one for each thread that can run at a time.
fn replicas() -> usize {
    static REPLICAS: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
        available_parallelism().map_or(1, usize::from).next_power_of_two().min(MAX_REPLICAS)
    });
    *REPLICAS
}

fn size_of_replica() -> usize {
    size_of::<Secret>() + 64
}

/// The bytes of a secret's texts and value.
fn size_of_secret(secret: &Secret) -> usize {
    let metadata = secret.metadata();
    let tags = metadata.tags.iter().map(|(name, value)| name.len() + value.len() + 64);
    secret.value().len()
        + secret.path().as_str().len()
        + metadata.description.as_ref().map_or(0, String::len)
        + tags.sum::<usize>()
}
