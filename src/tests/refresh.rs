//! Refreshing ahead of the end.

use std::collections::BTreeSet;

use strongroom_core::ErrorKind;
use tokio::time::{Instant, advance, sleep};

use super::store::{Mood, Store, TTL, ms, secs, text};
use crate::ReadPolicy;

#[tokio::test(start_paused = true)]
async fn a_secret_in_use_is_refreshed_once_and_nobody_waits() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.set("a", "2").await;
    store.take(secs(1));
    advance(secs(56)).await;
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(text(secrets.get("a").await), "1");
        tokio::task::yield_now().await;
    }
    assert_eq!(start.elapsed(), ms(0));
    sleep(ms(1001)).await;
    for _ in 0..100 {
        assert_eq!(text(secrets.get("a").await), "2");
    }
    assert_eq!(store.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_nobody_uses_is_not_refreshed() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    sleep(10 * TTL).await;
    assert_eq!(store.calls("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_in_steady_use_costs_one_request_per_period() {
    let (store, secrets) = Store::with_a().await;
    store.take(secs(1));
    secrets.get("a").await.unwrap();
    for _ in 0..3600 {
        let start = Instant::now();
        secrets.get("a").await.unwrap();
        assert_eq!(start.elapsed(), ms(0));
        sleep(secs(1)).await;
    }
    // Each after 75 to 90 % of a minute.
    assert!((60..=80).contains(&store.calls("a")), "{}", store.calls("a"));
}

#[tokio::test(start_paused = true)]
async fn secrets_that_came_together_are_not_refreshed_together() {
    fastrand::seed(7);
    let store = Store::new();
    let secrets = store.manager(ReadPolicy::new());
    let keys: Vec<_> = (0..50).map(|i| format!("key/{i}")).collect();
    for key in &keys {
        store.set(key, key).await;
    }
    secrets.get_many(&keys).await;
    let mut moments = BTreeSet::new();
    for second in 0..60 {
        let before = store.all_calls();
        for key in &keys {
            secrets.get(key).await.unwrap();
        }
        tokio::task::yield_now().await;
        if store.all_calls() > before {
            moments.insert(second);
        }
        sleep(secs(1)).await;
    }
    assert!(store.all_calls() >= 100);
    assert!(moments.len() >= 6, "{moments:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_leaves_the_value_fresh_and_is_tried_again() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    advance(secs(55)).await;
    for _ in 0..4 {
        assert!(!secrets.get("a").await.unwrap().is_stale());
        sleep(secs(1)).await;
    }
    assert!((2..=4).contains(&store.calls("a")), "{}", store.calls("a"));
    store.feel(Mood::Well);
    sleep(secs(5)).await;
    assert!(secrets.get("a").await.unwrap().is_stale(), "in an outage nobody waits");
    sleep(ms(1)).await;
    assert!(!secrets.get("a").await.unwrap().is_stale());
}
