//! The one API over every store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(doc)]
use strongroom_core::Secret;
use strongroom_core::{
    Backend, BackendInfo, Capability, Error, ErrorKind, Health, Operation, Result, SecretPath,
    SecretValue,
};

use crate::Config;

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

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    /// What declared secrets answer while the store does not have them.
    pub(crate) defaults: BTreeMap<SecretPath, SecretValue>,
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
        let understood = config.understand()?;
        let backend = understood.backend.open().await?;
        let without_defaults = Self::new(Arc::clone(&backend), BTreeMap::new());
        let defaults = understood.declarations.check(&without_defaults).await?;
        Ok(Self::new(backend, defaults))
    }

    /// Uses a store of any kind, such as one that is not part of Strongroom.
    #[must_use]
    pub fn with_backend(backend: impl Backend) -> Self {
        Self::new(Arc::new(backend), BTreeMap::new())
    }

    fn new(backend: Arc<dyn Backend>, defaults: BTreeMap<SecretPath, SecretValue>) -> Self {
        let (closing, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Shared { backend, defaults, closing, closed };
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
        let result = self.shared.backend.health().await;
        result.map_err(|error| error.during(Operation::Health).from_backend(info.kind))
    }

    /// What kind of store it is and what it can do.
    #[must_use]
    pub fn backend(&self) -> &BackendInfo {
        self.shared.backend.info()
    }

    /// Lets go of the store, for this manager and all its clones. Once it has begun, other calls
    /// answer [`ErrorKind::Closed`]; secrets that were read stay readable until they are dropped.
    ///
    /// If the future is dropped midway, call it again: it does nothing only after one call has come
    /// to its end.
    ///
    /// # Errors
    /// Whatever keeps the store from closing in good order; it is closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.shared.closing.store(true, Ordering::Release);
        if self.shared.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.shared.backend.close().await;
        self.shared.closed.store(true, Ordering::Release);
        result.map_err(|error| error.during(Operation::Close).from_backend(self.backend().kind))
    }

    /// The full path, once the manager is known to be open.
    pub(crate) fn resolve(&self, path: &str, operation: Operation) -> Result<SecretPath> {
        let info = self.ready(operation)?;
        self.full(path).map_err(|error| error.during(operation).from_backend(info.kind))
    }

    fn full(&self, path: &str) -> Result<SecretPath> {
        match &self.namespace {
            Some(namespace) => namespace.join(path),
            None => SecretPath::parse(path),
        }
    }

    pub(crate) fn ready(&self, operation: Operation) -> Result<&BackendInfo> {
        let info = self.backend();
        if self.shared.closing.load(Ordering::Acquire) {
            let error = Error::new(ErrorKind::Closed, "open a new manager");
            return Err(error.during(operation).from_backend(info.kind));
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

    pub(crate) fn named(&self, error: Error, operation: Operation, path: &SecretPath) -> Error {
        error.during(operation).at(path).from_backend(self.backend().kind)
    }
}
