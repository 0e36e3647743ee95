//! A store whose calls take steps that other threads come between.

use std::sync::{Arc, LazyLock};

use shuttle::future::yield_now;
use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use strongroom::{
    Backend, BackendInfo, Capabilities, Capability, Health, HealthStatus, Metadata, PutOptions,
    Result, Secret, SecretPath, SecretValue, Version, VersionSelector, async_trait,
};

pub(crate) const PATH: &str = "db/password";

/// A store with one secret, whose version grows.
#[derive(Debug, Default)]
pub(crate) struct Store {
    version: AtomicU64,
    calls: AtomicUsize,
    under_way: AtomicUsize,
}

impl Store {
    /// Replaces the secret, as another process does.
    pub(crate) fn replace(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// How many reads the store was asked for.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether no read is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }
}

/// A read under way, which may be dropped.
struct UnderWay<'a>(&'a Store);

impl<'a> UnderWay<'a> {
    fn begin(store: &'a Store) -> Self {
        store.calls.fetch_add(1, Ordering::SeqCst);
        store.under_way.fetch_add(1, Ordering::SeqCst);
        Self(store)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Backend for Store {
    fn info(&self) -> &BackendInfo {
        static INFO: LazyLock<BackendInfo> = LazyLock::new(|| {
            BackendInfo::new("test", "interleavings", Capabilities::none().with(Capability::Put))
        });
        &INFO
    }

    fn locate(&self, path: &SecretPath) -> String {
        path.as_str().to_owned()
    }

    async fn get(&self, path: &SecretPath, _: &VersionSelector) -> Result<Secret> {
        let _under_way = UnderWay::begin(self);
        yield_now().await;
        let version = self.version.load(Ordering::SeqCst);
        yield_now().await;
        let value = SecretValue::from(version.to_string());
        Ok(Secret::new(
            path.clone(),
            Version::new(&version.to_string()),
            Metadata::default(),
            value,
        ))
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::new(HealthStatus::Ready))
    }

    async fn put(&self, _: &SecretPath, _: SecretValue, _: PutOptions) -> Result<Version> {
        yield_now().await;
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        yield_now().await;
        Ok(Version::new(&version.to_string()))
    }
}

pub(crate) fn version_of(secret: &Secret) -> u64 {
    secret.version().number().unwrap_or_default()
}

/// The newest version that a read or a write has given.
#[derive(Clone, Default)]
pub(crate) struct Floor(Arc<AtomicU64>);

impl Floor {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn raise(&self, version: u64) {
        self.0.fetch_max(version, Ordering::SeqCst);
    }
}
