//! Makes the tasks of all handles read again after the machine was suspended: their timers stand still
//! in the meantime.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::wake_gradually;
use crate::clock;
use crate::shared::Shared;

/// How often the task looks, and the shortest time that counts as a suspension.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many tasks read again at once.
const AT_ONCE: usize = 16;

/// A task that looks after suspensions while there are handles.
struct SuspendWatcher {
    shared: Weak<Shared>,
    is_done: bool,
}

/// Starts the task, unless it runs already.
pub(super) fn start(shared: &Arc<Shared>, runtime: &Handle) {
    if !shared.watches.has_suspend_watcher.swap(true, Ordering::AcqRel) {
        let watcher = SuspendWatcher { shared: Arc::downgrade(shared), is_done: false };
        runtime.spawn(watcher.run());
    }
}

impl SuspendWatcher {
    async fn run(mut self) {
        let mut suspended = clock::suspended();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(shared) = self.shared.upgrade() else { return };
            if !shared.watches.has_handles() {
                shared.watches.has_suspend_watcher.store(false, Ordering::Release);
                // A handle may have come before the flag was reset.
                let is_needed = shared.watches.has_handles();
                if !is_needed || shared.watches.has_suspend_watcher.swap(true, Ordering::AcqRel) {
                    self.is_done = true;
                    return;
                }
            }
            let asleep = clock::suspended().saturating_sub(suspended);
            if asleep < INTERVAL {
                continue;
            }
            suspended += asleep;
            let is_long = asleep >= shared.policy.watch_interval_of(shared.backend.info());
            let states = shared.watches.states();
            drop(shared);
            if is_long {
                for state in states.iter().filter_map(Weak::upgrade) {
                    state.mark_stale();
                }
            }
            let states = states.iter().filter_map(Weak::upgrade);
            let wakeups: Vec<_> = states.map(|state| Arc::clone(&state.wakeup)).collect();
            wake_gradually(&wakeups, AT_ONCE).await;
        }
    }
}

/// If the task ends with its runtime, another one may start.
impl Drop for SuspendWatcher {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(shared) = self.shared.upgrade()
        {
            shared.watches.has_suspend_watcher.store(false, Ordering::Release);
        }
    }
}
