//! The way of a read that the cache cannot answer: single flight, deadline, retry, store.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath, SecretValue, VersionSelector};
use tracing::{info, warn};

use crate::cache::{Cache, Copy, Hit, Key, Settled, Terms, is_outage};
use crate::clock::{self, Tick};
use crate::expiry;
use crate::flight::{Asked, Flight};
use crate::manager::Shared;
use crate::metrics::Count;
use crate::policy::bounded;
use crate::retry::Deadline;
use crate::runtime;

/// A place in the book of flights, given back when the flight ends or is given up.
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Key,
    pub(crate) number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(cache) = &self.shared.cache {
            cache.give_up(&self.key, self.number);
        }
    }
}

impl Shared {
    /// Asks the store for a version, as often and as long as the policy allows.
    pub(crate) async fn ask(
        &self,
        path: &SecretPath,
        version: &VersionSelector,
        limit: Duration,
    ) -> Result<Secret> {
        let attempt = || self.numbers.time(self.backend.get(path, version));
        self.retries.run(Deadline::after(limit), attempt).await
    }

    /// Makes a request that changes nothing, as often and as long as the policy allows.
    pub(crate) async fn repeat<T, F: Future<Output = Result<T>>>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<T> {
        let attempt = || self.numbers.time(request());
        self.retries.run(Deadline::after(self.policy.timeout), attempt).await
    }

    /// What a declared secret answers while the store does not have it.
    pub(crate) fn default_of(&self, path: &SecretPath) -> Option<&SecretValue> {
        self.defaults.get()?.get(path)
    }

    /// Reads a secret that was not in the cache, or is remembered as missing.
    pub(crate) async fn load(
        self: &Arc<Self>,
        path: &SecretPath,
        version: &VersionSelector,
        terms: Terms,
        timeout: Option<Duration>,
    ) -> Result<Secret> {
        let limit = timeout.unwrap_or(self.policy.timeout);
        let Some(cache) = &self.cache else { return self.ask(path, version, limit).await };
        let key = cache.key(path, version);
        if let Some(known) = self.known(cache, &key, terms) {
            return known;
        }
        self.numbers.count(Count::Miss);
        let (flight, is_new) = self.board(cache, &key, terms.max_age, limit)?;
        self.land(cache, &key, (flight, is_new), terms, limit).await
    }

    /// What is known without waiting.
    pub(crate) fn known(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        terms: Terms,
    ) -> Option<Result<Secret>> {
        match cache.look(key.path.as_str(), &key.selector, terms) {
            Some(hit) => self.take(cache, hit, || Some(key.clone())),
            None => self.copy_in_an_outage(cache, key, terms),
        }
    }

    /// Counts a hit, and has the store asked again if that is due. A stale copy is none where nobody
    /// can ask in the background: the caller has to.
    #[inline]
    pub(crate) fn take(
        self: &Arc<Self>,
        cache: &Cache,
        hit: Hit,
        key: impl FnOnce() -> Option<Key>,
    ) -> Option<Result<Secret>> {
        let result = match hit {
            Hit::Secret { secret, is_due } => {
                if is_due && !self.refresh(cache, key()) && secret.is_stale() {
                    return None;
                }
                if secret.is_stale() {
                    self.numbers.count(Count::Stale);
                }
                Ok(secret)
            }
            Hit::Missing(error) => Err(error),
        };
        self.numbers.count(Count::Hit);
        Some(result)
    }

    /// A copy from before, without waiting, if the store was unavailable the last time it was asked.
    fn copy_in_an_outage(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        terms: Terms,
    ) -> Option<Result<Secret>> {
        if cache.copy(key, terms) != Copy::Failing {
            return None;
        }
        if cache.turn(key) {
            self.warn_of_stale(key, ErrorKind::Unavailable);
        }
        let hit = cache.look(key.path.as_str(), &key.selector, terms)?;
        self.take(cache, hit, || Some(key.clone()))
    }

    /// Joins the flight for `key`, or starts one; whether it is a new one.
    fn board(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        max_age: Option<Duration>,
        limit: Duration,
    ) -> Result<(Flight, bool)> {
        // Others may join who have more time than this caller.
        let limit = bounded(limit.max(self.policy.timeout));
        let start = |number, asked, earlier| {
            let place = Place { shared: Arc::clone(self), key: key.clone(), number };
            place.fly(asked, earlier, limit).boxed().shared()
        };
        let (flight, is_new) = cache.board(key, max_age, limit, start).ok_or_else(closed)?;
        if !is_new {
            self.numbers.count(Count::Coalesced);
        }
        Ok((flight, is_new))
    }

    /// Has the store asked again in the background; whether somebody does.
    fn refresh(self: &Arc<Self>, cache: &Cache, key: Option<Key>) -> bool {
        let Some(key) = key else { return false };
        let flight = match runtime::with_timer() {
            Some(runtime) => {
                self.board(cache, &key, None, self.policy.timeout).map(|flight| (runtime, flight))
            }
            None => Err(closed()),
        };
        let Ok((runtime, (flight, is_new))) = flight else {
            cache.not_refreshing(&key);
            return false;
        };
        if is_new {
            self.numbers.count(Count::Refresh);
        }
        runtime.spawn(flight.map(drop));
        true
    }

    /// Waits for a flight. While the store is unavailable, a copy from before takes its place.
    pub(crate) async fn land(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        (flight, is_new): (Flight, bool),
        terms: Terms,
        limit: Duration,
    ) -> Result<Secret> {
        let mut limit = limit;
        let has_copy = cache.copy(key, terms) != Copy::None;
        if has_copy && let Some(runtime) = runtime::with_timer() {
            limit = limit.min(self.policy.stale_fallback_timeout);
            if is_new && flight.peek().is_none() {
                // Once the caller has the copy, the flight goes on without it.
                runtime.spawn(flight.clone().map(drop));
            }
        }
        let deadline = Deadline::after(limit);
        let error = match deadline.within(flight).await {
            Some(Ok(secret)) => return Ok(secret),
            Some(Err(error)) => error,
            None => {
                let error = deadline.missed();
                if has_copy && cache.fail(key, &error) {
                    self.warn_of_stale(key, error.kind());
                }
                error
            }
        };
        if is_outage(&error)
            && terms.take_a_copy()
            && let Some(Hit::Secret { secret, is_due }) =
                cache.look(key.path.as_str(), &key.selector, terms)
        {
            if is_due {
                self.refresh(cache, Some(key.clone()));
            }
            self.numbers.count(Count::Stale);
            return Ok(secret);
        }
        Err(error)
    }

    fn warn_of_stale(&self, key: &Key, kind: ErrorKind) {
        let (path, backend) = (&key.path, self.backend.info().kind);
        warn!(%path, backend, %kind, "the store does not answer; a secret is served stale");
    }

    /// Keeps what a flight brought.
    pub(crate) fn settle(
        self: &Arc<Self>,
        key: &Key,
        number: u64,
        asked_at: (Tick, Instant),
        outcome: Result<Secret>,
    ) -> Result<Secret> {
        let outcome = outcome.map(|secret| secret.reissue(asked_at.1, false));
        let Some(cache) = &self.cache else { return outcome };
        match cache.settle(key, number, asked_at, &outcome) {
            Settled::Overtaken => return outcome,
            Settled::Kept { recovered } => {
                if recovered {
                    let (path, backend) = (&key.path, self.backend.info().kind);
                    info!(%path, backend, "the store answers again; a secret is fresh again");
                }
                self.sweep_from_now_on(cache);
            }
            Settled::Failed { turned } => {
                if turned && let Err(error) = &outcome {
                    self.warn_of_stale(key, error.kind());
                }
            }
        }
        if let Ok(secret) = &outcome
            && key.selector == VersionSelector::Active
        {
            expiry::warn_ahead(secret, self.backend.info(), clock::wall());
            self.watches.offer(secret);
        }
        outcome
    }

    /// Sees to it that no entry lies in memory long after its time.
    fn sweep_from_now_on(self: &Arc<Self>, cache: &Cache) {
        if cache.is_swept.load(Ordering::Acquire) {
            return;
        }
        let Some(runtime) = runtime::with_timer() else { return };
        if !cache.is_swept.swap(true, Ordering::AcqRel) {
            let broom = Broom { shared: Arc::downgrade(self), is_done: false };
            runtime.spawn(broom.sweep(cache.sweep_every()));
        }
    }
}

/// Who removes entries whose time is over.
struct Broom {
    shared: Weak<Shared>,
    is_done: bool,
}

impl Broom {
    /// Sweeps until the cache is empty or gone.
    async fn sweep(mut self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let Some(shared) = self.shared.upgrade() else { return };
            let Some(cache) = &shared.cache else { return };
            if cache.sweep() {
                continue;
            }
            cache.is_swept.store(false, Ordering::Release);
            // An entry may have come before this was known.
            if !cache.sweep() || cache.is_swept.swap(true, Ordering::AcqRel) {
                self.is_done = true;
                return;
            }
        }
    }
}

/// If it goes away with its runtime, another may come.
impl Drop for Broom {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(shared) = self.shared.upgrade()
            && let Some(cache) = &shared.cache
        {
            cache.is_swept.store(false, Ordering::Release);
        }
    }
}

impl Place {
    async fn fly(self, asked: Asked, earlier: Option<Flight>, limit: Duration) -> Result<Secret> {
        if let Some(earlier) = earlier {
            drop(earlier.await);
        }
        let asked_at = (Tick::now(), clock::instant());
        // Nobody else sets it.
        let _ = asked.set(asked_at.0);
        let Self { shared, key, number } = &self;
        let asking = async {
            let outcome = shared.ask(&key.path, &key.selector, limit).await;
            shared.settle(key, *number, asked_at, outcome)
        };
        AssertUnwindSafe(asking).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "open a new manager")
}

/// Others wait for what panicked here: each gets an error, nobody hangs.
pub(crate) fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "report this to the backend's authors")
        .because("the backend panicked")
}
