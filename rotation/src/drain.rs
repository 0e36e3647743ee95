//! Requests in flight that still carry an old key.

use std::mem;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Completes when no request carries a generation of a key any more.
pub(crate) type Drained = oneshot::Receiver<()>;

/// The generations of a key that requests of this instance may carry.
#[derive(Debug)]
pub(crate) struct DrainTracker {
    current: Drained,
    /// The key in use under earlier fingerprints or generation numbers.
    same_key: Vec<Drained>,
    /// Earlier keys.
    earlier: Vec<Drained>,
}

impl DrainTracker {
    pub(crate) fn new(current: Drained) -> Self {
        Self { current, same_key: Vec::new(), earlier: Vec::new() }
    }

    /// Tracks a new generation in use.
    pub(crate) fn replace(&mut self, next: Drained, is_same_key: bool) {
        let before = mem::replace(&mut self.current, next);
        self.same_key.push(before);
        if !is_same_key {
            self.earlier.append(&mut self.same_key);
        }
    }

    /// Whether a request carries an earlier key.
    pub(crate) fn is_in_flight(&mut self) -> bool {
        self.earlier.retain_mut(|drained| drained.try_recv() == Err(TryRecvError::Empty));
        !self.earlier.is_empty()
    }

    /// Stops waiting for requests that carry an earlier key.
    pub(crate) fn forget(&mut self) {
        self.earlier.clear();
    }

    /// Waits until no request carries an earlier key.
    pub(crate) async fn wait(&mut self) {
        while let Some(drained) = self.earlier.last_mut() {
            // The last request drops the sender, which never sends.
            let _ = drained.await;
            self.earlier.pop();
        }
    }
}
