//! Deadlines, and further attempts after errors that may pass.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use strongroom_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::policy::{TIMEOUT, bounded};
use crate::runtime;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The end of the time that a call has. Without a timer there is no end, and no second attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    end: Instant,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        let limit = bounded(limit);
        Self { limit, end: Instant::now() + limit }
    }

    /// Runs `work`, as long as there is time. What is ready at once needs no timer.
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

    /// The error of a call whose time is over.
    pub(crate) fn missed(self) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!("check that the store is well, or raise `{TIMEOUT}`"),
        )
        .because(format!("no answer within {:?}", self.limit))
    }

    /// The moment after a pause, if there is time left then.
    fn after_pause(self, pause: Duration) -> Option<Instant> {
        Instant::now().checked_add(pause).filter(|wake| *wake < self.end)
    }
}

/// Further attempts for all reads of one store.
#[derive(Debug)]
pub(crate) struct Retries {
    /// How many a read may make.
    most: u32,
    budget: Budget,
}

impl Retries {
    pub(crate) fn new(most: u32) -> Self {
        Self { most, budget: Budget::default() }
    }

    /// Pauses between the attempts of one read.
    pub(crate) fn pauses(&self) -> Pauses<'_> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Pauses { lengths: Box::new(pauses.build()), left: self.most, budget: &self.budget }
    }

    /// Makes attempts until one succeeds, fails for good, or there is no time for another.
    pub(crate) async fn run<T, F: Future<Output = Result<T>>>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let mut pauses = None;
        loop {
            let error = match deadline.within(attempt()).await {
                Some(Err(error)) if error.is_temporary() => error,
                Some(answer) => {
                    self.budget.earn();
                    return answer;
                }
                None => return Err(deadline.missed()),
            };
            let pauses = pauses.get_or_insert_with(|| self.pauses());
            if !pauses.pause_after(&error, deadline).await {
                return Err(error);
            }
        }
    }

    /// Notes that the store answered.
    pub(crate) fn answered(&self) {
        self.budget.earn();
    }
}

/// The pauses between the attempts of one read: they grow, and differ between readers.
pub(crate) struct Pauses<'a> {
    lengths: Box<dyn Iterator<Item = Duration> + Send>,
    left: u32,
    budget: &'a Budget,
}

impl Pauses<'_> {
    /// Whether another attempt is worth while after `error`; pauses before it.
    pub(crate) async fn pause_after(&mut self, error: &Error, deadline: Deadline) -> bool {
        if !error.is_temporary() || self.left == 0 || runtime::with_timer().is_none() {
            return false;
        }
        let pause = self.lengths.next().unwrap_or(LONGEST_PAUSE);
        let pause = pause.max(error.retry_after().unwrap_or_default());
        let Some(wake) = deadline.after_pause(pause) else { return false };
        if !self.budget.spend() {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep_until(wake).await;
        true
    }
}

/// How many further attempts a store still gets: an outage is met with a few, not with a multiple of
/// all reads. Each costs one; ten reads that the store answers earn one.
#[derive(Debug)]
struct Budget(AtomicU32);

/// In tenths of an attempt.
const ATTEMPT: u32 = 10;
const MOST: u32 = 10 * ATTEMPT;

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(MOST))
    }
}

impl Budget {
    fn spend(&self) -> bool {
        let spent = |saved: u32| saved.checked_sub(ATTEMPT);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }

    fn earn(&self) {
        // Where nothing fails, nothing is written.
        if self.0.load(Ordering::Relaxed) < MOST {
            let earned = |saved: u32| (saved < MOST).then_some(saved + 1);
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
    async fn an_error_that_may_pass_is_tried_again_and_another_is_not() {
        for (kind, attempts) in
            [(ErrorKind::Unavailable, 4), (ErrorKind::Denied, 1), (ErrorKind::NotFound, 1)]
        {
            let (retries, made) = (Retries::new(3), AtomicUsize::new(0));
            let start = Instant::now();
            let result: Result<()> = retries
                .run(Deadline::after(Duration::from_secs(30)), async || {
                    made.fetch_add(1, Ordering::Relaxed);
                    Err(failing(kind))
                })
                .await;
            assert_eq!(result.unwrap_err().kind(), kind);
            assert_eq!(made.into_inner(), attempts, "{kind}");
            // 100, 200 and 400 ms, and at most as much again.
            let longest = Duration::from_millis(if attempts == 1 { 0 } else { 1400 });
            let shortest = longest / 2;
            assert!((shortest..=longest).contains(&start.elapsed()), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wish_of_the_store_is_honoured() {
        let retries = Retries::new(1);
        let start = Instant::now();
        let error = failing(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(7));
        let attempt = || async { Err::<(), _>(error.clone()) };
        let deadline = Deadline::after(Duration::from_secs(30));
        retries.run(deadline, attempt).await.unwrap_err();
        assert!(start.elapsed() >= Duration::from_secs(7));
        // There is no time to wait so long: the error is given at once.
        let start = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(5));
        let given = retries.run(deadline, attempt).await.unwrap_err();
        assert_eq!((given.kind(), start.elapsed()), (ErrorKind::RateLimited, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_costs_the_time_allowed() {
        let start = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(5));
        let never = || std::future::pending::<Result<()>>();
        let error = Retries::new(3).run(deadline, never).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (ErrorKind::Timeout, Duration::from_secs(5)));
        assert!(error.advice().contains("SECRETS_READ_TIMEOUT"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_met_with_few_further_attempts() {
        let (retries, made) = (Retries::new(3), AtomicUsize::new(0));
        let reads = 200;
        for _ in 0..reads {
            let attempt = async || {
                made.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(failing(ErrorKind::Unavailable))
            };
            retries.run(Deadline::after(Duration::from_secs(30)), attempt).await.unwrap_err();
        }
        assert_eq!(made.into_inner(), reads + 10);
        for _ in 0..10 {
            let deadline = Deadline::after(Duration::from_secs(1));
            retries.run(deadline, || async { Ok(()) }).await.unwrap();
        }
        assert!(retries.budget.spend() && !retries.budget.spend(), "ten successes earn one");
    }

    #[test]
    fn without_a_runtime_there_is_no_timer_and_no_second_attempt() {
        let deadline = Deadline::after(Duration::from_millis(1));
        let attempt = || async { Err::<(), _>(failing(ErrorKind::Unavailable)) };
        let retries = Retries::new(3);
        let mut run = pin!(retries.run(deadline, attempt));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(result) = run.as_mut().poll(&mut context) else { panic!("it waits") };
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
