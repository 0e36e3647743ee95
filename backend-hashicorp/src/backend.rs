//! The backend itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Description, Error, ErrorKind, Health,
    ListOptions, ListPage, MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret,
    SecretKind, SecretPath, SecretValue, Version, VersionInfo, VersionSelector,
};
use tokio::runtime::Handle;

use crate::client::Client;
use crate::config::HashicorpConfig;
use crate::kv::number_of;
use crate::refusal::not_found;

const KIND: &str = "hashicorp";
/// Reads cost a round trip; passwords change rarely.
const CACHE_TTL: Duration = Duration::from_secs(60);

/// Everything but rotation.
const CAPABILITIES: &[Capability] = &[
    Capability::Put,
    Capability::Conditions,
    Capability::Binary,
    Capability::Versions,
    Capability::Rollback,
    Capability::Delete,
    Capability::Undelete,
    Capability::List,
    Capability::Metadata,
];

/// Secrets in a KV engine of HashiCorp Vault or OpenBao.
///
/// Cheap to share in an `Arc`; one connection pool and one token serve all calls.
pub struct HashicorpBackend {
    info: BackendInfo,
    client: Arc<Client>,
    static_roles: BTreeMap<SecretPath, String>,
    closed: AtomicBool,
}

impl HashicorpBackend {
    /// Sets the client up. Nothing is sent: the first call logs in, so that a service can start
    /// while its store is down. [`health`](Backend::health) tells whether logging in works.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the configuration is wrong or a file that it names cannot be used.
    pub fn open(config: HashicorpConfig) -> Result<Self> {
        Self::new(config).map_err(|error| named(error, Operation::Open, None))
    }

    fn new(config: HashicorpConfig) -> Result<Self> {
        let mut capabilities = Capabilities::none().with_all(CAPABILITIES);
        if !config.static_roles.is_empty() {
            capabilities = capabilities.with(Capability::Rotate);
        }
        let namespace = config.namespace.as_ref();
        let instance = format!(
            "{}{}, mount `{}`",
            config.address.trim().trim_end_matches('/'),
            namespace.map_or_else(String::new, |name| format!(", namespace `{name}`")),
            config.mount
        );
        let static_roles = config.static_roles.clone();
        let client = Arc::new(Client::new(config)?);
        let mut info = BackendInfo::new(KIND, instance, capabilities);
        info.default_cache_ttl = Some(CACHE_TTL);
        info.alternatives = "the store's own tools, or for rotation a static role of a database \
                             engine, named in `SECRETS_VAULT_STATIC_ROLES`";
        Ok(Self { info, client, static_roles, closed: AtomicBool::new(false) })
    }

    /// Names operation, path and backend in an error.
    async fn named<T>(
        &self,
        operation: Operation,
        path: Option<&SecretPath>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let result = if self.closed.load(Ordering::SeqCst) {
            Err(crate::session::closed())
        } else if Handle::try_current().is_err() {
            Err(Error::new(ErrorKind::Config, "call it from a task of a Tokio runtime")
                .because("this backend needs Tokio, and no runtime of it runs here"))
        } else {
            work.await
        };
        result.map_err(|error| named(error, operation, path))
    }

    /// The same for a change to a secret, which a static role does not take.
    async fn change<T>(
        &self,
        operation: Operation,
        path: &SecretPath,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if self.static_roles.contains_key(path) {
            let error = Error::new(ErrorKind::Unsupported, "only `get` and `rotate` work on it")
                .because("the path stands for a static role of a database engine");
            return Err(named(error, operation, Some(path)));
        }
        self.named(operation, Some(path), work).await
    }

    async fn read(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let number = match version {
            VersionSelector::Active => None,
            VersionSelector::Exact(version) => Some(number_of(version)),
            _ => return Err(self.info.unsupported(Operation::Get)),
        };
        let secret = match self.static_roles.get(path) {
            Some(role) if number.is_none() => self.client.read_static(path, role).await?,
            Some(_) => return Err(not_found().because("a static role keeps no versions")),
            None => self.client.read(path, number.transpose()?).await?,
        };
        secret.metadata().ensure_not_expired(SystemTime::now())?;
        Ok(secret)
    }

    /// The static roles below `prefix` that the options ask for.
    fn listed_roles(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Vec<SecretPath> {
        let is_asked_for = options.page.is_none()
            && options.tags.is_empty()
            && options.kind.is_none_or(|kind| kind == SecretKind::DbCredential);
        let roles = self.static_roles.keys().filter(|_| is_asked_for);
        let below = |path: &&SecretPath| prefix.is_none_or(|prefix| path.below(prefix).is_some());
        roles.filter(below).cloned().collect()
    }
}

fn named(error: Error, operation: Operation, path: Option<&SecretPath>) -> Error {
    let error = error.during(operation).from_backend(KIND);
    match path {
        Some(path) => error.at(path),
        None => error,
    }
}

#[async_trait]
impl Backend for HashicorpBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn locate(&self, path: &SecretPath) -> String {
        match self.static_roles.get(path) {
            Some(role) => format!("the static role `{role}` at {}", self.info.instance),
            None => format!("`{path}` at {}", self.info.instance),
        }
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.named(Operation::Get, Some(path), self.read(path, version)).await
    }

    async fn health(&self) -> Result<Health> {
        self.named(Operation::Health, None, self.client.health()).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let work = self.client.put(path, value, &options);
        self.change(Operation::Put, path, work).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.change(Operation::Delete, path, self.client.delete(path)).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.change(Operation::Undelete, path, self.client.undelete(path)).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.change(Operation::Destroy, path, self.client.destroy(path)).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let work = self.client.list(prefix, options);
        let mut page = self.named(Operation::List, prefix, work).await?;
        // A KV secret at the path of a static role cannot be read.
        page.paths.retain(|path| !self.static_roles.contains_key(path));
        page.paths.extend(self.listed_roles(prefix, options));
        Ok(page)
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.change(Operation::Versions, path, async {
            let metadata = self.client.live_metadata(path).await?;
            let current = metadata.current_version;
            let info = |(number, state): (u64, &crate::answer::VersionState)| {
                VersionInfo::new(number.into(), state.created_at(), number == current)
            };
            Ok(metadata.readable().rev().map(info).collect())
        })
        .await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.change(Operation::Rollback, path, self.client.rollback(path, version)).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.change(Operation::Describe, path, async {
            let kept = self.client.live_metadata(path).await?;
            let version = kept.current_version.into();
            Ok(Description::new(path.clone(), version, kept.metadata()?))
        })
        .await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.change(Operation::Annotate, path, self.client.annotate(path, patch)).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        let work = async {
            match self.static_roles.get(path) {
                Some(role) => self.client.rotate_static(role).await,
                None => Err(self.info.unsupported(Operation::Rotate)),
            }
        };
        self.named(Operation::Rotate, Some(path), work).await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        self.client.close().await;
        Ok(())
    }
}

impl fmt::Debug for HashicorpBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashicorpBackend").field("info", &self.info).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::config::Auth;

    #[test]
    fn without_tokio_there_is_an_error_and_no_panic() {
        let config = HashicorpConfig::new("http://127.0.0.1:1", Auth::Token("t".into()));
        let store = HashicorpBackend::open(config).unwrap();
        let path = SecretPath::parse("a").unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let answer = pin!(store.get(&path, &VersionSelector::Active)).as_mut().poll(&mut context);
        let Poll::Ready(Err(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("Tokio"), "{error}");
        assert!(pin!(store.close()).as_mut().poll(&mut context).is_ready());
    }
}
