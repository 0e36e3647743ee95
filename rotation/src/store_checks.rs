//! Looks at the store, and those who wait for one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long anybody waits for a look.
const PATIENCE: Duration = Duration::from_secs(2);

/// Numbers the looks of one task: what one shows that began earlier is no answer to a question.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    /// Whether somebody has waited in vain since the last one ended.
    are_late: AtomicBool,
}

impl Looks {
    /// A look begins; its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn end(&self, number: u64) {
        self.are_late.store(false, Ordering::Relaxed);
        self.ended.send_replace(number);
    }

    /// The last one that has begun.
    pub(super) fn last(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Has nobody wait any more.
    pub(super) fn release(&self) {
        let number = self.begin();
        self.ended.send_replace(number);
    }

    /// Waits for the end of a look that begins after this call, but not if one is late already.
    pub(super) fn next(&self) -> impl Future<Output = bool> + Send + use<> {
        let (mut ended, last) = (self.ended.subscribe(), self.last());
        let is_late = self.are_late.load(Ordering::Relaxed);
        async move {
            let next = async { ended.wait_for(|number| *number > last).await.is_ok() };
            is_late || timeout(PATIENCE, next).await.is_ok()
        }
    }

    /// Somebody has waited in vain.
    pub(super) fn give_up(&self) {
        self.are_late.store(true, Ordering::Relaxed);
    }
}
