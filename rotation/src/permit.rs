//! A place among the keys that are replaced at a time.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

type Queued =
    Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>;

/// One key's place, or its stand in the queue for one.
pub(super) struct ConcurrencyPermit {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    queued: Option<Queued>,
}

impl ConcurrencyPermit {
    pub(super) fn among(all: Arc<Semaphore>) -> Self {
        Self { all, held: None, queued: None }
    }

    /// Whether there is a place. If there is none it is queued for, and the stand is kept.
    pub(super) fn take(&mut self) -> bool {
        if self.held.is_none() {
            let all = &self.all;
            let queued =
                self.queued.get_or_insert_with(|| Box::pin(Arc::clone(all).acquire_owned()));
            if let Some(permit) = queued.now_or_never() {
                self.hold(permit);
            }
        }
        self.held.is_some()
    }

    pub(super) fn is_queued(&self) -> bool {
        self.queued.is_some()
    }

    /// Waits until the place that is queued for is there.
    pub(super) async fn granted(&mut self) {
        match &mut self.queued {
            Some(queued) => {
                let permit = queued.await;
                self.hold(permit);
            }
            None => std::future::pending().await,
        }
    }

    /// Leaves the place, or the queue.
    pub(super) fn leave(&mut self) {
        (self.held, self.queued) = (None, None);
    }

    fn hold(&mut self, permit: Result<OwnedSemaphorePermit, AcquireError>) {
        self.queued = None;
        // Nobody closes the semaphore.
        self.held = permit.ok();
    }
}
