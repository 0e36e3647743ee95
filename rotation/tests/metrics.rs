//! Metrics of rotating keys.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use strongroom_core::{
    Backend as _, Error, ErrorKind, MemoryBackend, PutOptions, Result, SecretValue, async_trait,
};
use strongroom_rotation::{
    IssueAttempt, IssuedKey, KeyIssuer, ManagedKey, RotationEngine, RotationPolicy,
};

const PATH: &str = "openai/api-key";

/// An issuer that rejects the first request, and then gives keys that live for an hour.
#[derive(Debug, Default)]
struct RejectsOnce {
    has_rejected: AtomicBool,
}

#[async_trait]
impl KeyIssuer for RejectsOnce {
    async fn issue(&self, _: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        if !self.has_rejected.swap(true, Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Denied, "ask once more"));
        }
        let end = std::time::SystemTime::now() + Duration::from_secs(3600);
        Ok(IssuedKey::new(attempt.id.as_str()).expires_at(end))
    }

    async fn revoke(&self, _: &SecretValue, _: &SecretValue) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, "revoke it by hand"))
    }
}

fn values(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let value = |(key, _, _, recorded): (metrics_util::CompositeKey, _, _, _)| {
        let labels: Vec<_> =
            key.key().labels().map(|it| format!("{}={}", it.key(), it.value())).collect();
        let value = match recorded {
            DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(_) => unreachable!("there are no histograms"),
        };
        (format!("{} {}", key.key().name(), labels.join(",")), value)
    };
    snapshotter.snapshot().into_vec().into_iter().map(value).collect()
}

#[test]
fn counts_rotations_and_failures_and_sets_gauges_of_the_key() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(rotate()));
    let values = values(&snapshotter);
    let of = |name: &str| values.get(&format!("{name}={PATH}")).copied();
    assert_eq!(of("strongroom_rotations_total secret"), Some(2.0), "{values:#?}");
    let failures =
        format!("strongroom_rotation_failures_total secret={PATH},kind=permission denied");
    // The issuer has rejected one request, and does not revoke the first key.
    assert!(values.get(&failures).is_some_and(|count| *count >= 2.0), "{values:#?}");
    assert_eq!(of("strongroom_unrevoked_keys_total secret"), Some(1.0), "{values:#?}");
    let age = of("strongroom_key_age_seconds secret").unwrap();
    assert!((0.0..600.0).contains(&age), "{age}");
    let left = of("strongroom_key_expires_in_seconds secret").unwrap();
    assert!((3000.0..=3600.0).contains(&left), "{left}");
}

async fn rotate() {
    let store = Arc::new(MemoryBackend::new());
    store.put(&PATH.parse().unwrap(), "key-0".into(), PutOptions::new()).await.unwrap();
    let engine = RotationEngine::new(store);
    let policy = RotationPolicy::new().single_instance().drain_timeout(Duration::ZERO);
    let key =
        engine.add(ManagedKey::new(PATH, RejectsOnce::default()).policy(policy)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
    key.rotate().await.unwrap();
    // After five failed revocations, the engine leaves the first key to an operator and replaces the second.
    while key.rotate().await.is_err() {}
    engine.shutdown().await;
}
