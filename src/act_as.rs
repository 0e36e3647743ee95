//! A manager that acts as a principal: the same API, decided and recorded.

use std::sync::Arc;

use strongroom_access::{Access, Actor, Guarded, Principal};
use strongroom_core::{
    Backend, BackendInfo, ChangeFeed, Description, Health, ListOptions, ListPage, MetadataPatch,
    PutOptions, Result, RotateOutcome, Secret, SecretPath, SecretValue, Version, VersionInfo,
    VersionSelector, async_trait,
};

use crate::SecretsManager;
use crate::options::ReadOptions;
use crate::policy::ReadPolicy;

/// What a manager that acts as a principal has behind it.
#[derive(Debug)]
pub(crate) struct Acting {
    pub(crate) host: SecretsManager,
    pub(crate) guarded: Arc<Guarded>,
}

impl SecretsManager {
    /// The secrets as a principal sees them: the same API, with each call decided by the access rules and recorded
    /// before its answer is handed out. Hits of this manager's cache are decided and recorded, too.
    ///
    /// Paths are relative to the root of the principal's tenant, below the namespace of this manager. Closing the
    /// result closes nothing else.
    ///
    /// A read through it may come from the cache of this manager, also [`refresh`](Self::refresh): how often the
    /// store is asked is the host's to say. [`invalidate`](Self::invalidate) leaves that cache as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) if no template matches a SPIFFE id,
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the store cannot separate tenants.
    ///
    /// # Examples
    /// ```
    /// # async fn run() -> strongroom::Result<()> {
    /// use strongroom::access::{Access, AccessConfig, NewGrant, Principal, Scope, SpiffeTemplate, Subject, TenantName};
    /// use strongroom::{MemoryBackend, SecretsManager};
    ///
    /// let secrets = SecretsManager::with_backend(MemoryBackend::new());
    /// secrets.put("acme/openai/api-key", "sk-1").await?;
    ///
    /// let template = SpiffeTemplate::parse("spiffe://example.org/agent/{tenant}/{agent}/{role}")?;
    /// let access = Access::open(AccessConfig::in_memory().template(template)).await?;
    /// let grant = NewGrant::new(
    ///     Subject::parse("role:researcher")?,
    ///     [Scope::parse("secrets:read:openai/*")?],
    ///     "the researchers use the model",
    /// );
    /// access.administrator("setup", &TenantName::parse("acme")?)?.create_grant(grant).await?;
    ///
    /// // The host has authenticated the agent, for example by its certificate.
    /// let id = Principal::parse("spiffe://example.org/agent/acme/my-agent/researcher")?;
    /// let agent = secrets.act_as(&access, id)?;
    /// assert_eq!(agent.get("openai/api-key").await?.expose_text()?, "sk-1");
    /// assert!(agent.get("stripe/api-key").await.is_err());
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    pub fn act_as(&self, access: &Access, principal: Principal) -> Result<Self> {
        self.for_actor(access.act_as(principal)?)
    }

    /// The secrets as an [`Actor`] sees them, such as the holder of a token; like [`act_as`](Self::act_as).
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the store cannot separate tenants.
    pub fn for_actor(&self, actor: Actor) -> Result<Self> {
        let guarded = Arc::new(self.guard(actor)?);
        let policy = ReadPolicy {
            timeout: self.shared.policy.timeout,
            watch_interval: Some(self.watch_interval()),
            ..ReadPolicy::default()
        };
        let manager = Self::new(Arc::clone(&guarded) as Arc<dyn Backend>, policy);
        // The manager is new, so the cell is empty.
        let _ = manager.shared.acting.set(Acting { host: self.clone(), guarded });
        Ok(manager)
    }

    /// The secrets as an [`Actor`] sees them, as a plain [`Backend`], which costs less to make than a manager: for a host
    /// that answers each request as somebody else.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the store cannot separate tenants.
    pub fn guard(&self, actor: Actor) -> Result<Guarded> {
        Guarded::new(Arc::new(CachedStore(self.clone())), actor)
    }
}

/// The manager as a store whose reads may come from its cache.
#[derive(Debug)]
struct CachedStore(SecretsManager);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Backend for CachedStore {
    fn info(&self) -> &BackendInfo {
        self.0.backend()
    }

    fn locate(&self, path: &SecretPath) -> String {
        self.0.locate(path)
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.0.get_with(path, ReadOptions::new().version(version.clone())).await
    }

    async fn health(&self) -> Result<Health> {
        self.0.health().await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        self.0.get_many(paths).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.0.put_with(path, value, options).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.0.delete(path).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.0.undelete(path).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.0.destroy(path).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        Backend::list(&self.0, prefix, options).await
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.0.versions(path).await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.0.rollback(path, version).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.0.describe(path).await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.0.annotate(path, patch.clone()).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        self.0.rotate(path).await
    }

    /// None: the store's feed tells of a change that the manager's cache may not know yet.
    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
