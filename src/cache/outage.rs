//! What the cache keeps for the case that the store does not answer.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Error, SecretPath};

use super::entry::{Answer, Entry, Key};
use super::shard::Book;
use super::{Cache, Terms};
use crate::clock::Tick;

/// How long the secret of a write whose end nobody knows is not kept.
const UNSETTLED: Duration = Duration::from_secs(60);
/// How long after the store was asked in vain it is asked again in the background: at first, and at
/// most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What the cache has for the case that the store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    None,
    There,
    /// One that the store was asked about in vain the last time.
    Failing,
}

impl Cache {
    /// What there is for the case that the store is unavailable, on these terms.
    pub(crate) fn copy(&self, key: &Key, terms: Terms) -> Copy {
        let now = Tick::now();
        let copy = |entry: &Arc<Entry>| match entry.answer {
            Answer::Missing(_) => Copy::None,
            Answer::Found(_) if !terms.take_a_copy() || entry.is_dead(now) => Copy::None,
            Answer::Found(_) if terms.is_too_old(now.since(entry.asked_at)) => Copy::None,
            Answer::Found(_) if entry.failures > 0 => Copy::Failing,
            Answer::Found(_) => Copy::There,
        };
        let shard = self.shard(key.hash);
        shard.with(key.hash, key.path.as_str(), &key.selector, copy).unwrap_or(Copy::None)
    }

    /// Notes that the store did not answer in time for `key`, if nobody else has; whether its entry is
    /// stale from now on.
    pub(crate) fn fail(&self, key: &Key, error: &Error) -> bool {
        let shard = self.shard(key.hash);
        let mut book = shard.book();
        let is_stale = |entry: &Arc<Entry>| entry.is_stale();
        let is_known = shard.with(key.hash, key.path.as_str(), &key.selector, is_stale);
        is_known == Some(false) && self.fail_within(&mut book, key, error)
    }

    /// Serves the copy that the store was asked about in vain before, from now on as stale; whether it
    /// was served as fresh until now.
    pub(crate) fn turn(&self, key: &Key) -> bool {
        let now = Tick::now();
        let shard = self.shard(key.hash);
        let mut book = shard.book();
        let turned = |entry: &Arc<Entry>| {
            let is_over = now >= entry.good_until && !entry.is_dead(now);
            is_over.then(|| entry.turned(now))
        };
        let turned = shard.with(key.hash, key.path.as_str(), &key.selector, turned).flatten();
        let is_turned = turned.is_some();
        if is_turned {
            self.edit(shard, &mut book, |entry| entry.key != *key, turned);
        }
        is_turned
    }

    pub(super) fn fail_within(&self, book: &mut Book, key: &Key, error: &Error) -> bool {
        let now = Tick::now();
        let shard = self.shard(key.hash);
        let entry = shard.with(key.hash, key.path.as_str(), &key.selector, Arc::clone);
        let Some(entry) = entry.filter(|entry| !entry.is_dead(now)) else { return false };
        let (first, longest) = PAUSES;
        let pause = longest.min(first * 2_u32.saturating_pow(entry.failures.min(16)));
        let pause = pause * fastrand::u32(50..=100) / 100;
        let failed = entry.after_failure(now, pause.max(error.retry_after().unwrap_or_default()));
        let turned = failed.is_stale() && !entry.is_stale();
        drop(entry);
        self.edit(shard, book, |entry| entry.key != *key, Some(failed));
        turned
    }

    /// Has a secret read from the store each time for a while: a write may still come to its end. What
    /// is known of it is kept for an outage.
    pub(crate) fn unsettle(&self, path: &SecretPath) {
        let now = Tick::now();
        let hash = self.hash(path.as_str());
        let shard = self.shard(hash);
        let mut book = shard.book();
        book.unsettle(path, now.after(UNSETTLED), now);
        book.flights.forget(path);
        let is_of_path = |entry: &Entry| entry.key.path == *path;
        let known = shard.table();
        let spares = known.iter().filter(|entry| is_of_path(entry) && entry.is_found());
        let spares: Vec<_> = spares.filter_map(|it| self.spare(it.renewed(), now)).collect();
        self.edit(shard, &mut book, |entry| !is_of_path(entry), None);
        for spare in spares {
            self.edit(shard, &mut book, |_| true, Some(spare));
        }
    }

    /// An entry that is kept for an outage only, where stale copies are wanted.
    pub(super) fn spare(&self, entry: Entry, now: Tick) -> Option<Entry> {
        (!self.lifetimes.stale_if_error.is_zero()).then(|| entry.spare(now))
    }

    /// Whether a write of a secret may still come to its end.
    pub(crate) fn is_unsettled(&self, path: &SecretPath) -> bool {
        self.shard(self.hash(path.as_str())).book().is_unsettled(path, Tick::now())
    }
}

/// Whether the store is unavailable, rather than saying no.
pub(crate) fn is_outage(error: &Error) -> bool {
    use strongroom_core::ErrorKind::{RateLimited, Timeout, Unavailable};
    matches!(error.kind(), RateLimited | Timeout | Unavailable)
}
