//! The backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Description, Error, ErrorKind, Health,
    ListOptions, ListPage, MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret,
    SecretPath, SecretValue, Version, VersionInfo, VersionSelector,
};
use strongroom_transport::ensure_runtime;

use crate::client::Client;
use crate::config::{AwsConfig, origin};
use crate::read::version_id;
use crate::sdk_config::{load, with_bounds};

const KIND: &str = "aws";
/// Reads are billed and take a round trip; keys change rarely.
const CACHE_TTL: Duration = Duration::from_mins(5);

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
    Capability::Rotate,
    Capability::Stages,
];

/// Secrets in AWS Secrets Manager: one account in one region.
///
/// Cheap to share in an `Arc`; one connection pool and one set of credentials serve all calls.
pub struct AwsBackend {
    info: BackendInfo,
    client: Arc<Client>,
}

impl AwsBackend {
    /// Opens a backend with the SDK's default chain: environment, profile, container, instance. The
    /// first call fetches credentials, so that a service can start while their source is down;
    /// [`health`](Backend::health) tells whether they work.
    ///
    /// If no region is configured, the SDK asks the instance metadata service for it, which takes some
    /// seconds on a machine without one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the configuration is wrong or no region is found.
    pub async fn open(config: AwsConfig) -> Result<Self> {
        let open = async {
            ensure_runtime()?;
            let sdk = load(&config).await?;
            Self::new(&sdk, config)
        };
        open.await.map_err(|error| add_context(error, Operation::Open, None))
    }

    /// Opens a backend with an SDK configuration that the application has loaded: its credentials,
    /// region, endpoint and HTTP client. Timeouts and retries are those of `config`; its `region`,
    /// `profile`, `endpoint_url`, `ca_bundle`, `credentials` and `role` are ignored.
    ///
    /// [`SdkConfig`] is the type of the crate `aws-config` 1, re-exported here: applications that use
    /// other services of AWS have one, and share its credentials in this way.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the configuration is wrong or has no region.
    pub fn with_sdk_config(sdk: &SdkConfig, config: AwsConfig) -> Result<Self> {
        with_bounds(sdk)
            .and_then(|sdk| Self::new(&sdk, config))
            .map_err(|error| add_context(error, Operation::Open, None))
    }

    fn new(sdk: &SdkConfig, config: AwsConfig) -> Result<Self> {
        let endpoint = config.secrets_manager_endpoint_url.as_deref().or(sdk.endpoint_url());
        let endpoint = endpoint.map_or_else(String::new, |url| format!(" at {}", origin(url)));
        let prefix = config.prefix.as_ref();
        let prefix = prefix.map_or_else(String::new, |prefix| format!(", prefix `{prefix}`"));
        let client = Arc::new(Client::new(sdk, config)?);
        let instance = format!("AWS Secrets Manager in {}{endpoint}{prefix}", client.region);
        let capabilities = Capabilities::none().with_all(CAPABILITIES);
        let mut info = BackendInfo::new(KIND, instance, capabilities);
        info.default_cache_ttl = Some(CACHE_TTL);
        info.retries = true;
        Ok(Self { info, client })
    }

    /// Runs an operation, and adds the operation, path and backend to its error.
    async fn run<T>(
        &self,
        operation: Operation,
        path: Option<&SecretPath>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let result = match self.client.ensure_open().and_then(|()| ensure_runtime()) {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        result.map_err(|error| self.add_context(error, operation, path))
    }

    /// Adds the operation, path and backend to an error, and, if there is no secret, its location.
    fn add_context(&self, error: Error, operation: Operation, path: Option<&SecretPath>) -> Error {
        let error = match path {
            Some(path) if error.kind() == ErrorKind::NotFound => {
                let location = self.locate(path);
                let advice = format!("{}; looked for {location}", error.advice());
                error.advise(advice)
            }
            _ => error,
        };
        add_context(error, operation, path)
    }

    /// Runs a write in a task of its own, and adds the context to its error.
    async fn run_write<T, F>(
        &self,
        operation: Operation,
        path: &SecretPath,
        work: impl FnOnce(Arc<Client>, SecretPath) -> F + Send,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.run(operation, Some(path), self.client.write(path, work)).await
    }
}

fn add_context(error: Error, operation: Operation, path: Option<&SecretPath>) -> Error {
    let error = error.during(operation).from_backend(KIND);
    match path {
        Some(path) => error.at(path),
        None => error,
    }
}

#[async_trait]
impl Backend for AwsBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn locate(&self, path: &SecretPath) -> String {
        let id = self.client.names.id(path).unwrap_or_else(|_| path.to_string());
        format!("`{id}` in AWS Secrets Manager in {}", self.client.region)
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.run(Operation::Get, Some(path), self.client.read(path, version)).await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let usable = self.client.ensure_open().and_then(|()| ensure_runtime());
        let results = match usable {
            Ok(()) => self.client.read_many(paths).await,
            Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
        };
        let with_context = |(result, path): (Result<Secret>, &SecretPath)| {
            result.map_err(|error| self.add_context(error, Operation::Get, Some(path)))
        };
        results.into_iter().zip(paths).map(with_context).collect()
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
        let work = |client: Arc<Client>, path| client.put(path, value, options);
        self.run_write(Operation::Put, path, work).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.run_write(Operation::Delete, path, Client::delete).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.run_write(Operation::Undelete, path, Client::undelete).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.run_write(Operation::Destroy, path, Client::destroy).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        self.run(Operation::List, prefix, self.client.list(prefix, options)).await
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.run(Operation::Versions, Some(path), self.client.versions(path)).await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        let id = version_id(version);
        let work = |client: Arc<Client>, path| async { client.rollback(path, id?).await };
        self.run_write(Operation::Rollback, path, work).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.run(Operation::Describe, Some(path), self.client.describe(path)).await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        let patch = patch.clone();
        let work = |client: Arc<Client>, path| client.annotate(path, patch);
        self.run_write(Operation::Annotate, path, work).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        self.run_write(Operation::Rotate, path, Client::rotate).await
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

/// Leaves out the SDK's client, which holds credentials.
impl fmt::Debug for AwsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsBackend").field("instance", &self.info.instance).finish_non_exhaustive()
    }
}
