//! The time for leases and for what the server has told. It also counts the time that the machine was suspended,
//! because the server does.

use std::time::Duration;

use tokio::time::{Instant, sleep};

#[cfg(test)]
pub(crate) use suspension::suspend;

/// Now, later than [`Instant::now`] by as long as the machine has been suspended.
pub(crate) fn now() -> Instant {
    Instant::now() + suspension::time_suspended()
}

/// How long ago a time of this clock was.
pub(crate) fn elapsed(since: Instant) -> Duration {
    now().saturating_duration_since(since)
}

/// Waits until a time of this clock. A timer stands still with the machine, so that this may end later: those
/// that use a token look at the time themselves.
pub(crate) async fn sleep_until(time: Instant) {
    loop {
        let left = time.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

#[cfg(not(test))]
mod suspension {
    pub(super) use strongroom_core::time_suspended;
}

/// Tests imitate a suspension.
#[cfg(test)]
mod suspension {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    pub(super) fn time_suspended() -> Duration {
        SUSPENDED.get()
    }

    /// As if the machine had been suspended for so long, for the tasks of this thread.
    pub(crate) fn suspend(time: Duration) {
        SUSPENDED.set(time_suspended() + time);
    }
}
