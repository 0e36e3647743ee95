//! Refreshing ahead of the end.

use std::collections::BTreeSet;

use strongroom_core::ErrorKind;
use tokio::time::{Instant, advance, sleep};

use super::store::{Mood, Store, TTL, ms, secs, text};
use crate::ReadPolicy;

#[tokio::test(start_paused = true)]
async fn refreshes_a_secret_in_use_once_without_waiting() {
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
async fn does_not_refresh_an_unused_secret() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    sleep(10 * TTL).await;
    assert_eq!(store.calls("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn sends_one_request_per_period_for_a_secret_in_use() {
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
async fn spreads_the_refreshes_of_secrets_read_together() {
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
async fn repeats_a_failed_refresh_while_the_value_is_fresh() {
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
    assert!(secrets.get("a").await.unwrap().is_stale(), "in an outage no caller waits");
    sleep(ms(1)).await;
    assert!(!secrets.get("a").await.unwrap().is_stale());
}
