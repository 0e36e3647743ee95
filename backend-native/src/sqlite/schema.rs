//! The tables, and the configuration of a connection.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use strongroom_core::{Error, ErrorKind, Result};

use crate::error::{from_sqlite, store_corrupt};
use crate::settings::PATH;

/// `SROM` in ASCII: marks a SQLite file as a Strongroom store (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5352_4f4d;
/// The schema version that this release reads and writes (`PRAGMA user_version`).
const SCHEMA: i32 = 2;

/// How long a write waits for the write lock.
pub(crate) const WRITE_WAIT: Duration = Duration::from_secs(10);
/// How long a checkpoint that truncates the write-ahead log waits for readers.
pub(crate) const CHECKPOINT_WAIT: Duration = Duration::from_millis(20);
/// How long a read waits. A read meets a lock only while another process recovers or closes the
/// store, and it blocks the thread of its caller.
pub(crate) const READ_WAIT: Duration = Duration::from_millis(250);
/// Each connection's page cache, in KiB, as SQLite's negative `cache_size`.
const CACHE: i32 = -16 * 1024;

/// The tables that schema 2 has changed or added.
const TABLES_OF_SCHEMA_2: &str = "
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    store_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    root_check BLOB NOT NULL
) STRICT;
CREATE TABLE slots (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    label TEXT,
    created_at INTEGER NOT NULL,
    opened_at INTEGER,
    parameters TEXT NOT NULL,
    private_key BLOB NOT NULL,
    root_key BLOB NOT NULL,
    public_key BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
";
/// The table `store` of schema 1.
const STORE_OF_SCHEMA_1: &str = "
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    store_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    argon2_memory_kib INTEGER,
    argon2_passes INTEGER,
    argon2_lanes INTEGER,
    argon2_salt BLOB,
    root_check BLOB NOT NULL
) STRICT;
";
/// The tables that both schemas have.
const TABLES: &str = "
CREATE TABLE keyring (
    id INTEGER PRIMARY KEY,
    purpose INTEGER NOT NULL,
    state INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE TABLE secrets (
    path TEXT PRIMARY KEY,
    secret_id BLOB NOT NULL,
    active INTEGER NOT NULL,
    first INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    expires_at INTEGER,
    rotation_ms INTEGER,
    kind TEXT NOT NULL,
    tier TEXT NOT NULL,
    description TEXT,
    tags TEXT,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE versions (
    secret_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    wrap BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (secret_id, version)
) STRICT, WITHOUT ROWID;
";

/// Opens an existing file. Every connection syncs each commit to disk before it returns.
pub(crate) fn connect(path: &Path, wait: Duration) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags)
        .map_err(|error| connect_error(error, path.to_str()))?;
    configure(&mut connection, wait).map_err(|error| connect_error(error, path.to_str()))?;
    Ok(connection)
}

/// Maps an error of the first statements on a file, which show whether SQLite can read it at all.
fn connect_error(error: rusqlite::Error, path: Option<&str>) -> Error {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => not_a_store(path),
        _ => from_sqlite(error),
    }
}

fn configure(connection: &mut Connection, wait: Duration) -> rusqlite::Result<()> {
    for (option, on) in [
        // A plan that does not depend on bound values: SQLite never plans a point read again.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
        // An attacker may have edited the file: run no code of its schema, keep its pages
        // consistent.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
    ] {
        connection.set_db_config(option, on)?;
    }
    set_lock_wait(connection, wait)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Sets how long statements wait while another process holds a lock.
pub(crate) fn set_lock_wait(connection: &mut Connection, wait: Duration) -> rusqlite::Result<()> {
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
pub(crate) enum FileContent {
    /// A store that this release can read.
    Store,
    /// A store of an earlier release, which opening it changes to the schema of this one.
    Schema1,
    /// An empty database.
    Empty,
}

/// Identifies the content of a file without changing it. Runs in a transaction, so that a store
/// that another process is creating appears either empty or whole.
pub(crate) fn identify(connection: &Connection) -> Result<FileContent> {
    let _snapshot = snapshot(connection)?;
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|error| connect_error(error, connection.path()))
    };
    match (pragma("application_id")?, pragma("user_version")?) {
        (APPLICATION_ID, SCHEMA) => {
            check_schema(connection, TABLES_OF_SCHEMA_2).map(|()| FileContent::Store)
        }
        (APPLICATION_ID, 1) => {
            check_schema(connection, STORE_OF_SCHEMA_1).map(|()| FileContent::Schema1)
        }
        (APPLICATION_ID, newer) if newer > SCHEMA => Err(Error::new(
            ErrorKind::Unsupported,
            "use the release of Strongroom that wrote it, or a newer one; nothing was changed",
        )
        .because(format!("the store has schema {newer}, this release supports up to {SCHEMA}"))),
        (0, 0) if schema_of(connection)?.is_empty() => Ok(FileContent::Empty),
        _ => Err(not_a_store(connection.path())),
    }
}

/// Fails unless the tables are exactly those of [`TABLES`] and of one schema.
fn check_schema(connection: &Connection, tables: &str) -> Result<()> {
    let encoding: String =
        connection.pragma_query_value(None, "encoding", |row| row.get(0)).map_err(from_sqlite)?;
    if encoding != "UTF-8" {
        return Err(store_corrupt("the store's text is not in UTF-8"));
    }
    let (actual, expected) = (schema_of(connection)?, expected_schema(tables)?);
    let differs = |one: &[Part], other: &[Part]| one.iter().find(|p| !other.contains(p)).cloned();
    match differs(&actual, &expected).or_else(|| differs(&expected, &actual)) {
        None => Ok(()),
        Some((kind, name, _)) => Err(Error::new(
            ErrorKind::Corrupt,
            "if a tool has added it, stop the tool and drop it; else restore the store from a backup",
        )
        .because(format!("the {kind} `{name}` is added, changed or missing"))),
    }
}

/// A part of a schema: its kind, name and statement.
type Part = (String, String, Option<String>);

/// Lists tables, indices, triggers and views, without the statistics tables of `ANALYZE`, which an
/// administrator may have run.
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

fn expected_schema(tables: &str) -> Result<Vec<Part>> {
    let model = Connection::open_in_memory().map_err(from_sqlite)?;
    model.execute_batch(TABLES).map_err(from_sqlite)?;
    model.execute_batch(tables).map_err(from_sqlite)?;
    schema_of(&model)
}

fn not_a_store(path: Option<&str>) -> Error {
    let path = path.unwrap_or("the file");
    Error::config(vec![format!(
        "`{PATH}`: {path} is not a Strongroom store; name another path. Nothing was changed"
    )])
}

/// Begins a snapshot, unless the connection is in a transaction already.
pub(crate) fn snapshot(connection: &Connection) -> Result<Option<Transaction<'_>>> {
    let begins_here = connection.is_autocommit();
    begins_here.then(|| connection.unchecked_transaction()).transpose().map_err(from_sqlite)
}

/// Switches to WAL mode, in which readers and writers do not wait for each other. A copy made by a
/// backup tool may be in another mode, and a file system without shared memory does not support
/// WAL.
///
/// Several processes may do this at once. On a deadlock between them SQLite fails without calling
/// the busy handler; a retry resolves it.
pub(crate) fn use_write_ahead_log(connection: &Connection) -> Result<()> {
    let (mut started, mut attempt) = (Instant::now(), 0);
    let mode: String = loop {
        let outcome = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        let busy = matches!(
            outcome.as_ref().map_err(rusqlite::Error::sqlite_error_code),
            Err(Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
        );
        if !busy || !wait_for_lock(attempt, &mut started, WRITE_WAIT) {
            break outcome.map_err(from_sqlite)?;
        }
        attempt += 1;
    };
    if mode == "wal" {
        return Ok(());
    }
    Err(Error::config(vec![format!(
        "`{PATH}`: the file system cannot hold a write-ahead log with shared memory; put the store \
         on a local disk"
    )]))
}

/// Creates the tables in an empty database and fills them with `fill`, unless another process has
/// done so meanwhile. Returns whether it created them.
pub(crate) fn initialise(
    connection: &mut Connection,
    fill: impl FnOnce(&Connection) -> Result<()>,
) -> Result<bool> {
    // Lets the store release pages later. Takes effect in an empty database alone, before its first page.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(from_sqlite)?;
    use_write_ahead_log(connection)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(from_sqlite)?;
    if identify(&transaction)? != FileContent::Empty {
        return Ok(false);
    }
    transaction.execute_batch(TABLES).map_err(from_sqlite)?;
    transaction.execute_batch(TABLES_OF_SCHEMA_2).map_err(from_sqlite)?;
    fill(&transaction)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(from_sqlite)?;
    transaction.pragma_update(None, "user_version", SCHEMA).map_err(from_sqlite)?;
    transaction.commit().map_err(from_sqlite)?;
    // Until the checkpoint, a copy of the file without its log does not look like a store.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(from_sqlite)?;
    Ok(true)
}

/// Changes the tables of schema 1 to those of this release, within a transaction that then fills them.
pub(crate) fn migrate(transaction: &Connection) -> Result<()> {
    let change = || {
        transaction.execute_batch("ALTER TABLE store RENAME TO store_of_schema_1")?;
        transaction.execute_batch(TABLES_OF_SCHEMA_2)?;
        transaction.execute_batch(
            "INSERT INTO store SELECT id, store_id, created_at, root_check FROM store_of_schema_1; \
             DROP TABLE store_of_schema_1",
        )?;
        transaction.pragma_update(None, "user_version", SCHEMA)
    };
    change().map_err(from_sqlite)
}
