//! Runs each write in a task of its own: it goes on if its caller is dropped, and `close` waits for
//! it.

use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::client::Client;

/// A write in progress, until it is dropped. It invalidates the cached metadata of the secret before
/// and after the write, because reads go on meanwhile.
struct WriteGuard {
    client: Arc<Client>,
    path: SecretPath,
    /// Fields are dropped last: `close` goes on after the invalidation.
    _token: TaskTrackerToken,
}

impl WriteGuard {
    fn new(client: &Arc<Client>, path: &SecretPath) -> Self {
        let token = client.writes.token();
        client.metadata_cache.invalidate(path);
        Self { client: Arc::clone(client), path: path.clone(), _token: token }
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.client.metadata_cache.invalidate(&self.path);
    }
}

impl Client {
    /// Runs `work` in a task of its own.
    pub(crate) async fn write<T, F>(
        self: &Arc<Self>,
        path: &SecretPath,
        work: impl FnOnce(Arc<Self>, SecretPath) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let guard = WriteGuard::new(self, path);
        // The guard registers the write first: a concurrent `close` waits for it, or this check
        // fails.
        self.ensure_open()?;
        let work = work(Arc::clone(self), path.clone());
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let result = work.await;
            let path = guard.path.clone();
            drop(guard);
            if let Err(Err(error)) = sender.send(result) {
                tracing::warn!(%error, %path, "a write failed after its caller was dropped");
            }
        });
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "read the secret to see whether it was written")
                .because("the task that writes was stopped"))
        })
    }
}
