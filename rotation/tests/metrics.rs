//! Figures of rotating keys for operators, with the feature `metrics`.
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

/// An issuer that refuses once, and then gives keys that live for an hour.
#[derive(Debug, Default)]
struct Moody {
    has_refused: AtomicBool,
}

#[async_trait]
impl KeyIssuer for Moody {
    async fn issue(&self, _: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        if !self.has_refused.swap(true, Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Denied, "ask once more"));
        }
        let end = std::time::SystemTime::now() + Duration::from_secs(3600);
        Ok(IssuedKey::new(attempt.id.as_str()).expires_at(end))
    }

    async fn revoke(&self, _: &SecretValue, _: &SecretValue) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, "revoke it by hand"))
    }
}

fn figures(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let figure = |(key, _, _, value): (metrics_util::CompositeKey, _, _, _)| {
        let labels: Vec<_> =
            key.key().labels().map(|it| format!("{}={}", it.key(), it.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(_) => unreachable!("there are no histograms"),
        };
        (format!("{} {}", key.key().name(), labels.join(",")), value)
    };
    snapshotter.snapshot().into_vec().into_iter().map(figure).collect()
}

#[test]
fn rotations_and_failures_are_counted_and_the_times_of_the_key_are_gauges() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(rotate()));
    let figures = figures(&snapshotter);
    let of = |name: &str| figures.get(&format!("{name}={PATH}")).copied();
    assert_eq!(of("strongroom_rotations_total secret"), Some(2.0), "{figures:#?}");
    let failures =
        format!("strongroom_rotation_failures_total secret={PATH},kind=permission denied");
    // The issuer has refused a key once, and does not revoke the first one.
    assert!(figures.get(&failures).is_some_and(|count| *count >= 2.0), "{figures:#?}");
    assert_eq!(of("strongroom_unrevoked_keys_total secret"), Some(1.0), "{figures:#?}");
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
    let key = engine.add(ManagedKey::new(PATH, Moody::default()).policy(policy)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
    key.rotate().await.unwrap();
    // The first key is left to an operator after five refusals, and then the second one is replaced.
    while key.rotate().await.is_err() {}
    engine.shutdown().await;
}
