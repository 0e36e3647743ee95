//! Reads of the store after a service rejected a key, and the requests that wait for one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long a request waits for a read of the store.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Delay between two reads after rejections. It doubles after each fruitless read, up to so many times.
const DELAY: Duration = Duration::from_millis(250);
const MAX_DOUBLINGS: u32 = 5;
/// How many reads in a row may be fruitless before requests stop waiting for the next one.
const MOST_AWAITED: u32 = 2;

/// Numbers the reads of one task: a read that began before a rejection does not count for it.
#[derive(Debug, Default)]
pub(crate) struct StoreChecks {
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    /// Whether a request has waited too long since the last read ended.
    is_late: AtomicBool,
}

impl StoreChecks {
    /// Begins a read, and returns its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn end(&self, number: u64) {
        self.is_late.store(false, Ordering::Relaxed);
        self.ended.send_replace(number);
    }

    /// The number of the last read that has begun.
    pub(super) fn last(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Releases all waiting requests.
    pub(super) fn release(&self) {
        let number = self.begin();
        self.ended.send_replace(number);
    }

    /// Waits for the end of a read that begins after this call, but not if one is late already.
    pub(super) fn next(&self) -> impl Future<Output = bool> + Send + use<> {
        let (mut ended, last) = (self.ended.subscribe(), self.last());
        let is_late = self.is_late.load(Ordering::Relaxed);
        async move {
            let next = async { ended.wait_for(|number| *number > last).await.is_ok() };
            is_late || timeout(MAX_WAIT, next).await.is_ok()
        }
    }

    /// Records that a request has waited too long.
    pub(super) fn give_up(&self) {
        self.is_late.store(true, Ordering::Relaxed);
    }
}

/// Spaces the reads after rejections.
#[derive(Debug, Default)]
pub(crate) struct CheckPacer {
    /// The serial number of a rejected key, and the last read that had begun before the rejection.
    rejected: Option<(u64, u64)>,
    last_check: Option<Instant>,
    /// How many reads in a row have found no other key.
    fruitless: u32,
}

impl CheckPacer {
    /// Returns when to read the store after a service rejected the key with this serial number.
    pub(crate) fn plan(&mut self, serial: u64, checks: &StoreChecks) -> Instant {
        let now = Instant::now();
        let delay = DELAY * 2_u32.saturating_pow(self.fruitless.min(MAX_DOUBLINGS));
        let next = self.last_check.map_or(now, |at| now.max(at + delay));
        if next > now && self.fruitless > MOST_AWAITED {
            checks.release();
        }
        self.rejected = Some((serial, checks.last()));
        next
    }

    /// Records the result of a read: whether the rejected key was replaced.
    pub(crate) fn note(&mut self, serial: u64, checks: &StoreChecks) {
        let last = checks.last();
        let Some((rejected, _)) = self.rejected.take_if(|(_, before)| last > *before) else {
            return;
        };
        self.last_check = Some(Instant::now());
        self.fruitless = if rejected == serial { self.fruitless.saturating_add(1) } else { 0 };
    }
}
