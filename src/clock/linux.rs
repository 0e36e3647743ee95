//! The clocks of Linux. Those of the last timer tick cost a fifth of the exact ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// How far a coarse clock may lag: the longest timer tick of Linux (`CONFIG_HZ=100`).
pub(super) const LAG: Duration = Duration::from_millis(10);

/// The tick at which `SUSPENDED` was last measured.
static MEASURED_AT: AtomicU64 = AtomicU64::new(u64::MAX);
/// How long the machine has been suspended since it was booted, in milliseconds.
static SUSPENDED: AtomicU64 = AtomicU64::new(0);

/// The time since the machine was booted, with the time that it was suspended. No coarse clock counts
/// that, so it is measured at the first call after each tick.
#[inline]
pub(super) fn milliseconds() -> u64 {
    let tick = to_nanoseconds(clock_gettime(ClockId::MonotonicCoarse)) / 1_000_000;
    if MEASURED_AT.load(Ordering::Acquire) != tick {
        measure_suspended(tick);
    }
    tick + SUSPENDED.load(Ordering::Relaxed)
}

#[cold]
fn measure_suspended(tick: u64) {
    let suspended = strongroom_core::time_suspended().as_millis();
    // It never shrinks, so that the clock never goes back.
    SUSPENDED.fetch_max(suspended.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    MEASURED_AT.store(tick, Ordering::Release);
}

pub(super) fn suspended() -> Duration {
    milliseconds();
    Duration::from_millis(SUSPENDED.load(Ordering::Relaxed))
}

pub(super) fn instant() -> Instant {
    Instant::now()
}

pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Asks the exact clock only where the coarse one cannot tell.
pub(super) fn has_come(moment: SystemTime) -> bool {
    let now = to_nanoseconds(clock_gettime(ClockId::RealtimeCoarse));
    UNIX_EPOCH + Duration::from_nanos(now) + LAG >= moment && SystemTime::now() >= moment
}

/// The kernel counts from zero; nanoseconds of 584 years fit.
fn to_nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    fn since_boot() -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        u64::try_from(time.tv_sec).unwrap() * 1_000
            + u64::try_from(time.tv_nsec).unwrap() / 1_000_000
    }

    #[test]
    fn a_tick_counts_the_time_that_the_machine_was_suspended() {
        let lag = u64::try_from(LAG.as_millis()).unwrap() + 1;
        let mut last = 0;
        for _ in 0..100_000 {
            let before = since_boot();
            let tick = milliseconds();
            assert!(tick >= last && tick <= since_boot() && tick + lag >= before);
            last = tick;
        }
    }
}
