//! New keys that work only after some time, or never.

use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind};
use tokio::time::{Instant, sleep};

use super::issuer::{
    FIRST, Issuer, assert_live_for, assert_settled, engine, path, shared_key, single_instance_key,
    store,
};

#[tokio::test(start_paused = true)]
async fn waits_for_a_key_that_works_after_some_seconds_and_gets_it_once() {
    for delay in [1, 3, 9] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| state.timing.works_after = Duration::from_secs(delay));
        let engine = engine(&store);
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        let start = Instant::now();
        assert_eq!(key.rotate().await.unwrap(), 1);
        let taken = start.elapsed();
        let delay = Duration::from_secs(delay);
        assert!((delay..delay + Duration::from_secs(3)).contains(&taken), "{taken:?}");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(issuer.issue_calls(), 1, "the engine made one attempt");
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn several_instances_wait_for_a_slow_key_together() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.works_after = Duration::from_secs(8));
    let engines: Vec<_> = (0..3).map(|_| engine(&store)).collect();
    let mut keys = Vec::new();
    for engine in &engines {
        keys.push(engine.add(shared_key(&issuer)).await.unwrap());
    }
    let first = keys[0].clone();
    let rotating = tokio::spawn(async move { first.rotate().await });
    assert_live_for(Duration::from_secs(120), &issuer, &keys).await;
    assert_eq!(rotating.await.unwrap().unwrap(), 1);
    assert_eq!(issuer.issue_calls(), 1);
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn revokes_a_key_that_does_not_work_within_one_lease() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.rejects_keys = true);
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let start = Instant::now();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
    let taken = start.elapsed().as_secs();
    assert!((10..=12).contains(&taken), "the lease is 10 seconds, not {taken}");
    assert_eq!((issuer.issue_calls(), issuer.live()), (1, vec![FIRST.to_owned()]));
    assert_settled(&store, &issuer, FIRST).await;
}

#[tokio::test(start_paused = true)]
async fn asks_an_issuer_of_slow_keys_for_few() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.works_after = Duration::from_secs(3600));
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let _ = key.rotate().await;
    }
    assert!(issuer.issue_calls() <= 7, "{} keys in a minute", issuer.issue_calls());
    let versions = store.versions(&path()).await.unwrap().len();
    assert!(versions < 40, "{versions} versions");
}
