//! A store that waits.

use std::sync::Arc;

use strongroom_core::{
    Backend, BackendInfo, Description, Error, Health, HealthStatus, MemoryBackend, PutOptions,
    Result, Secret, SecretPath, SecretValue, Version, VersionSelector, async_trait,
};
use strongroom_server::ServerConfig;
use strongroom_testkit::canary::CANARY;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::{ALL, Client, PATIENCE, Running};

/// The name of a secret whose writes wait, too.
pub(crate) const SLOW: &str = "slow";

/// A store whose reads wait until the test lets them go on.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) inner: Arc<MemoryBackend>,
    asked: Arc<Semaphore>,
    pub(crate) go_on: Arc<Semaphore>,
}

impl Slow {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(MemoryBackend::new()),
            asked: Arc::new(Semaphore::new(0)),
            go_on: Arc::new(Semaphore::new(0)),
        }
    }

    async fn pass(&self) -> Result<()> {
        self.asked.add_permits(1);
        self.go_on.acquire().await.map_err(|_| Error::backend_closed())?.forget();
        Ok(())
    }

    /// Waits until a request has come.
    pub(crate) async fn is_asked(&self) {
        timeout(PATIENCE, self.asked.acquire()).await.unwrap().unwrap().forget();
    }
}

#[async_trait]
impl Backend for Slow {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.pass().await?;
        self.inner.get(path, version).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.inner.describe(path).await
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::new(HealthStatus::Ready))
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        if path.as_str().ends_with(SLOW) {
            self.pass().await?;
        }
        self.inner.put(path, value, options).await
    }
}

/// A server over such a store, with the secret `a`.
pub(crate) async fn slow_server(config: ServerConfig) -> (Slow, Running, Client) {
    let store = Slow::new();
    let path = SecretPath::parse("acme/a").unwrap();
    store.inner.put(&path, CANARY.into(), PutOptions::new()).await.unwrap();
    let server = Running::over(store.clone(), config).await;
    let client = server.client(&[ALL]).await;
    (store, server, client)
}
