//! Requests whose key is rejected, and the reads of the store that follow.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Backend as _, PutOptions};
use tokio::time::{Instant, sleep};

use super::faulty_store::FaultyStore;
use super::issuer::{Fault, Issuer, engine, path, shared_key, single_instance_key, store};

#[tokio::test(start_paused = true)]
async fn a_read_that_began_before_the_rejection_does_not_answer_it() {
    let (store, issuer) = (store().await, Issuer::new());
    let first = engine(&store);
    let mut slow = FaultyStore::new(&store).await;
    slow.read_time = Duration::from_millis(300);
    let slow = Arc::new(slow);
    let second = slow.engine();
    let key = first.add(shared_key(&issuer)).await.unwrap();
    let elsewhere = second.add(shared_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let refused = elsewhere.acquire();
    elsewhere.check_store();
    sleep(Duration::from_millis(100)).await;
    key.rotate_compromised().await.unwrap();
    slow.sync().await;
    assert!(!issuer.is_live(&refused));
    assert!(elsewhere.refresh_after_rejection(&refused).await);
}

#[tokio::test(start_paused = true)]
async fn uses_at_once_a_key_that_an_operator_puts_in_place_of_a_rejected_one() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for _ in 0..3 {
        key.rotate().await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    issuer.set(|state| {
        state.live.remove("key-3");
        state.live.insert("by hand".to_owned());
    });
    store.put(&path(), "by hand".into(), PutOptions::new()).await.unwrap();
    let start = Instant::now();
    let mut failed = 0;
    while !issuer.is_live(&key.acquire()) {
        let refused = key.acquire();
        if !key.refresh_after_rejection(&refused).await {
            failed += 1;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(failed == 0, "{failed} requests failed in {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn rejected_requests_do_not_each_wait_while_the_issuer_hangs() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.issue.push_back(Fault::Hang));
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let rotating = key.clone();
    let rotating = tokio::spawn(async move { rotating.rotate().await });
    sleep(Duration::from_millis(100)).await;
    let (mut slow, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_secs(9) {
        let one = Instant::now();
        key.refresh_after_rejection(&key.acquire()).await;
        slow += u32::from(one.elapsed() > Duration::from_secs(1));
        sleep(Duration::from_millis(10)).await;
    }
    let _ = rotating.await.unwrap();
    assert!(slow <= 1, "{slow} in a row waited two seconds each");
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_key_is_rejected_finds_the_new_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let (first, second) = (engine(&store), engine(&store));
    let key = first.add(shared_key(&issuer)).await.unwrap();
    let elsewhere = second.add(shared_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    for generation in 1..=10 {
        let refused = elsewhere.acquire();
        assert_eq!(key.rotate_compromised().await.unwrap(), generation);
        let start = Instant::now();
        let many = futures_util::future::join_all(
            (0..200).map(|_| elsewhere.refresh_after_rejection(&refused)),
        );
        assert!(many.await.iter().all(|replaced| *replaced));
        assert!(start.elapsed() <= Duration::from_millis(260), "{:?}", start.elapsed());
        assert!(issuer.is_live(&elsewhere.acquire()));
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_rejections_cause_few_reads_and_little_delay() {
    let (store, issuer) = (store().await, Issuer::new());
    let faulty = Arc::new(FaultyStore::new(&store).await);
    let engine = faulty.engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let (mut slow, mut waited) = (0, Duration::ZERO);
    for _ in 0..600 {
        let start = Instant::now();
        assert!(!key.refresh_after_rejection(&key.acquire()).await);
        waited = waited.max(start.elapsed());
        slow += u32::from(start.elapsed() > Duration::from_millis(50));
        sleep(Duration::from_millis(100)).await;
    }
    assert!(slow <= 3 && waited <= Duration::from_secs(2), "{slow} of them, up to {waited:?}");
    assert!(faulty.reads() < 20, "{} reads in a minute", faulty.reads());
    engine.shutdown().await;
    let start = Instant::now();
    assert!(!key.refresh_after_rejection(&key.acquire()).await);
    assert_eq!(start.elapsed(), Duration::ZERO, "no task reads the store any more");
}
