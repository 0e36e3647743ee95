//! A connection that has logged in.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Client, Connection, Error};

use crate::guarded_stream::GuardedStream;

/// How long a server may take to close a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection. When it is dropped, the server rolls back what was not committed.
pub struct Session {
    /// The driver's client.
    pub client: Client,
    /// Reads and writes for the client until it is dropped.
    task: JoinSet<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new<S>(client: Client, connection: Connection<GuardedStream, S>) -> Self
    where
        S: TlsStream + Send + Unpin + 'static,
    {
        let mut task = JoinSet::new();
        task.spawn(async move {
            // The client returns the error to the caller that waits for an answer.
            drop(connection.await);
        });
        Self { client, task }
    }

    /// Whether the server is a standby.
    ///
    /// # Errors
    /// Those of the statement.
    pub async fn is_standby(&self) -> Result<bool, Error> {
        let ask = "SELECT pg_catalog.pg_is_in_recovery()";
        self.client.query_typed_one(ask, &[]).await?.try_get(0)
    }

    /// Closes the connection in order, so that no server logs a broken one.
    pub async fn close(mut self) {
        drop(self.client);
        // If the server does not answer in time, the task is dropped.
        let _ = timeout(CLOSE_TIMEOUT, self.task.join_next()).await;
    }
}
