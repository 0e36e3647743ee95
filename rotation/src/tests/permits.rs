//! Keys that wait for a permit while others are replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strongroom_core::{
    Backend, BackendInfo, Health, MemoryBackend, PutOptions, Result, Secret, SecretPath,
    SecretValue, Version, VersionSelector, async_trait,
};
use tokio::time::{Instant, sleep};

use super::issuer::{FIRST, Issuer, assert_live_for, engine};
use crate::{ManagedKey, RotationEngine, RotationPolicy};

/// Counts the reads of a store.
#[derive(Debug)]
struct CountingStore {
    inner: Arc<MemoryBackend>,
    reads: AtomicUsize,
}

#[async_trait]
impl Backend for CountingStore {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(path, version).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.inner.put(path, value, options).await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_for_a_permit_still_notices_a_new_key() {
    let store = Arc::new(MemoryBackend::new());
    let (slow, fast) = (Issuer::new(), Issuer::new());
    slow.set(|state| state.timing.latency = Duration::from_secs(500));
    for name in ["slow", "fast"] {
        let path = SecretPath::parse(name).unwrap();
        store.put(&path, FIRST.into(), PutOptions::new()).await.unwrap();
    }
    let (first, second) = (engine(&store).max_concurrent_rotations(1), engine(&store));
    let policy = RotationPolicy::new().attempt_lease(Duration::from_secs(800));
    let slow_key = first.add(ManagedKey::new("slow", slow.clone()).policy(policy)).await.unwrap();
    let fast_key = first.add(ManagedKey::new("fast", fast.clone())).await.unwrap();
    let elsewhere = second.add(ManagedKey::new("fast", fast.clone())).await.unwrap();

    let start = Instant::now();
    let slow_rotation = tokio::spawn(async move { slow_key.rotate().await });
    sleep(Duration::from_secs(1)).await;
    let waiting = fast_key.clone();
    let waiting = tokio::spawn(async move { waiting.rotate().await });
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fast.issue_calls(), 0, "the engine replaces one key at a time");
    elsewhere.rotate().await.unwrap();
    assert_live_for(Duration::from_secs(400), &fast, &[fast_key, elsewhere]).await;
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
    assert_eq!(fast.issue_calls(), 1);
    assert!(start.elapsed() < Duration::from_secs(500), "the slow rotation is still under way");
    assert_eq!(slow_rotation.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_for_a_permit_starts_at_once_and_causes_few_reads() {
    let inner = Arc::new(MemoryBackend::new());
    let (slow, fast) = (Issuer::new(), Issuer::new());
    slow.set(|state| state.timing.latency = Duration::from_secs(500));
    for name in ["slow", "fast"] {
        let path = SecretPath::parse(name).unwrap();
        inner.put(&path, FIRST.into(), PutOptions::new()).await.unwrap();
    }
    let store = Arc::new(CountingStore { inner, reads: AtomicUsize::new(0) });
    let secrets = Arc::clone(&store);
    let engine = RotationEngine::new(secrets).max_concurrent_rotations(1);
    let policy = RotationPolicy::new().attempt_lease(Duration::from_secs(800));
    let slow_key = engine.add(ManagedKey::new("slow", slow.clone()).policy(policy)).await.unwrap();
    let fast_key = engine.add(ManagedKey::new("fast", fast.clone())).await.unwrap();
    let slow_rotation = tokio::spawn(async move { slow_key.rotate().await });
    sleep(Duration::from_secs(1)).await;
    let waiting = fast_key.clone();
    let waiting = tokio::spawn(async move { waiting.rotate().await });
    sleep(Duration::from_secs(1)).await;
    let before = store.reads.load(Ordering::Relaxed);
    for _ in 0..490 {
        sleep(Duration::from_secs(1)).await;
        // The key keeps its position in the queue when commands arrive.
        fast_key.check_store();
    }
    let reads = store.reads.load(Ordering::Relaxed) - before;
    assert!(reads < 100, "{reads} reads in eight minutes");
    assert_eq!(slow_rotation.await.unwrap().unwrap(), 1);
    let start = Instant::now();
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
}
