//! The one API over every store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use strongroom_core::{
    Backend, BackendInfo, Capability, Error, Health, Operation, Result, SecretPath, SecretValue,
};
#[cfg(doc)]
use strongroom_core::{ErrorKind, Secret};

use crate::cache::Cache;
use crate::numbers::Numbers;
use crate::policy::ReadPolicy;
use crate::retry::{Deadline, Retries};
use crate::watch::Watches;
use crate::{Config, load};

/// A service's secrets, in whichever store the operator has chosen.
///
/// Cloning is cheap, and all clones share one store. Paths are relative to the
/// [`namespace`](Self::namespace) of the manager, which at first is the whole store; errors and
/// [`Secret::path`] name them in full.
///
/// What a store cannot do answers [`ErrorKind::Unsupported`] before it is asked.
#[derive(Clone, Debug)]
pub struct SecretsManager {
    pub(crate) shared: Arc<Shared>,
    pub(crate) namespace: Option<SecretPath>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) policy: ReadPolicy,
    /// `None` where reads are not cached.
    pub(crate) cache: Option<Cache>,
    pub(crate) retries: Retries,
    pub(crate) watches: Watches,
    pub(crate) numbers: Numbers,
    /// What declared secrets answer while the store does not have them; set when they are checked.
    pub(crate) defaults: OnceLock<BTreeMap<SecretPath, SecretValue>>,
    /// Whether a close has begun.
    closing: AtomicBool,
    /// Whether a close has come to its end.
    closed: AtomicBool,
}

impl SecretsManager {
    /// Opens the store that the environment of this process describes; see [`Config`] for its
    /// variables.
    ///
    /// # Errors
    /// As [`from_config`](Self::from_config).
    pub async fn from_env() -> Result<Self> {
        Self::from_config(Config::from_env()).await
    }

    /// Opens the store that `config` describes and checks the secrets it declares.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with everything that is wrong with the configuration, or with every
    /// declared secret that is missing, malformed or cannot be read; otherwise what opening the
    /// store answers.
    pub async fn from_config(config: Config) -> Result<Self> {
        Self::builder().config(config).build().await
    }

    /// Uses a store of any kind, such as one that is not part of Strongroom, with the default
    /// [`ReadPolicy`].
    #[must_use]
    pub fn with_backend(backend: impl Backend) -> Self {
        Self::with_policy(backend, ReadPolicy::default())
    }

    /// Uses a store of any kind, read as `policy` says.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use strongroom::{MemoryBackend, ReadPolicy, SecretsManager};
    ///
    /// let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(60));
    /// let secrets = SecretsManager::with_policy(MemoryBackend::new(), policy);
    /// ```
    #[must_use]
    pub fn with_policy(backend: impl Backend, policy: ReadPolicy) -> Self {
        Self::new(Arc::new(backend), policy)
    }

    pub(crate) fn new(backend: Arc<dyn Backend>, policy: ReadPolicy) -> Self {
        let info = backend.info();
        let shared = Shared {
            cache: policy.ttl(info).map(|ttl| Cache::new(&policy, ttl)),
            retries: Retries::new(policy.retries_of(info)),
            watches: Watches::default(),
            numbers: Numbers::new(info),
            defaults: OnceLock::new(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            backend,
            policy,
        };
        Self { shared: Arc::new(shared), namespace: None }
    }

    /// A view of what lies below `prefix`: the same API, with paths relative to it. One `/` at the
    /// end of `prefix` is ignored.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `prefix` is not a path.
    ///
    /// # Examples
    /// ```
    /// # async fn run() -> strongroom::Result<()> {
    /// use strongroom::{MemoryBackend, SecretsManager};
    ///
    /// let secrets = SecretsManager::with_backend(MemoryBackend::new());
    /// let production = secrets.namespace("production")?;
    /// production.put("openai/api-key", "sk-1").await?;
    /// assert!(secrets.exists("production/openai/api-key").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn namespace(&self, prefix: impl AsRef<str>) -> Result<Self> {
        let prefix = prefix.as_ref();
        let namespace = Some(self.full(prefix.strip_suffix('/').unwrap_or(prefix))?);
        Ok(Self { shared: Arc::clone(&self.shared), namespace })
    }

    /// Asks the store how it is.
    ///
    /// # Errors
    /// Whatever keeps the store from answering.
    pub async fn health(&self) -> Result<Health> {
        let info = self.ready(Operation::Health)?;
        let deadline = Deadline::after(self.shared.policy.timeout);
        let result = deadline.within(self.shared.backend.health()).await;
        let result = result.unwrap_or_else(|| Err(deadline.missed()));
        result.map_err(|error| error.during(Operation::Health).from_backend(info.kind))
    }

    /// What kind of store it is and what it can do.
    #[must_use]
    pub fn backend(&self) -> &BackendInfo {
        self.shared.backend.info()
    }

    /// Lets go of the store and of all that is cached, for this manager and all its clones. Once it
    /// has begun, other calls answer [`ErrorKind::Closed`]; secrets that were read stay readable until
    /// they are dropped, also in handles.
    ///
    /// If the future is dropped midway, call it again: it does nothing only after one call has come
    /// to its end.
    ///
    /// # Errors
    /// Whatever keeps the store from closing in good order; it is closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(cache) = &self.shared.cache {
            cache.close();
        }
        self.shared.watches.close();
        if self.shared.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.shared.backend.close().await;
        self.shared.closed.store(true, Ordering::Release);
        result.map_err(|error| error.during(Operation::Close).from_backend(self.backend().kind))
    }

    /// The full path, once the manager is known to be open.
    pub(crate) fn resolve(&self, path: &str, operation: Operation) -> Result<SecretPath> {
        match (self.ready(operation), self.full(path)) {
            (Ok(_), Ok(path)) => Ok(path),
            (Ok(info), Err(error)) => Err(error.during(operation).from_backend(info.kind)),
            (Err(closed), Ok(path)) => Err(closed.at(&path)),
            (Err(closed), Err(_)) => Err(closed),
        }
    }

    pub(crate) fn full(&self, path: &str) -> Result<SecretPath> {
        match &self.namespace {
            Some(namespace) => namespace.join(path),
            None => SecretPath::parse(path),
        }
    }

    /// This manager without a namespace.
    pub(crate) fn whole(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), namespace: None }
    }

    pub(crate) fn ready(&self, operation: Operation) -> Result<&BackendInfo> {
        let info = self.backend();
        if self.is_closing() {
            return Err(load::closed().during(operation).from_backend(info.kind));
        }
        Ok(info)
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    pub(crate) fn require(
        &self,
        capability: Capability,
        operation: Operation,
        path: &SecretPath,
    ) -> Result<()> {
        let info = self.backend();
        if info.capabilities.has(capability) {
            return Ok(());
        }
        Err(info.unsupported(operation).at(path))
    }

    pub(crate) fn named(&self, error: Error, operation: Operation, path: &SecretPath) -> Error {
        error.during(operation).at(path).from_backend(self.backend().kind)
    }
}
