//! Opening a store: the file, the root key, the ring.

use std::fs;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use rusqlite::Connection;
use strongroom_core::{Error, Result};
use tracing::warn;

use crate::config::{KEY_FILE, KeySource, NativeConfig, PATH};
use crate::ring::{self, Ring, StoreRow};
use crate::root::{self, RootKey};
use crate::schema::{self, Ownership};
use crate::{file, row};

/// What stays the same while a store is open.
pub(crate) struct Store {
    path: PathBuf,
    row: StoreRow,
    root: RootKey,
}

impl Store {
    /// Opens the store that `config` describes, creating it if neither it nor its key exists.
    /// Blocks: deriving a key from a passphrase takes about 0.2 s.
    pub(crate) fn open(config: &NativeConfig) -> Result<(Self, Connection)> {
        let path = resolve(config.path.as_deref())?;
        let exists = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() > 0);
        // The order matters to a process that starts at the same time: a store is never there
        // before its key.
        prepare_key(&config.key, &path, exists)?;
        if !exists {
            RootKey::check_source(&config.key)?;
        }
        file::create_empty(&path).map_err(|error| file::unusable(PATH, &path, &error))?;
        file::check_store(&path)?;
        let mut connection = schema::connect(&path)?;
        if schema::ownership(&connection)? == Ownership::Empty {
            create(&mut connection, &config.key, &path)?;
        }
        let row = StoreRow::load(&connection)?;
        let root = RootKey::derive(&config.key, &row.derivation)?;
        let store = Self { path, row, root };
        store.load_ring(&connection)?;
        Ok((store, connection))
    }

    /// A further connection to the same file.
    pub(crate) fn connect(&self) -> Result<Connection> {
        schema::connect(&self.path)
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

/// Creates the key file of a store that is about to be created.
fn prepare_key(source: &KeySource, store: &Path, store_exists: bool) -> Result<()> {
    let KeySource::KeyFile(key_file) = source else { return Ok(()) };
    if fs::symlink_metadata(key_file).is_ok() {
        return Ok(());
    }
    if store_exists {
        return Err(Error::config(vec![format!(
            "`{KEY_FILE}`: {} is missing, but the store {} exists; restore the key file from its \
             backup, since the store cannot be read without it",
            key_file.display(),
            store.display()
        )]));
    }
    if root::create_key_file(key_file)? {
        warn!(
            key_file = %key_file.display(),
            "created a new key; back it up apart from the store, which cannot be read without it"
        );
    }
    Ok(())
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
