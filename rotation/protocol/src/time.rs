//! Points in time, as one instance counts them.

use core::time::Duration;

/// A point in time: how long after the start of the instance, on a clock that never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The start of the instance.
    pub const START: Self = Self(Duration::ZERO);

    /// So long after the start.
    #[must_use]
    pub const fn since_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// So much later.
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

    /// The same time on a clock that started `by` later. What has passed by then stays in the past.
    #[must_use]
    pub const fn rebase(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}
