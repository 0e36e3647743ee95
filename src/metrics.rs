//! Counters and latencies for operators, through the facade crate `metrics`.
//!
//! Without a recorder, a counter is one branch on memory that this process never writes. No label names a
//! path.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt as _;
use metrics::{Counter, Histogram, counter, histogram};
use strongroom_core::{BackendInfo, Error, ForkGuard};

use crate::error::panicked;

/// An event that the metrics count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// The cache answered a read.
    Hit,
    /// The cache could not answer a read.
    Miss,
    /// A read waited for another read of the same secret.
    Coalesced,
    /// A refresh began in the background.
    Refresh,
    /// A stale copy answered a read.
    Stale,
}

/// The metrics of one store, registered with the recorder that is installed when the store is opened.
pub(crate) struct StoreMetrics {
    backend: &'static str,
    hits: Counter,
    misses: Counter,
    coalesced: Counter,
    refreshes: Counter,
    stale: Counter,
    latency: Histogram,
    fork_guard: ForkGuard,
}

impl StoreMetrics {
    pub(crate) fn new(info: &BackendInfo) -> Self {
        let backend = info.kind;
        Self {
            backend,
            hits: counter!("strongroom_cache_hits_total", "backend" => backend),
            misses: counter!("strongroom_cache_misses_total", "backend" => backend),
            coalesced: counter!("strongroom_coalesced_reads_total", "backend" => backend),
            refreshes: counter!("strongroom_refreshes_total", "backend" => backend),
            stale: counter!("strongroom_stale_reads_total", "backend" => backend),
            latency: histogram!("strongroom_store_seconds", "backend" => backend),
            fork_guard: ForkGuard::new(),
        }
    }

    #[inline]
    pub(crate) fn count(&self, event: Count) {
        let counter = match event {
            Count::Hit => &self.hits,
            Count::Miss => &self.misses,
            Count::Coalesced => &self.coalesced,
            Count::Refresh => &self.refreshes,
            Count::Stale => &self.stale,
        };
        counter.increment(1);
    }

    /// Makes a request to the store, unless this process was forked after it was opened: times the request, counts
    /// its error, and turns a panic of the backend into one.
    pub(crate) async fn call<T, F: Future<Output = Result<T, Error>>>(
        &self,
        request: impl FnOnce() -> F,
    ) -> Result<T, Error> {
        let mut timer = RequestTimer { metrics: self, start: Instant::now(), is_complete: false };
        let request = AssertUnwindSafe(async {
            self.fork_guard.check()?;
            request().await
        });
        let result = request.catch_unwind().await.unwrap_or_else(|_| Err(panicked()));
        timer.is_complete = true;
        drop(timer);
        if let Err(error) = &result {
            self.count_error(error);
        }
        result
    }

    /// Counts an error of the store by its kind.
    pub(crate) fn count_error(&self, error: &Error) {
        self.count_kind(error.kind().phrase());
    }

    fn count_kind(&self, kind: &'static str) {
        counter!("strongroom_errors_total", "backend" => self.backend, "kind" => kind).increment(1);
    }
}

/// A request in progress. If its future is dropped, it counts as given up.
struct RequestTimer<'a> {
    metrics: &'a StoreMetrics,
    start: Instant,
    is_complete: bool,
}

impl Drop for RequestTimer<'_> {
    fn drop(&mut self) {
        self.metrics.latency.record(self.start.elapsed());
        if !self.is_complete {
            self.metrics.count_kind("given up");
        }
    }
}

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreMetrics(..)")
    }
}
