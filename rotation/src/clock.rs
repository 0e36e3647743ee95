//! The calendar time. Tests of this package control it.

use std::time::SystemTime;

/// The current calendar time.
#[cfg(not(test))]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// The current calendar time. It follows Tokio's clock, so that a test with a paused clock sets both.
#[cfg(test)]
pub(crate) fn wall() -> SystemTime {
    use std::sync::LazyLock;
    use std::time::Duration;

    use tokio::time::Instant;

    static START: LazyLock<(Instant, SystemTime)> =
        LazyLock::new(|| (Instant::now(), SystemTime::now()));
    /// A test may have paused its clock before `START`.
    const BEFORE: Duration = Duration::from_secs(3_600);

    START.1 + (Instant::now() + BEFORE).duration_since(START.0) - BEFORE
}
