//! Backups of a store, and their restoration.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use strongroom_core::{Error, ErrorKind, FilePath, Result};

use crate::check::{self, StoreCheck};
use crate::config::NativeConfig;
#[cfg(feature = "postgres")]
use crate::copy;
use crate::crypto;
use crate::error::{describe_io_error, from_sqlite};
use crate::file;
use crate::key_ring::{self, StoreRow};
use crate::new_file::NewFile;
use crate::place::Place;
#[cfg(feature = "postgres")]
use crate::postgres::{DatabaseLocation, DatabaseTables};
use crate::settings::PATH;
#[cfg(feature = "postgres")]
use crate::settings::URL;
use crate::slots;
use crate::sqlite::location::{self, LOGS};
use crate::sqlite::migrate::migrate;
use crate::sqlite::schema::{self, FileContent};
use crate::sqlite::store_file::StoreFile;
#[cfg(feature = "postgres")]
use crate::storage::Snapshot;
use crate::store::{Database, Store};
use crate::store_name::StoreName;

/// How long a statement waits for a lock on a copy, which no other process knows.
const NO_WAIT: Duration = Duration::ZERO;

/// Writes an open store as it is at one moment to a new file, and checks that file.
pub(crate) fn backup(store: &Store, target: &Path) -> Result<StoreCheck> {
    let failed = |error: &io::Error| cannot_write(target, error);
    let target = &file::resolve_links(target).map_err(|error| failed(&error))?;
    let copy = NewFile::create(target).map_err(|error| failed(&error))?;
    match store.database() {
        Database::File(file) => copy_file(file, copy.temporary_path())?,
        #[cfg(feature = "postgres")]
        Database::Postgres(_) => copy_database(store, copy.temporary_path())?,
    }
    let found = open_copy(copy.temporary_path())
        .and_then(|connection| check::check(&connection, |copy| store.load_key_ring(copy)))?;
    copy.keep().map_err(|error| failed(&error))?;
    Ok(found)
}

fn copy_file(file: &StoreFile, target: &Path) -> Result<()> {
    let name = target.to_str().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "name a file whose path is UTF-8")
            .because("the path of the backup is not UTF-8")
    })?;
    // Reads one snapshot, so that writers go on, and leaves out empty pages.
    let connection = file.connect()?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(from_sqlite)?;
    file.check_not_replaced()
}

#[cfg(feature = "postgres")]
fn copy_database(store: &Store, target: &Path) -> Result<()> {
    let tables = &*store.connect()?;
    let _snapshot = Snapshot::begin(tables)?;
    let mut connection = schema::connect(target, NO_WAIT)?;
    schema::initialise(&mut connection, |to| copy::copy(tables, to)).map(drop)
}

/// Makes a store of a backup, where none is. Checks everything before the store is there.
pub(crate) fn restore(config: &NativeConfig, backup: &Path) -> Result<StoreCheck> {
    config.validate()?;
    match Place::of(config)? {
        Place::File(path) => restore_file(config, &path, backup),
        #[cfg(feature = "postgres")]
        Place::Database(location) => restore_database(config, location, backup),
    }
}

fn restore_file(config: &NativeConfig, path: &Path, backup: &Path) -> Result<StoreCheck> {
    location::check(path, config.allow_network_file_system)?;
    check_free(path)?;
    check_complete(backup)?;
    let failed = |error: &io::Error| file::cannot_create(PATH, path, error);
    let copy = NewFile::create(path).map_err(|error| failed(&error))?;
    let (_, found) = open_backup(config, backup, copy.temporary_path())?;
    copy.keep().map_err(|error| failed(&error))?;
    Ok(found)
}

#[cfg(feature = "postgres")]
fn restore_database(
    config: &NativeConfig,
    location: Arc<DatabaseLocation>,
    backup: &Path,
) -> Result<StoreCheck> {
    check_complete(backup)?;
    let occupied = |name: &str| {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "name an empty database in `{URL}`, or drop the schema of the store in this one"
            ),
        )
        .because(format!("{name} holds a store"))
    };
    let name = location.name().to_owned();
    let tables = DatabaseTables::new(location)?;
    if tables.has_store()? {
        return Err(occupied(&name));
    }
    let unique = u64::from_ne_bytes(crypto::random()?);
    let scratch = std::env::temp_dir().join(format!("strongroom-restore-{unique:016x}"));
    let copy = NewFile::create(&scratch).map_err(|error| cannot_write(&scratch, &error))?;
    let (connection, found) = open_backup(config, backup, copy.temporary_path())?;
    if tables.create(|to| copy::copy(&connection, to))? { Ok(found) } else { Err(occupied(&name)) }
}

/// Copies a backup to an empty file, brings that up to date, and checks it.
fn open_backup(
    config: &NativeConfig,
    backup: &Path,
    target: &Path,
) -> Result<(Connection, StoreCheck)> {
    let keys = config.validate()?;
    copy_content(backup, target)?;
    let mut connection = open_copy(target)?;
    if schema::identify(&connection)? == FileContent::Schema1 {
        migrate(&mut connection, keys, config.group, backup)?;
    }
    let row = StoreRow::load(&connection)?;
    let opened = slots::open(&connection, keys, config.group, &StoreName::File(backup.to_owned()));
    crypto::wipe_stack();
    let root = Arc::new(opened?.1);
    let found = check::check(&connection, |copy| key_ring::load(copy, &row, root))?;
    Ok((connection, found))
}

fn open_copy(path: &Path) -> Result<Connection> {
    let connection = schema::connect(path, NO_WAIT)?;
    match schema::identify(&connection)? {
        FileContent::Store | FileContent::Schema1 => Ok(connection),
        FileContent::Empty => Err(Error::new(ErrorKind::Corrupt, "use another backup")
            .because("the backup holds no store")),
    }
}

/// Fails if a store is there, or the log of one, which would become part of the restored store.
fn check_free(path: &Path) -> Result<()> {
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let logs = LOGS.iter().map(|suffix| file::with_suffix(path, suffix));
    let Some(found) = std::iter::once(path.to_owned()).chain(logs).find(|path| is_there(path))
    else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "stop all processes that use the store, move the file and its logs away, and restore again; \
             or name another path in `{PATH}`"
        ),
    )
    .because(format!("{} exists", FilePath::new(&found))))
}

/// Fails if the log of a store is beside a file: its latest writes are there.
fn check_complete(backup: &Path) -> Result<()> {
    let logs = ["-wal", "-journal"].map(|suffix| file::with_suffix(backup, suffix));
    let is_filled = |log: &&PathBuf| fs::metadata(log).is_ok_and(|found| found.len() > 0);
    match logs.iter().find(is_filled) {
        None => Ok(()),
        Some(log) => Err(Error::new(
            ErrorKind::InvalidInput,
            "copy all files of the store to its place, or restore what `backup` has written",
        )
        .because(format!(
            "{} has a log beside it ({}), so it is a part of a store and no backup",
            FilePath::new(backup),
            FilePath::new(log)
        ))),
    }
}

fn copy_content(from: &Path, to: &Path) -> Result<()> {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::InvalidInput, "name a file that `backup` has written")
            .because(format!("{}: {}", FilePath::new(from), describe_io_error(&error)))
    };
    // Not `fs::copy`, which also copies the mode.
    let mut source = file::open_to_read(from).map_err(failed)?;
    if !source.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let copied = File::options().write(true).open(to).and_then(|mut target| {
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    });
    copied.map_err(|error| file::cannot_create(PATH, to, &error))
}

fn cannot_write(target: &Path, error: &io::Error) -> Error {
    let name = FilePath::new(target);
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::Conflict, "name a new file; none is overwritten")
                .because(format!("{name} exists"))
        }
        _ if file::is_disk_full(error) => {
            Error::new(ErrorKind::Unavailable, "free space and try again")
                .because("the disk is full")
        }
        _ => Error::new(ErrorKind::InvalidInput, "name a new file in a folder that exists")
            .because(format!("{name}: {}", describe_io_error(error))),
    }
}
