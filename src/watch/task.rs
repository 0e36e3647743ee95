//! The task that keeps the handles of one path fresh.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::FutureExt as _;
use strongroom_core::{Error, ErrorKind, Secret};
use tokio::sync::Notify;

use super::state::WatchState;
use crate::error::panicked;
use crate::manager::SecretsManager;
use crate::policy::cap_duration;
use crate::{changes, clock};

/// How long after a failure the task asks the store again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The shortest time between two reads, however short leases are.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How soon the task reads a secret again that an interrupted write may still change.
const UNCERTAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the secret again and again, while there are handles and the manager is open.
pub(super) struct WatchTask {
    state: Weak<WatchState>,
    wakeup: Arc<Notify>,
    secrets: SecretsManager,
}

impl WatchTask {
    pub(super) fn new(state: &Arc<WatchState>, secrets: SecretsManager) -> Self {
        Self { state: Arc::downgrade(state), wakeup: Arc::clone(&state.wakeup), secrets }
    }

    pub(super) async fn run(self) {
        let interval = self.secrets.shared.policy.watch_interval_of(self.secrets.backend());
        let mut failing: Option<Failing> = None;
        loop {
            let Some(state) = self.state.upgrade() else { return };
            let pause = match &mut failing {
                None => jitter(self.due_in(&state.current.load(), interval)),
                Some(failing) => failing.next_pause(),
            };
            let read_at = state.current.load().read_at();
            drop(state);
            let wait = tokio::time::timeout(pause.max(MIN_INTERVAL), self.wakeup.notified());
            let is_notified = wait.await.is_ok();
            let Some(state) = self.state.upgrade() else { return };
            if !is_notified && failing.is_none() && state.current.load().read_at() != read_at {
                // Another caller has read the secret in the meantime.
                continue;
            }
            changes::follow(&self.secrets.shared);
            let read = self.secrets.read_for_handle(&state.path, Some(interval / 2));
            let read = AssertUnwindSafe(read).catch_unwind();
            match read.await.unwrap_or_else(|_| Err(panicked())) {
                Ok(secret) => {
                    state.update(&secret);
                    failing = None;
                }
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) => {
                    state.fail(&error);
                    let retry_after = error.retry_after().map_or(Duration::ZERO, cap_duration);
                    failing.get_or_insert_with(Failing::new).retry_after = retry_after;
                }
            }
        }
    }

    /// When the task reads a secret again: after the interval, when the secret expires, or soon if an interrupted
    /// write may still change it.
    fn due_in(&self, secret: &Secret, interval: Duration) -> Duration {
        let age = clock::instant().duration_since(secret.read_at());
        let expiry = secret.metadata().expires_at;
        let expiry = expiry.map(|end| end.duration_since(clock::wall()).unwrap_or_default());
        let lease = secret.lease().map(|lease| lease.saturating_sub(age));
        let cache = self.secrets.shared.cache.as_ref();
        let is_uncertain = cache.is_some_and(|cache| cache.is_uncertain(secret.path()));
        let ends = [expiry, lease, is_uncertain.then_some(UNCERTAIN_INTERVAL)];
        ends.into_iter().flatten().fold(interval.saturating_sub(age), Duration::min)
    }
}

/// The state of a task whose last read failed.
struct Failing {
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    /// How long the store asked to wait.
    retry_after: Duration,
}

impl Failing {
    fn new() -> Self {
        let (first, longest) = PAUSES;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_factor(2.0)
            .without_max_times();
        Self { pauses: Box::new(pauses.build()), retry_after: Duration::ZERO }
    }

    fn next_pause(&mut self) -> Duration {
        jitter(self.pauses.next().unwrap_or(PAUSES.1)).max(self.retry_after)
    }
}

/// The handles learn that no task reads the secret any more.
impl Drop for WatchTask {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        if !self.secrets.shared.is_closing() {
            let advice = "make a new handle with `watch`, in a runtime that lasts";
            let error = Error::new(ErrorKind::Closed, advice)
                .because("the runtime that kept this secret fresh is gone");
            state.fail(&error);
        }
        state.progress.send_modify(|progress| progress.has_task = false);
    }
}

/// Nine tenths of a time to all of it.
fn jitter(time: Duration) -> Duration {
    time * fastrand::u32(90..=100) / 100
}
