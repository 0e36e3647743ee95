//! Implements [`Backend`].

use std::collections::BTreeMap;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Description, Error, ErrorKind, Health,
    ListOptions, ListPage, MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret,
    SecretKind, SecretPath, SecretValue, SettingNames, Tier, Version, VersionInfo, VersionSelector,
};
use strongroom_transport::ensure_runtime;
use tokio::task::spawn_blocking;

use crate::client::Client;
use crate::config::HashicorpConfig;
use crate::error::not_found;
use crate::kv::parse_version;
use crate::response::VersionState;
use crate::settings::STATIC_ROLES;

const BACKEND_KIND: &str = "hashicorp";
/// A read costs a round trip, and secrets change rarely.
const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(60);

/// All capabilities except rotation, which needs static roles.
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
    /// How errors name settings.
    names: SettingNames,
    static_roles: BTreeMap<SecretPath, String>,
    closed: AtomicBool,
}

impl HashicorpBackend {
    /// Creates the client. It sends nothing: the first call logs in, so that a service can start while
    /// its server is down. [`health`](Backend::health) reports whether the login works.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the configuration is invalid, a file that it names cannot be used, or
    /// no Tokio runtime runs; [`ErrorKind::Unavailable`] if the runtime stops meanwhile.
    pub async fn open(config: HashicorpConfig) -> Result<Self> {
        // Certificates and keys are read from files.
        let open = async {
            ensure_runtime()?;
            let opened = spawn_blocking(|| Self::new(config)).await;
            opened.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(Error::new(ErrorKind::Unavailable, "open it in a running runtime")
                    .because("the runtime stopped while the store was opened")),
            })
        };
        open.await.map_err(|error| with_context(error, Operation::Open, None))
    }

    /// A client of the crate `vaultrs` with the token of this backend. Logs in if there is no token.
    ///
    /// # Errors
    /// Those of a login; [`ErrorKind::Unsupported`] if the address has a path.
    #[cfg(feature = "vaultrs")]
    pub async fn vaultrs_client(&self) -> Result<crate::VaultrsClient> {
        self.run(Operation::Open, None, crate::VaultrsClient::new(Arc::clone(&self.client))).await
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
        let names = config.names.clone();
        let client = Arc::new(Client::new(config)?);
        let mut info = BackendInfo::new(BACKEND_KIND, instance, capabilities);
        info.default_cache_ttl = Some(DEFAULT_CACHE_TTL);
        info.alternatives = "the store's own tools".into();
        let role = format!("a static role of a database engine, named in `{STATIC_ROLES}`");
        info.rotation_alternatives = Some(names.rename_text(&role).into());
        Ok(Self { info, client, names, static_roles, closed: AtomicBool::new(false) })
    }

    /// Runs an operation, and adds operation, path and backend to its error.
    async fn run<T>(
        &self,
        operation: Operation,
        path: Option<&SecretPath>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let result = if self.closed.load(Ordering::SeqCst) {
            Err(Error::backend_closed())
        } else {
            match ensure_runtime() {
                Ok(()) => work.await,
                Err(error) => Err(error),
            }
        };
        result.map_err(|error| {
            let error = self.say_where(error, path);
            with_context(self.names.rename(error), operation, path)
        })
    }

    /// Adds to an error about a missing secret where it was looked for.
    fn say_where(&self, error: Error, path: Option<&SecretPath>) -> Error {
        let Some(path) = path.filter(|path| !self.static_roles.contains_key(*path)) else {
            return error;
        };
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let name = self.client.names.get(path).map(|name| format!("for `{name}` "));
        let instance = &self.info.instance;
        let place = format!("looked {}at {instance}", name.unwrap_or_default());
        let advice = format!("{} ({place})", error.advice());
        error.advise(advice)
    }

    /// The same for an operation that a static role does not support.
    async fn run_on_kv<T>(
        &self,
        operation: Operation,
        path: &SecretPath,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if self.static_roles.contains_key(path) {
            let error = Error::new(ErrorKind::Unsupported, "only `get` and `rotate` work on it")
                .because("the path is that of a static role of a database engine");
            return Err(with_context(error, operation, Some(path)));
        }
        self.run(operation, Some(path), work).await
    }

    /// The static roles below `prefix` that the options select.
    fn select_static_roles(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Vec<SecretPath> {
        let matches_options = options.page.is_none()
            && options.tags.is_empty()
            && options.kind.is_none_or(|kind| kind == SecretKind::DbCredential)
            && options.tier.is_none_or(|tier| tier == Tier::default());
        let roles = self.static_roles.keys().filter(|_| matches_options);
        let below = |path: &&SecretPath| prefix.is_none_or(|prefix| path.below(prefix).is_some());
        roles.filter(below).cloned().collect()
    }
}

fn with_context(error: Error, operation: Operation, path: Option<&SecretPath>) -> Error {
    let error = error.during(operation).from_backend(BACKEND_KIND);
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
        let name = self.client.names.get(path).unwrap_or(path.as_str());
        match self.static_roles.get(path) {
            Some(role) => format!("the static role `{role}` at {}", self.info.instance),
            None => format!("`{name}` at {}", self.info.instance),
        }
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.run(Operation::Get, Some(path), async {
            let number = match version {
                VersionSelector::Active => None,
                VersionSelector::Exact(version) => Some(parse_version(version)),
                _ => return Err(self.info.unsupported(Operation::Get)),
            };
            let secret = match self.static_roles.get(path) {
                Some(role) if number.is_none() => self.client.read_static_role(path, role).await?,
                Some(_) => return Err(not_found().because("a static role keeps no versions")),
                None => self.client.read(path, number.transpose()?).await?,
            };
            secret.metadata().ensure_not_expired(SystemTime::now())?;
            Ok(secret)
        })
        .await
    }

    async fn health(&self) -> Result<Health> {
        self.run(Operation::Health, None, self.client.health()).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let work = self.client.put(path, value, &options);
        self.run_on_kv(Operation::Put, path, work).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.run_on_kv(Operation::Delete, path, self.client.delete(path)).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.run_on_kv(Operation::Undelete, path, self.client.undelete(path)).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.run_on_kv(Operation::Destroy, path, self.client.destroy(path)).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let work = self.client.list(prefix, options);
        let mut page = self.run(Operation::List, prefix, work).await?;
        // A static role hides a KV secret at its path.
        page.paths.retain(|path| !self.static_roles.contains_key(path));
        page.paths.extend(self.select_static_roles(prefix, options));
        Ok(page)
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.run_on_kv(Operation::Versions, path, async {
            let metadata = self.client.live_metadata(path).await?;
            let current = metadata.current_version;
            let info = |(number, state): (u64, &VersionState)| {
                VersionInfo::new(number.into(), state.created_at(), number == current)
            };
            Ok(metadata.readable().rev().map(info).collect())
        })
        .await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.run_on_kv(Operation::Rollback, path, self.client.rollback(path, version)).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.run_on_kv(Operation::Describe, path, async {
            let stored = self.client.live_metadata(path).await?;
            let version = stored.current_version.into();
            Ok(Description::new(path.clone(), version, stored.metadata()?))
        })
        .await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.run_on_kv(Operation::Annotate, path, self.client.annotate(path, patch)).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        let operation = async {
            match self.static_roles.get(path) {
                Some(role) => self.client.rotate_static_role(role).await,
                None => Err(self.info.unsupported(Operation::Rotate)),
            }
        };
        self.run(Operation::Rotate, Some(path), operation).await
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
    fn a_call_without_a_tokio_runtime_is_an_error() {
        let config = HashicorpConfig::new("http://127.0.0.1:1", Auth::Token("t".into()));
        let mut context = Context::from_waker(Waker::noop());
        let opened = pin!(HashicorpBackend::open(config.clone())).as_mut().poll(&mut context);
        let Poll::Ready(Err(error)) = opened else { panic!("{opened:?}") };
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("Tokio"), "{error}");

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(HashicorpBackend::open(config)).unwrap();
        let path = SecretPath::parse("a").unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let answer = pin!(store.get(&path, &VersionSelector::Active)).as_mut().poll(&mut context);
        let Poll::Ready(Err(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("Tokio"), "{error}");
        assert!(pin!(store.close()).as_mut().poll(&mut context).is_ready());
    }
}
