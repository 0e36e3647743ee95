//! The retention of versions.
//!
//! The age of a version cannot be set from outside: it is part of what authenticates the record,
//! and the clock is the system's. So what the rule on age removes is tested in `write.rs`, with times
//! of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, ErrorKind, VersionSelector};
use support::{config, directory_in_memory, exact, is_intact, path, put_next, raw};

async fn keeping(directory: &Path, versions: Option<u64>, days: Option<u64>) -> NativeBackend {
    let mut config = config(directory);
    config.keep_versions = versions;
    config.keep_days = days;
    NativeBackend::open(config).await.unwrap()
}

async fn numbers(backend: &NativeBackend, name: &str) -> Vec<u64> {
    let versions = backend.versions(&path(name)).await.unwrap();
    versions.iter().map(|info| info.version.number().unwrap()).collect()
}

async fn active(backend: &NativeBackend, name: &str) -> u64 {
    let secret = backend.get(&path(name), &VersionSelector::Active).await.unwrap();
    secret.version().number().unwrap()
}

#[tokio::test]
async fn keeps_three_versions() {
    let directory = directory_in_memory();
    let backend = keeping(directory.path(), Some(3), None).await;
    for version in 1..=5 {
        put_next(&backend, "a", version).await;
        let oldest = version.saturating_sub(2).max(1);
        assert_eq!(numbers(&backend, "a").await, (oldest..=version).rev().collect::<Vec<_>>());
    }
    for pruned in 1..=2 {
        let error = backend.get(&path("a"), &exact(pruned)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = backend.rollback(&path("a"), &pruned.into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let rows = "SELECT count(*) FROM versions";
    let rows: i64 = raw(directory.path()).query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 3);

    backend.rollback(&path("a"), &3.into()).await.unwrap();
    assert_eq!(active(&backend, "a").await, 3);
    assert_eq!(numbers(&backend, "a").await, [5, 4, 3]);
    // The next write takes the active state and prunes as before, also the one rolled back to.
    put_next(&backend, "a", 6).await;
    assert_eq!(active(&backend, "a").await, 6);
    assert_eq!(numbers(&backend, "a").await, [6, 5, 4]);
    for version in 4..=6 {
        assert!(is_intact(&backend, "a", version).await);
    }
}

#[tokio::test]
async fn a_smaller_limit_takes_effect_at_the_next_write_of_a_secret() {
    let directory = directory_in_memory();
    let backend = keeping(directory.path(), None, None).await;
    for version in 1..=6 {
        put_next(&backend, "a", version).await;
        put_next(&backend, "b", version).await;
    }
    let backend = keeping(directory.path(), Some(1), None).await;
    assert_eq!(numbers(&backend, "a").await.len(), 6);
    backend.delete(&path("a")).await.unwrap();
    put_next(&backend, "a", 7).await;
    assert_eq!(numbers(&backend, "a").await, [7]);
    assert_eq!(numbers(&backend, "b").await.len(), 6);
    backend.destroy(&path("a")).await.unwrap();
    put_next(&backend, "a", 1).await;
    assert_eq!(numbers(&backend, "a").await, [1]);
}

/// Waits until the clock shows a later millisecond, so that earlier writes are older.
fn next_millisecond() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let (before, begin) = (now(), Instant::now());
    while now() <= before {
        assert!(begin.elapsed() < Duration::from_secs(10), "the clock stands still");
        std::hint::spin_loop();
    }
}

#[tokio::test]
async fn versions_within_their_age_are_kept() {
    for days in [1, 36_500, u64::MAX] {
        let directory = directory_in_memory();
        let backend = keeping(directory.path(), None, Some(days)).await;
        for version in 1..=3 {
            put_next(&backend, "a", version).await;
            next_millisecond();
        }
        assert_eq!(numbers(&backend, "a").await, [3, 2, 1]);
    }
}

#[tokio::test]
async fn limits_of_zero_are_refused() {
    let directory = directory_in_memory();
    let mut config = config(directory.path());
    config.keep_versions = Some(0);
    config.keep_days = Some(0);
    let error = NativeBackend::open(config).await.unwrap_err();
    let problems = ["keep_versions", "keep_days"]
        .map(|field| format!("`NativeConfig::{field}` must be at least 1"));
    assert_eq!(error.problems(), problems);
}
