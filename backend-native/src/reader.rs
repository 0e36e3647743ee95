//! Reads, on connections of their own: in WAL mode they wait for no writer, so a point read is
//! done where it is asked for instead of on another thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension, Row};
use strongroom_core::{
    Description, Error, ErrorKind, Health, HealthStatus, ListOptions, ListPage, PageToken, Result,
    Secret, SecretPath, Version, VersionInfo,
};
use tracing::warn;

use crate::error::{closed, corrupt, from_sqlite, no_such_version, not_found};
use crate::record;
use crate::ring::{self, Ring};
use crate::row::{self, COLUMN_COUNT, SecretRow, columns};
use crate::store::Store;

/// How many rows one page of a listing looks at: about a millisecond of work.
const PAGE: usize = 500;

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

/// A connection and its ring for each thread that reads at the same time, opened on first use.
pub(crate) struct Readers {
    store: Mutex<Option<Arc<Store>>>,
    slots: Box<[Mutex<Option<Reader>>]>,
}

impl Readers {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 8);
        let slots = std::iter::repeat_with(|| Mutex::new(None)).take(count).collect();
        Self { store: Mutex::new(Some(store)), slots }
    }

    /// Runs one read on a connection that is free, preferably the one this thread used before.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
        let mut slot = self.slot().ok_or_else(closed)?;
        let reader = match slot.as_mut() {
            Some(reader) => reader,
            None => slot.insert(Reader::open(self.store()?)?),
        };
        act(reader)
    }

    fn slot(&self) -> Option<MutexGuard<'_, Option<Reader>>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static HOME: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let home = HOME.with(|home| home % self.slots.len().max(1));
        let (before, after) = self.slots.split_at_checked(home)?;
        for slot in after.iter().chain(before) {
            match slot.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        after.first().map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn store(&self) -> Result<Arc<Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// Closes all connections and forgets all keys.
    pub(crate) fn close(&self) {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        for slot in &self.slots {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

pub(crate) struct Reader {
    store: Arc<Store>,
    ring: Ring,
    connection: Connection,
}

/// A row names a key-encryption key that was not there when the ring was read.
struct UnknownKek;

type Attempt<T> = Result<Result<T, UnknownKek>>;

impl Reader {
    fn open(store: Arc<Store>) -> Result<Self> {
        let connection = store.connect()?;
        let ring = store.load_ring(&connection)?;
        Ok(Self { store, ring, connection })
    }

    /// Tries, and tries once more with the ring as it is now: another process may have begun to
    /// use a new key.
    fn with_current_ring<T>(&mut self, attempt: impl Fn(&Self) -> Attempt<T>) -> Result<T> {
        if let Ok(value) = attempt(self)? {
            return Ok(value);
        }
        // One snapshot for ring and row: another rotation may come between.
        let snapshot = self.connection.unchecked_transaction().map_err(from_sqlite)?;
        self.ring = self.store.load_ring(&snapshot)?;
        attempt(self)?.map_err(|UnknownKek| corrupt("the record names a key that does not exist"))
    }

    /// Reads the active version, or exactly one.
    pub(crate) fn get(&mut self, path: &SecretPath, exact: Option<&Version>) -> Result<Secret> {
        let exact = exact.map(|version| version.number().map_or(-1, row::to_i64));
        self.with_current_ring(|reader| reader.try_get(path, exact))
    }

    fn try_get(&self, path: &SecretPath, exact: Option<i64>) -> Attempt<Secret> {
        let read = |row: &Row<'_>| Ok(self.open_row(row, path, exact));
        let result = match exact {
            None => self
                .connection
                .prepare_cached(GET_ACTIVE)
                .and_then(|mut statement| statement.query_row([path.as_str()], read).optional()),
            Some(version) => self.connection.prepare_cached(GET_EXACT).and_then(|mut statement| {
                statement.query_row((path.as_str(), version), read).optional()
            }),
        };
        result.map_err(from_sqlite)?.unwrap_or_else(|| Err(not_found()))
    }

    fn open_row(&self, row: &Row<'_>, path: &SecretPath, exact: Option<i64>) -> Attempt<Secret> {
        let Ring { mac, store_id, .. } = &self.ring;
        let secret = SecretRow::from_row(row, path, mac, store_id)?.live()?;
        secret.metadata.ensure_not_expired(SystemTime::now())?;
        let Some(number) = row.get::<_, Option<u64>>(COLUMN_COUNT).map_err(from_sqlite)? else {
            return Err(missing(&secret, exact));
        };
        let created_at = row.get(COLUMN_COUNT + 1).map_err(from_sqlite)?;
        let blob = |column| -> Result<&[u8]> {
            let value = row.get_ref(COLUMN_COUNT + column).map_err(from_sqlite)?;
            value.as_blob().map_err(|_| corrupt("the record is no longer binary"))
        };
        let wrap = blob(2)?;
        let place = secret.place(store_id, path, number, created_at);
        let Some(kek) = self.ring.kek(record::kek_id(wrap)?) else { return Ok(Err(UnknownKek)) };
        let data_key = record::unwrap(wrap, &place, kek)?;
        let value = record::open_body(blob(3)?, &place, &data_key)?;
        Ok(Ok(Secret::new(path.clone(), number.into(), secret.metadata, value)))
    }

    fn load(&self, path: &SecretPath) -> Result<SecretRow> {
        SecretRow::load(&self.connection, path, &self.ring.mac, &self.ring.store_id)?
            .ok_or_else(not_found)?
            .live()
    }

    pub(crate) fn describe(&self, path: &SecretPath) -> Result<Description> {
        let row = self.load(path)?;
        Ok(Description::new(path.clone(), row.active.into(), row.metadata))
    }

    pub(crate) fn versions(&mut self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.with_current_ring(|reader| reader.try_versions(path))
    }

    fn try_versions(&self, path: &SecretPath) -> Attempt<Vec<VersionInfo>> {
        // One snapshot for both statements, so that a write in between cannot look like damage.
        let begins_here = self.connection.is_autocommit();
        let _snapshot = begins_here
            .then(|| self.connection.unchecked_transaction())
            .transpose()
            .map_err(from_sqlite)?;
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
            let wrap = row.get_ref(2).map_err(from_sqlite)?;
            let wrap = wrap.as_blob().map_err(|_| corrupt("the record is no longer binary"))?;
            let Some(kek) = self.ring.kek(record::kek_id(wrap)?) else {
                return Ok(Err(UnknownKek));
            };
            // The wrap authenticates the version's number and time without opening its value.
            record::unwrap(
                wrap,
                &secret.place(&self.ring.store_id, path, number, created_at),
                kek,
            )?;
            let created_at = Some(row::to_time(created_at));
            versions.push(VersionInfo::new(number.into(), created_at, number == secret.active));
        }
        let expected = secret.latest.saturating_sub(secret.first).saturating_add(1);
        if versions.len() as u64 != expected {
            return Err(corrupt("versions of the secret are missing"));
        }
        Ok(Ok(versions))
    }

    pub(crate) fn list(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        // `0` is the character after `/`: the range holds exactly what is below the prefix.
        let (low, high) = match prefix {
            Some(prefix) => (format!("{prefix}/"), format!("{prefix}0")),
            None => (String::new(), "\u{7f}".to_owned()),
        };
        let after = match &options.page {
            Some(token) => decode(token)?.max(low.into_bytes()),
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
        let (mut seen, mut last) = (0, Vec::new());
        while let Some(row) = rows.next().map_err(from_sqlite)? {
            seen += 1;
            last = row::raw_path(row)?;
            match row::valid_path(&last) {
                Some(path) if self.is_wanted(row, &path, options) => page.paths.push(path),
                Some(_) => {}
                None => warn!("the store holds a record under a path that is not valid"),
            }
        }
        page.next = (seen == PAGE).then(|| PageToken::new(STANDARD.encode(last)));
        Ok(page)
    }

    /// A damaged record is listed, so that the operator learns of it; reading it is refused.
    fn is_wanted(&self, row: &Row<'_>, path: &SecretPath, options: &ListOptions) -> bool {
        let Ring { mac, store_id, .. } = &self.ring;
        let Ok(secret) = SecretRow::from_row(row, path, mac, store_id) else {
            warn!(%path, "a record fails authentication");
            return true;
        };
        let metadata = &secret.metadata;
        (options.include_deleted || secret.deleted_at.is_none())
            && options.kind.is_none_or(|kind| kind == metadata.kind)
            && options.tags.iter().all(|(name, value)| metadata.tags.get(name) == Some(value))
    }

    pub(crate) fn health(&self) -> Result<Health> {
        self.store.check_not_replaced()?;
        let (active, uses) = ring::uses_of_active(&self.connection)?;
        Ok(Health::new(HealthStatus::Ready)
            .detail("key_encryption_key", active.to_string())
            .detail("key_encryption_key_uses", format!("at most {uses}")))
    }
}

/// A token is the last path of a page in base64: an edited path need not be text.
fn decode(token: &PageToken) -> Result<Vec<u8>> {
    STANDARD.decode(token.as_str()).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, "give the token of the page before, or none")
            .because("the page token is not from this store")
    })
}

fn missing(secret: &SecretRow, exact: Option<i64>) -> Error {
    let kept = row::to_i64(secret.first)..=row::to_i64(secret.latest);
    match exact {
        Some(version) if !kept.contains(&version) => no_such_version(),
        _ => corrupt("a version of the secret is missing"),
    }
}
