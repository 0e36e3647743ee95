//! Reads that the cache does not answer: single flight, deadline, retries, store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use strongroom_core::{ErrorKind, Result, Secret, SecretPath, VersionSelector};
use tracing::{info, warn};

use crate::cache::{
    Access, AskedAt, Cache, Flight, FlightOutcome, FlightStart, Freshness, Key, Lookup, Settled,
    is_outage,
};
use crate::clock::{self, Tick};
use crate::error::{closed, panicked};
use crate::metrics::Count;
use crate::retry::{Deadline, Outcome, delays as delays_after_timeout};
use crate::shared::Shared;
use crate::{changes, runtime, sweeper};

/// Removes a flight from the cache when it ends or is dropped.
pub(crate) struct InFlightGuard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Key,
    pub(crate) id: u64,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(cache) = &self.shared.cache {
            cache.abandon(&self.key, self.id);
        }
    }
}

/// A flight, for one of the callers that wait for it.
pub(crate) struct Waiter {
    flight: Flight,
    /// Whether this caller started the flight.
    pub(crate) is_new: bool,
    /// Whether the cache has a copy to fall back on if the store is unavailable.
    has_copy: bool,
}

/// How a read goes on.
pub(crate) enum Step {
    Answer(Result<Secret>),
    Wait(Waiter),
}

impl Shared {
    /// Reads a secret that a lookup without a lock did not find.
    pub(crate) async fn load(
        self: &Arc<Self>,
        path: &SecretPath,
        version: &VersionSelector,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<Secret> {
        let Some(cache) = &self.cache else {
            return self.finish_read(self.ask(path, version, deadline).await.into_result());
        };
        changes::follow(self);
        let key = cache.key(path, version);
        let mut start = |flight| self.start(&key, flight);
        let mut delays = None;
        loop {
            let waiter = match self.join(cache, &key, freshness, &mut start) {
                Step::Answer(result) => return result,
                Step::Wait(waiter) => waiter,
            };
            let is_new = waiter.is_new;
            if delays.is_none() {
                self.count_miss(is_new);
            }
            if let Some(result) = self.wait(cache, &key, waiter, freshness, deadline).await {
                return result;
            }
            // A caller whose own flight has ended does not start the next one at once.
            let delays = delays.get_or_insert_with(delays_after_timeout);
            if is_new && let Some(delay) = delays.next() {
                deadline.sleep(delay).await;
            }
        }
    }

    /// Counts a read that the cache could not answer.
    pub(crate) fn count_miss(&self, is_new: bool) {
        self.metrics.count(Count::Miss);
        if !is_new {
            self.metrics.count(Count::Coalesced);
        }
    }

    /// The cache's answer, or the flight to wait for: one under way, or the one that `start` makes.
    pub(crate) fn join(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        freshness: Freshness,
        start: &mut dyn FnMut(FlightStart) -> Flight,
    ) -> Step {
        let mut access = cache.join_or_start(key, freshness, &mut *start);
        if let Access::Cached(found) = access {
            if let Some(result) = self.take(cache, found, || Some(key.clone())) {
                return Step::Answer(result);
            }
            access = cache.join_or_start_refresh(key, freshness, start);
        }
        match access {
            Access::Wait { flight, is_new, has_copy } => {
                Step::Wait(Waiter { flight, is_new, has_copy })
            }
            Access::Cached(_) | Access::Closed => Step::Answer(Err(closed())),
        }
    }

    /// The answer that a lookup found, which is counted. Starts a refresh in the background if one is due. `None`
    /// if the caller has to ask the store: nothing was found, or a stale copy that no task can refresh, because
    /// the caller has no runtime.
    #[inline]
    pub(crate) fn take(
        self: &Arc<Self>,
        cache: &Cache,
        found: Lookup,
        key: impl FnOnce() -> Option<Key>,
    ) -> Option<Result<Secret>> {
        let result = match found {
            Lookup::Hit { result, is_due } => {
                if is_due {
                    self.refresh(cache, key());
                }
                result
            }
            Lookup::Stale { secret, is_due, is_first } => {
                if is_first {
                    self.warn_of_stale(secret.path(), ErrorKind::Unavailable);
                }
                if is_due && !self.refresh(cache, key()) {
                    return None;
                }
                self.metrics.count(Count::Stale);
                Ok(secret)
            }
            Lookup::Miss { .. } => return None,
        };
        self.metrics.count(Count::Hit);
        Some(result)
    }

    /// Asks the store again in the background; whether a task does so.
    fn refresh(self: &Arc<Self>, cache: &Cache, key: Option<Key>) -> bool {
        let Some(key) = key else { return false };
        let start = |flight| self.start(&key, flight);
        let access = match runtime::with_timer() {
            Some(runtime) => {
                (cache.join_or_start_refresh(&key, Freshness::ANY, start), Some(runtime))
            }
            None => (Access::Closed, None),
        };
        let (Access::Wait { flight, is_new, .. }, Some(runtime)) = access else {
            cache.cancel_refresh(&key);
            return false;
        };
        if is_new {
            self.metrics.count(Count::Refresh);
        }
        runtime.spawn(flight.wait().map(drop));
        true
    }

    /// A flight that reads one secret.
    pub(crate) fn start(self: &Arc<Self>, key: &Key, flight: FlightStart) -> Flight {
        let FlightStart { id, asked_at, after } = flight;
        let guard = InFlightGuard { shared: Arc::clone(self), key: key.clone(), id };
        Flight::new(guard.run(asked_at, after))
    }

    /// Waits for a flight. While the store is unavailable, a copy from before takes its place. `None` if the
    /// flight's time is over and the caller has time left.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        waiter: Waiter,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Option<Result<Secret>> {
        let Waiter { flight, is_new, has_copy } = waiter;
        let mut limit = deadline;
        if has_copy && let Some(runtime) = runtime::with_timer() {
            limit = deadline.at_most(self.policy.stale_fallback_timeout);
            if is_new && !flight.is_ready() {
                // Once the caller has the copy, the flight goes on without it.
                runtime.spawn(flight.clone().wait().map(drop));
            }
        }
        let (error, timed_out) = match limit.within(flight.wait()).await {
            Some(FlightOutcome { result: Ok(secret), .. }) => return Some(Ok(secret)),
            // The caller that started the flight gets the store's last error.
            Some(FlightOutcome { result: Err(error), timed_out }) => {
                let restarts = !is_new || error.kind() == ErrorKind::Timeout;
                (error, timed_out && restarts)
            }
            None => {
                let error = limit.timeout_error();
                if has_copy && cache.record_timeout(key, &error) {
                    self.warn_of_stale(&key.path, error.kind());
                }
                (error, true)
            }
        };
        // Without a copy to fall back on, the caller uses the time that it has left.
        let without_copy =
            |error| if timed_out && !deadline.is_over() { None } else { Some(Err(error)) };
        if !is_outage(&error) || !freshness.accepts_copy() {
            return without_copy(error);
        }
        let found = cache.lookup(key.path.as_str(), &key.selector, freshness);
        let (Lookup::Stale { secret: copy, is_due, .. } | Lookup::Hit { result: Ok(copy), is_due }) =
            found
        else {
            return without_copy(error);
        };
        if is_due {
            self.refresh(cache, Some(key.clone()));
        }
        self.metrics.count(Count::Stale);
        Some(Ok(copy))
    }

    fn warn_of_stale(&self, path: &SecretPath, kind: ErrorKind) {
        let backend = self.backend.info().kind;
        warn!(%path, backend, %kind, "the store does not answer; a secret is served stale");
    }

    /// Finishes a flight's read, keeps its outcome in the cache, and passes it on to handles.
    pub(crate) fn settle(
        self: &Arc<Self>,
        key: &Key,
        id: u64,
        asked_at: (Tick, Instant),
        outcome: Outcome<Secret>,
    ) -> FlightOutcome {
        let timed_out = outcome.timed_out();
        let result = self.finish_read(outcome.into_result());
        let result = result.map(|secret| secret.reissue(asked_at.1, false));
        if let Some(cache) = &self.cache {
            self.keep(cache, key, id, asked_at, &result);
        }
        FlightOutcome { result, timed_out }
    }

    fn keep(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        id: u64,
        asked_at: (Tick, Instant),
        result: &Result<Secret>,
    ) {
        match cache.settle(key, id, asked_at, result) {
            Settled::Overtaken => return,
            Settled::Kept { recovered } => {
                if recovered {
                    let (path, backend) = (&key.path, self.backend.info().kind);
                    info!(%path, backend, "the store answers again; a secret is fresh again");
                }
                sweeper::start(self, cache);
                changes::follow(self);
            }
            Settled::Failed { marked_stale } => {
                if marked_stale && let Err(error) = result {
                    self.warn_of_stale(&key.path, error.kind());
                }
            }
        }
        if let Ok(secret) = result
            && key.selector == VersionSelector::Active
        {
            self.watches.offer(secret);
        }
    }
}

impl InFlightGuard {
    /// Asks the store after the flight `after` has ended, for as long as the policy allows.
    async fn run(self, asked_at: AskedAt, after: Option<Flight>) -> FlightOutcome {
        if let Some(after) = after {
            drop(after.wait().await);
        }
        let now = (Tick::now(), clock::instant());
        asked_at.set(now.0);
        let Self { shared, key, id } = &self;
        let read = async {
            let deadline = Deadline::after(shared.policy.timeout);
            let outcome = shared.ask(&key.path, &key.selector, deadline).await;
            shared.settle(key, *id, now, outcome)
        };
        let outcome = AssertUnwindSafe(read).catch_unwind().await;
        outcome.unwrap_or_else(|_| Err(panicked()).into())
    }
}
