//! The file of a store: where it is, how it is created and opened, and whether it is still in its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use etcetera::BaseStrategy;
use rusqlite::Connection;
use strongroom_core::{Error, FilePath, Result};
use tracing::warn;

use super::location;
use super::migrate::migrate;
use super::schema::{self, FileContent, READ_WAIT, WRITE_WAIT};
use crate::config::NativeConfig;
use crate::file::{self, OpenedFile};
use crate::settings::PATH;
use crate::store::{self, IfMissing, NewStore};

/// The file of an open store, and its write-ahead log.
pub(crate) struct StoreFile {
    database: OpenedFile,
    log: OpenedFile,
}

impl StoreFile {
    /// Opens the file of a store, and creates what is missing. Returns `None` if it does not exist and was left so.
    pub(crate) fn open(
        config: &NativeConfig,
        path: &Path,
        if_missing: IfMissing,
    ) -> Result<Option<Connection>> {
        location::check(path, config.allow_network_file_system)?;
        if is_empty(path) {
            if if_missing == IfMissing::Leave {
                return check_creatable(path, config).map(|()| None);
            }
            create_files(path, config)?;
        }
        file::check_store_files(path, config.group)?;
        let mut connection = schema::connect(path, WRITE_WAIT)?;
        match schema::identify(&connection)? {
            FileContent::Store => {}
            FileContent::Schema1 => {
                migrate(&mut connection, config.validate()?, config.group, path)?;
            }
            FileContent::Empty if if_missing == IfMissing::Leave => return Ok(None),
            FileContent::Empty => {
                let new = NewStore::of(config)?;
                if schema::initialise(&mut connection, |tables| new.store(tables))? {
                    warn!(store = %FilePath::new(path), "created a new store");
                }
            }
        }
        schema::use_write_ahead_log(&connection)?;
        Ok(Some(connection))
    }

    /// The file that has just been opened.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let [database, log] = OpenedFile::of_store(path).map_err(|_| store::replaced())?;
        Ok(Self { database, log })
    }

    /// Fails if the file was removed or replaced since it was opened: writes to it would be lost.
    pub(crate) fn check_not_replaced(&self) -> Result<()> {
        if self.database.is_in_place() && self.log.is_in_place() {
            return Ok(());
        }
        Err(store::replaced())
    }

    /// The size of the write-ahead log, in bytes.
    pub(crate) fn log_len(&self) -> u64 {
        self.log.len()
    }

    /// Opens another connection to the same file. Checks twice, since the file may be replaced
    /// meanwhile.
    pub(crate) fn connect(&self) -> Result<Connection> {
        self.check_not_replaced()?;
        let connection = schema::connect(self.database.path(), READ_WAIT)?;
        self.check_not_replaced()?;
        Ok(connection)
    }
}

/// Returns the path of the store's file, with the links in its directory resolved, since SQLite is
/// configured to follow none.
pub(crate) fn resolve_path(config: &NativeConfig) -> Result<PathBuf> {
    let path = match &config.path {
        Some(path) => path.clone(),
        None => default_path()?,
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent =
        parent.canonicalize().map_err(|error| file::cannot_create(PATH, parent, &error))?;
    if !parent.is_dir() {
        return Err(file::cannot_create(PATH, &path, &io::ErrorKind::NotADirectory.into()));
    }
    let name = path.file_name().ok_or_else(|| {
        Error::config(vec![format!("`{PATH}`: {} does not name a file", FilePath::new(&path))])
    })?;
    Ok(parent.join(name))
}

/// Creates the directory of the default path: unlike a path that is given, it cannot be misspelt.
fn default_path() -> Result<PathBuf> {
    let platform = etcetera::base_strategy::choose_native_strategy().map_err(|_| {
        Error::config(vec![format!("there is no home directory to keep a store in: set `{PATH}`")])
    })?;
    let directory = platform.data_dir().join("strongroom");
    file::create_directory(&directory)
        .map_err(|error| file::cannot_create(PATH, &directory, &error))?;
    Ok(directory.join("secrets.db"))
}

/// Whether there is no file, or an empty one, which becomes a store.
fn is_empty(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.len()) == 0
}

/// Fails if a write could not create the missing store. Creates nothing.
fn check_creatable(path: &Path, config: &NativeConfig) -> Result<()> {
    store::check_first_key(config)?;
    if path.exists() { file::check_store_files(path, config.group) } else { Ok(()) }
}

/// Creates the key file and the empty file of a missing store.
fn create_files(path: &Path, config: &NativeConfig) -> Result<()> {
    // Closing a file releases all POSIX locks of this process on it, also those of another opening.
    static CREATION: Mutex<()> = Mutex::new(());
    let _guard = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_empty(path) {
        return Ok(());
    }
    // The key first: a process that starts at the same time must not find a store without its key.
    store::create_first_key(config)?;
    file::create_empty(path).map_err(|error| file::cannot_create(PATH, path, &error))
}
