//! An anchor in another store, and what this process knows of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result, Version};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::anchor_store::AnchorStore;
use crate::settings::ANCHOR_SECRET;

/// The shortest time between two updates.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// An anchor in another store. Its calls block: threads of the store make them, and no reads.
pub(crate) struct StoredAnchor {
    store: Arc<dyn AnchorStore>,
    known: Mutex<Option<Known>>,
}

/// The anchor with the highest number that this process has read or written. It is authentic.
struct Known {
    number: u64,
    bytes: Vec<u8>,
}

/// What the other store had.
pub(crate) struct Fetched {
    anchor: Option<(Vec<u8>, Version)>,
    limit: Duration,
}

impl Fetched {
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.anchor.as_ref().map(|(bytes, _)| bytes.as_slice())
    }
}

impl StoredAnchor {
    pub(super) fn new(store: &Arc<dyn AnchorStore>) -> Self {
        Self { store: Arc::clone(store), known: Mutex::default() }
    }

    pub(super) fn name(&self) -> &str {
        self.store.name()
    }

    /// How long two updates are apart at least.
    pub(crate) fn interval(&self) -> Duration {
        self.store.interval().max(MIN_INTERVAL)
    }

    fn lock_known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The anchor that this process has last read or written.
    pub(super) fn known(&self) -> Option<Vec<u8>> {
        self.lock_known().as_ref().map(|known| known.bytes.clone())
    }

    pub(super) fn remember(&self, number: u64, bytes: &[u8]) {
        let mut known = self.lock_known();
        if known.as_ref().is_none_or(|known| known.number <= number) {
            *known = Some(Known { number, bytes: bytes.to_vec() });
        }
    }

    /// Reads the anchor, within `limit`.
    pub(crate) fn fetch(&self, limit: Duration) -> Result<Fetched> {
        let anchor = self.wait(limit, "read", self.store.read())?;
        Ok(Fetched { anchor, limit })
    }

    /// Writes the anchor, unless another process has written it since it was fetched. Returns whether it did.
    pub(super) fn write(&self, fetched: &mut Fetched, bytes: &[u8]) -> Result<bool> {
        let over = fetched.anchor.as_ref().map(|(_, version)| version);
        let written = self.wait(fetched.limit, "written", self.store.write(bytes, over))?;
        let Some(version) = written else { return Ok(false) };
        fetched.anchor = Some((bytes.to_vec(), version));
        Ok(true)
    }

    /// Waits for the other store, on a thread that blocks. The runtime is one of its own: that of the caller may end, or not
    /// run meanwhile.
    fn wait<T>(
        &self,
        limit: Duration,
        action: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| {
            Error::new(ErrorKind::Unavailable, "raise the limits on open files and threads")
                .because("no runtime could be started to ask for the anchor")
        })?;
        let outcome = runtime.block_on(async { timeout(limit, call).await });
        // A look-up of a name may still run: it must not delay this thread.
        runtime.shutdown_background();
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => Error::new(ErrorKind::Timeout, "try again; check that store").because(
                format!("the store of the anchor did not answer within {} s", limit.as_secs()),
            ),
        };
        Err(self.name_anchor(action, &error))
    }

    /// An error of the other store, in words of this one. Its kind stays, except that `NotFound` would say that this store
    /// is missing.
    fn name_anchor(&self, action: &str, error: &Error) -> Error {
        let name = self.name();
        if !error.problems().is_empty() {
            let named = |problem| format!("`{ANCHOR_SECRET}`: {name}: {problem}");
            return Error::config(error.problems().iter().map(named).collect());
        }
        let cause = format!("the anchor {name} could not be {action}: {}", error.cause());
        if error.kind() == ErrorKind::NotFound {
            return Error::config(vec![format!("`{ANCHOR_SECRET}`: {cause}; {}", error.advice())]);
        }
        let named = Error::new(error.kind(), error.advice().to_owned())
            .because(cause)
            .temporary(error.is_temporary());
        match error.retry_after() {
            Some(after) => named.with_retry_after(after),
            None => named,
        }
    }
}
