//! An open store: the identity of its place, and how to load its key ring.

use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::{Error, ErrorKind, FilePath, Result};
use tracing::warn;

use crate::config::{KeySource, NativeConfig};
use crate::guard::Guard;
use crate::key_ring::{self, KeyRing, StoreRow};
use crate::place::Place;
#[cfg(feature = "postgres")]
use crate::postgres::{DatabaseLocation, DatabaseTables, DatabaseWriter};
use crate::root_key::RootKey;
use crate::settings::KEY_FILE;
use crate::slots::{self, NewSlot, OpenedSlot, SlotSecret};
use crate::sqlite::store_file::StoreFile;
use crate::sqlite::writer::FileWriter;
use crate::storage::{Snapshot, Tables, WriteTransaction, WriterTables};
use crate::store_name::StoreName;
use crate::{crypto, key_file, secret_row};

/// An open store: where it is, and the slot that has opened it.
pub(crate) struct Store {
    name: StoreName,
    database: Database,
    id: [u8; 16],
    slot: OpenedSlot,
    /// As last loaded. Another process may replace it.
    root: Mutex<Arc<RootKey>>,
    guard: Guard,
}

/// The database that an open store is in.
#[derive(Clone)]
pub(crate) enum Database {
    File(Arc<StoreFile>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<DatabaseLocation>),
}

/// What opening does about a store that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Creates the store, and its key file if that does not exist either.
    Create,
    /// Creates nothing.
    Leave,
}

/// An open store, and the connection of the thread that writes to it.
pub(crate) type OpenedStore = (Store, Box<dyn WriterTables>);

impl Store {
    /// Opens the store that `config` describes at its place. Returns `None` if it does not exist and
    /// was left so. Blocks: deriving a key from a passphrase takes about 0.2 s.
    pub(crate) fn open(
        config: &NativeConfig,
        place: &Place,
        if_missing: IfMissing,
    ) -> Result<Option<OpenedStore>> {
        let opened = Self::open_after_anchor(config, place, if_missing)?;
        let Some((store, writer)) = opened else { return Ok(None) };
        loop {
            let key_ring = store.load_key_ring(writer.tables())?;
            match store.guard.start(writer.tables(), &key_ring.rows) {
                Ok(()) => return Ok(Some((store, writer))),
                // Another process has replaced the keys since they were loaded.
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && key_ring.is_outdated(writer.tables())? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a store; creates none while its anchor in another store cannot be read.
    fn open_after_anchor(
        config: &NativeConfig,
        place: &Place,
        if_missing: IfMissing,
    ) -> Result<Option<OpenedStore>> {
        if if_missing == IfMissing::Create && config.anchor_store.is_some() {
            let opened = Self::open_unguarded(config, place, IfMissing::Leave)?;
            if opened.is_some() {
                return Ok(opened);
            }
            Guard::new(config)?.reach_anchor()?;
        }
        Self::open_unguarded(config, place, if_missing)
    }

    /// Opens a store without the guard against rollback.
    pub(crate) fn open_unguarded(
        config: &NativeConfig,
        place: &Place,
        if_missing: IfMissing,
    ) -> Result<Option<OpenedStore>> {
        let keys = config.validate()?;
        let guard = Guard::new(config)?;
        for key in keys {
            if let KeySource::KeyFile(key_file) = key {
                FilePath::new(key_file).check_new(KEY_FILE)?;
            }
        }
        let name = place.name();
        match place {
            Place::File(path) => {
                let Some(connection) = StoreFile::open(config, path, if_missing)? else {
                    return Ok(None);
                };
                let opened = Opened::load(&connection, config, &name)?;
                let file = Arc::new(StoreFile::of(path)?);
                let writer = FileWriter::new(connection, Arc::clone(&file));
                let store = Self::new(name, Database::File(file), guard, opened);
                Ok(Some((store, Box::new(writer))))
            }
            #[cfg(feature = "postgres")]
            Place::Database(location) => {
                let tables = DatabaseTables::new(Arc::clone(location))?;
                if !tables.has_store()? {
                    if if_missing == IfMissing::Leave {
                        return check_first_key(config).map(|()| None);
                    }
                    create_first_key(config)?;
                    let new = NewStore::of(config)?;
                    if tables.create(|tables| new.store(tables))? {
                        warn!(store = %name, "created a new store");
                    }
                }
                let opened = Opened::load(&tables, config, &name)?;
                let database = Database::Postgres(Arc::clone(location));
                let store = Self::new(name, database, guard, opened);
                Ok(Some((store, Box::new(DatabaseWriter::new(tables)))))
            }
        }
    }

    fn new(name: StoreName, database: Database, guard: Guard, opened: Opened) -> Self {
        let Opened { row, slot, root } = opened;
        Self { name, database, id: row.store_id, slot, root: Mutex::new(root), guard }
    }

    /// Fails if the store's file was removed or replaced since it was opened: writes to it would be lost.
    pub(crate) fn check_not_replaced(&self) -> Result<()> {
        match &self.database {
            Database::File(file) => file.check_not_replaced(),
            // `load_row` compares the id of the store.
            #[cfg(feature = "postgres")]
            Database::Postgres(_) => Ok(()),
        }
    }

    /// Opens another connection to the store.
    pub(crate) fn connect(&self) -> Result<Box<dyn Tables>> {
        match &self.database {
            Database::File(file) => Ok(Box::new(file.connect()?)),
            #[cfg(feature = "postgres")]
            Database::Postgres(location) => {
                Ok(Box::new(DatabaseTables::new(Arc::clone(location))?))
            }
        }
    }

    /// Loads the key ring as the store has it now. Runs in a transaction, so that all that it reads belongs together.
    pub(crate) fn load_key_ring(&self, tables: &dyn Tables) -> Result<KeyRing> {
        let _snapshot = Snapshot::begin(tables)?;
        let row = self.load_row(tables)?;
        let loaded = self.root(tables, &row);
        let key_ring = loaded.and_then(|root| key_ring::load(tables, &row, root));
        crypto::wipe_stack();
        key_ring
    }

    /// Runs a check with the keys of the store; once more if it fails and another process has replaced them meanwhile.
    pub(crate) fn with_current_keys<T>(
        &self,
        tables: &dyn Tables,
        check: impl Fn(&KeyRing) -> Result<T>,
    ) -> Result<T> {
        loop {
            let key_ring = self.load_key_ring(tables)?;
            match check(&key_ring) {
                Err(error)
                    if error.kind() == ErrorKind::Corrupt && key_ring.is_outdated(tables)? => {}
                checked => return checked,
            }
        }
    }

    /// The row of the `store` table, which has the id with which the store was opened.
    pub(crate) fn load_row(&self, tables: &dyn Tables) -> Result<StoreRow> {
        let row = StoreRow::load(tables)?;
        if row.store_id == self.id { Ok(row) } else { Err(replaced()) }
    }

    /// The root key as the store has it now, through the slot if it was replaced.
    fn root(&self, tables: &dyn Tables, row: &StoreRow) -> Result<Arc<RootKey>> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        *root = self.slot.current_root(Arc::clone(&root), tables, row)?;
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

    pub(crate) fn name(&self) -> &StoreName {
        &self.name
    }

    /// The file of a store in one.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unnecessary_wraps, reason = "only a database has none")
    )]
    pub(crate) fn file(&self) -> Option<&Arc<StoreFile>> {
        match &self.database {
            Database::File(file) => Some(file),
            #[cfg(feature = "postgres")]
            Database::Postgres(_) => None,
        }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

/// The key of a new store. Further ones open it once they are added, since each makes it weaker.
fn first_key(config: &NativeConfig) -> Result<&KeySource> {
    let keys = config.validate()?;
    keys.iter().find(|key| key.can_create()).ok_or_else(|| {
        let settings: Vec<_> = keys.iter().map(KeySource::setting).collect();
        Error::config(vec![format!(
            "there is no store, and {} creates none: name the store that the recovery shares belong to, or set another key \
             to create a new one",
            crate::config::quote(&settings)
        )])
    })
}

/// Fails if the key of a missing store cannot be used. Creates nothing.
pub(crate) fn check_first_key(config: &NativeConfig) -> Result<()> {
    match first_key(config)? {
        KeySource::KeyFile(file) if key_file::is_missing(file) => key_file::check_directory(file),
        key => SlotSecret::read(key, config.group).map(drop),
    }
}

/// Creates the key file of a missing store, unless it exists, and checks the key.
pub(crate) fn create_first_key(config: &NativeConfig) -> Result<()> {
    let key = first_key(config)?;
    create_key(key)?;
    SlotSecret::read(key, config.group).map(drop)
}

/// Creates the key file of a new slot, unless the file exists.
pub(crate) fn create_key(source: &KeySource) -> Result<()> {
    let KeySource::KeyFile(file) = source else { return Ok(()) };
    FilePath::new(file).check_new(KEY_FILE)?;
    if key_file::is_missing(file) && key_file::create(file)? {
        warn!(
            setting = KEY_FILE.variable(),
            "{}: created a new key; back it up apart from the store, which cannot be read without it",
            FilePath::new(file)
        );
    }
    Ok(())
}

pub(crate) fn replaced() -> Error {
    Error::new(ErrorKind::Unavailable, "open the store again; nothing was written")
        .because("the store's file was removed or replaced")
        .temporary(false)
}

/// What opening a store loads.
struct Opened {
    row: StoreRow,
    slot: OpenedSlot,
    root: Arc<RootKey>,
}

impl Opened {
    /// Opens the store with one of its slots, which records that.
    fn load(tables: &dyn Tables, config: &NativeConfig, name: &StoreName) -> Result<Self> {
        let loaded = Self::load_with_keys(tables, config, name);
        crypto::wipe_stack();
        loaded
    }

    fn load_with_keys(
        tables: &dyn Tables,
        config: &NativeConfig,
        name: &StoreName,
    ) -> Result<Self> {
        let (slot, root) = slots::open(tables, config.validate()?, config.group, name)?;
        let snapshot = Snapshot::begin(tables)?;
        let row = StoreRow::load(tables)?;
        let root = slot.current_root(Arc::new(root), tables, &row)?;
        let key_ring = key_ring::load(tables, &row, Arc::clone(&root))?;
        let has_to_record = slot.check(tables, &key_ring.rows, secret_row::now())?;
        drop(snapshot);
        if has_to_record {
            record_opening(tables, &slot, &key_ring);
        }
        Ok(Self { row, slot, root })
    }
}

/// Writes when the slot has opened the store. That it could not be written is no reason not to open it.
fn record_opening(tables: &dyn Tables, slot: &OpenedSlot, key_ring: &KeyRing) {
    let record = || {
        let transaction = WriteTransaction::begin(tables)?;
        if !key_ring.is_outdated(tables)? {
            slot.record_opening(tables, &key_ring.rows, secret_row::now())?;
        }
        transaction.commit()
    };
    if record().is_err() {
        tracing::debug!("the time of this opening could not be written");
    }
}

/// A new store, whose keys are made: for a passphrase that takes about 0.2 s.
pub(crate) struct NewStore {
    id: [u8; 16],
    slot: NewSlot,
}

impl NewStore {
    /// A store that the first key of a configuration opens.
    pub(crate) fn of(config: &NativeConfig) -> Result<Self> {
        let id = crypto::random()?;
        let secret = SlotSecret::read(first_key(config)?, config.group)?;
        Ok(Self { id, slot: NewSlot::new(&secret, &id, None)? })
    }

    /// Writes the store into empty tables.
    pub(crate) fn store(self, tables: &dyn Tables) -> Result<()> {
        let (root, now) = (crypto::random_key()?, secret_row::now());
        let keys = key_ring::create(tables, self.id, &RootKey::new(&root), now)?;
        self.slot.store(tables, slots::FIRST, &keys, &root, now).map(drop)
    }
}
