//! Implements [`Backend`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, ChangeFeed, Description, Error, Health,
    ListOptions, ListPage, MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret,
    SecretPath, SecretValue, SettingNames, Version, VersionInfo, VersionSelector,
};
use strongroom_transport::{LARGE, ensure_runtime, run_blocking};
use strongroom_wire::{
    Described, HealthReport, Listed, MAX_BATCH, NewVersion, Rotated, StoreInfo, VersionList,
    Written,
};

use crate::approvals::Approvals;
use crate::client::Client;
use crate::config::RemoteConfig;
use crate::error::{unexpected_answer, unexpected_answer_to_write};
use crate::feed::RemoteFeed;
use crate::request::Request;
use crate::response::Response;

const BACKEND_KIND: &str = "remote";
/// A read costs a round trip, and secrets change rarely.
const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(60);
/// How long the question at opening what the store can do may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The store of a Strongroom server.
///
/// Cheap to share in an `Arc`; one connection pool serves all calls.
pub struct RemoteBackend {
    info: BackendInfo,
    client: Arc<Client>,
    /// How errors name settings.
    names: SettingNames,
}

impl RemoteBackend {
    /// Creates the client, and asks the server what its store can do. If no server can be reached or serve now, the
    /// service starts nevertheless: the backend declares every capability then, and logs a warning.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) if the configuration is invalid, a file that it names cannot be
    /// used, or no Tokio runtime runs; [`Unauthenticated`](strongroom_core::ErrorKind::Unauthenticated) and
    /// [`Denied`](strongroom_core::ErrorKind::Denied) if the server does not accept the caller;
    /// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) if the server's certificate is not trusted, or what
    /// answers is no Strongroom server.
    pub async fn open(config: RemoteConfig) -> Result<Self> {
        let names = config.names.clone();
        let open = async {
            ensure_runtime()?;
            // Certificates and keys are read from files.
            let (client, instance) = run_blocking(|| {
                let resolved = config.resolve()?;
                let instance = resolved.http.addresses.join(", ");
                Ok((Client::new(resolved)?, instance))
            })
            .await?;
            let mut info = BackendInfo::new(BACKEND_KIND, instance, Capabilities::none());
            info.default_cache_ttl = Some(DEFAULT_CACHE_TTL);
            info.alternatives = "a server whose store can do that".into();
            (info.capabilities, info.distinct_paths) = ask_store(&client, &names).await?;
            Ok((info, client))
        };
        match open.await {
            Ok((info, client)) => Ok(Self { info, client: Arc::new(client), names }),
            Err(error) => Err(with_context(names.rename(error), Operation::Open, None)),
        }
    }

    /// Asks people for approvals, over the same connections. It can do so until the backend is closed.
    #[must_use]
    pub fn approvals(&self) -> Approvals {
        Approvals::new(Arc::clone(&self.client), self.names.clone())
    }

    /// Runs an operation, and adds operation, path and backend to its error.
    async fn run<T>(
        &self,
        operation: Operation,
        path: Option<&SecretPath>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let result = match ensure_runtime() {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        result.map_err(|error| with_context(self.names.rename(error), operation, path))
    }

    /// Sends a change whose success has no content.
    async fn change(
        &self,
        operation: Operation,
        path: &SecretPath,
        request: Result<Request>,
    ) -> Result<()> {
        self.run(operation, Some(path), async { self.client.execute(&request?).await.map(drop) })
            .await
    }

    /// Sends a read whose answer holds no value.
    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        operation: Operation,
        path: Option<&SecretPath>,
        request: Request,
    ) -> Result<T> {
        self.run(operation, path, async { self.client.execute(&request).await?.json() }).await
    }

    /// Reads the active versions of at most [`MAX_BATCH`] secrets. If their answer is too large, reads half as many at
    /// a time.
    async fn read_batch(&self, paths: &[SecretPath], results: &mut Vec<Result<Secret>>) {
        let mut left = vec![paths];
        while let Some(paths) = left.pop() {
            let answer = async {
                let response = self.client.execute(&Request::batch(paths)?).await?;
                if response.is_too_large() && paths.len() > 1 {
                    return Ok(None);
                }
                response.batch(paths).await.map(Some)
            };
            match self.run(Operation::Get, None, answer).await {
                Ok(Some(entries)) => {
                    let (paths, rest) = paths.split_at(entries.len().min(paths.len()));
                    if !rest.is_empty() {
                        left.push(rest);
                    }
                    let named = |(entry, path): (Result<Secret>, &SecretPath)| {
                        entry.map_err(|error| with_context(error, Operation::Get, Some(path)))
                    };
                    results.extend(entries.into_iter().zip(paths).map(named));
                }
                Ok(None) => {
                    let (first, second) = paths.split_at(paths.len() / 2);
                    left.extend([second, first]);
                }
                Err(error) => {
                    results.extend(paths.iter().map(|path| Err(error.clone().at(path))));
                }
            }
        }
    }
}

/// What the store can do, and whether its paths are distinct.
async fn ask_store(client: &Client, names: &SettingNames) -> Result<(Capabilities, bool)> {
    let answer = async {
        let response = client.execute_within(OPEN_TIMEOUT, &Request::store()).await?;
        response.json::<StoreInfo>()
    };
    match answer.await {
        Ok(info) => Ok((info.capabilities(), info.distinct_paths)),
        Err(error) if error.is_temporary() => {
            let error = names.rename(error);
            tracing::warn!(
                %error,
                "the server does not say what its store can do: every capability is declared"
            );
            // Whoever separates tenants by their paths has to know that it is so.
            Ok((Capabilities::none().with_all(Capability::ALL), false))
        }
        Err(error) => Err(error),
    }
}

fn with_context(error: Error, operation: Operation, path: Option<&SecretPath>) -> Error {
    let error = error.during(operation).from_backend(BACKEND_KIND);
    match path {
        Some(path) => error.at(path),
        None => error,
    }
}

/// The version that a change has written, for the secret that it was to change.
fn written(response: &Response, path: &SecretPath) -> Result<Version> {
    let written: Written = response.json().map_err(|_| unexpected_answer_to_write())?;
    if written.path == *path {
        Ok(Version::new(&written.version))
    } else {
        Err(unexpected_answer_to_write())
    }
}

#[async_trait]
impl Backend for RemoteBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.run(Operation::Get, Some(path), async {
            let request = Request::get(path, version);
            let request = request.ok_or_else(|| self.info.unsupported(Operation::Get))?;
            self.client.execute(&request).await?.secret(path).await
        })
        .await
    }

    async fn health(&self) -> Result<Health> {
        self.run(Operation::Health, None, async {
            let response = self.client.execute(&Request::health()).await?;
            let health = response.json::<HealthReport>()?.into_health()?;
            Ok(match self.client.address_of(&response) {
                Some(address) => health.detail("server", address),
                None => health,
            })
        })
        .await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let mut results = Vec::with_capacity(paths.len());
        for batch in paths.chunks(MAX_BATCH) {
            self.read_batch(batch, &mut results).await;
        }
        results
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.run(Operation::Put, Some(path), async {
            let PutOptions { condition, metadata, scope, .. } = options;
            let is_large = value.len() >= LARGE;
            let new = NewVersion { value, metadata, scope };
            let at = path.clone();
            let build = move || Request::put(&at, &new, &condition);
            let request = if is_large { run_blocking(build).await? } else { build()? };
            written(&self.client.execute(&request).await?, path)
        })
        .await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.change(Operation::Delete, path, Ok(Request::delete(path))).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.change(Operation::Undelete, path, Ok(Request::undelete(path))).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.change(Operation::Destroy, path, Ok(Request::destroy(path))).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let request = Request::list(prefix, options);
        Ok(self.read::<Listed>(Operation::List, prefix, request).await?.into())
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        let request = Request::versions(path);
        let list: VersionList = self.read(Operation::Versions, Some(path), request).await?;
        Ok(list.versions.into_iter().map(Into::into).collect())
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.run(Operation::Rollback, Some(path), async {
            written(&self.client.execute(&Request::rollback(path, version)).await?, path)
        })
        .await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.run(Operation::Describe, Some(path), async {
            let response = self.client.execute(&Request::describe(path)).await?;
            let described: Described = response.json()?;
            if described.path == *path { Ok(described.into()) } else { Err(unexpected_answer()) }
        })
        .await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.change(Operation::Annotate, path, Request::annotate(path, patch)).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        self.run(Operation::Rotate, Some(path), async {
            let response = self.client.execute(&Request::rotate(path)).await?;
            let rotated: Rotated = response.json().map_err(|_| unexpected_answer_to_write())?;
            let mut outcome = RotateOutcome::default();
            outcome.version = rotated.version.as_deref().map(Version::new);
            Ok(outcome)
        })
        .await
    }

    /// What the server tells of the secrets that the caller may read. A server whose store tells of none ends it.
    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        Some(Box::new(RemoteFeed::new(&self.client)))
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

impl fmt::Debug for RemoteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBackend").field("info", &self.info).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use strongroom_core::ErrorKind;

    use super::*;
    use crate::config::BearerToken;

    #[test]
    fn a_call_without_a_tokio_runtime_is_an_error() {
        let token = BearerToken::Text("t".into());
        let config = RemoteConfig::new("http://127.0.0.1:1", token);
        let mut context = Context::from_waker(Waker::noop());
        let opened = pin!(RemoteBackend::open(config.clone())).as_mut().poll(&mut context);
        let Poll::Ready(Err(error)) = opened else { panic!("{opened:?}") };
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("Tokio"), "{error}");

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(RemoteBackend::open(config)).unwrap();
        let path = SecretPath::parse("a").unwrap();
        let answer = pin!(store.get(&path, &VersionSelector::Active)).as_mut().poll(&mut context);
        let Poll::Ready(Err(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("Tokio"), "{error}");
        assert!(pin!(store.close()).as_mut().poll(&mut context).is_ready());
    }
}
