//! Writes and the cache: a read after a write through this manager gives what was written.

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::shared::Shared;

/// A write of one secret under way. When it ends, the cache forgets the secret, and keeps no read that began before.
pub(crate) struct WriteGuard<'a> {
    shared: &'a Shared,
    path: &'a SecretPath,
    end: End,
}

/// How a write ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The store has made the change, or refused it.
    Certain,
    /// The write was dropped, or the store gave no answer: the store may still make the change.
    Uncertain,
}

impl<'a> WriteGuard<'a> {
    pub(crate) fn new(shared: &'a Shared, path: &'a SecretPath) -> Self {
        Self { shared, path, end: End::Uncertain }
    }

    /// Waits for the store.
    pub(crate) async fn run<T, F: Future<Output = Result<T>>>(
        mut self,
        write: impl FnOnce() -> F,
    ) -> Result<T> {
        let result = self.shared.metrics.call(write).await;
        if result.as_ref().err().is_none_or(is_refusal) {
            self.end = End::Certain;
        }
        result
    }

    /// Waits for the store to begin a change that it may make later.
    pub(crate) async fn start<T, F: Future<Output = Result<T>>>(
        self,
        write: impl FnOnce() -> F,
    ) -> Result<T> {
        self.shared.metrics.call(write).await
    }
}

/// Whether an error says that the store has written nothing.
fn is_refusal(error: &Error) -> bool {
    !error.is_temporary() && error.kind() != ErrorKind::Internal
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if let Some(cache) = &self.shared.cache {
            match self.end {
                End::Certain => cache.invalidate(self.path),
                End::Uncertain => cache.set_uncertain(self.path),
            }
        }
        self.shared.watches.notify(self.path);
    }
}
