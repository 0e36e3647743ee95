//! Numbers for operators, with the feature `metrics`.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use strongroom::{MemoryBackend, ReadOptions, ReadPolicy, SecretsManager};

/// The figures so far, by name and labels.
fn figures(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let figure = |(key, _, _, value): (metrics_util::CompositeKey, _, _, _)| {
        let labels: Vec<_> =
            key.key().labels().map(|it| format!("{}={}", it.key(), it.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(_) => panic!("there are no gauges"),
        };
        (format!("{} {}", key.key().name(), labels.join(",")), value)
    };
    snapshotter.snapshot().into_vec().into_iter().map(figure).collect()
}

#[test]
fn reads_are_counted_without_paths() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(read()));
    let figures = figures(&snapshotter);
    let of = |name: &str| figures.get(name).copied().unwrap_or_default();
    assert_eq!(of("strongroom_cache_misses_total backend=memory"), 13, "{figures:#?}");
    assert_eq!(of("strongroom_cache_hits_total backend=memory"), 6, "{figures:#?}");
    assert_eq!(of("strongroom_coalesced_reads_total backend=memory"), 0, "{figures:#?}");
    assert_eq!(of("strongroom_errors_total backend=memory,kind=not found"), 1, "{figures:#?}");
    // One for the write.
    assert_eq!(of("strongroom_store_seconds backend=memory"), 14, "{figures:#?}");
    assert!(figures.keys().all(|name| !name.contains("api-key")), "{figures:#?}");
}

async fn read() {
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(60));
    let secrets = SecretsManager::with_policy(MemoryBackend::new(), policy);
    secrets.put("openai/api-key", "sk").await.unwrap();
    // One miss, then hits.
    for _ in 0..6 {
        secrets.get("openai/api-key").await.unwrap();
    }
    // One miss that is remembered: a hit, too.
    for _ in 0..2 {
        secrets.get("none").await.unwrap_err();
    }
    // The store in memory answers at once, so nobody waits for another.
    let afresh = ReadOptions::new().max_age(Duration::ZERO);
    join_all((0..11).map(|_| secrets.get_with("openai/api-key", afresh.clone()))).await;
}
