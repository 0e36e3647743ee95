//! Removes entries from the cache whose time is over, so that none stays in memory until it is read again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::cache::Cache;
use crate::runtime;
use crate::shared::Shared;

/// A task that removes entries until the cache is empty or gone.
struct Sweeper {
    shared: Weak<Shared>,
    is_done: bool,
}

/// Starts the task, unless it runs already or the caller has no runtime.
pub(crate) fn start(shared: &Arc<Shared>, cache: &Cache) {
    if cache.is_swept.load(Ordering::Acquire) {
        return;
    }
    let Some(runtime) = runtime::with_timer() else { return };
    if !cache.is_swept.swap(true, Ordering::AcqRel) {
        let sweeper = Sweeper { shared: Arc::downgrade(shared), is_done: false };
        runtime.spawn(sweeper.run(cache.sweep_every()));
    }
}

impl Sweeper {
    async fn run(mut self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let Some(shared) = self.shared.upgrade() else { return };
            let Some(cache) = &shared.cache else { return };
            if cache.sweep() {
                continue;
            }
            cache.is_swept.store(false, Ordering::Release);
            // An entry may have come before the flag was reset.
            if !cache.sweep() || cache.is_swept.swap(true, Ordering::AcqRel) {
                self.is_done = true;
                return;
            }
        }
    }
}

/// If the task ends with its runtime, another one may start.
impl Drop for Sweeper {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(shared) = self.shared.upgrade()
            && let Some(cache) = &shared.cache
        {
            cache.is_swept.store(false, Ordering::Release);
        }
    }
}
