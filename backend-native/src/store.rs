//! Opening a store: the file, the root key, the ring.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use etcetera::BaseStrategy;
use rusqlite::Connection;
use strongroom_core::{Error, ErrorKind, Result};
use tracing::warn;

use crate::config::{KeySource, NativeConfig};
use crate::file::Identity;
use crate::ring::{self, Ring, StoreRow};
use crate::root::{self, Derivation, RootKey};
use crate::schema::{self, Ownership, READ_WAIT, WRITE_WAIT};
use crate::settings::{KEY_FILE, PATH};
use crate::{file, row};

/// What stays the same while a store is open.
pub(crate) struct Store {
    path: PathBuf,
    identities: [Identity; 2],
    row: StoreRow,
    root: RootKey,
}

impl Store {
    /// Opens the store that `config` describes, creating it if it does not exist, and its key file
    /// with it.
    /// Blocks: deriving a key from a passphrase takes about 0.2 s.
    pub(crate) fn open(config: &NativeConfig) -> Result<(Self, Connection)> {
        let key = config.validate()?;
        let path = resolve(config.path.as_deref())?;
        if let KeySource::KeyFile(key_file) = key {
            root::check_is_no_key(key_file)?;
        }
        create_files(&path, key)?;
        file::check_store(&path)?;
        let mut connection = schema::connect(&path, WRITE_WAIT)?;
        if schema::ownership(&connection)? == Ownership::Empty {
            create(&mut connection, key, &path)?;
        }
        schema::use_write_ahead_log(&connection)?;
        let row = StoreRow::load(&connection)?;
        check_key_is_there(key, &row.derivation, &path)?;
        let root = RootKey::derive(key, &row.derivation)?;
        ring::load(&connection, &row, &root).map_err(|error| naming_key(error, key, &path))?;
        let identities = file::identities(&path).map_err(|_| replaced())?;
        let store = Self { path, identities, row, root };
        Ok((store, connection))
    }

    /// Fails if the file is no longer the one that was opened: what is written to it would be lost.
    pub(crate) fn check_not_replaced(&self) -> Result<()> {
        match file::identities(&self.path) {
            Ok(identities) if identities == self.identities => Ok(()),
            _ => Err(replaced()),
        }
    }

    /// A further connection to the same file, which may be replaced at any time.
    pub(crate) fn connect(&self) -> Result<Connection> {
        self.check_not_replaced()?;
        let connection = schema::connect(&self.path, READ_WAIT)?;
        self.check_not_replaced()?;
        Ok(connection)
    }

    /// Reads the ring as the file has it now.
    pub(crate) fn load_ring(&self, connection: &Connection) -> Result<Ring> {
        ring::load(connection, &self.row, &self.root)
    }

    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The file's place with the links in its directory resolved, since SQLite is told to follow none.
fn resolve(configured: Option<&Path>) -> Result<PathBuf> {
    let path = match configured {
        Some(path) => path.to_owned(),
        None => default_path()?,
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = parent.canonicalize().map_err(|error| file::unusable(PATH, parent, &error))?;
    let name = path.file_name().ok_or_else(|| {
        Error::config(vec![format!("`{PATH}`: {} does not name a file", path.display())])
    })?;
    Ok(parent.join(name))
}

fn default_path() -> Result<PathBuf> {
    let platform = etcetera::base_strategy::choose_native_strategy().map_err(|_| {
        Error::config(vec![format!("there is no home directory to keep a store in: set `{PATH}`")])
    })?;
    let directory = platform.data_dir().join("strongroom");
    file::create_directory(&directory).map_err(|error| file::unusable(PATH, &directory, &error))?;
    Ok(directory.join("secrets.db"))
}

/// Creates the key file and the empty file of a store that is not there.
fn create_files(path: &Path, source: &KeySource) -> Result<()> {
    // Closing a new file takes the locks away that another opening in this process may have on it.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::symlink_metadata(path).map_or(0, |metadata| metadata.len()) > 0 {
        return Ok(());
    }
    // The order matters to a process that starts at the same time: a store is never there before
    // its key.
    create_key(source)?;
    RootKey::check_source(source)?;
    file::create_empty(path).map_err(|error| file::unusable(PATH, path, &error))
}

/// Creates the key file of a store that is about to be created, unless it exists.
fn create_key(source: &KeySource) -> Result<()> {
    let KeySource::KeyFile(key_file) = source else { return Ok(()) };
    if is_missing(key_file) && root::create_key_file(key_file)? {
        warn!(
            setting = KEY_FILE.variable(),
            "{}created a new key; back it up apart from the store, which cannot be read without it",
            file::shown(key_file)
        );
    }
    Ok(())
}

fn check_key_is_there(source: &KeySource, derivation: &Derivation, store: &Path) -> Result<()> {
    match source {
        KeySource::KeyFile(key_file) if *derivation == Derivation::None && is_missing(key_file) => {
            Err(Error::config(vec![format!(
                "`{KEY_FILE}`: {}the key file is missing, but the store {} exists; restore the key \
                 file from its backup, since the store cannot be read without it",
                file::shown(key_file),
                store.display()
            )]))
        }
        _ => Ok(()),
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn replaced() -> Error {
    Error::new(ErrorKind::Unavailable, "open the store again; nothing was written")
        .because("the store's file was removed or replaced")
        .temporary(false)
}

/// Says which setting does not open which store.
fn naming_key(error: Error, key: &KeySource, path: &Path) -> Error {
    if error.kind() == ErrorKind::Unauthenticated {
        let setting = key.setting();
        return error.because(format!("`{setting}` does not open {}", path.display()));
    }
    error
}

fn create(connection: &mut Connection, source: &KeySource, path: &Path) -> Result<()> {
    let derivation = RootKey::new_derivation(source)?;
    let root = RootKey::derive(source, &derivation)?;
    let fill = |connection: &Connection| ring::create(connection, &root, &derivation, row::now());
    if schema::initialise(connection, fill)? {
        warn!(store = %path.display(), "created a new store");
    }
    Ok(())
}
