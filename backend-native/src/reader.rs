//! Reads, on connections of their own. In WAL mode a reader waits for no writer, so a read runs on
//! the thread of its caller.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension, Row};
use strongroom_core::{
    Description, Error, ErrorKind, Health, HealthStatus, ListOptions, ListPage, PageToken, Result,
    Secret, SecretPath, Version, VersionInfo,
};
use tracing::warn;

use crate::crypto::{KeyBytes, NotAuthentic};
use crate::error::{from_sqlite, no_such_version, not_found, record_corrupt};
use crate::key_ring::{self, KeyRing};
use crate::record::{self, RecordContext};
use crate::schema;
use crate::secret_row::{self, COLUMN_COUNT, SecretRow, columns};
use crate::store::Store;
use crate::store_cell::StoreCell;

/// How many rows one page of a listing examines: about a millisecond of work.
const PAGE: usize = 500;

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
    key_ring: KeyRing,
    connection: Connection,
    /// When the state was last compared with what the process has seen.
    checked_at: Option<Instant>,
}

/// Why a read fails, before the key ring was loaded again.
enum ReadError {
    /// The store has a newer key ring than the one that was loaded.
    KeyRingOutdated,
    Failed(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<NotAuthentic> for ReadError {
    fn from(error: NotAuthentic) -> Self {
        Self::Failed(error.into())
    }
}

impl Reader {
    fn open(store: Arc<Store>) -> Result<Self> {
        let connection = store.connect()?;
        let key_ring = store.load_key_ring(&connection)?;
        Ok(Self { store, key_ring, connection, checked_at: None })
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
        self.key_ring = self.store.load_key_ring(&snapshot)?;
        read(self).map_err(|error| match error {
            ReadError::Failed(error) => error,
            ReadError::KeyRingOutdated => {
                record_corrupt("the record names a key that does not exist")
            }
        })
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
                .unwrap_or_else(|| Err(not_found(reader.store.path()).into()))
        })
    }

    /// Authenticates a secret's row and opens the version beside it.
    fn open_row(
        &self,
        row: &Row<'_>,
        path: &SecretPath,
        exact: Option<i64>,
    ) -> Result<Secret, ReadError> {
        let KeyRing { rows: keys, .. } = &self.key_ring;
        let secret = SecretRow::from_row(row, path, keys)?;
        let secret = secret.ensure_not_deleted(self.store.path())?;
        // Most secrets do not expire, and then the clock need not be read.
        if secret.metadata.expires_at.is_some() {
            secret.metadata.ensure_not_expired(SystemTime::now())?;
        }
        let Some(number) = row.get::<_, Option<u64>>(COLUMN_COUNT).map_err(from_sqlite)? else {
            return Err(missing_version(&secret, exact).into());
        };
        let created_at = row.get(COLUMN_COUNT + 1).map_err(from_sqlite)?;
        let context = secret.record_context(&keys.store_id, path, number, created_at);
        let data_key = self.unwrap(blob(row, COLUMN_COUNT + 2)?, &context)?;
        let value = record::open_body(blob(row, COLUMN_COUNT + 3)?, &context, &data_key)?;
        Ok(Secret::new(path.clone(), number.into(), secret.metadata, value))
    }

    fn unwrap(&self, wrap: &[u8], context: &RecordContext<'_>) -> Result<KeyBytes, ReadError> {
        let kek = self.key_ring.kek(record::kek_id(wrap)?).ok_or(ReadError::KeyRingOutdated)?;
        Ok(record::unwrap(wrap, context, kek)?)
    }

    fn load(&self, path: &SecretPath) -> Result<SecretRow> {
        let store = self.store.path();
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
        let _snapshot = schema::snapshot(&self.connection)?;
        let secret = self.load(path)?;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT version, created_at, wrap FROM versions WHERE secret_id = ? \
                 ORDER BY version DESC",
            )
            .map_err(from_sqlite)?;
        let mut rows = statement.query([secret.secret_id]).map_err(from_sqlite)?;
        let mut versions = Vec::new();
        while let Some(row) = rows.next().map_err(from_sqlite)? {
            let number: u64 = row.get(0).map_err(from_sqlite)?;
            let created_at = row.get(1).map_err(from_sqlite)?;
            let store_id = &self.key_ring.rows.store_id;
            // The wrap authenticates the version's number and time without opening its value.
            let context = secret.record_context(store_id, path, number, created_at);
            self.unwrap(blob(row, 2)?, &context)?;
            let created_at = Some(secret_row::to_time(created_at));
            versions.push(VersionInfo::new(number.into(), created_at, number == secret.active));
        }
        let expected = secret.latest.saturating_sub(secret.first).saturating_add(1);
        if versions.len() as u64 != expected {
            return Err(record_corrupt("versions of the secret are missing").into());
        }
        Ok(versions)
    }

    pub(crate) fn list(
        &mut self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        self.with_current_key_ring(|reader| reader.try_list(prefix, options))
    }

    fn try_list(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage, ReadError> {
        // `0` is the character after `/`: the range holds exactly the paths below the prefix.
        let (low, high) = match prefix {
            Some(prefix) => (format!("{prefix}/"), format!("{prefix}0")),
            None => (String::new(), "\u{7f}".to_owned()),
        };
        let after = match &options.page {
            Some(token) => decode_token(token)?.max(low.into_bytes()),
            None => low.into_bytes(),
        };
        let mut statement = self
            .connection
            .prepare_cached(concat!(
                "SELECT ",
                columns!(),
                ", s.path FROM secrets s WHERE s.path > CAST(?1 AS TEXT) AND s.path < ?2 \
                 ORDER BY s.path LIMIT ?3"
            ))
            .map_err(from_sqlite)?;
        let mut rows = statement.query((after, &high, PAGE)).map_err(from_sqlite)?;
        let mut page = ListPage::default();
        let (mut examined, mut last) = (0, Vec::new());
        while let Some(row) = rows.next().map_err(from_sqlite)? {
            examined += 1;
            last = secret_row::raw_path(row)?;
            let Some(path) = secret_row::valid_path(&last) else {
                warn!("the store holds a record under a path that is not valid");
                continue;
            };
            if self.matches(row, &path, options)? {
                page.paths.push(path);
            }
        }
        page.next = (examined == PAGE).then(|| PageToken::new(STANDARD.encode(last)));
        Ok(page)
    }

    /// Whether the options select a row. A corrupt row is always listed, so that the operator sees
    /// it; reading it fails.
    fn matches(
        &self,
        row: &Row<'_>,
        path: &SecretPath,
        options: &ListOptions,
    ) -> Result<bool, ReadError> {
        let Ok(secret) = SecretRow::from_row(row, path, &self.key_ring.rows) else {
            if self.key_ring.is_outdated(&self.connection)? {
                return Err(ReadError::KeyRingOutdated);
            }
            warn!(%path, "a record fails authentication");
            return Ok(true);
        };
        let metadata = &secret.metadata;
        Ok((options.include_deleted || secret.deleted_at.is_none())
            && options.kind.is_none_or(|kind| kind == metadata.kind)
            && options.tags.iter().all(|(name, value)| metadata.tags.get(name) == Some(value)))
    }

    pub(crate) fn health(&mut self) -> Result<Health> {
        self.store.check_not_replaced()?;
        let state = self.check_with_current_keys(|reader| {
            let Self { store, connection, key_ring, .. } = reader;
            store.guard().check_health(connection, &key_ring.rows)
        })?;
        let (active, uses) = key_ring::active_uses(&self.connection)?;
        Ok(Health::new(HealthStatus::Ready)
            .detail("state", state.number.to_string())
            .detail("key_encryption_key", active.to_string())
            .detail("key_encryption_key_uses", format!("at most {uses}")))
    }
}

/// A token is the last path of a page in base64, since an edited path need not be text.
fn decode_token(token: &PageToken) -> Result<Vec<u8>> {
    STANDARD.decode(token.as_str()).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, "pass the token of the previous page, or none")
            .because("the page token is not from this store")
    })
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8]> {
    let value = row.get_ref(column).map_err(from_sqlite)?;
    value.as_blob().map_err(|_| record_corrupt("the record is no longer binary"))
}

fn missing_version(secret: &SecretRow, exact: Option<i64>) -> Error {
    let kept = secret_row::to_i64(secret.first)..=secret_row::to_i64(secret.latest);
    match exact {
        Some(version) if !kept.contains(&version) => no_such_version(),
        _ => record_corrupt("a version of the secret is missing"),
    }
}
