//! What all clones of a manager share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use strongroom_core::{Backend, Result, Secret, SecretPath, SecretValue, VersionSelector};

use crate::cache::Cache;
use crate::changes::FeedState;
use crate::declared::Declarations;
use crate::metrics::StoreMetrics;
use crate::policy::ReadPolicy;
use crate::retry::{Deadline, Outcome, Retries};
use crate::watch::registry::WatchRegistry;
use crate::{clock, expiry};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) policy: ReadPolicy,
    /// `None` if the policy caches no reads of this store.
    pub(crate) cache: Option<Cache>,
    pub(crate) retries: Retries,
    pub(crate) watches: WatchRegistry,
    pub(crate) feed: FeedState,
    pub(crate) metrics: StoreMetrics,
    /// The default values of declared secrets; set once the declarations are checked.
    pub(crate) defaults: OnceLock<BTreeMap<SecretPath, SecretValue>>,
    /// The declared secrets; set when the store is opened.
    pub(crate) declarations: OnceLock<Declarations>,
    /// What a secret that is not found may have to do with a backend that was used by default; set when the
    /// store is opened.
    pub(crate) default_backend_note: OnceLock<String>,
    /// The manager and the access rules behind it; set for a manager that acts as a principal.
    #[cfg(feature = "access")]
    pub(crate) acting: OnceLock<crate::act_as::Acting>,
    /// Whether a close has begun.
    pub(crate) closing: AtomicBool,
    /// Whether a close has ended.
    pub(crate) closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(backend: Arc<dyn Backend>, policy: ReadPolicy) -> Self {
        let info = backend.info();
        Self {
            cache: policy.ttl(info).map(|ttl| Cache::new(&policy, ttl)),
            retries: Retries::new(policy.retries_of(info)),
            watches: WatchRegistry::default(),
            feed: FeedState::default(),
            metrics: StoreMetrics::new(info),
            defaults: OnceLock::new(),
            declarations: OnceLock::new(),
            default_backend_note: OnceLock::new(),
            #[cfg(feature = "access")]
            acting: OnceLock::new(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            backend,
            policy,
        }
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Reads a version from the store, with the policy's retries.
    pub(crate) async fn ask(
        &self,
        path: &SecretPath,
        version: &VersionSelector,
        deadline: Deadline,
    ) -> Outcome<Secret> {
        let attempt = || self.metrics.call(|| self.backend.get(path, version));
        self.retries.run(deadline, attempt).await
    }

    /// Makes a request that changes nothing, with the policy's retries and timeout.
    pub(crate) async fn request<T, F: Future<Output = Result<T>>>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<T> {
        let attempt = || self.metrics.call(&request);
        self.retries.run(Deadline::after(self.policy.timeout), attempt).await.into_result()
    }

    /// The default value of a declared secret.
    pub(crate) fn default_of(&self, path: &SecretPath) -> Option<&SecretValue> {
        self.defaults.get()?.get(path)
    }

    /// Checks the expiry of a secret that the store has just given, and warns 7 days and 1 day ahead of it.
    pub(crate) fn finish_read(&self, result: Result<Secret>) -> Result<Secret> {
        let secret = result?;
        let now = clock::wall();
        secret.metadata().ensure_not_expired(now)?;
        expiry::warn_ahead(&secret, self.backend.info(), now);
        Ok(secret)
    }
}
