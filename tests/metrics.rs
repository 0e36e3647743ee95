//! Metrics of reads.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use strongroom::{MemoryBackend, ReadOptions, ReadPolicy, SecretsManager};

/// The value of each metric, by name and labels.
fn values(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let value = |(key, _, _, recorded): (metrics_util::CompositeKey, _, _, _)| {
        let labels: Vec<_> =
            key.key().labels().map(|it| format!("{}={}", it.key(), it.value())).collect();
        let value = match recorded {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(_) => panic!("there are no gauges"),
        };
        (format!("{} {}", key.key().name(), labels.join(",")), value)
    };
    snapshotter.snapshot().into_vec().into_iter().map(value).collect()
}

#[test]
fn counts_reads_without_paths() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(read()));
    let values = values(&snapshotter);
    let of = |name: &str| values.get(name).copied().unwrap_or_default();
    assert_eq!(of("strongroom_cache_misses_total backend=memory"), 13, "{values:#?}");
    assert_eq!(of("strongroom_cache_hits_total backend=memory"), 6, "{values:#?}");
    assert_eq!(of("strongroom_coalesced_reads_total backend=memory"), 0, "{values:#?}");
    assert_eq!(of("strongroom_errors_total backend=memory,kind=not found"), 1, "{values:#?}");
    // The write is a request, too.
    assert_eq!(of("strongroom_store_seconds backend=memory"), 14, "{values:#?}");
    assert!(values.keys().all(|name| !name.contains("api-key")), "{values:#?}");
}

async fn read() {
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(60));
    let secrets = SecretsManager::with_policy(MemoryBackend::new(), policy);
    secrets.put("openai/api-key", "sk").await.unwrap();
    // One miss, then hits.
    for _ in 0..6 {
        secrets.get("openai/api-key").await.unwrap();
    }
    // The cache remembers that there is no such secret: a miss, then a hit.
    for _ in 0..2 {
        secrets.get("none").await.unwrap_err();
    }
    // The store in memory answers at once, so no read waits for another.
    let fresh = ReadOptions::new().max_age(Duration::ZERO);
    join_all((0..11).map(|_| secrets.get_with("openai/api-key", fresh.clone()))).await;
}
