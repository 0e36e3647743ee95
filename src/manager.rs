//! The one API over every store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(doc)]
use strongroom_core::Secret;
use strongroom_core::{
    Backend, BackendInfo, Capability, Error, ErrorKind, Health, HealthStatus, Operation, Result,
    SecretPath,
};

use crate::config::Config;
use crate::error::{closed, not_serving};
use crate::policy::ReadPolicy;
use crate::retry::Deadline;
use crate::shared::Shared;

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

    /// Uses a store of any kind with a [`ReadPolicy`].
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
        Self { shared: Arc::new(Shared::new(backend, policy)), namespace: None }
    }

    /// A view of the secrets below `prefix`: the same API, with paths relative to it. One `/` at the
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

    /// Asks the store whether it serves requests, which suits a readiness probe: an `Err` means that it
    /// does not, an `Ok` that it does, with what needs attention.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] also if the store answers that it cannot serve, such as a sealed Vault;
    /// otherwise the errors of a store that cannot answer.
    pub async fn health(&self) -> Result<Health> {
        let info = self.ready(Operation::Health)?;
        let deadline = Deadline::after(self.shared.policy.timeout);
        let result =
            deadline.within(self.shared.metrics.call(|| self.shared.backend.health())).await;
        let result = result.unwrap_or_else(|| Err(deadline.timeout_error()));
        let result = result.and_then(|health| match health.status {
            HealthStatus::Unavailable => Err(not_serving(&health)),
            _ => Ok(health),
        });
        result.map_err(|error| error.during(Operation::Health).from_backend(info.kind))
    }

    /// The kind of the store and its capabilities.
    #[must_use]
    pub fn backend(&self) -> &BackendInfo {
        self.shared.backend.info()
    }

    /// How often a handle reads its secret from the store, unless a lease asks for it sooner:
    /// [`ReadPolicy::watch_interval`](crate::ReadPolicy::watch_interval), or what follows from the cache.
    #[must_use]
    pub fn watch_interval(&self) -> Duration {
        self.shared.policy.watch_interval_of(self.backend())
    }

    /// Closes the store and empties the cache, for this manager and all its clones. From its beginning on, other
    /// calls fail with [`ErrorKind::Closed`]. Secrets that were read stay readable until they are dropped, also in
    /// handles.
    ///
    /// If the future is dropped midway, call it again: it does nothing only after one call has ended.
    ///
    /// # Errors
    /// The errors of a store that cannot close in good order; it is closed nevertheless.
    pub async fn close(&self) -> Result<()> {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(cache) = &self.shared.cache {
            cache.close();
        }
        self.shared.watches.close();
        self.shared.feed.close();
        if self.shared.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.shared.metrics.call(|| self.shared.backend.close()).await;
        self.shared.closed.store(true, Ordering::Release);
        result.map_err(|error| error.during(Operation::Close).from_backend(self.backend().kind))
    }

    /// The full path, if the manager is open.
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
    pub(crate) fn without_namespace(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), namespace: None }
    }

    pub(crate) fn ready(&self, operation: Operation) -> Result<&BackendInfo> {
        let info = self.backend();
        if self.shared.is_closing() {
            return Err(closed().during(operation).from_backend(info.kind));
        }
        Ok(info)
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

    pub(crate) fn add_context(
        &self,
        error: Error,
        operation: Operation,
        path: &SecretPath,
    ) -> Error {
        let error = error.during(operation).at(path).from_backend(self.backend().kind);
        match self.shared.default_backend_note.get() {
            Some(note) if error.kind() == ErrorKind::NotFound => {
                let advice = format!("{}; {note}", error.advice());
                error.advise(advice)
            }
            _ => error,
        }
    }
}
