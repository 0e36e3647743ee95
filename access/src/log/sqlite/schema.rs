//! The tables of a log, and the configuration of its connection.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use strongroom_core::{Error, ErrorKind, Result};

use super::error::from_sqlite;
use super::file::{FOREIGN, path_error};
use crate::log::error::corrupt;
use crate::log::{START, memory};

/// `SRAL` in ASCII: marks a SQLite file as an audit log of Strongroom (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5352_414c;
/// The schema version that this release reads and writes (`PRAGMA user_version`).
const SCHEMA: i32 = 1;
/// How long a statement waits for a lock while the log is being opened.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// How long a write waits for the write lock of another process. The thread that writes also follows the log, so this
/// is shorter than the time for which rules may be used.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How much of the database a connection keeps in memory; negative values are KiB (`PRAGMA cache_size`).
const CACHE_KIB: i32 = -16 * 1024;
/// How many pages of 4 KiB the write-ahead log has before it is copied into the database.
const CHECKPOINT_PAGES: i32 = 4096;

const TABLES: &str = "
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    log_id BLOB NOT NULL,
    first INTEGER NOT NULL,
    before_first BLOB NOT NULL
) STRICT;
CREATE TABLE rows (
    seq INTEGER PRIMARY KEY,
    records INTEGER NOT NULL,
    time INTEGER NOT NULL,
    event TEXT NOT NULL,
    tenant TEXT,
    principal TEXT NOT NULL,
    path TEXT,
    body BLOB NOT NULL,
    last_rule INTEGER NOT NULL,
    is_rule INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE INDEX rows_by_path ON rows (tenant, path, seq);
CREATE INDEX rows_by_principal ON rows (tenant, principal, seq);
CREATE INDEX blocks ON rows (tenant, seq) WHERE records > 1;
CREATE INDEX rule_rows ON rows (seq) WHERE is_rule = 1;
";

/// Opens an existing file. Every commit is on disk before it returns.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let open = || {
        let mut connection = Connection::open_with_flags(path, flags)?;
        configure(&mut connection)?;
        Ok(connection)
    };
    open().map_err(|error| connect_error(path, error))
}

/// Maps an error of the first statements on a file, which show whether SQLite can read it at all.
fn connect_error(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => path_error(path, FOREIGN),
        _ => from_sqlite(error),
    }
}

fn configure(connection: &mut Connection) -> rusqlite::Result<()> {
    for (option, on) in [
        // A plan that does not depend on bound values: SQLite never plans a statement again.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
        // An attacker may have edited the file: run no code of its schema, keep its pages consistent.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
    ] {
        connection.set_db_config(option, on)?;
    }
    set_lock_wait(connection, OPEN_WAIT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A batch of 10,000 rows stays in memory until it is committed, and the pages that every batch changes are copied
    // from the write-ahead log into the database once in 16 MiB.
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // Pruned rows leave nothing behind.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Sets how long statements wait while another process holds a lock.
pub(super) fn set_lock_wait(connection: &mut Connection, wait: Duration) -> rusqlite::Result<()> {
    let mut started = Instant::now();
    connection.busy_handler(Some(move |attempt| wait_for_lock(attempt, &mut started, wait)))
}

/// Short sleeps of 100 to 500 µs: SQLite's own handler backs off to 100 ms and starves writers.
fn wait_for_lock(attempt: i32, started: &mut Instant, wait: Duration) -> bool {
    if attempt == 0 {
        *started = Instant::now();
    }
    if started.elapsed() >= wait {
        return false;
    }
    let micros = 100 + 100 * u64::from(attempt.unsigned_abs() % 5);
    thread::sleep(Duration::from_micros(micros));
    true
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileContent {
    /// A log that this release can read.
    Log,
    /// An empty database.
    Empty,
}

/// Identifies the content of a file without changing it. Runs in a transaction, so that a log that another process
/// is creating appears either empty or whole.
pub(super) fn identify(connection: &Connection, path: &Path) -> Result<FileContent> {
    let begins_here = connection.is_autocommit();
    let _snapshot =
        begins_here.then(|| connection.unchecked_transaction()).transpose().map_err(from_sqlite)?;
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|error| connect_error(path, error))
    };
    match (pragma("application_id")?, pragma("user_version")?) {
        (APPLICATION_ID, SCHEMA) => check_schema(connection).map(|()| FileContent::Log),
        (APPLICATION_ID, newer) if newer > SCHEMA => Err(Error::new(
            ErrorKind::Unsupported,
            "use the release of Strongroom that wrote it, or a newer one; nothing was changed",
        )
        .because(format!(
            "the audit log has schema {newer}, this release supports up to {SCHEMA}"
        ))),
        (0, 0) if schema_of(connection)?.is_empty() => Ok(FileContent::Empty),
        _ => Err(path_error(path, FOREIGN)),
    }
}

/// Fails unless the tables are exactly those of [`TABLES`].
fn check_schema(connection: &Connection) -> Result<()> {
    let encoding: String =
        connection.pragma_query_value(None, "encoding", |row| row.get(0)).map_err(from_sqlite)?;
    if encoding != "UTF-8" {
        return Err(corrupt("the audit log's text is not in UTF-8"));
    }
    let model = Connection::open_in_memory().map_err(from_sqlite)?;
    model.execute_batch(TABLES).map_err(from_sqlite)?;
    let (actual, expected) = (schema_of(connection)?, schema_of(&model)?);
    let differs = |one: &[Part], other: &[Part]| one.iter().find(|p| !other.contains(p)).cloned();
    match differs(&actual, &expected).or_else(|| differs(&expected, &actual)) {
        None => Ok(()),
        Some((kind, name, _)) => Err(corrupt(format!(
            "the {kind} `{name}` of the audit log is added, changed or missing"
        ))),
    }
}

/// A part of a schema: its kind, name and statement.
type Part = (String, String, Option<String>);

/// Lists tables, indexes, triggers and views, without the statistics tables of `ANALYZE`.
fn schema_of(connection: &Connection) -> Result<Vec<Part>> {
    connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema \
             WHERE type <> 'table' OR name NOT GLOB 'sqlite_stat[0-9]' ORDER BY type, name",
        )
        .and_then(|mut statement| {
            let parts =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            parts.collect()
        })
        .map_err(from_sqlite)
}

/// Switches to WAL mode, in which readers and writers do not wait for each other.
///
/// Several processes may do this at once. On a deadlock between them SQLite fails without calling the busy handler;
/// a retry resolves it.
pub(super) fn use_write_ahead_log(connection: &Connection, path: &Path) -> Result<()> {
    let (mut started, mut attempt) = (Instant::now(), 0);
    let mode: String = loop {
        let outcome = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        let busy = matches!(
            outcome.as_ref().map_err(rusqlite::Error::sqlite_error_code),
            Err(Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
        );
        if !busy || !wait_for_lock(attempt, &mut started, OPEN_WAIT) {
            break outcome.map_err(from_sqlite)?;
        }
        attempt += 1;
    };
    if mode == "wal" {
        return Ok(());
    }
    Err(path_error(
        path,
        "the file system cannot hold a write-ahead log with shared memory; put the log on a local disk",
    ))
}

/// Creates the tables in an empty database, unless another process has done so meanwhile.
pub(super) fn initialize(connection: &mut Connection, path: &Path) -> Result<()> {
    use_write_ahead_log(connection, path)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(from_sqlite)?;
    if identify(&transaction, path)? == FileContent::Log {
        return Ok(());
    }
    let log_id = memory::random_log_id()?;
    let fill = || {
        transaction.execute_batch(TABLES)?;
        let insert = "INSERT INTO log (id, log_id, first, before_first) VALUES (1, ?1, 1, ?2)";
        transaction.execute(insert, (log_id, START))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA)
    };
    fill().map_err(from_sqlite)?;
    transaction.commit().map_err(from_sqlite)?;
    // Until the checkpoint, a copy of the file without its write-ahead log does not look like a log.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(from_sqlite)
}
