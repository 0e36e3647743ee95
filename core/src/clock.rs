//! The time that [`Instant`](std::time::Instant) leaves out.

use std::time::Duration;

/// How long the machine has been suspended since it was booted, as far as the platform tells: Linux does,
/// elsewhere it is zero.
///
/// [`Instant`](std::time::Instant) and the timers of Tokio stand still while the machine is suspended. A backend
/// that keeps a lease or a copy until a time adds the difference between two calls of this function.
#[must_use]
pub fn time_suspended() -> Duration {
    source::time_suspended()
}

#[cfg(target_os = "linux")]
mod source {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    /// How far apart looks at two clocks may be, and how often they are repeated.
    const MAX_GAP: Duration = Duration::from_millis(1);
    const MAX_LOOKS: usize = 10;

    pub(super) fn time_suspended() -> Duration {
        let mut suspended = Duration::ZERO;
        for _ in 0..MAX_LOOKS {
            let before = read(ClockId::Monotonic);
            let since_boot = read(ClockId::Boottime);
            let after = read(ClockId::Monotonic);
            suspended = since_boot.saturating_sub(after);
            // Otherwise the system ran something else in between.
            if after.saturating_sub(before) < MAX_GAP {
                break;
            }
        }
        suspended
    }

    /// The kernel counts from zero.
    fn read(clock: ClockId) -> Duration {
        Duration::try_from(clock_gettime(clock)).unwrap_or_default()
    }
}

#[cfg(not(target_os = "linux"))]
mod source {
    use std::time::Duration;

    pub(super) fn time_suspended() -> Duration {
        Duration::ZERO
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_time_suspended_is_the_difference_of_the_kernels_clocks() {
        use rustix::time::{ClockId, clock_gettime};
        let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap();
        let (awake, since_boot) = (read(ClockId::Monotonic), read(ClockId::Boottime));
        let suspended = time_suspended();
        // The time between two looks makes these bounds wider.
        assert!(suspended + awake <= read(ClockId::Boottime));
        assert!(suspended + read(ClockId::Monotonic) >= since_boot);
    }
}
