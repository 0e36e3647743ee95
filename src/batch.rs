//! Reads of several secrets: one call to the store for those that are neither in the cache nor under way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath, VersionSelector};
use tokio::sync::oneshot;

use crate::cache::{AskedAt, Cache, Flight, FlightOutcome, FlightStart, Freshness};
use crate::changes;
use crate::clock::{self, Tick};
use crate::error::{closed, panicked};
use crate::load::{InFlightGuard, Step};
use crate::retry::{self, Deadline, Outcome, Pause};
use crate::shared::Shared;
use crate::shared_future::SharedFuture;

/// The calls to the store for a batch. As flights do, they run in the tasks that wait for them.
#[derive(Clone)]
struct Batch {
    /// One call for all paths.
    first: SharedFuture<Arc<Answers>>,
    /// Retries for the paths whose read failed with a temporary error; only their flights wait for it.
    retries: SharedFuture<Arc<Answers>>,
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
        changes::follow(self);
        let mut results: Vec<_> = paths.iter().map(|_| None).collect();
        let mut delays = None;
        loop {
            let open = results.iter().zip(paths).filter(|(result, _)| result.is_none());
            let open: Vec<_> = open.map(|(_, path)| path.clone()).collect();
            if open.is_empty() {
                // There is one for each path.
                return results.into_iter().map(|it| it.unwrap_or_else(|| Err(closed()))).collect();
            }
            let answers = self.load_batch(cache, &open, freshness, deadline, delays.is_none());
            let answers = answers.await;
            let open = results.iter_mut().filter(|result| result.is_none());
            open.zip(answers).for_each(|(result, answer)| *result = answer);
            let is_complete = results.iter().all(Option::is_some);
            if let Some(delay) = delays.get_or_insert_with(retry::delays).next()
                && !is_complete
            {
                deadline.sleep(delay).await;
            }
        }
    }

    /// Reads several secrets once. `None` for those whose flight's time is over while the caller has time left.
    async fn load_batch(
        self: &Arc<Self>,
        cache: &Cache,
        paths: &[SecretPath],
        freshness: Freshness,
        deadline: Deadline,
        is_first: bool,
    ) -> Vec<Option<Result<Secret>>> {
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
                    if flight.after.is_some() {
                        // The other secrets do not wait for that flight.
                        return self.start(&key, flight);
                    }
                    let FlightStart { id, asked_at, .. } = flight;
                    let index = request.paths.len();
                    request.paths.push(path.clone());
                    request.asked_at.push(asked_at);
                    let guard = InFlightGuard { shared: Arc::clone(self), key: key.clone(), id };
                    Flight::new(guard.run_in_batch(batch.clone(), index))
                }),
            };
            if is_first && let Step::Wait(waiter) = &step {
                self.count_miss(waiter.is_new);
            }
            steps.push((step, key));
        }
        // A batch without paths is never polled.
        let _ = send.send(request);
        drop(batch);
        let results = steps.into_iter().map(async |(step, key)| match step {
            Step::Answer(result) => Some(result),
            Step::Wait(waiter) => self.wait(cache, &key, waiter, freshness, deadline).await,
        });
        join_all(results).await
    }

    /// The calls to the store for the request that is sent to them.
    fn batch(self: &Arc<Self>) -> (oneshot::Sender<Request>, Batch) {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(self);
        let first = SharedFuture::new(async move {
            let Request { paths, asked_at } = receiver.await.unwrap_or_default();
            let now = (Tick::now(), clock::instant());
            for asked_at in asked_at {
                asked_at.set(now.0);
            }
            let deadline = Deadline::after(shared.policy.timeout);
            let outcomes = shared.attempt_many(&paths, deadline).await;
            Arc::new(Answers { asked_at: now, paths, outcomes, deadline })
        });
        let (shared, earlier) = (Arc::clone(self), first.clone());
        let retries = SharedFuture::new(async move {
            let Answers { asked_at, paths, outcomes, deadline } = &*earlier.wait().await;
            let outcomes = shared.retry_many(paths, outcomes.clone(), *deadline).await;
            Arc::new(Answers {
                asked_at: *asked_at,
                paths: Vec::new(),
                outcomes,
                deadline: *deadline,
            })
        });
        (sender, Batch { first, retries })
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
            match pauses.pause_after(&error, deadline).await {
                Pause::Over => {}
                Pause::NoRetry => return outcomes,
                Pause::NoTime => {
                    for index in failed {
                        if let Some(outcome) = outcomes.get_mut(index) {
                            *outcome = Outcome::TimedOut(error.clone());
                        }
                    }
                    return outcomes;
                }
            }
            let again: Vec<_> = failed.iter().filter_map(|i| paths.get(*i).cloned()).collect();
            let answers = self.attempt_many(&again, deadline).await;
            for (index, answer) in failed.into_iter().zip(answers) {
                if let Some(outcome) = outcomes.get_mut(index) {
                    *outcome = answer;
                }
            }
        }
    }

    async fn attempt_many(&self, paths: &[SecretPath], deadline: Deadline) -> Vec<Outcome<Secret>> {
        let request = || async { Ok(self.backend.get_many(paths).await) };
        let mut results = match deadline.within(self.metrics.call(request)).await {
            Some(Ok(results)) => results,
            Some(Err(error)) => {
                return paths.iter().map(|_| Outcome::Answer(Err(error.clone()))).collect();
            }
            None => {
                return paths.iter().map(|_| Outcome::TimedOut(deadline.timeout_error())).collect();
            }
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
        let answers = first.wait().await;
        let asked_at = answers.asked_at;
        let mut outcome = answers.outcomes.get(index).cloned();
        drop(answers);
        if outcome.as_ref().and_then(Outcome::temporary_error).is_some() {
            outcome = retries.wait().await.outcomes.get(index).cloned();
        }
        // There is one for each path.
        let outcome = outcome.unwrap_or_else(|| Outcome::Answer(Err(closed())));
        let Self { shared, key, id } = &self;
        let settle = AssertUnwindSafe(async { shared.settle(key, *id, asked_at, outcome) });
        settle.catch_unwind().await.unwrap_or_else(|_| Err(panicked()).into())
    }
}
