//! When the anchor of an open store is advanced.

use std::time::{Duration, Instant};

use strongroom_core::Result;
use tracing::warn;

/// The anchor is written at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// When the writer thread advances the anchor next.
pub(super) struct AnchorUpdates {
    /// Whether the file may be ahead of the anchor.
    is_behind: bool,
    last: Instant,
    /// Whether the last attempt failed, so that repeated failures warn once.
    has_failed: bool,
}

impl AnchorUpdates {
    /// After opening, which has advanced the anchor.
    pub(super) fn new() -> Self {
        Self { is_behind: false, last: Instant::now(), has_failed: false }
    }

    pub(super) fn note_write(&mut self) {
        self.is_behind = true;
    }

    /// How long to wait until the next update; `None` if none is needed.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.is_behind.then(|| INTERVAL.saturating_sub(self.last.elapsed()))
    }

    /// Records the outcome of an update: whether it got the lock.
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
