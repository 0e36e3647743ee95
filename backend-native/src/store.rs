//! An open store: its files, its root key, and how to load its key ring.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use etcetera::BaseStrategy;
use rusqlite::Connection;
use strongroom_core::{Error, ErrorKind, FilePath, Result};
use tracing::warn;

use crate::config::{KeySource, NativeConfig};
use crate::file::OpenedFile;
use crate::guard::Guard;
use crate::key_ring::{self, KeyRing, StoreRow};
use crate::root_key::{self, Derivation, RootKey};
use crate::schema::{self, FileContent, READ_WAIT, WRITE_WAIT};
use crate::settings::{KEY_FILE, PATH};
use crate::{crypto, file, location, migrate, secret_row};

/// The parts of a store that do not change while it is open.
pub(crate) struct Store {
    database: OpenedFile,
    log: OpenedFile,
    row: StoreRow,
    root: RootKey,
    guard: Guard,
}

/// What opening does about a store that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Creates the store, and its key file if that does not exist either.
    Create,
    /// Creates nothing.
    Leave,
}

impl Store {
    /// Opens the store that `config` describes at its resolved `path`. Returns `None` if it does not exist and
    /// was left so. Blocks: deriving a key from a passphrase takes about 0.2 s.
    pub(crate) fn open(
        config: &NativeConfig,
        path: &Path,
        if_missing: IfMissing,
    ) -> Result<Option<(Self, Connection)>> {
        let opened = Self::open_unguarded(config, path, if_missing)?;
        let Some((store, mut connection)) = opened else { return Ok(None) };
        let key_ring = store.load_key_ring(&connection)?;
        store.guard.start(&mut connection, &key_ring.rows)?;
        Ok(Some((store, connection)))
    }

    /// Opens a store without the guard against rollback.
    pub(crate) fn open_unguarded(
        config: &NativeConfig,
        path: &Path,
        if_missing: IfMissing,
    ) -> Result<Option<(Self, Connection)>> {
        let key = config.validate()?;
        let guard = Guard::new(config)?;
        if let KeySource::KeyFile(key_file) = key {
            FilePath::new(key_file).check_new(KEY_FILE)?;
        }
        location::check(path, config.allow_network_file_system)?;
        if is_empty(path) {
            if if_missing == IfMissing::Leave {
                return check_creatable(path, config).map(|()| None);
            }
            create_files(path, config)?;
        }
        file::check_store_files(path, config.group)?;
        let mut connection = schema::connect(path, WRITE_WAIT)?;
        if schema::identify(&connection)? == FileContent::Empty {
            if if_missing == IfMissing::Leave {
                return Ok(None);
            }
            create(&mut connection, config, path)?;
        }
        schema::use_write_ahead_log(&connection)?;
        let row = StoreRow::load(&connection)?;
        check_key_file_exists(key, &row.derivation, path)?;
        let root = RootKey::derive(key, config.group, &row.derivation)?;
        let key_ring = key_ring::load(&connection, &row, &root)
            .map_err(|error| name_key_setting(error, key, path))?;
        crypto::wipe_stack();
        migrate::migrate(&mut connection, &key_ring)?;
        let [database, log] = OpenedFile::of_store(path).map_err(|_| store_replaced())?;
        let store = Self { database, log, row, root, guard };
        Ok(Some((store, connection)))
    }

    /// Fails if the file was removed or replaced since it was opened: writes to it would be lost.
    pub(crate) fn check_not_replaced(&self) -> Result<()> {
        if self.database.is_in_place() && self.log.is_in_place() {
            return Ok(());
        }
        Err(store_replaced())
    }

    /// The size of the write-ahead log, in bytes.
    pub(crate) fn log_len(&self) -> u64 {
        self.log.len()
    }

    /// Opens another connection to the same file. Checks twice, since the file may be replaced
    /// meanwhile.
    pub(crate) fn connect(&self) -> Result<Connection> {
        self.check_not_replaced()?;
        let connection = schema::connect(self.path(), READ_WAIT)?;
        self.check_not_replaced()?;
        Ok(connection)
    }

    /// Loads the key ring as the file has it now.
    pub(crate) fn load_key_ring(&self, connection: &Connection) -> Result<KeyRing> {
        let key_ring = key_ring::load(connection, &self.row, &self.root);
        crypto::wipe_stack();
        key_ring
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    pub(crate) fn path(&self) -> &Path {
        self.database.path()
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
    match config.validate()? {
        KeySource::KeyFile(key_file) if is_missing(key_file) => {
            root_key::check_key_directory(key_file)?;
        }
        key => RootKey::check_source(key, config.group)?,
    }
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
    let key = config.validate()?;
    // The key first: a process that starts at the same time must not find a store without its key.
    create_key(key)?;
    RootKey::check_source(key, config.group)?;
    file::create_empty(path).map_err(|error| file::cannot_create(PATH, path, &error))
}

/// Creates the key file of a new store, unless the file exists.
fn create_key(source: &KeySource) -> Result<()> {
    let KeySource::KeyFile(key_file) = source else { return Ok(()) };
    if is_missing(key_file) && root_key::create_key_file(key_file)? {
        warn!(
            setting = KEY_FILE.variable(),
            "{}: created a new key; back it up apart from the store, which cannot be read without it",
            FilePath::new(key_file)
        );
    }
    Ok(())
}

fn check_key_file_exists(source: &KeySource, derivation: &Derivation, store: &Path) -> Result<()> {
    match source {
        KeySource::KeyFile(key_file) if *derivation == Derivation::None && is_missing(key_file) => {
            Err(Error::config(vec![format!(
                "`{KEY_FILE}`: {}: the key file is missing, but the store {} exists; restore the key \
                 file from its backup, since the store cannot be read without it",
                FilePath::new(key_file),
                FilePath::new(store)
            )]))
        }
        _ => Ok(()),
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn store_replaced() -> Error {
    Error::new(ErrorKind::Unavailable, "open the store again; nothing was written")
        .because("the store's file was removed or replaced")
        .temporary(false)
}

/// Names the setting and the store in the error of a wrong key.
pub(crate) fn name_key_setting(error: Error, key: &KeySource, path: &Path) -> Error {
    if error.kind() == ErrorKind::Unauthenticated {
        let setting = key.setting();
        return error.because(format!("`{setting}` does not open {}", FilePath::new(path)));
    }
    error
}

fn create(connection: &mut Connection, config: &NativeConfig, path: &Path) -> Result<()> {
    let source = config.validate()?;
    let derivation = RootKey::choose_derivation(source)?;
    let root = RootKey::derive(source, config.group, &derivation)?;
    let fill = |connection: &Connection| {
        key_ring::create(connection, &root, &derivation, secret_row::now())
    };
    if schema::initialise(connection, fill)? {
        warn!(store = %FilePath::new(path), "created a new store");
    }
    Ok(())
}
