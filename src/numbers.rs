//! Numbers for operators, through the facade crate `metrics`; without its feature they cost nothing.
//!
//! No label names a path.

use strongroom_core::{BackendInfo, Error};

#[cfg(feature = "metrics")]
pub(crate) use counted::Numbers;
#[cfg(not(feature = "metrics"))]
pub(crate) use uncounted::Numbers;

/// What is counted once for each occurrence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// A read that the cache answered.
    Hit,
    /// A read that it could not answer.
    Miss,
    /// A read that waited for another's.
    Coalesced,
    /// A refresh in the background.
    Refresh,
    /// A read that was answered with a stale copy.
    Stale,
}

#[cfg(feature = "metrics")]
mod counted {
    use std::fmt;
    use std::time::Instant;

    use metrics::{Counter, Histogram, counter, histogram};

    use super::{BackendInfo, Count, Error};

    /// Counters of one store, taken from the recorder that is installed when the store is opened.
    pub(crate) struct Numbers {
        backend: &'static str,
        hits: Counter,
        misses: Counter,
        coalesced: Counter,
        refreshes: Counter,
        stale: Counter,
        latency: Histogram,
    }

    impl Numbers {
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
            }
        }

        #[inline]
        pub(crate) fn count(&self, what: Count) {
            let counter = match what {
                Count::Hit => &self.hits,
                Count::Miss => &self.misses,
                Count::Coalesced => &self.coalesced,
                Count::Refresh => &self.refreshes,
                Count::Stale => &self.stale,
            };
            counter.increment(1);
        }

        /// Times a request to the store and counts its error.
        pub(crate) async fn time<T>(
            &self,
            request: impl Future<Output = Result<T, Error>>,
        ) -> Result<T, Error> {
            let mut timed = Timed { numbers: self, start: Instant::now(), is_answered: false };
            let result = request.await;
            timed.is_answered = true;
            drop(timed);
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
            counter!("strongroom_errors_total", "backend" => self.backend, "kind" => kind)
                .increment(1);
        }
    }

    /// A request under way, which may be given up.
    struct Timed<'a> {
        numbers: &'a Numbers,
        start: Instant,
        is_answered: bool,
    }

    impl Drop for Timed<'_> {
        fn drop(&mut self) {
            self.numbers.latency.record(self.start.elapsed());
            if !self.is_answered {
                self.numbers.count_kind("given up");
            }
        }
    }

    impl fmt::Debug for Numbers {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Numbers(..)")
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod uncounted {
    use super::{BackendInfo, Count, Error};

    #[derive(Debug)]
    pub(crate) struct Numbers;

    #[expect(clippy::unused_self, reason = "it is called like the one that counts")]
    impl Numbers {
        pub(crate) fn new(_: &BackendInfo) -> Self {
            Self
        }

        #[inline]
        pub(crate) fn count(&self, _: Count) {}

        pub(crate) async fn time<T>(
            &self,
            request: impl Future<Output = Result<T, Error>>,
        ) -> Result<T, Error> {
            request.await
        }

        pub(crate) fn count_error(&self, _: &Error) {}
    }
}
