//! Points in time on the clock of one instance.

use core::time::Duration;

/// A point in time on a monotonic clock, counted from the start of the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The start of the instance.
    pub const START: Self = Self(Duration::ZERO);

    /// The time this long after the start.
    #[must_use]
    pub const fn since_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The time this much later.
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }

    /// How long it is from `now` until this time; zero once it has come.
    #[must_use]
    pub const fn left(self, now: Self) -> Duration {
        self.0.saturating_sub(now.0)
    }

    /// Whether this time has come.
    #[must_use]
    pub fn has_come(self, now: Self) -> bool {
        self <= now
    }

    /// The same time on a clock that started `by` later. Past times stay in the past.
    #[must_use]
    pub const fn rebase(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}
