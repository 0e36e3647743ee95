//! The cache: what the store has answered, for a time, bounded by entries and bytes.
//!
//! A hit takes no lock, allocates nothing, and writes to no memory that other threads use, but for a
//! reference count. The entries lie in shards, each an immutable table in an [`ArcSwap`]; a change
//! copies the table of one shard, which is short, and puts the copy in its place. So what is
//! invalidated is dropped at once, and wiped with its last reader.
//!
//! [`ArcSwap`]: arc_swap::ArcSwap

mod bounds;
mod entry;
mod outage;
mod shard;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use std::hash::BuildHasher as _;
use strongroom_core::{Error, Secret, SecretPath, VersionSelector};

use crate::clock::Tick;
use crate::flight::{Asked, Entered, Flight};
use crate::policy::ReadPolicy;

use self::bounds::Limits;
use self::entry::{Answer, Entry};
pub(crate) use self::entry::{Key, Lifetimes};
pub(crate) use self::outage::{Copy, is_outage};
use self::shard::{Book, Shard, filtered};

/// A power of two. Ten thousand entries make tables of some 160, which are copied in about 2 µs.
const SHARDS: usize = 64;
/// How long after its time a flight may end.
const LATENESS: Duration = Duration::from_secs(1);
pub(crate) struct Cache {
    shards: Box<[Shard]>,
    hasher: RandomState,
    lifetimes: Lifetimes,
    limits: Limits,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// Where the search for entries to evict goes on.
    hand: AtomicUsize,
    /// The number of the next flight.
    number: AtomicU64,
    /// Whether somebody removes entries whose time is over.
    pub(crate) is_swept: AtomicBool,
}

/// What a caller takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The store was asked less than so long ago.
    pub(crate) max_age: Option<Duration>,
    /// It may be stale.
    pub(crate) accepts_stale: bool,
}

impl Terms {
    /// Whatever the cache serves.
    pub(crate) const ANY: Self = Self { max_age: None, accepts_stale: true };

    /// Whether a copy from before will do while the store is unavailable.
    pub(crate) fn take_a_copy(&self) -> bool {
        self.accepts_stale && self.max_age != Some(Duration::ZERO)
    }

    fn is_too_old(&self, age: Duration) -> bool {
        self.max_age.is_some_and(|max_age| age >= max_age)
    }
}

/// What the cache has.
pub(crate) enum Hit {
    Secret {
        secret: Secret,
        /// Whether the caller is to have the store asked again, in the background.
        is_due: bool,
    },
    Missing(Error),
}

/// What came of a flight that asked the store.
pub(crate) enum Settled {
    /// The outcome is not kept: the secret was written meanwhile, or the cache is closed.
    Overtaken,
    /// The outcome is kept. It takes the place of a stale entry if `recovered`.
    Kept { recovered: bool },
    /// The store is unavailable. The entry is kept, and served as stale from now on if `turned`.
    Failed { turned: bool },
}

impl Cache {
    pub(crate) fn new(policy: &ReadPolicy, ttl: Duration) -> Self {
        let ReadPolicy { stale_if_error, negative_ttl, max_entries, max_bytes, .. } = *policy;
        Self {
            shards: (0..SHARDS).map(|_| Shard::new()).collect(),
            hasher: RandomState::default(),
            lifetimes: Lifetimes { ttl, stale_if_error, negative_ttl },
            limits: Limits { entries: max_entries, bytes: max_bytes },
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            number: AtomicU64::new(0),
            is_swept: AtomicBool::new(false),
        }
    }

    pub(crate) fn key(&self, path: &SecretPath, selector: &VersionSelector) -> Key {
        let hash = self.hash(path.as_str());
        Key { hash, path: path.clone(), selector: selector.clone() }
    }

    /// What the cache has for a key on these terms.
    #[inline]
    pub(crate) fn look(&self, path: &str, selector: &VersionSelector, terms: Terms) -> Option<Hit> {
        let hash = self.hash(path);
        let now = Tick::now();
        self.shard(hash).with(hash, path, selector, |entry| entry.serve(now, terms)).flatten()
    }

    /// Joins the flight for `key` if its outcome will be as fresh as `max_age` says, or enters the
    /// one that `start` makes, given its number and a flight that it has to wait for. `None` once the
    /// cache is closed.
    pub(crate) fn board(
        &self,
        key: &Key,
        max_age: Option<Duration>,
        limit: Duration,
        start: impl FnOnce(u64, Asked, Option<Flight>) -> Flight,
    ) -> Option<(Flight, bool)> {
        let mut book = self.shard(key.hash).book();
        if book.is_closed {
            return None;
        }
        let now = Tick::now();
        let earlier = match (book.flights.find(key, now), max_age) {
            (Some((flight, None)), _) | (Some((flight, _)), None) => return Some((flight, false)),
            (Some((flight, Some(asked))), Some(max_age)) => {
                if now.since(asked) < max_age {
                    return Some((flight, false));
                }
                Some(flight)
            }
            (None, _) => None,
        };
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        // One that waits for another has the time of both.
        let flights = if earlier.is_some() { 2 } else { 1 };
        let over = now.after(limit.saturating_mul(flights) + LATENESS);
        let asked = Asked::default();
        let flight = start(number, Arc::clone(&asked), earlier);
        book.flights.enter(key, Entered { number, asked, over }, &flight);
        Some((flight, true))
    }

    /// Strikes out a flight that was given up, or has ended. Whoever uses the entry next may have the
    /// store asked again.
    pub(crate) fn give_up(&self, key: &Key, number: u64) {
        self.shard(key.hash).book().flights.leave(key, number);
        self.not_refreshing(key);
    }

    /// Takes back that somebody has been sent to ask the store again.
    pub(crate) fn not_refreshing(&self, key: &Key) {
        let take_back = |entry: &Arc<Entry>| entry.refreshing.store(false, Ordering::Relaxed);
        self.shard(key.hash).with(key.hash, key.path.as_str(), &key.selector, take_back);
    }

    /// Ends a flight and keeps its outcome, unless something has overtaken it.
    pub(crate) fn settle(
        &self,
        key: &Key,
        number: u64,
        asked_at: (Tick, Instant),
        outcome: &Result<Secret, Error>,
    ) -> Settled {
        let shard = self.shard(key.hash);
        let mut book = shard.book();
        if !book.flights.leave(key, number) {
            return Settled::Overtaken;
        }
        let is_unsettled = book.is_unsettled(&key.path, Tick::now());
        let entry = match outcome {
            Ok(secret) => {
                let entry = Entry::found(key.clone(), secret, asked_at, &self.lifetimes);
                if is_unsettled { entry.and_then(|it| self.spare(it, asked_at.0)) } else { entry }
            }
            Err(error) if is_outage(error) => {
                return Settled::Failed { turned: self.fail_within(&mut book, key, error) };
            }
            Err(error) if is_absence(error) && !is_unsettled => {
                Entry::missing(key.clone(), error.clone(), asked_at.0, &self.lifetimes)
            }
            // The store says no: that holds, whatever it said before.
            Err(_) => None,
        };
        let was_stale = |entry: &Arc<Entry>| entry.is_stale();
        let known = shard.with(key.hash, key.path.as_str(), &key.selector, was_stale);
        self.edit(shard, &mut book, |entry| entry.key != *key, entry);
        drop(book);
        self.evict();
        Settled::Kept { recovered: outcome.is_ok() && known == Some(true) }
    }

    /// Forgets a secret, also to those who are reading it at this moment.
    pub(crate) fn invalidate(&self, path: &SecretPath) {
        let shard = self.shard(self.hash(path.as_str()));
        let mut book = shard.book();
        book.flights.forget(path);
        self.edit(shard, &mut book, |entry| entry.key.path != *path, None);
    }

    /// Forgets everything, for good.
    pub(crate) fn close(&self) {
        for shard in &self.shards {
            let mut book = shard.book();
            book.is_closed = true;
            book.flights.clear();
            self.edit(shard, &mut book, |_| false, None);
        }
    }

    /// Replaces the table of a shard: without what is not kept, and with another entry.
    fn edit(
        &self,
        shard: &Shard,
        book: &mut Book,
        keep: impl Fn(&Entry) -> bool,
        add: Option<Entry>,
    ) {
        let add = add.filter(|entry| entry.size <= self.limits.bytes && !book.is_closed);
        let table = shard.table();
        if add.is_none() && table.iter().all(|entry| keep(entry)) {
            return;
        }
        let (mut entries, mut bytes) = (0, 0);
        let mut edited = filtered(&table, |entry| {
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
        shard.replace(book, edited);
    }

    #[inline]
    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is below the number of shards")]
    fn shard(&self, hash: u64) -> &Shard {
        // The table uses the lower and the topmost bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl Entry {
    /// What this entry answers on these terms.
    #[inline]
    fn serve(&self, now: Tick, terms: Terms) -> Option<Hit> {
        if now >= self.good_until
            || terms.is_too_old(now.since(self.asked_at))
            || self.is_stale() && !terms.take_a_copy()
            || self.has_expired()
        {
            return None;
        }
        // Only the first use writes.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        match &self.answer {
            Answer::Found(replicas) => {
                let is_due = now >= self.refresh_at
                    && !self.refreshing.load(Ordering::Relaxed)
                    && !self.refreshing.swap(true, Ordering::Relaxed);
                // There is a power of two of them.
                let secret = replicas.get(entry::thread_number() & (replicas.len() - 1))?.clone();
                Some(Hit::Secret { secret, is_due })
            }
            Answer::Missing(error) => Some(Hit::Missing(error.clone())),
        }
    }
}

impl Key {
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

fn is_absence(error: &Error) -> bool {
    error.kind() == strongroom_core::ErrorKind::NotFound
}

/// Counts alone: neither paths nor what is kept.
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
