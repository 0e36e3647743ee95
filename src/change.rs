//! Writes and the cache: what was written through this manager is what its next read gives.

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::manager::Shared;

/// A change of one secret under way. When it ends, the cache forgets the secret, also to those who
/// began to read it before.
pub(crate) struct Change<'a> {
    shared: &'a Shared,
    path: &'a SecretPath,
    end: End,
}

/// What is known of how a change ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The store has made it, or refused it.
    Settled,
    /// It was given up, or the store did not say: it may still be made.
    Unknown,
}

impl<'a> Change<'a> {
    pub(crate) fn of(shared: &'a Shared, path: &'a SecretPath) -> Self {
        Self { shared, path, end: End::Unknown }
    }

    /// Waits for the store.
    pub(crate) async fn settle<T>(mut self, change: impl Future<Output = Result<T>>) -> Result<T> {
        let result = self.shared.numbers.time(change).await;
        if result.as_ref().err().is_none_or(is_refusal) {
            self.end = End::Settled;
        }
        result
    }

    /// The same for a change that the store begins now and may make later.
    pub(crate) async fn begin<T>(self, change: impl Future<Output = Result<T>>) -> Result<T> {
        self.shared.numbers.time(change).await
    }
}

/// Whether an error says that nothing will be written.
fn is_refusal(error: &Error) -> bool {
    !error.is_temporary() && error.kind() != ErrorKind::Internal
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if let Some(cache) = &self.shared.cache {
            match self.end {
                End::Settled => cache.invalidate(self.path),
                End::Unknown => cache.unsettle(self.path),
            }
        }
        self.shared.watches.ring(self.path);
    }
}
