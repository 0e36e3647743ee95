//! Runs calls to the database on a thread that may block.

use std::time::Instant;

use strongroom_core::{Error, ErrorKind, Result};
use strongroom_postgres::Failure;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::error::from_failure;

/// A runtime of its own, for a thread without one.
pub(super) struct Blocking {
    runtime: Option<Runtime>,
}

impl Blocking {
    pub(super) fn new() -> Result<Self> {
        if Handle::try_current().is_ok() {
            return Err(inside_runtime());
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| {
            Error::new(ErrorKind::Unavailable, "raise the limits on open files and threads")
                .because("no runtime could be started for the store's database")
        })?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs a call until a deadline, after which it is dropped.
    pub(super) fn run<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(runtime) = &self.runtime else { return Err(Error::backend_closed()) };
        if Handle::try_current().is_ok() {
            return Err(inside_runtime());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Boxed, since the futures of a connection are large.
        let call = Box::pin(call);
        runtime
            .block_on(async { timeout(left, call).await })
            .unwrap_or_else(|_| Err(from_failure(&Failure::TimedOut)))
    }
}

impl Blocking {
    /// Lets tasks of the runtime end that were dropped, as no call drives it meanwhile.
    pub(super) fn turn(&self) {
        if let Some(runtime) = &self.runtime
            && Handle::try_current().is_err()
        {
            runtime.block_on(async {
                for _ in 0..3 {
                    yield_now().await;
                }
            });
        }
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        // Also where blocking is not allowed. A server that does not answer keeps no thread waiting.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn inside_runtime() -> Error {
    Error::new(ErrorKind::Internal, "report this")
        .because("the store's database was used on a thread of an async runtime")
}
