//! Changes, which can take several requests: each is made by a task that goes on if the caller goes
//! away meanwhile, and that `close` waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::client::Client;

/// How many changes are under way.
#[derive(Default)]
pub(crate) struct Changes {
    count: AtomicUsize,
    ended: Notify,
}

/// A change under way, until it is dropped. What was remembered of the secret is forgotten before
/// and after, since reads go on meanwhile.
struct UnderWay {
    client: Arc<Client>,
    path: SecretPath,
}

impl UnderWay {
    fn new(client: &Arc<Client>, path: &SecretPath) -> Self {
        client.changes.count.fetch_add(1, Ordering::SeqCst);
        client.known.forget(path);
        Self { client: Arc::clone(client), path: path.clone() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.client.known.forget(&self.path);
        self.client.changes.count.fetch_sub(1, Ordering::SeqCst);
        self.client.changes.ended.notify_waiters();
    }
}

impl Changes {
    /// Waits until none is under way, for so long at most.
    pub(crate) async fn end_within(&self, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            let ended = self.ended.notified();
            if self.count.load(Ordering::SeqCst) == 0 || timeout_at(end, ended).await.is_err() {
                return;
            }
        }
    }
}

impl Client {
    /// Runs a change in a task of its own.
    pub(crate) async fn change<T, F>(
        self: &Arc<Self>,
        path: &SecretPath,
        work: impl FnOnce(Arc<Self>, SecretPath) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let under_way = UnderWay::new(self, path);
        // Whoever closes either sees this change or is seen by it.
        self.ensure_open()?;
        let work = work(Arc::clone(self), path.clone());
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let result = work.await;
            let path = under_way.path.clone();
            drop(under_way);
            if let Err(Err(error)) = sender.send(result) {
                tracing::warn!(%error, %path, "a change failed after its caller had gone");
            }
        });
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "read the secret to see whether it was written")
                .because("the task that writes was stopped"))
        })
    }
}
