//! The bounds of the cache, and what is dropped from it.

use std::task::{Context, Waker};

use strongroom_core::ErrorKind;
use tokio::time::sleep;

use super::store::{Store, TTL, kind, ms, secs, text};
use crate::{ReadPolicy, SecretsManager};

/// Entries and bytes, as the cache counts them and as they are.
fn held(secrets: &SecretsManager) -> (usize, usize) {
    let cache = secrets.shared.cache.as_ref().unwrap();
    let (counted, there) = cache.count();
    assert_eq!(counted, there, "the counters are wrong");
    there
}

async fn read(secrets: &SecretsManager, store: &Store, keys: std::ops::Range<usize>, value: &str) {
    for key in keys {
        let key = format!("key/{key}");
        store.set(&key, value).await;
        assert_eq!(text(secrets.get(&key).await), value);
    }
}

#[tokio::test(start_paused = true)]
async fn holds_no_more_entries_than_the_limit() {
    let store = Store::new();
    let secrets = store.manager(ReadPolicy::new().max_entries(100));
    read(&secrets, &store, 0..1000, "value").await;
    let (entries, _) = held(&secrets);
    assert!((90..=100).contains(&entries), "{entries}");
}

#[tokio::test(start_paused = true)]
async fn holds_no_more_bytes_than_the_limit() {
    let store = Store::new();
    let secrets = store.manager(ReadPolicy::new().max_bytes(1 << 20));
    read(&secrets, &store, 0..500, &"x".repeat(10_000)).await;
    let (entries, bytes) = held(&secrets);
    assert!(bytes <= 1 << 20 && entries > 80, "{entries} entries of {bytes} bytes");
    // What alone is too much is read, and not kept.
    let large = "x".repeat(2 << 20);
    store.set("large", &large).await;
    for _ in 0..2 {
        assert_eq!(secrets.get("large").await.unwrap().value().len(), large.len());
    }
    assert_eq!(store.calls("large"), 2);
    assert!(held(&secrets).0 > 80, "the others were not sacrificed for it");
}

#[tokio::test(start_paused = true)]
async fn evicts_unused_entries_first() {
    let store = Store::new();
    let secrets = store.manager(ReadPolicy::new().max_entries(200));
    read(&secrets, &store, 0..20, "hot").await;
    for round in 0..50 {
        read(&secrets, &store, 1000 + round * 20..1020 + round * 20, "cold").await;
        for key in 0..20 {
            secrets.get(format!("key/{key}")).await.unwrap();
        }
    }
    let hot_calls: usize = (0..20).map(|key| store.calls(&format!("key/{key}"))).sum();
    // Without regard to use, each of them would have been evicted about five times.
    assert!(hot_calls <= 40, "{hot_calls} readings of 20 secrets in use");
}

#[tokio::test(start_paused = true)]
async fn removes_entries_when_their_time_is_over() {
    let store = Store::new();
    let secrets = store.manager(ReadPolicy::new().stale_if_error(secs(60)));
    read(&secrets, &store, 0..50, "value").await;
    assert_eq!(kind(secrets.get("none").await), ErrorKind::NotFound);
    assert_eq!(held(&secrets).0, 51);
    sleep(TTL).await;
    assert_eq!(held(&secrets).0, 50, "they may be needed in an outage");
    sleep(secs(60) + TTL / 2).await;
    assert_eq!(held(&secrets), (0, 0));
    // And so the next time.
    read(&secrets, &store, 0..50, "value").await;
    sleep(secs(60) + TTL + TTL / 2).await;
    assert_eq!(held(&secrets), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_close_empties_the_cache_for_good() {
    let (store, secrets) = Store::with_a().await;
    store.set("b", "2").await;
    secrets.get("a").await.unwrap();
    store.take(secs(1));
    let mut under_way = Box::pin(secrets.get("b"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(under_way.as_mut().poll(&mut context).is_pending());
    let many = tokio::spawn({
        let secrets = secrets.clone();
        async move { secrets.get_many(["b", "c"]).await }
    });
    sleep(ms(500)).await;
    secrets.close().await.unwrap();
    assert_eq!(held(&secrets), (0, 0));
    assert_eq!(kind(secrets.get("a").await), ErrorKind::Closed);
    assert_eq!(kind(secrets.get_many(["a"]).await.remove(0)), ErrorKind::Closed);
    assert_eq!(text(under_way.await), "2", "it was read before");
    assert_eq!(many.await.unwrap().len(), 2);
    assert_eq!(held(&secrets), (0, 0));
}
