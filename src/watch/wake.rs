//! Wakes the tasks of many handles without a rush at the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// How soon the next tasks are woken.
const PAUSE: Duration = Duration::from_millis(10);

/// Wakes tasks, so many at once, so that they read their secrets again.
pub(crate) async fn wake_gradually(wakeups: &[Arc<Notify>], at_once: usize) {
    for (index, wakeups) in wakeups.chunks(at_once).enumerate() {
        if index > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        for wakeup in wakeups {
            wakeup.notify_one();
        }
    }
}
