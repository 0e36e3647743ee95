//! When the anchor of an open store is advanced.

use std::time::{Duration, Instant};

use strongroom_core::Result;
use tracing::warn;

/// An anchor in a file is written at most this often.
pub(super) const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// When a thread advances the anchor next.
pub(super) struct AnchorUpdates {
    interval: Duration,
    /// Whether the store may be ahead of the anchor.
    is_behind: bool,
    last: Instant,
    /// Whether the last attempt failed, so that repeated failures warn once.
    has_failed: bool,
}

impl AnchorUpdates {
    /// After opening, which has advanced the anchor.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, is_behind: false, last: Instant::now(), has_failed: false }
    }

    pub(super) fn note_write(&mut self) {
        self.is_behind = true;
    }

    /// How long to wait until the next update; `None` if none is needed.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.is_behind.then(|| self.pause())
    }

    /// How long to wait until the next update may begin.
    pub(super) fn pause(&self) -> Duration {
        self.interval.saturating_sub(self.last.elapsed())
    }

    /// Records the outcome of an update: whether the anchor is not behind any more.
    pub(super) fn note_update(&mut self, outcome: &Result<bool>) {
        self.last = Instant::now();
        self.is_behind = !matches!(outcome, Ok(true));
        if let Err(error) = outcome
            && !self.has_failed
        {
            warn!(%error, "the anchor of the store was not advanced");
        }
        self.has_failed = outcome.is_err();
    }
}
