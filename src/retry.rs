//! Deadlines, and retries after temporary errors.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use strongroom_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::policy::{TIMEOUT, cap_duration};
use crate::runtime;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When a call has to end. Without a timer it never has to, and nothing is retried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    end: Instant,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        let limit = cap_duration(limit);
        Self { limit, end: Instant::now() + limit }
    }

    /// This deadline, or one after `limit` if that comes earlier.
    pub(crate) fn at_most(self, limit: Duration) -> Self {
        let other = Self::after(limit);
        if other.end < self.end { other } else { self }
    }

    /// Sleeps for so long, or until the deadline.
    pub(crate) async fn sleep(self, delay: Duration) {
        tokio::time::sleep_until(self.end.min(Instant::now() + delay)).await;
    }

    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.end
    }

    /// Runs `work` until the deadline. Work that is ready at once needs no timer.
    pub(crate) async fn within<T>(self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let at_once = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        match at_once {
            Poll::Ready(done) => Some(done),
            Poll::Pending if runtime::with_timer().is_some() => {
                tokio::time::timeout_at(self.end, work).await.ok()
            }
            Poll::Pending => Some(work.await),
        }
    }

    /// The error of a call that did not end in time.
    pub(crate) fn timeout_error(self) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!("check that the store is well, or raise `{TIMEOUT}`"),
        )
        .because(format!("no answer within {:?}", self.limit))
    }

    /// When a pause ends, if that is before the deadline.
    fn after_pause(self, pause: Duration) -> Option<Instant> {
        Instant::now().checked_add(pause).filter(|wake| *wake < self.end)
    }
}

/// How a request to the store ended.
#[derive(Clone)]
pub(crate) enum Outcome<T> {
    /// The store answered, or failed.
    Answer(Result<T>),
    /// The deadline came first, or would come before a retry: the last error.
    TimedOut(Error),
}

impl<T> Outcome<T> {
    pub(crate) fn into_result(self) -> Result<T> {
        match self {
            Self::Answer(result) => result,
            Self::TimedOut(error) => Err(error),
        }
    }

    pub(crate) fn timed_out(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// The store's error, if a retry may help.
    pub(crate) fn temporary_error(&self) -> Option<&Error> {
        match self {
            Self::Answer(Err(error)) if error.is_temporary() => Some(error),
            _ => None,
        }
    }
}

/// Delays that grow, with jitter.
pub(crate) fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The retries of all reads of one store.
#[derive(Debug)]
pub(crate) struct Retries {
    /// How many retries a read may make.
    max: u32,
    budget: RetryBudget,
}

impl Retries {
    pub(crate) fn new(max: u32) -> Self {
        Self { max, budget: RetryBudget::default() }
    }

    /// Pauses between the attempts of one read.
    pub(crate) fn pauses(&self) -> Pauses<'_> {
        Pauses { lengths: Box::new(delays()), left: self.max, budget: &self.budget }
    }

    /// Makes attempts until one succeeds or fails permanently, or until no time is left for another one.
    pub(crate) async fn run<T, F: Future<Output = Result<T>>>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> F,
    ) -> Outcome<T> {
        let mut pauses = None;
        loop {
            let error = match deadline.within(attempt()).await {
                Some(Err(error)) if error.is_temporary() => error,
                Some(answer) => {
                    self.budget.earn();
                    return Outcome::Answer(answer);
                }
                None => return Outcome::TimedOut(deadline.timeout_error()),
            };
            let pauses = pauses.get_or_insert_with(|| self.pauses());
            match pauses.pause_after(&error, deadline).await {
                Pause::Over => {}
                Pause::NoRetry => return Outcome::Answer(Err(error)),
                Pause::NoTime => return Outcome::TimedOut(error),
            }
        }
    }

    /// Records that the store answered.
    pub(crate) fn record_answer(&self) {
        self.budget.earn();
    }
}

/// How a pause before a retry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It is over: retry.
    Over,
    /// No retry can help, or is left.
    NoRetry,
    /// The deadline comes before the end of the pause.
    NoTime,
}

/// The pauses between the attempts of one read: exponential, with jitter.
pub(crate) struct Pauses<'a> {
    lengths: Box<dyn Iterator<Item = Duration> + Send>,
    left: u32,
    budget: &'a RetryBudget,
}

impl Pauses<'_> {
    /// Pauses before a retry, if there is one after `error`.
    pub(crate) async fn pause_after(&mut self, error: &Error, deadline: Deadline) -> Pause {
        if !error.is_temporary() || self.left == 0 || runtime::with_timer().is_none() {
            return Pause::NoRetry;
        }
        let pause = self.lengths.next().unwrap_or(LONGEST_PAUSE);
        let pause = pause.max(error.retry_after().unwrap_or_default());
        let Some(wake) = deadline.after_pause(pause) else { return Pause::NoTime };
        if !self.budget.spend() {
            return Pause::NoRetry;
        }
        self.left -= 1;
        tokio::time::sleep_until(wake).await;
        Pause::Over
    }
}

/// How many retries the reads of a store still have together, so that an outage does not multiply the requests.
/// Each retry costs one; ten reads that the store answers earn one.
#[derive(Debug)]
struct RetryBudget(AtomicU32);

/// In tenths of a retry.
const RETRY: u32 = 10;
const MAX_BUDGET: u32 = 10 * RETRY;

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(MAX_BUDGET))
    }
}

impl RetryBudget {
    fn spend(&self) -> bool {
        let spent = |saved: u32| saved.checked_sub(RETRY);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }

    fn earn(&self) {
        // Without failures, nothing is written to shared memory.
        if self.0.load(Ordering::Relaxed) < MAX_BUDGET {
            let earned = |saved: u32| (saved < MAX_BUDGET).then_some(saved + 1);
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn failing(kind: ErrorKind) -> Error {
        Error::new(kind, "come back later")
    }

    #[tokio::test(start_paused = true)]
    async fn retries_temporary_errors_and_no_others() {
        for (kind, attempts) in
            [(ErrorKind::Unavailable, 4), (ErrorKind::Denied, 1), (ErrorKind::NotFound, 1)]
        {
            let (retries, made) = (Retries::new(3), AtomicUsize::new(0));
            let start = Instant::now();
            let result: Outcome<()> = retries
                .run(Deadline::after(Duration::from_secs(30)), async || {
                    made.fetch_add(1, Ordering::Relaxed);
                    Err(failing(kind))
                })
                .await;
            assert_eq!(result.into_result().unwrap_err().kind(), kind);
            assert_eq!(made.into_inner(), attempts, "{kind}");
            // 100, 200 and 400 ms, and at most as much again.
            let longest = Duration::from_millis(if attempts == 1 { 0 } else { 1400 });
            let shortest = longest / 2;
            assert!((shortest..=longest).contains(&start.elapsed()), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_at_least_as_long_as_the_store_asks() {
        let retries = Retries::new(1);
        let start = Instant::now();
        let error = failing(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(7));
        let attempt = || async { Err::<(), _>(error.clone()) };
        let deadline = Deadline::after(Duration::from_secs(30));
        retries.run(deadline, attempt).await.into_result().unwrap_err();
        assert!(start.elapsed() >= Duration::from_secs(7));
        // The pause would end after the deadline: the read fails immediately.
        let start = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(5));
        let given = retries.run(deadline, attempt).await.into_result().unwrap_err();
        assert_eq!((given.kind(), start.elapsed()), (ErrorKind::RateLimited, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_at_the_deadline() {
        let start = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(5));
        let never = || std::future::pending::<Result<()>>();
        let outcome = Retries::new(3).run(deadline, never).await;
        assert!(outcome.timed_out());
        let error = outcome.into_result().unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (ErrorKind::Timeout, Duration::from_secs(5)));
        assert!(error.advice().contains("SECRETS_READ_TIMEOUT"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn limits_retries_during_an_outage() {
        let (retries, made) = (Retries::new(3), AtomicUsize::new(0));
        let reads = 200;
        for _ in 0..reads {
            let attempt = async || {
                made.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(failing(ErrorKind::Unavailable))
            };
            let deadline = Deadline::after(Duration::from_secs(30));
            retries.run(deadline, attempt).await.into_result().unwrap_err();
        }
        assert_eq!(made.into_inner(), reads + 10);
        for _ in 0..10 {
            let deadline = Deadline::after(Duration::from_secs(1));
            retries.run(deadline, || async { Ok(()) }).await.into_result().unwrap();
        }
        assert!(retries.budget.spend() && !retries.budget.spend(), "ten successes earn one");
    }

    #[test]
    fn does_not_retry_without_a_runtime() {
        let deadline = Deadline::after(Duration::from_millis(1));
        let attempt = || async { Err::<(), _>(failing(ErrorKind::Unavailable)) };
        let retries = Retries::new(3);
        let mut run = pin!(retries.run(deadline, attempt));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(outcome) = run.as_mut().poll(&mut context) else { panic!("it waits") };
        assert_eq!(outcome.into_result().unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
