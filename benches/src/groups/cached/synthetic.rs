//! A store that makes its values up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use strongroom_core::{
    Backend, BackendInfo, Capabilities, Health, HealthStatus, Metadata, Result, Secret, SecretPath,
    Version, VersionSelector, async_trait,
};

use super::value_of;

/// Has a value of 64 bytes of its own for every question, counts them and takes its time.
#[derive(Debug)]
pub(super) struct SyntheticStore {
    info: BackendInfo,
    latency: Duration,
    calls: AtomicU32,
}

impl SyntheticStore {
    pub(super) fn new(latency: Duration) -> Arc<Self> {
        let info = BackendInfo::new("made", "this process", Capabilities::none());
        Arc::new(Self { info, latency, calls: AtomicU32::new(0) })
    }

    pub(super) async fn value(&self) -> String {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        value_of(64)
    }

    /// How often it was asked.
    pub(super) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Backend for SyntheticStore {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, _version: &VersionSelector) -> Result<Secret> {
        let value = self.value().await;
        Ok(Secret::new(path.clone(), Version::new("1"), Metadata::default(), value.into()))
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::new(HealthStatus::Ready))
    }
}
