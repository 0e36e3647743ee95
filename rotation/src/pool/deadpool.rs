//! A `deadpool` pool of `tokio-postgres` connections whose key rotates.

mod client;
mod error;

use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use deadpool::Runtime;
use deadpool::managed::{self, BuildError, Metrics, PoolConfig, RecycleError};
use deadpool_postgres::{ClientWrapper, ConfigConnectImpl, Connect, ManagerConfig};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, Socket};

pub use self::client::{PooledClient, RotatingClient};
pub use self::error::ConnectError;
use super::{connection_url, on_change};
use crate::{KeyGuard, RotatingKey};

/// A pool whose connections logged in with the current key; see [`RotatingManager`].
pub type RotatingPool = managed::Pool<RotatingManager, RotatingClient>;

/// Opens connections to PostgreSQL with the current key, and recycles none of an earlier one.
///
/// [`create_pool`](Self::create_pool) makes a pool of it. Its clients work like those of `deadpool-postgres`,
/// with the same cache of statements, and their transactions are
/// [`GenericClient`](deadpool_postgres::GenericClient)s. When the key is replaced, the pool closes idle
/// connections at once and the others when they are returned, and never has more than
/// [`max_size`](PoolConfig::max_size).
///
/// The key is a URL as [`Config`] reads it. Its `sslmode` is followed with the TLS connector that the
/// manager gets.
///
/// `deadpool` has no timeout for idle connections and no longest lifetime. Rotation needs neither: an idle
/// pool closes earlier connections by itself.
///
/// # Examples
/// ```
/// use deadpool_postgres::PoolConfig;
/// use strongroom_rotation::RotatingKey;
/// use strongroom_rotation::pool::deadpool::RotatingManager;
/// use tokio_postgres::NoTls;
///
/// async fn run(key: RotatingKey) -> Result<(), Box<dyn std::error::Error>> {
///     let pool = RotatingManager::new(key, NoTls).create_pool(PoolConfig::new(16))?;
///     let client = pool.get().await?;
///     let statement = client.prepare_cached("SELECT 1").await?;
///     let row = client.query_one(&statement, &[]).await?;
///     assert_eq!(row.get::<_, i32>(0), 1);
///     Ok(())
/// }
/// ```
pub struct RotatingManager {
    key: RotatingKey,
    connect: Box<dyn Connect>,
    config: ManagerConfig,
    /// The guard that the connections of the current key share: `acquire` becomes slower on a thread with
    /// many guards.
    guard: Mutex<Weak<KeyGuard>>,
}

impl RotatingManager {
    /// A manager that speaks TLS through this connector.
    #[must_use]
    pub fn new<T>(key: RotatingKey, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Sync + Send + 'static,
        T::Stream: Sync + Send,
        T::TlsConnect: Sync + Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self::from_connect(key, ConfigConnectImpl { tls })
    }

    /// A manager that opens connections by other means, such as through a proxy. `connect` gets the
    /// configuration that the current key gives.
    #[must_use]
    pub fn from_connect(key: RotatingKey, connect: impl Connect + 'static) -> Self {
        let (connect, config) = (Box::new(connect), ManagerConfig::default());
        Self { key, connect, config, guard: Mutex::default() }
    }

    /// Sets how a connection is checked before it is used again.
    #[must_use]
    pub fn config(mut self, config: ManagerConfig) -> Self {
        self.config = config;
        self
    }

    /// A pool of this manager's connections, which are opened when they are needed.
    ///
    /// # Errors
    /// Those of [`PoolBuilder::build`](managed::PoolBuilder::build).
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn create_pool(self, config: PoolConfig) -> Result<RotatingPool, BuildError> {
        let key = self.key.clone();
        let pool = RotatingPool::builder(self).config(config).runtime(Runtime::Tokio1).build()?;
        let idle = managed::Pool::weak(&pool);
        // It ends with the first change after the pool is dropped.
        on_change(&key, move || {
            let pool = idle.upgrade().filter(|pool| !pool.is_closed());
            pool.is_some_and(|pool| {
                retire(&pool);
                true
            })
        });
        Ok(pool)
    }

    fn acquire(&self) -> Arc<KeyGuard> {
        let mut shared = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let current = shared.upgrade().filter(|guard| self.key.is_current(guard));
        current.unwrap_or_else(|| {
            let guard = Arc::new(self.key.acquire());
            *shared = Arc::downgrade(&guard);
            guard
        })
    }

    /// Logs in once. If the server rejects the password, returns the guard of its key.
    async fn log_in(&self) -> Result<PooledClient, (ConnectError, Arc<KeyGuard>)> {
        let guard = self.acquire();
        let config = match connect_config(&guard) {
            Ok(config) => config,
            Err(error) => return Err((error, guard)),
        };
        match self.connect.connect(&config).await {
            Ok((client, task)) => {
                let client = ClientWrapper::new(client, task);
                Ok(PooledClient::new(client, guard, self.key.clone()))
            }
            Err(error) => Err((ConnectError::Postgres(error), guard)),
        }
    }
}

fn connect_config(guard: &KeyGuard) -> Result<Config, ConnectError> {
    let url = connection_url(guard).map_err(ConnectError::Key)?;
    // The driver's error may quote the URL.
    Config::from_str(url).map_err(|_| {
        ConnectError::Key(super::not_a_url("the key is not a URL that `tokio-postgres` reads"))
    })
}

/// Closes the idle connections of earlier keys.
fn retire(pool: &managed::Pool<RotatingManager>) {
    // Drop the connections after the pool has released its lock.
    drop(pool.retain(|client, _| client.is_current()));
}

impl managed::Manager for RotatingManager {
    type Type = PooledClient;
    type Error = ConnectError;

    /// Logs in with the current key. If the server rejects the password, checks the store for a newer key (2
    /// seconds at most), and tries one more login.
    async fn create(&self) -> Result<PooledClient, ConnectError> {
        let (error, guard) = match self.log_in().await {
            Ok(client) => return Ok(client),
            Err(failure) => failure,
        };
        if !error.is_refusal() || !self.key.refresh_after_rejection(&guard).await {
            return Err(error);
        }
        drop(guard);
        self.log_in().await.map_err(|(error, _)| error)
    }

    /// Rejects a connection of an earlier key and a closed one, and checks the others as configured.
    async fn recycle(
        &self,
        client: &mut PooledClient,
        _: &Metrics,
    ) -> managed::RecycleResult<ConnectError> {
        if !client.is_current() {
            return Err(RecycleError::message("the key was replaced"));
        }
        if client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if let Some(sql) = self.config.recycling_method.query() {
            let checked = client.simple_query(sql).await;
            checked.map_err(|error| RecycleError::Backend(ConnectError::Postgres(error)))?;
        }
        Ok(())
    }
}

impl fmt::Debug for RotatingManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingManager")
            .field("key", &self.key)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
