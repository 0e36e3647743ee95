//! What the cache knows about one key.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::{Error, Secret, SecretPath, VersionSelector};

use crate::clock::{self, Tick};
use crate::expiry;
use crate::policy::bounded;

/// A secret is replicated so often at most.
const MOST_REPLICAS: usize = 8;
/// The share of an entry's life, in per cent, after which it is refreshed when it is used: at first
/// and at last, so that entries that came together are not refreshed together.
const REFRESH_AFTER: std::ops::Range<u32> = 75..90;
/// What an entry takes besides the text and bytes that belong to its secret: its parts, their
/// reference counts, what the allocator adds, and its place in the table.
const OVERHEAD: usize = 512;

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

/// An answer of the store, and for how long it holds. Only the flags of an entry change.
pub(crate) struct Entry {
    pub(super) key: Key,
    pub(super) answer: Answer,
    /// When the store was asked.
    pub(super) asked_at: Tick,
    /// Until when it is served.
    pub(super) good_until: Tick,
    /// From when on somebody who uses it has the store asked again.
    pub(super) refresh_at: Tick,
    /// Until when it is kept in case the store becomes unavailable.
    pub(super) stale_until: Tick,
    expires_at: Option<SystemTime>,
    /// How often the store has been asked in vain since.
    pub(super) failures: u32,
    is_stale: bool,
    /// An estimate, in bytes.
    pub(super) size: usize,
    /// Whether it was used since this was asked last.
    pub(super) used: AtomicBool,
    /// Whether somebody has been sent to ask the store again.
    pub(super) refreshing: AtomicBool,
}

pub(super) enum Answer {
    /// The secret, in replicas that share all but their reference counts: threads that read one
    /// secret do not wait for each other.
    Found(Box<[Secret]>),
    /// There is none.
    Missing(Error),
}

/// What the lifetimes of entries are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) ttl: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) negative_ttl: Duration,
}

impl Entry {
    /// An entry for a secret that the store was asked for at `asked_at`; `None` if it may not be
    /// kept.
    pub(super) fn found(
        key: Key,
        secret: &Secret,
        asked_at: (Tick, Instant),
        lifetimes: &Lifetimes,
    ) -> Option<Self> {
        let (asked_tick, asked_at) = asked_at;
        let stale_if_error = bounded(lifetimes.stale_if_error);
        // Nothing is kept beyond a lease or an expiry, and a warning ahead of the expiry comes with
        // a new reading.
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
            answer: Answer::Found((0..replicas()).map(replica).collect()),
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

    /// An entry that remembers that there is no secret.
    pub(super) fn missing(
        key: Key,
        error: Error,
        asked_at: Tick,
        lifetimes: &Lifetimes,
    ) -> Option<Self> {
        let good_until = asked_at.after(lifetimes.negative_ttl);
        (good_until > asked_at).then(|| Self {
            size: OVERHEAD + key.path.as_str().len(),
            answer: Answer::Missing(error),
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

    /// What becomes of this entry when the store is asked in vain: it is kept, and whoever uses it
    /// has the store asked again after `pause`. Once its time is over, it is served as stale.
    pub(super) fn after_failure(&self, now: Tick, pause: Duration) -> Self {
        let failures = self.failures.saturating_add(1);
        let kept = if now >= self.good_until { self.turned(now) } else { self.renewed() };
        Self { refresh_at: now.after(pause), failures, ..kept }
    }

    /// The same entry, whose time is over, served as stale from now on.
    pub(super) fn turned(&self, now: Tick) -> Self {
        let mut turned = self.renewed();
        if let Answer::Found(replicas) = &mut turned.answer {
            *replicas = replicas.iter().map(|it| it.reissue(it.read_at(), true)).collect();
        }
        let refresh_at = if self.failures > 0 { self.refresh_at } else { now };
        Self { good_until: self.stale_until, refresh_at, is_stale: true, ..turned }
    }

    /// The same entry, kept for an outage only.
    pub(super) fn spare(self, now: Tick) -> Self {
        Self { good_until: self.good_until.min(now), ..self }
    }

    /// The same entry with flags of its own.
    pub(super) fn renewed(&self) -> Self {
        let answer = match &self.answer {
            Answer::Found(replicas) => Answer::Found(replicas.clone()),
            Answer::Missing(error) => Answer::Missing(error.clone()),
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

    /// Whether it is a secret.
    pub(super) fn is_found(&self) -> bool {
        matches!(self.answer, Answer::Found(_))
    }

    /// Whether it is served to those who take what is stale.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Whether it is of no use any more, also if the store becomes unavailable.
    pub(super) fn is_dead(&self, now: Tick) -> bool {
        now >= self.good_until && now >= self.stale_until || self.has_expired()
    }

    /// Whether the secret's expiry has passed, by a calendar that may have been corrected since.
    #[inline]
    pub(super) fn has_expired(&self) -> bool {
        self.expires_at.is_some_and(clock::has_come)
    }
}

/// The number of this thread among those that have read from a cache.
#[inline]
pub(super) fn thread_number() -> usize {
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

/// How often a secret is replicated: for each thread that can run at a time.
fn replicas() -> usize {
    static REPLICAS: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
        available_parallelism().map_or(1, usize::from).next_power_of_two().min(MOST_REPLICAS)
    });
    *REPLICAS
}

fn size_of_replica() -> usize {
    size_of::<Secret>() + 64
}

/// The text and bytes that belong to a secret.
fn size_of_secret(secret: &Secret) -> usize {
    let metadata = secret.metadata();
    let tags = metadata.tags.iter().map(|(name, value)| name.len() + value.len() + 64);
    secret.value().len()
        + secret.path().as_str().len()
        + metadata.description.as_ref().map_or(0, String::len)
        + tags.sum::<usize>()
}
