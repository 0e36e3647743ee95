//! Single flight.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::future::join_all;
use strongroom_core::ErrorKind;
use tokio::time::Instant;

use super::store::{Mood, Store, kind, ms, secs, text};
use crate::ReadPolicy;

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_of_a_key_make_one_call() {
    let store = Store::new();
    let keys: Vec<_> = (0..10).map(|i| format!("key/{i}")).collect();
    for key in &keys {
        store.set(key, key).await;
    }
    store.take(ms(20));
    let secrets = store.manager(ReadPolicy::new());
    let start = Instant::now();
    let reads = (0..1000).flat_map(|_| &keys).map(|key| {
        let (secrets, key) = (secrets.clone(), key.clone());
        tokio::spawn(async move { assert_eq!(text(secrets.get(&key).await), key) })
    });
    for read in join_all(reads).await {
        read.unwrap();
    }
    assert_eq!(start.elapsed(), ms(20));
    assert!(keys.iter().all(|key| store.calls(key) == 1), "{store:?}");
}

#[tokio::test(start_paused = true)]
async fn all_waiting_callers_get_a_failure_and_the_next_call_asks_again() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(20));
    store.fail(ErrorKind::Denied);
    let reads = join_all((0..100).map(|_| secrets.get("a"))).await;
    for error in reads.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.path().unwrap().as_str(), "a");
    }
    assert_eq!(store.calls("a"), 1);
    store.feel(Mood::Well);
    assert_eq!(text(secrets.get("a").await), "1");
    assert_eq!(store.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn another_caller_carries_on_when_the_first_is_cancelled() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(20));
    let start = Instant::now();
    let mut leader = Box::pin(secrets.get("a"));
    assert!(poll(leader.as_mut()).is_pending());
    let others = join_all((0..10).map(|_| {
        let secrets = secrets.clone();
        tokio::spawn(async move { secrets.get("a").await })
    }));
    tokio::time::sleep(ms(10)).await;
    drop(leader);
    for other in others.await {
        assert_eq!(text(other.unwrap()), "1");
    }
    assert_eq!((store.calls("a"), start.elapsed()), (1, ms(20)));
}

#[tokio::test(start_paused = true)]
async fn drops_a_read_without_callers() {
    let (store, secrets) = Store::with_a().await;
    store.feel(Mood::Silent);
    for _ in 0..3 {
        let mut read = Box::pin(secrets.get("a"));
        assert!(poll(read.as_mut()).is_pending());
    }
    assert_eq!(store.calls("a"), 3);
    store.feel(Mood::Well);
    assert_eq!(text(secrets.get("a").await), "1");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_never_gives_an_answer_from_before_it() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(20));
    let mut earlier = pin!(secrets.get("a"));
    assert!(poll(earlier.as_mut()).is_pending());
    tokio::time::sleep(ms(10)).await;
    store.set("a", "2").await;
    let refreshes = join_all((0..1000).map(|_| secrets.refresh("a")));
    let (earlier, refreshes) = tokio::join!(earlier, refreshes);
    assert_eq!(text(earlier), "1");
    for refreshed in refreshes {
        assert_eq!(text(refreshed), "2");
    }
    assert_eq!(store.calls("a"), 2, "all refreshes share one request");
    assert_eq!(text(secrets.get("a").await), "2");
    assert_eq!(store.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn no_caller_hangs_when_the_backend_panics() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(20));
    store.feel(Mood::Panicking);
    for read in join_all((0..10).map(|_| secrets.get("a"))).await {
        assert_eq!(kind(read), ErrorKind::Internal);
    }
    for read in secrets.get_many(["a", "b"]).await {
        assert_eq!(kind(read), ErrorKind::Internal);
    }
    store.feel(Mood::Well);
    assert_eq!(text(secrets.get("a").await), "1");
}

#[tokio::test(start_paused = true)]
async fn each_caller_has_its_own_timeout() {
    let (store, secrets) = Store::with_a().await;
    store.take(secs(10));
    let start = Instant::now();
    let hasty = secrets.get_with("a", crate::ReadOptions::new().timeout(secs(2)));
    let hasty = async { (hasty.await, start.elapsed()) };
    let patient = async { (secrets.get("a").await, start.elapsed()) };
    let ((hasty, gave_up), (patient, waited)) = tokio::join!(hasty, patient);
    assert_eq!((kind(hasty), gave_up), (ErrorKind::Timeout, secs(2)));
    assert_eq!((text(patient), waited), ("1".to_owned(), secs(10)));
    assert_eq!(store.calls("a"), 1);

    store.feel(Mood::Silent);
    let start = Instant::now();
    assert_eq!(kind(secrets.get("b").await), ErrorKind::Timeout);
    assert_eq!(start.elapsed(), secs(30));
    assert_eq!(secrets.health().await.unwrap_err().kind(), ErrorKind::Timeout);
}
