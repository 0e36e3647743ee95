//! A log in a PostgreSQL database (14 to 18), which several hosts share. A batch of rows is one transaction.
//!
//! Calls block for a bounded time. A connection that breaks is opened again by the next call.

mod append;
mod connection;
mod error;
mod query;
mod schema;

use std::time::{Duration, Instant};

use strongroom_core::{Error, ErrorKind, ForkGuard, Problems, Result};

use self::connection::{Expect, LogConnection};
use self::schema::Content;
use super::block::Page;
use super::location::DatabaseLocation;
use super::{Appended, Head, LogId, LogStore, Record, RecordFilter, Row, RowMac, check_append};

/// Adds a problem if the URL cannot be used.
pub(crate) fn check_url(database: &DatabaseLocation, problems: &mut Problems) {
    connection::parse_url(database, problems);
}

/// A log in one database, which several hosts may append to.
pub(crate) struct PostgresLog {
    /// `None` once it is closed.
    connection: Option<LogConnection>,
    fork_guard: ForkGuard,
    /// The log, and the last record of it that this handle knows of.
    seen: (LogId, u64),
}

impl PostgresLog {
    /// Opens the log in a database; with `create` also one that does not exist.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for the URL, the certificates or the database;
    /// [`NotFound`](ErrorKind::NotFound) without `create`; [`Corrupt`](ErrorKind::Corrupt);
    /// [`Unsupported`](ErrorKind::Unsupported) if a newer release wrote it;
    /// [`Unauthenticated`](ErrorKind::Unauthenticated), [`Denied`](ErrorKind::Denied),
    /// [`Unavailable`](ErrorKind::Unavailable), [`Timeout`](ErrorKind::Timeout).
    pub(crate) fn open(database: &DatabaseLocation, create: bool) -> Result<Self> {
        let mut log = Self::connect(database)?;
        if log.content()? != Content::Log {
            if !create {
                return Err(missing());
            }
            log.initialize()?;
        }
        let seen = log.call(&async |log| {
            schema::check(&log.session).await?;
            log.state().await
        })?;
        log.seen = seen;
        Ok(log)
    }

    /// Whether the database has no log.
    pub(crate) fn is_vacant(database: &DatabaseLocation) -> Result<bool> {
        Ok(Self::connect(database)?.content()? != Content::Log)
    }

    /// Creates the log, unless there is one. Returns whether this did.
    pub(crate) fn create(database: &DatabaseLocation) -> Result<bool> {
        Self::connect(database)?.initialize()
    }

    /// Limits how long a call takes.
    pub(crate) fn limit_wait(mut self, wait: Duration) -> Result<Self> {
        self.connection()?.limit_wait(wait)?;
        Ok(self)
    }

    fn connect(database: &DatabaseLocation) -> Result<Self> {
        let connection = Some(LogConnection::new(database)?);
        Ok(Self { connection, fork_guard: ForkGuard::new(), seen: (LogId::default(), 0) })
    }

    fn content(&mut self) -> Result<Content> {
        let connection = self.connection()?;
        connection.call(Expect::Nothing, &async |log| schema::identify(&log.session).await)
    }

    fn initialize(&mut self) -> Result<bool> {
        let connection = self.connection()?;
        let deadline = Instant::now() + connection.wait();
        let create = async |log: &connection::LogSession| schema::create(&log.session).await;
        Ok(connection.call_once(Expect::Nothing, deadline, create)?)
    }

    /// The connection. Fails in a forked child, which shares it with its parent.
    fn connection(&mut self) -> Result<&mut LogConnection> {
        self.fork_guard.check()?;
        self.connection.as_mut().ok_or_else(crate::access::closed_error)
    }

    fn call<T>(
        &mut self,
        run: &impl AsyncFn(&connection::LogSession) -> Result<T, error::CallError>,
    ) -> Result<T> {
        self.connection()?.call(Expect::Log, run)
    }
}

impl Drop for PostgresLog {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.fork_guard.check().is_err() {
            // Closing would end the connection of the parent process, or its registration with the kernel.
            std::mem::forget(connection);
        } else {
            connection.close();
        }
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "check the database, or open it with `create`")
        .because("there is no audit log in the database")
}

impl LogStore for PostgresLog {
    fn head(&mut self) -> Result<Head> {
        self.call(&async |log| query::head(&log.session).await)
    }

    fn rows_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        self.call(&async |log| query::rows_after(&log.session, false, seq, limit).await)
    }

    fn rules_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        self.call(&async |log| query::rows_after(&log.session, true, seq, limit).await)
    }

    fn row_with(&mut self, seq: u64) -> Result<Option<Row>> {
        let row = self.call(&async |log| query::row_before(&log.session, seq).await)?;
        Ok(row.filter(|row| row.last() >= seq))
    }

    fn records_between(
        &mut self,
        after: u64,
        last: u64,
        limit: usize,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>> {
        self.call(&async |log| {
            let mut page = Page::new(after, last, limit, filter);
            query::fill(&log.session, after, last, filter, &mut page).await?;
            Ok(page.records)
        })
    }

    fn mac_of(&mut self, seq: u64) -> Result<Option<RowMac>> {
        self.call(&async |log| query::mac_of(&log.session, seq).await)
    }

    fn append(&mut self, after: u64, rows: &[Row], prune_before: Option<u64>) -> Result<Appended> {
        check_append(after, rows, prune_before)?;
        let appended = append::append(self.connection()?, after, rows, prune_before)?;
        if let (Appended::Done, Some(last)) = (appended, rows.last())
            && self.seen.1 == after
        {
            self.seen.1 = last.last();
        }
        Ok(appended)
    }

    fn changed(&mut self) -> Result<bool> {
        let now = self.call(&async |log| log.state().await)?;
        Ok(std::mem::replace(&mut self.seen, now) != now)
    }

    fn check_indexes(&mut self) -> Result<()> {
        self.call(&async |log| {
            schema::check(&log.session).await?;
            schema::check_indexes(&log.session).await
        })
    }
}
