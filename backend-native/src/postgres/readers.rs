//! Reads, on a few connections that all callers share: several requests are under way on each at the same time.

mod replicated;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strongroom_core::{
    ChangeFeed, Description, Error, ErrorKind, ForkGuard, Health, ListOptions, ListPage, Result,
    Secret, SecretPath, Version, VersionInfo,
};
use strongroom_transport::ensure_runtime;
use tokio::sync::watch;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::error::unreadable;
use super::feed::DatabaseFeed;
use super::location::DatabaseLocation;
use super::read_connection::{Connections, Query, READ_TIME, lock};
use super::replica::{Beginning, Replica};
use super::rows::{key_states_of, secret_of, state_of, version_of};
use super::statements::{self, COLUMN_COUNT};
use crate::decode::{self, ListBounds, Listing, ReadError, Versions};
use crate::error::not_found;
use crate::guard::Watermark;
use crate::key_ring::{self, KeyRing};
use crate::secret_row::{self, SecretRow};
use crate::state::{State, state_corrupt};
use crate::store::Store;
use crate::store_cell::StoreCell;
use crate::writer::run_on_thread;

/// How often a read compares the state of the store with what the process has seen.
const CHECK_STATE: Duration = Duration::from_secs(1);
/// How often a read loads the key ring again, if keys are replaced meanwhile.
const MAX_RELOADS: usize = 4;

/// Reads of a store in a database.
pub(crate) struct DatabaseReaders {
    cell: Arc<StoreCell>,
    location: Arc<DatabaseLocation>,
    connections: Connections,
    replica: Option<Arc<Replica>>,
    /// As last loaded.
    key_ring: Mutex<Option<Arc<KeyRing>>>,
    /// Held while the key ring is loaded.
    loading: tokio::sync::Mutex<()>,
    /// When the state was last compared with what the process has seen.
    checked_at: Mutex<Option<Instant>>,
    /// Tells the feeds that the backend is closed.
    closed: watch::Sender<bool>,
    fork_guard: ForkGuard,
}

impl DatabaseReaders {
    pub(crate) fn new(cell: Arc<StoreCell>, location: Arc<DatabaseLocation>) -> Self {
        let replica = Replica::of(&location);
        let connections = Connections::new(&location.primary);
        Self {
            cell,
            location,
            replica,
            connections,
            key_ring: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            checked_at: Mutex::default(),
            closed: watch::Sender::new(false),
            fork_guard: ForkGuard::new(),
        }
    }

    /// A new feed; `None` in a forked child, which must not use the store.
    pub(crate) fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        self.fork_guard.check().ok()?;
        let (location, closed) = (Arc::clone(&self.location), self.closed.subscribe());
        let replica = self.replica.as_ref().map(Arc::downgrade).unwrap_or_default();
        Some(Box::new(DatabaseFeed::new(&self.cell, location, replica, self.fork_guard, closed)))
    }

    /// Closes all connections and drops all keys.
    pub(crate) fn close(&self) {
        self.cell.close();
        self.closed.send_replace(true);
        *lock(&self.key_ring) = None;
        self.connections.close();
        if let Some(replica) = &self.replica {
            replica.close();
        }
    }

    /// Runs a query on the primary.
    async fn rows(&self, query: Query<'_>) -> Result<Vec<Row>> {
        ensure_runtime()?;
        let answer = self.connections.ask(query, 0, READ_TIME).await;
        if *self.closed.borrow() {
            return Err(Error::backend_closed());
        }
        Ok(answer?.rows)
    }

    async fn stored_state(&self) -> Result<crate::state::StoredState> {
        let rows = self.rows(Query::Other(statements::STATE, &[])).await?;
        let row =
            rows.first().ok_or_else(|| state_corrupt("the store's table `state` is empty"))?;
        state_of(row)
    }

    async fn is_outdated(&self, key_ring: &KeyRing) -> Result<bool> {
        let states = key_states_of(&self.rows(Query::Other(statements::KEY_STATES, &[])).await?)?;
        Ok(key_ring.has_other_states(&states))
    }

    /// The key ring as last loaded.
    async fn key_ring(&self, store: &Arc<Store>) -> Result<Arc<KeyRing>> {
        let loaded = lock(&self.key_ring).clone();
        match loaded {
            Some(key_ring) => Ok(key_ring),
            None => self.load_key_ring(store, None).await,
        }
    }

    /// Loads the key ring, unless another read has loaded another one than `outdated` meanwhile.
    async fn load_key_ring(
        &self,
        store: &Arc<Store>,
        outdated: Option<&Arc<KeyRing>>,
    ) -> Result<Arc<KeyRing>> {
        let _loading = self.loading.lock().await;
        if let Some(current) = &*lock(&self.key_ring)
            && outdated.is_none_or(|outdated| !Arc::ptr_eq(current, outdated))
        {
            return Ok(Arc::clone(current));
        }
        let opened = Arc::clone(store);
        let load = move || {
            let tables = opened.connect()?;
            opened.load_key_ring(&*tables)
        };
        let key_ring = Arc::new(run_on_thread("strongroom-keys", load).await?);
        let mut current = lock(&self.key_ring);
        if *self.closed.borrow() {
            return Err(Error::backend_closed());
        }
        *current = Some(Arc::clone(&key_ring));
        Ok(key_ring)
    }

    /// Compares the state of the store with what the process has seen and with the anchor, at most once a second.
    async fn check_state(&self, store: &Arc<Store>) -> Result<()> {
        let now = Instant::now();
        let is_due = lock(&self.checked_at).is_none_or(|at| now.duration_since(at) >= CHECK_STATE);
        if is_due { self.observe(store).await } else { Ok(()) }
    }

    /// The same now. The replica is told what came of it.
    async fn observe(&self, store: &Arc<Store>) -> Result<()> {
        let (now, begun) = (Instant::now(), Beginning::now(store));
        let state = self.state(store, false).await;
        if let Some(replica) = &self.replica {
            replica.note_observation(begun, &state);
        }
        state?;
        *lock(&self.checked_at) = Some(now);
        Ok(())
    }

    /// The state, after it was compared. With `needs_anchor`, an anchor that cannot be read is an error.
    async fn state(&self, store: &Arc<Store>, needs_anchor: bool) -> Result<State> {
        let mut key_ring = self.key_ring(store).await?;
        let mut reloads = 0;
        loop {
            let keys = &key_ring.rows;
            let compared = async {
                let before = Watermark::of(store.guard(), keys, needs_anchor)?;
                let stored = self.stored_state().await?;
                store.guard().compare(&before, stored.open(keys)?, keys)
            };
            match compared.await {
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && reloads < MAX_RELOADS
                        && self.is_outdated(&key_ring).await? => {}
                compared => return compared,
            }
            reloads += 1;
            key_ring = self.load_key_ring(store, Some(&key_ring)).await?;
        }
    }

    /// Runs a query on the primary and decodes its rows; again with the key ring loaded again if it met an unknown key, or a
    /// record that no key of the ring has signed: another process may have started new ones.
    async fn read_primary<T>(
        &self,
        query: Query<'_>,
        decode: impl Fn(&Store, &KeyRing, &[Row]) -> Result<T, ReadError>,
    ) -> Result<T> {
        let store = self.cell.get()?;
        self.check_state(&store).await?;
        let mut key_ring = self.key_ring(&store).await?;
        let mut reloads = 0;
        loop {
            let rows = self.rows(query).await?;
            match decode(&store, &key_ring, &rows) {
                Ok(value) => return Ok(value),
                Err(error) if reloads == MAX_RELOADS => return Err(error.into_error()),
                Err(error @ ReadError::KeyRingOutdated) => {
                    if !self.is_outdated(&key_ring).await? {
                        return Err(error.into_error());
                    }
                }
                // A newer key of the ring may have signed the record.
                Err(ReadError::Failed(error))
                    if error.kind() == ErrorKind::Corrupt
                        && self.is_outdated(&key_ring).await? => {}
                Err(ReadError::Failed(error)) => return Err(error),
            }
            reloads += 1;
            key_ring = self.load_key_ring(&store, Some(&key_ring)).await?;
        }
    }

    /// Reads the active version, or exactly one.
    pub(crate) async fn get(
        self: &Arc<Self>,
        path: &SecretPath,
        exact: Option<&Version>,
    ) -> Result<Secret> {
        let exact = exact.map(|version| version.number().map_or(-1, secret_row::to_i64));
        let query = match exact {
            None => Query::Active(path.as_str()),
            Some(version) => Query::Exact(path.as_str(), version),
        };
        self.read(query, |store, key_ring, rows| {
            let row = rows.first().ok_or_else(|| not_found(store.name()))?;
            let raw = secret_of(row)?;
            let version = has_version(row)?.then(|| version_of(row, COLUMN_COUNT)).transpose()?;
            decode::open_secret(key_ring, store.name(), path, (&raw, version), exact)
        })
        .await
    }

    pub(crate) async fn describe(self: &Arc<Self>, path: &SecretPath) -> Result<Description> {
        let query = Query::Other(statements::SECRET, &[(&path.as_str(), Type::TEXT)]);
        let decode = |store: &Store, key_ring: &KeyRing, rows: &[Row]| {
            Ok(live(rows.first(), store, path, key_ring)?)
        };
        let row = self.read(query, decode).await?;
        Ok(Description::new(path.clone(), row.active.into(), row.metadata))
    }

    pub(crate) async fn versions(self: &Arc<Self>, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        let query = Query::Other(statements::VERSIONS_OF_PATH, &[(&path.as_str(), Type::TEXT)]);
        self.read(query, |store, key_ring, rows| {
            let secret = live(rows.first(), store, path, key_ring)?;
            let mut versions = Versions::new(key_ring, path, secret);
            for row in rows {
                if has_version(row)? {
                    versions.add(&version_of(row, COLUMN_COUNT)?)?;
                }
            }
            versions.finish()
        })
        .await
    }

    pub(crate) async fn list(
        self: &Arc<Self>,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let bounds = ListBounds::new(prefix, options)?;
        let range = bounds.range();
        let after = std::str::from_utf8(range.after).map_err(|_| decode::foreign_token())?;
        let before = range.before.unwrap_or_default();
        let limit = i64::try_from(decode::PAGE).unwrap_or(i64::MAX);
        let values: &[(&(dyn ToSql + Sync), Type)] =
            &[(&after, Type::TEXT), (&before, Type::TEXT), (&limit, Type::INT8)];
        let query = Query::Other(statements::SECRETS, values);
        let decode = |_: &Store, key_ring: &KeyRing, rows: &[Row]| {
            let mut listing = Listing::new(key_ring, options);
            for row in rows {
                let path: &str = row.try_get(COLUMN_COUNT).map_err(unreadable)?;
                listing.add(path.as_bytes(), secret_of(row));
            }
            Ok((listing.has_damage(), listing.finish()))
        };
        let read_primary = async {
            let (has_damage, page) = self.read_primary(query, decode).await?;
            if has_damage {
                let store = self.cell.get()?;
                let key_ring = self.key_ring(&store).await?;
                if self.is_outdated(&key_ring).await? {
                    self.load_key_ring(&store, Some(&key_ring)).await?;
                    return Ok(self.read_primary(query, decode).await?.1);
                }
            }
            Ok(page)
        };
        let undamaged = |store: &Store, key_ring: &KeyRing, rows: &[Row]| match decode(
            store, key_ring, rows,
        )? {
            (false, page) => Ok(page),
            (true, _) => Err(ReadError::KeyRingOutdated),
        };
        self.read_with(query, undamaged, read_primary).await
    }

    pub(crate) async fn health(&self) -> Result<Health> {
        let store = self.cell.get()?;
        let state = self.state(&store, true).await?;
        let opened = Arc::clone(&store);
        let uses = move || key_ring::active_uses(&*opened.connect()?);
        let (active, uses) = run_on_thread("strongroom-health", uses).await?;
        Ok(decode::health(&state, active, uses))
    }
}

/// The secret of a row, which exists and is not deleted.
fn live(
    row: Option<&Row>,
    store: &Store,
    path: &SecretPath,
    key_ring: &KeyRing,
) -> Result<SecretRow> {
    let raw = secret_of(row.ok_or_else(|| not_found(store.name()))?)?;
    SecretRow::authenticate(&raw, path, &key_ring.rows)?.ensure_not_deleted(store.name())
}

/// Whether a version is beside the secret of a row.
fn has_version(row: &Row) -> Result<bool> {
    let number: Option<i64> = row.try_get(COLUMN_COUNT).map_err(unreadable)?;
    Ok(number.is_some())
}
