//! A store that panics, or that answers that it cannot serve.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test reports a failure with a panic")]

use std::fmt;
use std::time::Duration;

use strongroom::{
    Backend, BackendInfo, Capability, Error, ErrorKind, Health, HealthStatus, ListOptions,
    ListPage, MemoryBackend, MetadataPatch, PutOptions, ReadPolicy, Result, RotateOutcome, Secret,
    SecretPath, SecretValue, SecretsManager, Version, VersionInfo, VersionSelector, async_trait,
};

/// A store that panics in every call.
#[derive(Debug)]
struct PanickingStore(BackendInfo);

#[async_trait]
impl Backend for PanickingStore {
    fn info(&self) -> &BackendInfo {
        &self.0
    }

    async fn get(&self, _: &SecretPath, _: &VersionSelector) -> Result<Secret> {
        panic!("get")
    }

    async fn get_many(&self, _: &[SecretPath]) -> Vec<Result<Secret>> {
        panic!("get_many")
    }

    async fn health(&self) -> Result<Health> {
        panic!("health")
    }

    async fn put(&self, _: &SecretPath, _: SecretValue, _: PutOptions) -> Result<Version> {
        panic!("put")
    }

    async fn delete(&self, _: &SecretPath) -> Result<()> {
        panic!("delete")
    }

    async fn list(&self, _: Option<&SecretPath>, _: &ListOptions) -> Result<ListPage> {
        panic!("list")
    }

    async fn versions(&self, _: &SecretPath) -> Result<Vec<VersionInfo>> {
        panic!("versions")
    }

    async fn rotate(&self, _: &SecretPath) -> Result<RotateOutcome> {
        panic!("rotate")
    }

    async fn annotate(&self, _: &SecretPath, _: &MetadataPatch) -> Result<()> {
        panic!("annotate")
    }

    async fn close(&self) -> Result<()> {
        panic!("close")
    }
}

fn error<T: fmt::Debug>(result: Result<T>) -> String {
    let error: Error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    error.to_string()
}

async fn errors(cache_ttl: Duration) -> Vec<String> {
    let info = BackendInfo::new(
        "panicking",
        "the test",
        MemoryBackend::new().info().capabilities.with(Capability::Rotate),
    );
    let secrets = SecretsManager::builder()
        .backend(PanickingStore(info))
        .policy(ReadPolicy::new().cache_ttl(cache_ttl))
        .build()
        .await
        .unwrap();
    let mut errors = vec![
        error(secrets.get("a").await),
        error(secrets.get_version("a", 1).await),
        error(secrets.refresh("a").await),
        error(secrets.exists("a").await),
        error(secrets.watch("a").await),
        error(secrets.put("a", "x").await),
        error(secrets.delete("a").await),
        error(secrets.list("").all().await),
        error(secrets.versions("a").await),
        error(secrets.rotate("a").await),
        error(secrets.annotate("a", MetadataPatch::new().tag("a", "b")).await),
        error(secrets.health().await),
    ];
    errors.extend(secrets.get_many(["a", "b"]).await.into_iter().map(error));
    errors.push(error(secrets.close().await));
    errors
}

#[tokio::test]
async fn a_panic_is_the_same_error_with_and_without_a_cache() {
    let with_cache = errors(Duration::from_secs(60)).await;
    assert_eq!(with_cache, errors(Duration::ZERO).await);
    for error in &with_cache {
        assert!(error.contains("the backend panicked"), "{error}");
    }
    assert!(with_cache[0].starts_with("get `a` from panicking: "), "{}", with_cache[0]);
}

/// A store whose health is what the test says.
#[derive(Debug)]
struct UnwellStore(MemoryBackend, HealthStatus);

#[async_trait]
impl Backend for UnwellStore {
    fn info(&self) -> &BackendInfo {
        self.0.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.0.get(path, version).await
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::new(self.1).detail("state", "sealed"))
    }
}

#[tokio::test]
async fn health_is_an_error_unless_the_store_serves() {
    let manager = |status| SecretsManager::with_backend(UnwellStore(MemoryBackend::new(), status));
    for status in [HealthStatus::Ready, HealthStatus::Degraded] {
        assert_eq!(manager(status).health().await.unwrap().status, status);
    }
    let error = manager(HealthStatus::Unavailable).health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_temporary());
    assert_eq!(
        error.to_string(),
        "check health of memory: store unavailable: the store answers that it cannot serve (state: \
         sealed); check the store, and ask again once it serves"
    );
}

#[tokio::test]
async fn an_invalid_path_in_a_batch_is_named_by_its_index() {
    let secrets = SecretsManager::with_backend(MemoryBackend::new());
    secrets.put("a", "1").await.unwrap();
    for options in [
        strongroom::ReadOptions::new(),
        strongroom::ReadOptions::new().version(VersionSelector::Exact(1.into())),
    ] {
        let results = secrets.get_many_with(["a", "hunter 2", "missing"], options).await;
        assert!(results[0].is_ok());
        let error = results[1].as_ref().unwrap_err().to_string();
        assert!(error.contains("at index 1 of the batch"), "{error}");
        assert!(!error.contains("hunter"), "{error}");
        let error = results[2].as_ref().unwrap_err().to_string();
        assert!(!error.contains("index"), "{error}");
    }
}
