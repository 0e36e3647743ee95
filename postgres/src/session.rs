//! A connection that has logged in.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Notification};

use crate::guarded_stream::GuardedStream;

/// How many notifications wait at most, of up to 8 kB each.
const MAX_NOTIFICATIONS: usize = 256;
/// How long a server may take to close a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection. When it is dropped, the server rolls back what was not committed.
pub struct Session {
    /// The driver's client.
    pub client: Client,
    /// Reads and writes for the client until it is dropped.
    task: JoinSet<()>,
    /// What the server sends after `LISTEN`. It ends with the connection.
    notifications: mpsc::Receiver<Notification>,
}

/// The process of the server that serves a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerProcess {
    id: i32,
    /// When it started, in microseconds since 1970: ids are used again.
    started: i64,
}

/// How long the server waits for this process, and for others, before it gives up.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// How long a statement may take.
    pub statement: Duration,
    /// How long a statement waits for a lock.
    pub lock: Duration,
    /// How long a transaction waits for its next statement.
    pub idle_in_transaction: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new<S>(client: Client, mut connection: Connection<GuardedStream, S>) -> Self
    where
        S: TlsStream + Send + Unpin + 'static,
    {
        let mut task = JoinSet::new();
        let (sender, notifications) = mpsc::channel(MAX_NOTIFICATIONS);
        task.spawn(async move {
            // The client returns an error to the caller that waits for an answer. Notices are dropped: they may quote
            // a statement.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    // Fails if the session is being closed, or too many wait.
                    let _ = sender.try_send(notification);
                }
            }
        });
        Self { client, task, notifications }
    }

    /// A notification that was received already. Those that are too many for the receiver are lost.
    pub fn waiting_notification(&mut self) -> Option<Notification> {
        self.notifications.try_recv().ok()
    }

    /// Waits for a notification after `LISTEN`; `None` once the connection has ended.
    pub async fn notification(&mut self) -> Option<Notification> {
        self.notifications.recv().await
    }

    /// Sets a session up.
    ///
    /// - No function of another schema stands in for one of the server's own.
    /// - READ COMMITTED makes each statement see what was committed before it.
    /// - The server gives up before this process does, which then knows that nothing was written.
    /// - A commit is on disk before it is acknowledged; a setting that waits for standbys as well stays.
    ///
    /// # Errors
    /// Those of the statements.
    pub async fn set_up(&self, limits: SessionLimits) -> Result<(), Error> {
        let SessionLimits { statement, lock, idle_in_transaction } = limits;
        let settings = format!(
            "SET search_path = pg_catalog, pg_temp; \
             SET client_min_messages = error; \
             SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
             SET statement_timeout = {}; \
             SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')",
            statement.as_millis(),
            lock.as_millis(),
            idle_in_transaction.as_millis()
        );
        self.client.batch_execute(&settings).await
    }

    /// The process that serves this session.
    ///
    /// # Errors
    /// Those of the statement.
    pub async fn process(&self) -> Result<ServerProcess, Error> {
        let process = "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint \
                       FROM pg_stat_get_activity(pg_backend_pid())";
        let row = self.client.query_typed_one(process, &[]).await?;
        Ok(ServerProcess { id: row.try_get(0)?, started: row.try_get(1)? })
    }

    /// Ends the process of an earlier session, unless it has ended. Returns whether it has: then what it was doing is
    /// either committed or never will be.
    ///
    /// One that waits for a synchronous standby has committed already, and goes on waiting.
    ///
    /// # Errors
    /// Those of the statement.
    pub async fn end_process(&self, process: ServerProcess, wait: Duration) -> Result<bool, Error> {
        let end = "SELECT CASE WHEN wait_event = 'SyncRep' THEN false ELSE pg_terminate_backend(pid, $3) END \
                   FROM pg_stat_get_activity($1) \
                   WHERE (extract(epoch FROM backend_start) * 1000000)::bigint = $2";
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&process.id, Type::INT4), (&process.started, Type::INT8), (&wait, Type::INT8)];
        let row = self.client.query_typed_opt(end, &values).await?;
        Ok(row.is_none_or(|row| row.try_get(0).unwrap_or(false)))
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
