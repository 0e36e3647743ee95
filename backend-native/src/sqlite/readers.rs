//! Reads, on connections of their own. In WAL mode a reader waits for no writer, so a read runs on
//! the thread of its caller.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use strongroom_core::{
    Description, Error, ErrorKind, Health, ListOptions, ListPage, Result, Secret, SecretPath,
    Version, VersionInfo,
};

use super::store_file::StoreFile;
use super::tables::{COLUMN_COUNT, columns, secret_of, version_of};
use crate::decode::{self, ListBounds, Listing, ReadError, Versions};
use crate::error::{from_sqlite, not_found};
use crate::key_ring::{self, KeyRing};
use crate::secret_row::{self, SecretRow};
use crate::storage::{Snapshot, Tables};
use crate::store::Store;
use crate::store_cell::StoreCell;

/// How often a reader compares the state of the store with what the process has seen.
const CHECK_STATE: Duration = Duration::from_secs(1);

macro_rules! get {
    ($version:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", v.version, v.created_at, v.wrap, v.body FROM secrets s LEFT JOIN versions v \
             ON v.secret_id = s.secret_id AND v.version = ",
            $version,
            " WHERE s.path = ?1"
        )
    };
}

const GET_ACTIVE: &str = get!("s.active");
const GET_EXACT: &str = get!("?2");

/// One connection with its key ring for each thread that reads at the same time, opened on first
/// use.
pub(crate) struct Readers {
    store: Arc<StoreCell>,
    readers: Box<[Mutex<Option<Reader>>]>,
}

impl Readers {
    pub(crate) fn new(store: Arc<StoreCell>) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 8);
        let readers = std::iter::repeat_with(|| Mutex::new(None)).take(count).collect();
        Self { store, readers }
    }

    /// Runs one read on a free connection, preferably the one that this thread used before.
    pub(crate) fn run<T>(&self, read: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
        let mut free = self.lock_reader().ok_or_else(Error::backend_closed)?;
        let reader = match free.as_mut() {
            Some(reader) => reader,
            None => free.insert(Reader::open(self.store.get()?)?),
        };
        reader.check_state()?;
        read(reader)
    }

    fn lock_reader(&self) -> Option<MutexGuard<'_, Option<Reader>>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PREFERRED: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let preferred = PREFERRED.with(|number| number % self.readers.len().max(1));
        let (before, after) = self.readers.split_at_checked(preferred)?;
        for reader in after.iter().chain(before) {
            match reader.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        after.first().map(|reader| reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes all connections and drops all keys.
    pub(crate) fn close(&self) {
        self.store.close();
        for reader in &self.readers {
            reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

pub(crate) struct Reader {
    store: Arc<Store>,
    file: Arc<StoreFile>,
    key_ring: KeyRing,
    connection: Connection,
    /// When the state was last compared with what the process has seen.
    checked_at: Option<Instant>,
}

impl Reader {
    fn open(store: Arc<Store>) -> Result<Self> {
        let file = Arc::clone(store.file().ok_or_else(Error::backend_closed)?);
        let connection = file.connect()?;
        let key_ring = store.load_key_ring(&connection)?;
        Ok(Self { store, file, key_ring, connection, checked_at: None })
    }

    /// Fails if an earlier copy of the file was put back. Looks at the file at most once a second.
    fn check_state(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.checked_at.is_some_and(|at| now.duration_since(at) < CHECK_STATE) {
            return Ok(());
        }
        self.check_with_current_keys(|reader| {
            let Self { store, connection, key_ring, .. } = reader;
            store.guard().check_reads(connection, &key_ring.rows)
        })?;
        self.checked_at = Some(now);
        Ok(())
    }

    /// Compares the state of the file, outside of a snapshot: other threads and processes may advance what it is compared
    /// with. Keys that the store has no more are not used from then on.
    fn check_with_current_keys<T>(&mut self, check: impl Fn(&Self) -> Result<T>) -> Result<T> {
        loop {
            if self.key_ring.is_outdated(&self.connection)? {
                self.key_ring = self.store.load_key_ring(&self.connection)?;
            }
            match check(self) {
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && self.key_ring.is_outdated(&self.connection)? => {}
                checked => return checked,
            }
        }
    }

    /// Runs a read, and once more with the key ring loaded again if it met an unknown key, or a record that no key of the
    /// ring has signed: another process may have started new ones.
    fn with_current_key_ring<T>(
        &mut self,
        read: impl Fn(&Self) -> Result<T, ReadError>,
    ) -> Result<T> {
        match read(self) {
            Ok(value) => return Ok(value),
            Err(ReadError::KeyRingOutdated) => {}
            // A newer key of the ring may have signed the record.
            Err(ReadError::Failed(error))
                if error.kind() == ErrorKind::Corrupt
                    && self.key_ring.is_outdated(&self.connection)? => {}
            Err(ReadError::Failed(error)) => return Err(error),
        }
        // One snapshot for key ring and record, since another rotation may happen in between.
        let snapshot = self.connection.unchecked_transaction().map_err(from_sqlite)?;
        self.key_ring = self.store.load_key_ring(&*snapshot)?;
        read(self).map_err(ReadError::into_error)
    }

    /// Reads the active version, or exactly one.
    pub(crate) fn get(&mut self, path: &SecretPath, exact: Option<&Version>) -> Result<Secret> {
        let exact = exact.map(|version| version.number().map_or(-1, secret_row::to_i64));
        self.with_current_key_ring(|reader| {
            let connection = &reader.connection;
            let open = |row: &Row<'_>| Ok(reader.open_row(row, path, exact));
            let opened = match exact {
                None => connection
                    .prepare_cached(GET_ACTIVE)
                    .and_then(|mut query| query.query_row([path.as_str()], open).optional()),
                Some(version) => connection.prepare_cached(GET_EXACT).and_then(|mut query| {
                    query.query_row((path.as_str(), version), open).optional()
                }),
            };
            opened
                .map_err(from_sqlite)?
                .unwrap_or_else(|| Err(not_found(reader.store.name()).into()))
        })
    }

    /// Opens the secret of a row with the version beside it.
    fn open_row(
        &self,
        row: &Row<'_>,
        path: &SecretPath,
        exact: Option<i64>,
    ) -> Result<Secret, ReadError> {
        let raw = secret_of(row).map_err(from_sqlite)?;
        let has_version = row.get_ref(COLUMN_COUNT).map_err(from_sqlite)? != ValueRef::Null;
        let version = has_version.then(|| version_of(row, COLUMN_COUNT)).transpose()?;
        decode::open_secret(&self.key_ring, self.store.name(), path, (&raw, version), exact)
    }

    fn load(&self, path: &SecretPath) -> Result<SecretRow> {
        let store = self.store.name();
        SecretRow::load(&self.connection, path, &self.key_ring.rows)?
            .ok_or_else(|| not_found(store))?
            .ensure_not_deleted(store)
    }

    pub(crate) fn describe(&mut self, path: &SecretPath) -> Result<Description> {
        let row = self.with_current_key_ring(|reader| Ok(reader.load(path)?))?;
        Ok(Description::new(path.clone(), row.active.into(), row.metadata))
    }

    pub(crate) fn versions(&mut self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.with_current_key_ring(|reader| reader.try_versions(path))
    }

    fn try_versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>, ReadError> {
        // One snapshot for both statements, so that a write in between does not look like damage.
        let _snapshot = Snapshot::begin(&self.connection)?;
        let secret = self.load(path)?;
        let secret_id = secret.secret_id;
        let mut versions = Versions::new(&self.key_ring, path, secret);
        let mut outcome = Ok(());
        self.connection.versions(&secret_id, false, &mut |row| {
            let row = row?;
            if outcome.is_ok() {
                outcome = versions.add(&row);
            }
            Ok(())
        })?;
        outcome?;
        versions.finish()
    }

    pub(crate) fn list(
        &mut self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let bounds = ListBounds::new(prefix, options)?;
        self.with_current_key_ring(|reader| {
            let mut listing = Listing::new(&reader.key_ring, options);
            reader.connection.secrets(bounds.range(), &mut |path, raw| {
                listing.add(path, raw);
                Ok(())
            })?;
            if listing.has_damage() && reader.key_ring.is_outdated(&reader.connection)? {
                return Err(ReadError::KeyRingOutdated);
            }
            Ok(listing.finish())
        })
    }

    pub(crate) fn health(&mut self) -> Result<Health> {
        self.file.check_not_replaced()?;
        let state = self.check_with_current_keys(|reader| {
            let Self { store, connection, key_ring, .. } = reader;
            store.guard().check_health(connection, &key_ring.rows)
        })?;
        let (active, uses) = key_ring::active_uses(&self.connection)?;
        Ok(decode::health(&state, active, uses))
    }
}
