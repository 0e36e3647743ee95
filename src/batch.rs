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
use crate::numbers::Count;
use crate::retry::Deadline;

/// One call to the store for several secrets: when it was asked, and its results.
type Call = SharedFuture<BoxFuture<'static, Arc<Answered>>>;

struct Answered {
    at: (Tick, Instant),
    results: Vec<Result<Secret>>,
}

/// What a call is made for, once that is known.
type Wanted = Vec<(SecretPath, Asked)>;

impl Shared {
    /// Reads the active versions of several secrets: one result per path, in their order.
    pub(crate) async fn load_many(self: &Arc<Self>, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let limit = self.policy.timeout;
        let Some(cache) = &self.cache else { return self.ask_many(paths, limit).await };
        let (wanted, call) = self.call(limit);
        let mut missing = Vec::new();
        let mut read = Vec::with_capacity(paths.len());
        for path in paths {
            let key = cache.key(path, &VersionSelector::Active);
            read.push(match self.known(cache, &key, Terms::ANY) {
                Some(result) => Err(result),
                None => Ok((self.join(cache, &key, &call, &mut missing), key)),
            });
        }
        // Nobody has asked for nothing: a call without paths is never made.
        let _ = wanted.send(missing);
        drop(call);
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
        call: &Call,
        missing: &mut Wanted,
    ) -> Result<Flight> {
        self.numbers.count(Count::Miss);
        let start = |number, asked: Asked, _| {
            let index = missing.len();
            missing.push((key.path.clone(), asked));
            let place = Place { shared: Arc::clone(self), key: key.clone(), number };
            place.fly_along(call.clone(), index).boxed().shared()
        };
        let (flight, is_new) = cache.board(key, None, start).ok_or_else(closed)?;
        if !is_new {
            self.numbers.count(Count::Coalesced);
        }
        Ok(flight)
    }

    /// A call to the store for what is sent to it then. Like a flight, it runs in those who wait.
    fn call(self: &Arc<Self>, limit: Duration) -> (oneshot::Sender<Wanted>, Call) {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(self);
        let call = async move {
            let wanted: Wanted = receiver.await.unwrap_or_default();
            let at = (Tick::now(), clock::instant());
            let (paths, asked): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
            for asked in asked {
                // Nobody else sets it.
                let _ = asked.set(at.0);
            }
            let asking = AssertUnwindSafe(shared.ask_many(&paths, limit));
            let failed = |_| paths.iter().map(|_| Err(panicked())).collect();
            let results = asking.catch_unwind().await.unwrap_or_else(failed);
            Arc::new(Answered { at, results })
        };
        (sender, call.boxed().shared())
    }

    /// Asks the store for several secrets; those that fail for a time are asked for again.
    async fn ask_many(&self, paths: &[SecretPath], limit: Duration) -> Vec<Result<Secret>> {
        let deadline = Deadline::after(limit);
        let mut results = self.attempt_many(paths, deadline).await;
        let mut pauses = self.retries.pauses();
        loop {
            let is_temporary =
                |result: &Result<Secret>| result.as_ref().is_err_and(Error::is_temporary);
            let failed: Vec<_> =
                (0..paths.len()).filter(|i| results.get(*i).is_some_and(is_temporary)).collect();
            let error = failed.iter().find_map(|i| results.get(*i)?.as_ref().err().cloned());
            let Some(error) = error else { return results };
            if !pauses.pause_after(&error, deadline).await {
                return results;
            }
            let again: Vec<_> = failed.iter().filter_map(|i| paths.get(*i).cloned()).collect();
            for (index, result) in failed.into_iter().zip(self.attempt_many(&again, deadline).await)
            {
                if let Some(place) = results.get_mut(index) {
                    *place = result;
                }
            }
        }
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

impl Place {
    async fn fly_along(self, call: Call, index: usize) -> Result<Secret> {
        let answered = call.await;
        let outcome = answered.results.get(index).cloned().unwrap_or_else(|| Err(closed()));
        self.shared.settle(&self.key, self.number, answered.at, outcome)
    }
}
