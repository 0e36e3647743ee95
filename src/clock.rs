//! The time, as cheap as a hit in the cache needs it, and controlled in tests.

use std::time::{Duration, Instant, SystemTime};

#[cfg(all(target_os = "linux", not(test), not(shuttle)))]
use linux as source;
#[cfg(test)]
pub(crate) use source::suspend;

/// A moment on a clock that never goes back, in milliseconds. It may lag by the kernel's timer tick,
/// 10 ms at most. On Linux it also counts the time that the machine was suspended, unlike [`Instant`], so
/// that a copy from before is not taken for fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    /// A moment that does not come.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    #[inline]
    pub(crate) fn now() -> Self {
        Self(source::milliseconds())
    }

    /// The moment that is so many milliseconds after the clock's zero.
    pub(crate) fn at(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    pub(crate) fn milliseconds(self) -> u64 {
        self.0
    }

    /// This moment and so much later.
    pub(crate) fn after(self, delay: Duration) -> Self {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(delay))
    }

    /// How long before this moment `earlier` was; zero if it was not.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Now, exactly.
pub(crate) fn instant() -> Instant {
    source::instant()
}

/// Now by the calendar, exactly.
pub(crate) fn wall() -> SystemTime {
    source::wall()
}

/// How long the machine has been suspended, as far as this platform tells: Linux does.
pub(crate) fn suspended() -> Duration {
    source::suspended()
}

/// Whether `moment` has come by the calendar.
#[inline]
pub(crate) fn has_come(moment: SystemTime) -> bool {
    source::has_come(moment)
}

#[cfg(all(target_os = "linux", not(shuttle)))]
#[cfg_attr(test, expect(dead_code, reason = "other tests control the clock"))]
mod linux;

#[cfg(not(any(target_os = "linux", test, shuttle)))]
mod source {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant, SystemTime};

    pub(super) fn milliseconds() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }

    pub(super) fn suspended() -> Duration {
        Duration::ZERO
    }

    pub(super) fn instant() -> Instant {
        Instant::now()
    }

    pub(super) fn wall() -> SystemTime {
        SystemTime::now()
    }

    pub(super) fn has_come(moment: SystemTime) -> bool {
        SystemTime::now() >= moment
    }
}

/// A clock for the model checker: each look takes a millisecond.
#[cfg(all(shuttle, not(test)))]
mod source {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant, SystemTime};

    static NOW: AtomicU64 = AtomicU64::new(1);

    pub(super) fn milliseconds() -> u64 {
        NOW.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn suspended() -> Duration {
        Duration::ZERO
    }

    pub(super) fn instant() -> Instant {
        Instant::now()
    }

    pub(super) fn wall() -> SystemTime {
        SystemTime::now()
    }

    pub(super) fn has_come(moment: SystemTime) -> bool {
        SystemTime::now() >= moment
    }
}

/// The clock of Tokio, which tests pause and set forward. It stands still while the machine is
/// suspended, which a test imitates.
#[cfg(test)]
mod source {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::{Duration, Instant, SystemTime};

    static START: LazyLock<(Instant, SystemTime)> =
        LazyLock::new(|| (Instant::now(), SystemTime::now()));

    /// The clock of a test stands where it was paused, which may be before `START`.
    const BEFORE: Duration = Duration::from_secs(3_600);

    thread_local! {
        static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn elapsed() -> Duration {
        (instant() + BEFORE).duration_since(START.0)
    }

    pub(super) fn milliseconds() -> u64 {
        (elapsed() + suspended()).as_millis().try_into().unwrap_or(u64::MAX)
    }

    pub(super) fn suspended() -> Duration {
        SUSPENDED.get()
    }

    /// As if the machine had been suspended for so long, for the tasks of this thread.
    pub(crate) fn suspend(time: Duration) {
        SUSPENDED.set(suspended() + time);
    }

    pub(super) fn instant() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    pub(super) fn wall() -> SystemTime {
        START.1 + elapsed() + suspended() - BEFORE
    }

    pub(super) fn has_come(moment: SystemTime) -> bool {
        wall() >= moment
    }
}
