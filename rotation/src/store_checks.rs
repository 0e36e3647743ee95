//! Reads of the store that follow a refused request, and the requests that wait for one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long a request waits for a read of the store.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Delay between two reads after refused requests. It doubles after each fruitless one, so many times.
const DELAY: Duration = Duration::from_millis(250);
const MOST_DOUBLINGS: u32 = 5;
/// How many reads in a row may be fruitless before requests do not wait for the next one.
const MOST_AWAITED: u32 = 2;

/// Numbers the reads of one task: a read that began before a question does not answer it.
#[derive(Debug, Default)]
pub(crate) struct StoreChecks {
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    /// Whether a request has waited too long since the last read ended.
    is_late: AtomicBool,
}

impl StoreChecks {
    /// A read begins; its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn end(&self, number: u64) {
        self.is_late.store(false, Ordering::Relaxed);
        self.ended.send_replace(number);
    }

    /// The last read that has begun.
    pub(super) fn last(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Lets all requests go on that wait.
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
            is_late || timeout(LONGEST_WAIT, next).await.is_ok()
        }
    }

    /// A request has waited too long.
    pub(super) fn give_up(&self) {
        self.is_late.store(true, Ordering::Relaxed);
    }
}

/// Spaces the reads that follow refused requests.
#[derive(Debug, Default)]
pub(crate) struct CheckPacer {
    /// The serial number of a key that was refused, and the last read that had begun before.
    rejected: Option<(u64, u64)>,
    last_check: Option<Instant>,
    /// How many reads in a row have found no other key.
    fruitless: u32,
}

impl CheckPacer {
    /// A request with the key of this serial number was refused: when to read the store.
    pub(crate) fn plan(&mut self, serial: u64, checks: &StoreChecks) -> Instant {
        let now = Instant::now();
        let delay = DELAY * 2_u32.saturating_pow(self.fruitless.min(MOST_DOUBLINGS));
        let next = self.last_check.map_or(now, |at| now.max(at + delay));
        if next > now && self.fruitless > MOST_AWAITED {
            checks.release();
        }
        self.rejected = Some((serial, checks.last()));
        next
    }

    /// The store was read: whether the refused key was replaced.
    pub(crate) fn note(&mut self, serial: u64, checks: &StoreChecks) {
        let last = checks.last();
        let Some((rejected, _)) = self.rejected.take_if(|(_, before)| last > *before) else {
            return;
        };
        self.last_check = Some(Instant::now());
        self.fruitless = if rejected == serial { self.fruitless.saturating_add(1) } else { 0 };
    }
}
