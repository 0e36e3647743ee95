//! A log in a SQLite file. A batch of rows is one transaction with one sync to disk.

mod error;
mod file;
mod query;
mod schema;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use strongroom_core::{ForkGuard, Result};

use self::error::from_sqlite;
use self::file::OpenedFiles;
pub(crate) use self::file::is_missing;
use self::query::{Query, row_before, rows_after, unreadable};
use self::schema::FileContent;
use super::block::Page;
use super::error::{bad_append, corrupt};
use super::{Appended, Head, LogStore, Record, RecordFilter, Row, RowMac, check_append};

/// A log in one file, which several processes may append to.
pub(crate) struct SqliteLog {
    connection: Connection,
    files: OpenedFiles,
    fork_guard: ForkGuard,
    /// `PRAGMA data_version` at the last call of `changed`.
    data_version: i64,
}

impl SqliteLog {
    /// Opens the log at `path`; with `create` also one that does not exist.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) if the file is not a log, a link, or open to other users;
    /// [`NotFound`](strongroom_core::ErrorKind::NotFound) without `create`;
    /// [`Corrupt`](strongroom_core::ErrorKind::Corrupt), [`Unsupported`](strongroom_core::ErrorKind::Unsupported) if
    /// a newer release wrote it, [`Unavailable`](strongroom_core::ErrorKind::Unavailable).
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self> {
        let path = file::resolve(path)?;
        if file::is_empty(&path) {
            if !create {
                return Err(file::missing(&path));
            }
            file::create(&path)?;
        }
        file::check(&path)?;
        let mut connection = schema::connect(&path)?;
        if schema::identify(&connection, &path)? == FileContent::Empty {
            if !create {
                return Err(file::missing(&path));
            }
            schema::initialize(&mut connection, &path)?;
        }
        schema::use_write_ahead_log(&connection, &path)?;
        let data_version = data_version(&connection)?;
        let files = OpenedFiles::new(&path)?;
        schema::set_lock_wait(&mut connection, schema::LOCK_WAIT).map_err(from_sqlite)?;
        Ok(Self { connection, files, fork_guard: ForkGuard::new(), data_version })
    }

    /// Waits for the write lock of another process for at most so long, and never for over 2 seconds.
    pub(crate) fn limit_lock_wait(mut self, wait: Duration) -> Result<Self> {
        let wait = wait.min(schema::LOCK_WAIT);
        schema::set_lock_wait(&mut self.connection, wait).map_err(from_sqlite)?;
        Ok(self)
    }

    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Fails in a forked child, and if the file was removed or replaced.
    fn check(&self) -> Result<()> {
        self.fork_guard.check()?;
        self.files.check()
    }
}

impl LogStore for SqliteLog {
    fn head(&mut self) -> Result<Head> {
        self.check()?;
        let snapshot = self.connection.transaction().map_err(from_sqlite)?;
        let (log_id, first, before_first) = snapshot
            .query_row("SELECT log_id, first, before_first FROM log", [], |row| {
                Ok((row.get(0)?, row.get::<_, u64>(1)?, row.get(2)?))
            })
            .optional()
            .map_err(from_sqlite)?
            .ok_or_else(|| corrupt("the table `log` of the audit log is empty"))?;
        let smallest: Option<i64> = snapshot
            .query_row("SELECT min(seq) FROM rows", [], |row| row.get(0))
            .map_err(from_sqlite)?;
        let last = match smallest {
            Some(smallest) if u64::try_from(smallest) == Ok(first) => {
                row_before(&snapshot, u64::MAX)?.as_ref().map(Row::tail)
            }
            None if first == 1 => None,
            Some(smallest) => {
                return Err(corrupt(format!(
                    "the audit log begins with row {smallest}, but must begin with row {first}: its beginning was \
                     cut off or altered"
                )));
            }
            // A prune keeps at least its own row.
            None => return Err(corrupt("all rows of the audit log are missing")),
        };
        Ok(Head { log_id, first, before_first, last })
    }

    fn rows_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        self.check()?;
        rows_after(&self.connection, false, seq, limit)
    }

    fn rules_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        self.check()?;
        rows_after(&self.connection, true, seq, limit)
    }

    fn row_with(&mut self, seq: u64) -> Result<Option<Row>> {
        self.check()?;
        Ok(row_before(&self.connection, seq)?.filter(|row| row.last() >= seq))
    }

    fn records_between(
        &mut self,
        after: u64,
        last: u64,
        limit: usize,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>> {
        self.check()?;
        let mut page = Page::new(after, last, limit, filter);
        Query::new(after, last, filter).run(&self.connection, &mut page)?;
        Ok(page.records)
    }

    fn mac_of(&mut self, seq: u64) -> Result<Option<RowMac>> {
        self.check()?;
        mac_of(&self.connection, seq)
    }

    fn append(&mut self, after: u64, rows: &[Row], prune_before: Option<u64>) -> Result<Appended> {
        check_append(after, rows, prune_before)?;
        self.check()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(from_sqlite)?;
        if last_seq(&transaction)? != after {
            return Ok(Appended::Moved);
        }
        insert(&transaction, rows)?;
        if let Some(before) = prune_before {
            prune(&transaction, before)?;
        }
        // The file may have been replaced while this waited for the lock.
        self.files.check()?;
        transaction.commit().map_err(from_sqlite)?;
        Ok(Appended::Done)
    }

    fn changed(&mut self) -> Result<bool> {
        self.check()?;
        let now = data_version(&self.connection)?;
        Ok(std::mem::replace(&mut self.data_version, now) != now)
    }

    fn check_indexes(&mut self) -> Result<()> {
        self.check()?;
        let outcome: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(from_sqlite)?;
        if outcome == "ok" {
            return Ok(());
        }
        Err(corrupt("an index of the audit log does not agree with its rows"))
    }
}

/// Changes when another connection has committed.
fn data_version(connection: &Connection) -> Result<i64> {
    let mut statement = connection.prepare_cached("PRAGMA data_version").map_err(from_sqlite)?;
    statement.query_row([], |row| row.get(0)).map_err(from_sqlite)
}

fn first_seq(connection: &Connection) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT first FROM log").map_err(from_sqlite)?;
    statement.query_row([], |row| row.get(0)).map_err(from_sqlite)
}

fn last_seq(connection: &Connection) -> Result<u64> {
    let mut statement = connection
        .prepare_cached("SELECT seq + records - 1 FROM rows ORDER BY seq DESC LIMIT 1")
        .map_err(from_sqlite)?;
    let last = statement.query_row([], |row| row.get(0)).optional().map_err(from_sqlite)?;
    match last {
        Some(last) => Ok(last),
        None => Ok(first_seq(connection)?.saturating_sub(1)),
    }
}

fn mac_of(connection: &Connection, seq: u64) -> Result<Option<RowMac>> {
    // The second part answers for the row before the first.
    let mut statement = connection
        .prepare_cached(
            "SELECT mac FROM rows \
             WHERE seq = (SELECT max(seq) FROM rows WHERE seq <= ?1) AND seq + records - 1 = ?1 \
             UNION ALL SELECT before_first FROM log WHERE first = ?1 + 1 LIMIT 1",
        )
        .map_err(from_sqlite)?;
    let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
    statement.query_row([seq], |row| row.get(0)).optional().map_err(|error| unreadable(seq, error))
}

fn insert(transaction: &Transaction<'_>, rows: &[Row]) -> Result<()> {
    let mut statement = transaction
        .prepare_cached(
            "INSERT INTO rows (seq, records, time, event, tenant, principal, path, body, last_rule, is_rule, mac) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .map_err(from_sqlite)?;
    for row in rows {
        let Row { seq, records, time, event, tenant, principal, path, .. } = row;
        let Row { body, last_rule, is_rule, mac, .. } = row;
        let values = rusqlite::params![
            seq, records, time, event, tenant, principal, path, body, last_rule, is_rule, mac
        ];
        statement.execute(values).map_err(from_sqlite)?;
    }
    Ok(())
}

fn prune(transaction: &Transaction<'_>, before: u64) -> Result<()> {
    if before < first_seq(transaction)? {
        return Err(bad_append());
    }
    let before_first = mac_of(transaction, before.saturating_sub(1))?.ok_or_else(bad_append)?;
    let update = "UPDATE log SET first = ?1, before_first = ?2";
    transaction
        .execute(update, (before, before_first))
        .and_then(|_| transaction.execute("DELETE FROM rows WHERE seq < ?1", [before]))
        .map(drop)
        .map_err(from_sqlite)
}

/// How SQLite would read the records that match.
#[cfg(test)]
pub(super) fn explain(log: &mut SqliteLog, filter: &RecordFilter) -> String {
    Query::new(0, 9, filter).explain(&log.connection).unwrap_or_default()
}
