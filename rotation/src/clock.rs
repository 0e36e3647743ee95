//! The calendar time, which tests of this package control.

use std::time::SystemTime;

/// Now by the calendar.
#[cfg(not(test))]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Now by the calendar, which follows Tokio's clock, so that a test with a paused clock sets both.
#[cfg(test)]
pub(crate) fn wall() -> SystemTime {
    use std::sync::LazyLock;
    use std::time::Duration;

    use tokio::time::Instant;

    static START: LazyLock<(Instant, SystemTime)> =
        LazyLock::new(|| (Instant::now(), SystemTime::now()));
    /// A test's clock stands where the test paused it, which may be before `START`.
    const BEFORE: Duration = Duration::from_secs(3_600);

    START.1 + (Instant::now() + BEFORE).duration_since(START.0) - BEFORE
}
