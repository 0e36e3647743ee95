//! Reads of several secrets: one call to the store for those that are neither in the cache nor under way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture, join_all};
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath, VersionSelector};
use tokio::sync::oneshot;

use crate::cache::{AskedAt, Flight, FlightOutcome, FlightStart, Freshness};
use crate::clock::{self, Tick};
use crate::error::{closed, panicked};
use crate::load::{InFlightGuard, Step};
use crate::retry::{Deadline, Outcome};
use crate::shared::Shared;

/// The calls to the store for a batch. As flights do, they run in the tasks that wait for them.
#[derive(Clone)]
struct Batch {
    /// One call for all paths.
    first: SharedFuture<BoxFuture<'static, Arc<Answers>>>,
    /// Retries for the paths whose read failed with a temporary error; only their flights wait for it.
    retries: SharedFuture<BoxFuture<'static, Arc<Answers>>>,
}

struct Answers {
    asked_at: (Tick, Instant),
    paths: Vec<SecretPath>,
    outcomes: Vec<Outcome<Secret>>,
    deadline: Deadline,
}

/// The flights of a batch.
#[derive(Default)]
struct Request {
    paths: Vec<SecretPath>,
    asked_at: Vec<AskedAt>,
    /// Flights that have to end first.
    after: Vec<Flight>,
}

impl Shared {
    /// Reads the active versions of several secrets: one result per path, in their order.
    pub(crate) async fn load_many(
        self: &Arc<Self>,
        paths: &[SecretPath],
        freshness: Freshness,
        deadline: Deadline,
    ) -> Vec<Result<Secret>> {
        let Some(cache) = &self.cache else {
            let outcomes = self.ask_many(paths, deadline).await.into_iter();
            return outcomes.map(|outcome| self.finish_read(outcome.into_result())).collect();
        };
        let version = &VersionSelector::Active;
        let (send, batch) = self.batch();
        let mut request = Request::default();
        let mut steps = Vec::with_capacity(paths.len());
        for path in paths {
            let key = cache.key(path, version);
            let found = cache.lookup(path.as_str(), version, freshness);
            let step = match self.take(cache, found, || Some(key.clone())) {
                Some(result) => Step::Answer(result),
                None => self.join(cache, &key, freshness, &mut |flight: FlightStart| {
                    let FlightStart { id, asked_at, after } = flight;
                    let index = request.paths.len();
                    request.paths.push(path.clone());
                    request.asked_at.push(asked_at);
                    request.after.extend(after);
                    let guard = InFlightGuard { shared: Arc::clone(self), key: key.clone(), id };
                    guard.run_in_batch(batch.clone(), index).boxed().shared()
                }),
            };
            steps.push((step, key));
        }
        // A batch without paths is never polled.
        let _ = send.send(request);
        drop(batch);
        let results = steps.into_iter().map(async |(step, key)| match step {
            Step::Answer(result) => result,
            Step::Wait(waiter) => match self.wait(cache, &key, waiter, freshness, deadline).await {
                Some(result) => result,
                None => self.load(&key.path, version, freshness, deadline).await,
            },
        });
        join_all(results).await
    }

    /// The calls to the store for the request that is sent to them.
    fn batch(self: &Arc<Self>) -> (oneshot::Sender<Request>, Batch) {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(self);
        let first = async move {
            let Request { paths, asked_at, after } = receiver.await.unwrap_or_default();
            join_all(after).await;
            let now = (Tick::now(), clock::instant());
            for asked_at in asked_at {
                asked_at.set(now.0);
            }
            let deadline = Deadline::after(shared.policy.timeout);
            let outcomes = shared.attempt_caught(&paths, deadline).await;
            Arc::new(Answers { asked_at: now, paths, outcomes, deadline })
        };
        let first = first.boxed().shared();
        let (shared, earlier) = (Arc::clone(self), first.clone());
        let retries = async move {
            let Answers { asked_at, paths, outcomes, deadline } = &*earlier.await;
            let outcomes = shared.retry_many(paths, outcomes.clone(), *deadline).await;
            Arc::new(Answers {
                asked_at: *asked_at,
                paths: Vec::new(),
                outcomes,
                deadline: *deadline,
            })
        };
        (sender, Batch { first, retries: retries.boxed().shared() })
    }

    /// Asks the store for several secrets, and again for those that failed with a temporary error.
    async fn ask_many(&self, paths: &[SecretPath], deadline: Deadline) -> Vec<Outcome<Secret>> {
        let outcomes = self.attempt_many(paths, deadline).await;
        self.retry_many(paths, outcomes, deadline).await
    }

    /// Asks again for the secrets that failed with a temporary error.
    async fn retry_many(
        &self,
        paths: &[SecretPath],
        mut outcomes: Vec<Outcome<Secret>>,
        deadline: Deadline,
    ) -> Vec<Outcome<Secret>> {
        let mut pauses = self.retries.pauses();
        loop {
            let failed = |(index, outcome): (usize, &Outcome<Secret>)| {
                Some((index, outcome.temporary_error()?.clone()))
            };
            let (failed, errors): (Vec<_>, Vec<_>) =
                outcomes.iter().enumerate().filter_map(failed).unzip();
            // The store's longest wish for a pause counts.
            let Some(error) = errors.into_iter().max_by_key(Error::retry_after) else {
                return outcomes;
            };
            if !pauses.pause_after(&error, deadline).await {
                return outcomes;
            }
            let again: Vec<_> = failed.iter().filter_map(|i| paths.get(*i).cloned()).collect();
            let answers = self.attempt_caught(&again, deadline).await;
            for (index, answer) in failed.into_iter().zip(answers) {
                if let Some(outcome) = outcomes.get_mut(index) {
                    *outcome = answer;
                }
            }
        }
    }

    /// As [`attempt_many`](Self::attempt_many), for callers that share the attempt: a panic becomes an error.
    async fn attempt_caught(
        &self,
        paths: &[SecretPath],
        deadline: Deadline,
    ) -> Vec<Outcome<Secret>> {
        let attempt = AssertUnwindSafe(self.attempt_many(paths, deadline));
        let failed = |_| paths.iter().map(|_| Outcome::Answer(Err(panicked()))).collect();
        attempt.catch_unwind().await.unwrap_or_else(failed)
    }

    async fn attempt_many(&self, paths: &[SecretPath], deadline: Deadline) -> Vec<Outcome<Secret>> {
        let request = async { Ok(self.backend.get_many(paths).await) };
        let Some(Ok(mut results)) = deadline.within(self.metrics.time(request)).await else {
            return paths.iter().map(|_| Outcome::TimedOut(deadline.exceeded())).collect();
        };
        for result in &results {
            match result {
                Ok(_) => self.retries.record_answer(),
                Err(error) => self.metrics.count_error(error),
            }
        }
        results.resize_with(paths.len(), || {
            Err(Error::new(ErrorKind::Internal, "report this to the backend's authors")
                .because("the backend answered for fewer paths than it was asked"))
        });
        results.into_iter().map(Outcome::Answer).collect()
    }
}

impl InFlightGuard {
    /// Waits for the answer to one path of a batch.
    async fn run_in_batch(self, batch: Batch, index: usize) -> FlightOutcome {
        let Batch { first, retries } = batch;
        let answers = first.await;
        let asked_at = answers.asked_at;
        let mut outcome = answers.outcomes.get(index).cloned();
        drop(answers);
        if outcome.as_ref().and_then(Outcome::temporary_error).is_some() {
            outcome = retries.await.outcomes.get(index).cloned();
        }
        // There is one for each path.
        let outcome = outcome.unwrap_or_else(|| Outcome::Answer(Err(closed())));
        let Self { shared, key, id } = &self;
        let settle = AssertUnwindSafe(async { shared.settle(key, *id, asked_at, outcome) });
        settle.catch_unwind().await.unwrap_or_else(|_| Err(panicked()).into())
    }
}
