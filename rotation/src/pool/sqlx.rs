//! A pool of `sqlx` connections whose key rotates.

mod executor;

use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Error, Postgres, Transaction};
use tokio::task::AbortHandle;

use super::{connection_url, is_refusal, not_a_url, on_change};
use crate::{KeyGuard, RotatingKey};

/// Adds to the connect options that a key gives.
type Configure = dyn Fn(PgConnectOptions) -> PgConnectOptions + Send + Sync;

/// A pool of `sqlx` connections to PostgreSQL, each of which logged in with the current key.
///
/// Use it as a [`PgPool`]: `&pool` runs queries ([`Executor`](sqlx::Executor)), and migrations take it
/// ([`Acquire`](sqlx::Acquire)). Clones share their connections.
///
/// Each generation of the key has a `PgPool` of its own. When the key is replaced, that of the earlier
/// generation is closed: idle connections at once, the others when they are returned. Calls that wait for a
/// connection go on with the new one. Until the last earlier connection is returned, twice
/// [`max_connections`](PgPoolOptions::max_connections) may be open; when the server refuses more (53300),
/// `sqlx` tries again until [`acquire_timeout`](PgPoolOptions::acquire_timeout). With
/// [`min_connections`](PgPoolOptions::min_connections) set, the new pool opens them in advance.
///
/// The key is a URL with one host, as [`PgConnectOptions`] reads it, with its parameters (`sslmode`,
/// `sslrootcert`, `application_name`). TLS needs one of the features `tls-…` of `sqlx` in the service's own
/// `Cargo.toml`; without it, `sslmode=require` and stricter fail, and the others send everything in the open.
///
/// The feature `macros` of `sqlx` 0.9, which is one of its defaults, locks an SQLite that conflicts with that
/// of the backend `native`: cargo refuses both in one build.
///
/// [`idle_timeout`](PgPoolOptions::idle_timeout) and [`max_lifetime`](PgPoolOptions::max_lifetime) work as
/// usual (10 and 30 minutes unless set). Rotation needs neither: an idle pool closes earlier connections by
/// itself. Call [`close`](Self::close) before the program ends, so that the server sees each connection end
/// in order.
///
/// `Debug` of this type shows neither the key nor options. That of [`PgConnectOptions`] shows the password:
/// never print [`PgPool::connect_options`].
///
/// # Examples
/// ```
/// use sqlx::postgres::PgPoolOptions;
/// use strongroom_rotation::RotatingKey;
/// use strongroom_rotation::pool::sqlx::RotatingPgPool;
///
/// async fn run(key: RotatingKey) -> Result<(), sqlx::Error> {
///     let pool = RotatingPgPool::connect(key, PgPoolOptions::new().max_connections(16)).await?;
///     let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&pool).await?;
///     assert_eq!(one, 1);
///
///     let mut transaction = pool.begin().await?;
///     sqlx::query("DELETE FROM carts").execute(&mut *transaction).await?;
///     transaction.commit().await?;
///     pool.close().await;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct RotatingPgPool(Arc<Shared>);

struct Shared {
    key: RotatingKey,
    options: PgPoolOptions,
    configure: Box<Configure>,
    /// None once it is closed.
    current: Mutex<Option<Arc<Generation>>>,
    /// Retires the connections of a key that was replaced.
    watch: OnceLock<AbortHandle>,
}

/// The connections that log in with one generation of the key. While it exists, the engine does not revoke
/// that generation (up to the drain timeout).
struct Generation {
    pool: PgPool,
    guard: KeyGuard,
}

impl RotatingPgPool {
    /// A pool with these options, which has opened one connection.
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn connect(key: RotatingKey, options: PgPoolOptions) -> Result<Self, Error> {
        let pool = Self::connect_lazy(key, options)?;
        drop(pool.acquire().await?);
        Ok(pool)
    }

    /// A pool with these options, which opens connections when they are needed.
    ///
    /// # Errors
    /// [`Configuration`](Error::Configuration) if the key is not a URL that `sqlx` reads.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn connect_lazy(key: RotatingKey, options: PgPoolOptions) -> Result<Self, Error> {
        Self::connect_lazy_with(key, options, |connect| connect)
    }

    /// The same with connect options that no URL carries. `configure` gets those of each new generation,
    /// and leaves role and password alone.
    ///
    /// # Errors
    /// As [`connect_lazy`](Self::connect_lazy).
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use sqlx::ConnectOptions as _;
    /// use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    /// use strongroom_rotation::RotatingKey;
    /// use strongroom_rotation::pool::sqlx::RotatingPgPool;
    ///
    /// fn pool(key: RotatingKey) -> Result<RotatingPgPool, sqlx::Error> {
    ///     RotatingPgPool::connect_lazy_with(key, PgPoolOptions::new(), |connect: PgConnectOptions| {
    ///         connect.statement_cache_capacity(500).disable_statement_logging()
    ///     })
    /// }
    /// ```
    pub fn connect_lazy_with(
        key: RotatingKey,
        options: PgPoolOptions,
        configure: impl Fn(PgConnectOptions) -> PgConnectOptions + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let first = Generation::open(key.acquire(), &options, &configure)?;
        let shared = Arc::new(Shared {
            key,
            options,
            configure: Box::new(configure),
            current: Mutex::new(Some(Arc::new(first))),
            watch: OnceLock::new(),
        });
        let watched = Arc::downgrade(&shared);
        let watch = on_change(&shared.key, move || {
            // An error shows at the next use of the pool.
            watched.upgrade().is_some_and(|shared| shared.current().is_ok() || !shared.is_closed())
        });
        shared.watch.get_or_init(|| watch.abort_handle());
        Ok(Self(shared))
    }

    /// A connection that logged in with the current key.
    ///
    /// Where the server refuses the password, the store is checked for a newer key (2 seconds at most), and
    /// one more login is tried.
    ///
    /// # Errors
    /// Those of [`PgPool::acquire`], and [`Configuration`](Error::Configuration) if the key is not a URL
    /// that `sqlx` reads.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        let mut was_refused = false;
        loop {
            let generation = self.0.current()?;
            let error = match generation.pool.acquire().await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            match &error {
                // The key was replaced while this call waited for a connection.
                Error::PoolClosed if !Arc::ptr_eq(&self.0.current()?, &generation) => {}
                Error::Database(refusal)
                    if !was_refused && refusal.code().is_some_and(|code| is_refusal(&code)) =>
                {
                    if !self.0.key.refresh_after_rejection(&generation.guard).await {
                        return Err(error);
                    }
                    was_refused = true;
                }
                _ => return Err(error),
            }
        }
    }

    /// Begins a transaction on a connection of its own.
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire), and what the server answers to `BEGIN`.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        Transaction::begin(self.acquire().await?, None).await
    }

    /// The `PgPool` of the current generation, for its figures and for code that takes nothing else. It is
    /// closed when the key is replaced.
    ///
    /// # Errors
    /// [`PoolClosed`](Error::PoolClosed) after [`close`](Self::close);
    /// [`Configuration`](Error::Configuration) if the key is not a URL that `sqlx` reads.
    pub fn current(&self) -> Result<PgPool, Error> {
        Ok(self.0.current()?.pool.clone())
    }

    /// Closes all connections, and waits for those in use to be returned. Calls that wait for a connection
    /// get [`PoolClosed`](Error::PoolClosed).
    pub async fn close(&self) {
        let last = self.0.lock().take();
        if let Some(last) = last {
            last.pool.close().await;
        }
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Generation>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.lock().is_none()
    }

    /// The generation of the current key. If it is new, the one before it is closed in the background.
    fn current(&self) -> Result<Arc<Generation>, Error> {
        let mut slot = self.lock();
        let current = slot.as_ref().ok_or(Error::PoolClosed)?;
        if self.key.is_current(&current.guard) {
            return Ok(Arc::clone(current));
        }
        let next = Generation::open(self.key.acquire(), &self.options, &self.configure)?;
        let next = Arc::new(next);
        if let Some(earlier) = slot.replace(Arc::clone(&next)) {
            tokio::spawn(async move { earlier.pool.close().await });
        }
        Ok(next)
    }
}

impl Generation {
    fn open(
        guard: KeyGuard,
        options: &PgPoolOptions,
        configure: &(impl Fn(PgConnectOptions) -> PgConnectOptions + ?Sized),
    ) -> Result<Self, Error> {
        let wrong = |error| Error::Configuration(Box::new(error));
        let url = connection_url(&guard).map_err(wrong)?;
        // What `sqlx` says may quote the URL.
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| wrong(not_a_url("the key is not a URL that `sqlx` reads")))?;
        let pool = options.clone().connect_lazy_with(configure(connect));
        Ok(Self { pool, guard })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
    }
}

impl fmt::Debug for RotatingPgPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.0.lock().clone();
        f.debug_struct("RotatingPgPool")
            .field("key", &self.0.key)
            .field("current", &current.as_ref().map(|generation| &generation.pool))
            .finish_non_exhaustive()
    }
}
