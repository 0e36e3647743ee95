//! An open store: its files, its root key, and how to load its key ring.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use etcetera::BaseStrategy;
use rusqlite::{Connection, TransactionBehavior};
use strongroom_core::{Error, ErrorKind, FilePath, Result};
use tracing::warn;

use crate::config::{KeySource, NativeConfig};
use crate::error::from_sqlite;
use crate::file::OpenedFile;
use crate::guard::Guard;
use crate::key_ring::{self, KeyRing, StoreRow};
use crate::migrate::migrate;
use crate::root_key::RootKey;
use crate::schema::{self, FileContent, READ_WAIT, WRITE_WAIT};
use crate::settings::{KEY_FILE, PATH};
use crate::slots::{self, NewSlot, OpenedSlot, SlotSecret};
use crate::{crypto, file, key_file, location, secret_row};

/// An open store: its file, and the slot that has opened it.
pub(crate) struct Store {
    database: OpenedFile,
    log: OpenedFile,
    id: [u8; 16],
    slot: OpenedSlot,
    /// As last loaded. Another process may replace it.
    root: Mutex<Arc<RootKey>>,
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
        loop {
            let key_ring = store.load_key_ring(&connection)?;
            match store.guard.start(&mut connection, &key_ring.rows) {
                Ok(()) => return Ok(Some((store, connection))),
                // Another process has replaced the keys since they were loaded.
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && key_ring.is_outdated(&connection)? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a store without the guard against rollback.
    pub(crate) fn open_unguarded(
        config: &NativeConfig,
        path: &Path,
        if_missing: IfMissing,
    ) -> Result<Option<(Self, Connection)>> {
        let keys = config.validate()?;
        let guard = Guard::new(config)?;
        for key in keys {
            if let KeySource::KeyFile(key_file) = key {
                FilePath::new(key_file).check_new(KEY_FILE)?;
            }
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
        match schema::identify(&connection)? {
            FileContent::Store => {}
            FileContent::Schema1 => migrate(&mut connection, keys, config.group, path)?,
            FileContent::Empty if if_missing == IfMissing::Leave => return Ok(None),
            FileContent::Empty => create(&mut connection, config, path)?,
        }
        schema::use_write_ahead_log(&connection)?;
        let opened = Opened::load(&connection, config, path);
        crypto::wipe_stack();
        let Opened { row, slot, root, has_to_record, key_ring } = opened?;
        if has_to_record {
            record_opening(&mut connection, &slot, &key_ring);
        }
        let [database, log] = OpenedFile::of_store(path).map_err(|_| store_replaced())?;
        let root = Mutex::new(root);
        let store = Self { database, log, id: row.store_id, slot, root, guard };
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

    /// Loads the key ring as the file has it now. Runs in a transaction, so that all that it reads belongs together.
    pub(crate) fn load_key_ring(&self, connection: &Connection) -> Result<KeyRing> {
        let _snapshot = schema::snapshot(connection)?;
        let row = self.load_row(connection)?;
        let loaded = self.root(connection, &row);
        let key_ring = loaded.and_then(|root| key_ring::load(connection, &row, root));
        crypto::wipe_stack();
        key_ring
    }

    /// Runs a check with the keys of the store; once more if it fails and another process has replaced them meanwhile.
    pub(crate) fn with_current_keys<T>(
        &self,
        connection: &Connection,
        check: impl Fn(&KeyRing) -> Result<T>,
    ) -> Result<T> {
        loop {
            let key_ring = self.load_key_ring(connection)?;
            match check(&key_ring) {
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && key_ring.is_outdated(connection)? => {}
                checked => return checked,
            }
        }
    }

    /// The row of the `store` table, which has the id with which the store was opened.
    pub(crate) fn load_row(&self, connection: &Connection) -> Result<StoreRow> {
        let row = StoreRow::load(connection)?;
        if row.store_id == self.id { Ok(row) } else { Err(store_replaced()) }
    }

    /// The root key as the store has it now, through the slot if it was replaced.
    fn root(&self, connection: &Connection, row: &StoreRow) -> Result<Arc<RootKey>> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        *root = self.slot.current_root(Arc::clone(&root), connection, row)?;
        Ok(Arc::clone(&root))
    }

    pub(crate) fn id(&self) -> &[u8; 16] {
        &self.id
    }

    pub(crate) fn slot(&self) -> &OpenedSlot {
        &self.slot
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
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

/// The key of a new store. Further ones open it once they are added, since each makes it weaker.
fn first_key(config: &NativeConfig) -> Result<&KeySource> {
    config.validate()?.first().ok_or_else(|| Error::config(Vec::new()))
}

/// Fails if a write could not create the missing store. Creates nothing.
fn check_creatable(path: &Path, config: &NativeConfig) -> Result<()> {
    match first_key(config)? {
        KeySource::KeyFile(file) if is_missing(file) => key_file::check_directory(file)?,
        key => SlotSecret::read(key, config.group).map(drop)?,
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
    let key = first_key(config)?;
    // The key first: a process that starts at the same time must not find a store without its key.
    create_key(key)?;
    SlotSecret::read(key, config.group)?;
    file::create_empty(path).map_err(|error| file::cannot_create(PATH, path, &error))
}

/// Creates the key file of a new slot, unless the file exists.
pub(crate) fn create_key(source: &KeySource) -> Result<()> {
    let KeySource::KeyFile(file) = source else { return Ok(()) };
    FilePath::new(file).check_new(KEY_FILE)?;
    if is_missing(file) && key_file::create(file)? {
        warn!(
            setting = KEY_FILE.variable(),
            "{}: created a new key; back it up apart from the store, which cannot be read without it",
            FilePath::new(file)
        );
    }
    Ok(())
}

pub(crate) fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn store_replaced() -> Error {
    Error::new(ErrorKind::Unavailable, "open the store again; nothing was written")
        .because("the store's file was removed or replaced")
        .temporary(false)
}

/// What opening a store loads.
struct Opened {
    row: StoreRow,
    slot: OpenedSlot,
    root: Arc<RootKey>,
    key_ring: KeyRing,
    /// Whether the slot's row should say that it has opened the store.
    has_to_record: bool,
}

impl Opened {
    fn load(connection: &Connection, config: &NativeConfig, path: &Path) -> Result<Self> {
        let (slot, root) = slots::open(connection, config.validate()?, config.group, path)?;
        let snapshot = &connection.unchecked_transaction().map_err(from_sqlite)?;
        let row = StoreRow::load(snapshot)?;
        let root = slot.current_root(Arc::new(root), snapshot, &row)?;
        let key_ring = key_ring::load(snapshot, &row, Arc::clone(&root))?;
        let has_to_record = slot.check(snapshot, &key_ring.rows, secret_row::now())?;
        Ok(Self { row, slot, root, key_ring, has_to_record })
    }
}

/// Writes when the slot has opened the store. That it could not be written is no reason not to open it.
fn record_opening(connection: &mut Connection, slot: &OpenedSlot, key_ring: &KeyRing) {
    let mut record = || {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(from_sqlite)?;
        if !key_ring.is_outdated(&transaction)? {
            slot.record_opening(&transaction, &key_ring.rows, secret_row::now())?;
        }
        transaction.commit().map_err(from_sqlite)
    };
    if record().is_err() {
        tracing::debug!("the time of this opening could not be written");
    }
}

fn create(connection: &mut Connection, config: &NativeConfig, path: &Path) -> Result<()> {
    let store_id = crypto::random()?;
    let slot = NewSlot::new(&SlotSecret::read(first_key(config)?, config.group)?, &store_id, None)?;
    let fill = |connection: &Connection| {
        let (root, now) = (crypto::random_key()?, secret_row::now());
        let keys = key_ring::create(connection, store_id, &RootKey::new(&root), now)?;
        slot.store(connection, slots::FIRST, &keys, &root, now).map(drop)
    };
    if schema::initialise(connection, fill)? {
        warn!(store = %FilePath::new(path), "created a new store");
    }
    Ok(())
}
