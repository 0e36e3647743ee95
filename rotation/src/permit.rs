//! Permits to replace a key: they limit how many keys of an engine rotate at a time.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

type Queued =
    Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>;

/// The permit of one key, or its position in the queue.
pub(super) struct ConcurrencyPermit {
    permits: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    queued: Option<Queued>,
}

impl ConcurrencyPermit {
    pub(super) fn new(permits: Arc<Semaphore>) -> Self {
        Self { permits, held: None, queued: None }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Takes a permit if one is free, or else queues. Returns whether the permit is held.
    pub(super) fn take(&mut self) -> bool {
        self.queue();
        if let Some(permit) = self.queued.as_mut().and_then(futures_util::FutureExt::now_or_never) {
            self.hold(permit);
        }
        self.is_held()
    }

    /// Queues for a permit, unless it is held.
    pub(super) fn queue(&mut self) {
        if self.held.is_none() && self.queued.is_none() {
            self.queued = Some(Box::pin(Arc::clone(&self.permits).acquire_owned()));
        }
    }

    pub(super) fn is_queued(&self) -> bool {
        self.queued.is_some()
    }

    /// Waits for the queued permit.
    pub(super) async fn wait(&mut self) {
        match &mut self.queued {
            Some(queued) => {
                let permit = queued.await;
                self.hold(permit);
            }
            None => std::future::pending().await,
        }
    }

    /// Releases the permit, or leaves the queue.
    pub(super) fn release(&mut self) {
        (self.held, self.queued) = (None, None);
    }

    fn hold(&mut self, permit: Result<OwnedSemaphorePermit, AcquireError>) {
        self.queued = None;
        // Acquiring fails only if the semaphore is closed, and it never is.
        self.held = permit.ok();
    }
}
