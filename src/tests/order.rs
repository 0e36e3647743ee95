//! The order of reads: what a read gave, no later read takes back. And how long a flight lasts.

use std::time::Duration;

use strongroom_core::ErrorKind;
use tokio::time::{Instant, sleep};

use super::store::{Mood, Store, ms, secs, text};
use crate::{ReadOptions, ReadPolicy};

#[tokio::test(start_paused = true)]
async fn keeps_what_a_refresh_gave_while_other_refreshes_wait() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(50));
    secrets.get("a").await.unwrap();
    store.set("a", "2").await;
    let mut refreshes = Vec::new();
    for _ in 0..60 {
        let secrets = secrets.clone();
        refreshes.push(tokio::spawn(async move {
            assert_eq!(text(secrets.refresh("a").await), "2");
            let start = Instant::now();
            assert_eq!(text(secrets.get("a").await), "2");
            assert_eq!(start.elapsed(), ms(0), "the refresh was not kept");
        }));
        sleep(ms(10)).await;
    }
    for refresh in refreshes {
        refresh.await.unwrap();
    }
    // One after the other: 60 refreshes in 600 ms, 50 ms each, share 13 or 14 requests.
    assert!((13..=15).contains(&store.calls("a")), "{}", store.calls("a"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_an_age_limit_is_kept_behind_another_read() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(50));
    let earlier = tokio::spawn({
        let secrets = secrets.clone();
        async move { text(secrets.get("a").await) }
    });
    sleep(ms(10)).await;
    store.set("a", "2").await;
    let fresh = ReadOptions::new().max_age(Duration::ZERO);
    assert_eq!(text(secrets.get_many_with(["a"], fresh).await.remove(0)), "2");
    assert_eq!(text(secrets.get("a").await), "2");
    assert_eq!((earlier.await.unwrap().as_str(), store.calls("a")), ("1", 2));
}

#[tokio::test(start_paused = true)]
async fn no_caller_joins_a_read_that_a_later_answer_superseded() {
    let (store, secrets) = Store::with_a().await;
    let get = || {
        let secrets = secrets.clone();
        tokio::spawn(async move { text(secrets.get("a").await) })
    };
    // This read sees the store at its end, at 50 ms.
    store.look_after(ms(50));
    let overtaken = get();
    sleep(ms(1)).await;
    secrets.invalidate("a").unwrap();
    // And this one at its beginning, although it ends at 100 ms.
    store.take(ms(99));
    let current = get();
    sleep(ms(10)).await;
    store.set("a", "2").await;
    assert_eq!(overtaken.await.unwrap(), "2");
    assert_eq!(text(secrets.get("a").await), "2");
    assert_eq!(current.await.unwrap(), "1");
    assert_eq!(text(secrets.get("a").await), "2");
}

#[tokio::test(start_paused = true)]
async fn what_a_read_cached_is_dropped_when_an_overtaken_read_ends_later() {
    let (store, secrets) = Store::with_a().await;
    store.look_after(ms(50));
    let overtaken = tokio::spawn({
        let secrets = secrets.clone();
        async move { text(secrets.get("a").await) }
    });
    sleep(ms(1)).await;
    secrets.invalidate("a").unwrap();
    store.take(ms(0));
    assert_eq!(text(secrets.get("a").await), "1");
    store.set("a", "2").await;
    assert_eq!(overtaken.await.unwrap(), "2");
    assert_eq!(text(secrets.get("a").await), "2");
}

#[tokio::test(start_paused = true)]
async fn a_flight_ends_with_the_time_of_the_policy() {
    let store = Store::new();
    store.set("a", "1").await;
    let secrets = store.manager(ReadPolicy::new().timeout(secs(30)).retries(0));
    store.feel(Mood::Silent);
    let patient = tokio::spawn({
        let secrets = secrets.clone();
        async move { secrets.get_with("a", ReadOptions::new().timeout(secs(3_600))).await.map(|_| ()) }
    });
    sleep(secs(31)).await;
    assert_eq!(store.calls("a"), 2, "the first flight has ended, the caller has started another");
    store.feel(Mood::Well);
    sleep(secs(30)).await;
    patient.await.unwrap().unwrap();
    assert_eq!(store.calls("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_joins_late_has_its_own_time() {
    let store = Store::new();
    store.set("a", "1").await;
    let secrets = store.manager(ReadPolicy::new().timeout(secs(30)).retries(0));
    store.feel(Mood::Silent);
    let first = tokio::spawn({
        let secrets = secrets.clone();
        async move { secrets.get("a").await.unwrap_err().kind() }
    });
    sleep(secs(29)).await;
    let late = |is_batch: bool| {
        let secrets = secrets.clone();
        tokio::spawn(async move {
            if is_batch {
                text(secrets.get_many(["a"]).await.remove(0))
            } else {
                text(secrets.get("a").await)
            }
        })
    };
    let (single, batch) = (late(false), late(true));
    sleep(ms(10)).await;
    store.feel(Mood::Well);
    assert_eq!(first.await.unwrap(), ErrorKind::Timeout);
    assert_eq!(single.await.unwrap(), "1");
    assert_eq!(batch.await.unwrap(), "1");
    assert_eq!(store.calls("a"), 2);
}
