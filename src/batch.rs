//! Reads of several secrets: what the cache has, what is being read already, and one call for the
//! rest.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture, join_all};
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath, VersionSelector};
use tokio::sync::oneshot;

use crate::cache::{Cache, Key, Terms};
use crate::clock::{self, Tick};
use crate::flight::{Asked, Flight};
use crate::load::{Place, closed, panicked};
use crate::manager::Shared;
use crate::metrics::Count;
use crate::policy::bounded;
use crate::retry::Deadline;

/// Calls to the store for several secrets. Like flights, they run in those who wait.
#[derive(Clone)]
struct Calls {
    /// The first one, for all.
    first: SharedFuture<BoxFuture<'static, Arc<Answered>>>,
    /// Further ones, for those that failed for a time; only they wait for these.
    again: SharedFuture<BoxFuture<'static, Arc<Answered>>>,
}

struct Answered {
    at: (Tick, Instant),
    paths: Vec<SecretPath>,
    results: Vec<Result<Secret>>,
}

/// What a call is made for, once that is known.
type Wanted = Vec<(SecretPath, Asked)>;

impl Shared {
    /// Reads the active versions of several secrets: one result per path, in their order.
    pub(crate) async fn load_many(self: &Arc<Self>, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let limit = self.policy.timeout;
        let Some(cache) = &self.cache else { return self.ask_many(paths, limit).await };
        let (wanted, calls) = self.calls(limit);
        let mut missing = Vec::new();
        let mut read = Vec::with_capacity(paths.len());
        for path in paths {
            let key = cache.key(path, &VersionSelector::Active);
            read.push(match self.known(cache, &key, Terms::ANY) {
                Some(result) => Err(result),
                None => Ok((self.join(cache, &key, &calls, &mut missing), key)),
            });
        }
        // Nobody has asked for nothing: a call without paths is never made.
        let _ = wanted.send(missing);
        drop(calls);
        let landing = read.into_iter().map(async |read| match read {
            Err(known) => known,
            Ok((flight, key)) => self.land(cache, &key, flight?, Terms::ANY, limit).await,
        });
        join_all(landing).await
    }

    /// Joins the flight for `key`, or has the secret read with the others of a call.
    fn join(
        self: &Arc<Self>,
        cache: &Cache,
        key: &Key,
        calls: &Calls,
        missing: &mut Wanted,
    ) -> Result<(Flight, bool)> {
        self.numbers.count(Count::Miss);
        let start = |number, asked: Asked, _| {
            let index = missing.len();
            missing.push((key.path.clone(), asked));
            let place = Place { shared: Arc::clone(self), key: key.clone(), number };
            place.fly_along(calls.clone(), index).boxed().shared()
        };
        let limit = bounded(self.policy.timeout);
        let (flight, is_new) = cache.board(key, None, limit, start).ok_or_else(closed)?;
        if !is_new {
            self.numbers.count(Count::Coalesced);
        }
        Ok((flight, is_new))
    }

    /// Calls to the store for what is sent to them then.
    fn calls(self: &Arc<Self>, limit: Duration) -> (oneshot::Sender<Wanted>, Calls) {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(self);
        let first = async move {
            let wanted: Wanted = receiver.await.unwrap_or_default();
            let at = (Tick::now(), clock::instant());
            let (paths, asked): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
            for asked in asked {
                // Nobody else sets it.
                let _ = asked.set(at.0);
            }
            let results = shared.attempt_caught(&paths, Deadline::after(limit)).await;
            Arc::new(Answered { at, paths, results })
        };
        let first = first.boxed().shared();
        let (shared, earlier) = (Arc::clone(self), first.clone());
        let again = async move {
            let Answered { at, paths, results } = &*earlier.await;
            let waited = Tick::now().since(at.0);
            let deadline = Deadline::after(bounded(limit).saturating_sub(waited));
            let results = shared.ask_again(paths, results.clone(), deadline).await;
            Arc::new(Answered { at: *at, paths: Vec::new(), results })
        };
        (sender, Calls { first, again: again.boxed().shared() })
    }

    /// Asks the store for several secrets; those that fail for a time are asked for again.
    pub(crate) async fn ask_many(
        &self,
        paths: &[SecretPath],
        limit: Duration,
    ) -> Vec<Result<Secret>> {
        let deadline = Deadline::after(limit);
        let results = self.attempt_many(paths, deadline).await;
        self.ask_again(paths, results, deadline).await
    }

    /// Asks for those that failed for a time.
    async fn ask_again(
        &self,
        paths: &[SecretPath],
        mut results: Vec<Result<Secret>>,
        deadline: Deadline,
    ) -> Vec<Result<Secret>> {
        let mut pauses = self.retries.pauses();
        loop {
            let failed = |result: &Result<Secret>| is_temporary(result).cloned();
            let errors = results.iter().enumerate().filter_map(|(i, it)| Some((i, failed(it)?)));
            let (failed, errors): (Vec<_>, Vec<_>) = errors.unzip();
            // The one that asks for the longest pause.
            let Some(error) = errors.into_iter().max_by_key(Error::retry_after) else {
                return results;
            };
            if !pauses.pause_after(&error, deadline).await {
                return results;
            }
            let again: Vec<_> = failed.iter().filter_map(|i| paths.get(*i).cloned()).collect();
            let answers = self.attempt_caught(&again, deadline).await;
            for (index, result) in failed.into_iter().zip(answers) {
                if let Some(place) = results.get_mut(index) {
                    *place = result;
                }
            }
        }
    }

    /// The same as an attempt, where others wait for what may panic here.
    async fn attempt_caught(
        &self,
        paths: &[SecretPath],
        deadline: Deadline,
    ) -> Vec<Result<Secret>> {
        let attempt = AssertUnwindSafe(self.attempt_many(paths, deadline));
        let failed = |_| paths.iter().map(|_| Err(panicked())).collect();
        attempt.catch_unwind().await.unwrap_or_else(failed)
    }

    async fn attempt_many(&self, paths: &[SecretPath], deadline: Deadline) -> Vec<Result<Secret>> {
        let request = async { Ok(self.backend.get_many(paths).await) };
        let Some(Ok(mut results)) = deadline.within(self.numbers.time(request)).await else {
            return paths.iter().map(|_| Err(deadline.missed())).collect();
        };
        for result in &results {
            match result {
                Ok(_) => self.retries.answered(),
                Err(error) => self.numbers.count_error(error),
            }
        }
        results.resize_with(paths.len(), || {
            Err(Error::new(ErrorKind::Internal, "report this to the backend's authors")
                .because("the backend answered for fewer paths than it was asked"))
        });
        results
    }
}

fn is_temporary(result: &Result<Secret>) -> Option<&Error> {
    result.as_ref().err().filter(|error| error.is_temporary())
}

impl Place {
    async fn fly_along(self, calls: Calls, index: usize) -> Result<Secret> {
        let Calls { first, again } = calls;
        let answered = first.await;
        let at = answered.at;
        let mut result = answered.results.get(index).cloned();
        drop(answered);
        if result.as_ref().and_then(is_temporary).is_some() {
            result = again.await.results.get(index).cloned();
        }
        // There is one for each path.
        let outcome = result.unwrap_or_else(|| Err(closed()));
        let settle =
            AssertUnwindSafe(async { self.shared.settle(&self.key, self.number, at, outcome) });
        settle.catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
    }
}
