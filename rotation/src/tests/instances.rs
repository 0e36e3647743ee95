//! Several instances that share a store.

use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, PutOptions, VersionSelector};
use tokio::time::{Instant, sleep};

use super::issuer::{
    FIRST, Fault, Issuer, annotate, assert_live_for, assert_settled, engine, path, shared_key,
    store,
};
use crate::clock;
use crate::{IssueAttempt, IssueId, KeyIssuer as _, RotatingKey};

#[tokio::test(start_paused = true)]
async fn one_of_eight_instances_gets_the_key_and_all_use_it_in_time() {
    for latency in [0, 50, 3_000] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| state.timing.latency = Duration::from_millis(latency));
        annotate(&store, MetadataPatch::new().expires_at(clock::wall() + Duration::from_secs(60)))
            .await;
        let engines: Vec<_> = (0..8).map(|_| engine(&store)).collect();
        let mut keys = Vec::new();
        for engine in &engines {
            keys.push(engine.add(shared_key(&issuer)).await.unwrap());
        }
        let start = Instant::now();
        while keys.iter().any(|key| key.state().generation == 0) {
            for key in &keys {
                assert!(issuer.is_live(&key.acquire()));
            }
            sleep(Duration::from_millis(100)).await;
        }
        let noticed_after = start.elapsed();
        assert!(noticed_after < Duration::from_secs(30), "{noticed_after:?}");
        assert_live_for(Duration::from_secs(60), &issuer, &keys).await;
        assert_eq!(issuer.issue_calls(), 1);
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_instance_takes_over_the_attempt_of_one_that_died() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.latency = Duration::from_secs(5));
    let (first, second) = (engine(&store), engine(&store));
    let dying = first.add(shared_key(&issuer)).await.unwrap();
    let surviving = second.add(shared_key(&issuer)).await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(2), dying.rotate()).await;
    drop((first, dying));
    let start = Instant::now();
    while surviving.state().generation == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn asks_a_slow_issuer_for_one_key() {
    for (latency, verify_latency) in [(7_000, 7_000), (4_900, 7_000), (2_000, 4_900), (100, 4_900)]
    {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| {
            (state.is_idempotent, state.lists_keys) = (false, true);
            state.timing.latency = Duration::from_millis(latency);
            state.timing.verify_latency = Duration::from_millis(verify_latency);
        });
        let engines: Vec<_> = (0..4).map(|_| engine(&store)).collect();
        let mut keys = Vec::new();
        for engine in &engines {
            keys.push(engine.add(shared_key(&issuer)).await.unwrap());
        }
        let rotating = keys[0].clone();
        let rotating = tokio::spawn(async move { rotating.rotate().await });
        sleep(Duration::from_millis(100)).await;
        keys.iter().for_each(RotatingKey::check_store);
        assert_live_for(Duration::from_secs(600), &issuer, &keys).await;
        assert_eq!((rotating.await.unwrap().unwrap(), issuer.issue_calls()), (1, 1));
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn resumes_an_attempt_that_another_instance_took_over_and_left() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        state.timing.latency = Duration::from_secs(5);
        state.faults.issue.push_back(Fault::Refuse(ErrorKind::Denied));
    });
    let engine = engine(&store);
    let key = engine.add(shared_key(&issuer)).await.unwrap();
    let rotating = tokio::spawn(async move { key.rotate().await });
    sleep(Duration::from_secs(1)).await;
    // Another instance takes the attempt over, as if this one were dead, and gets the key.
    let current = store.get(&path(), &VersionSelector::Active).await.unwrap();
    let id = current.field("rotation_attempt").unwrap().expose_text().unwrap().to_owned();
    let by = [("rotation_attempt_by", Some("another"))];
    let value = current.value().with_fields(&by).unwrap();
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    assert_eq!(rotating.await.unwrap().unwrap_err().kind(), ErrorKind::Denied);
    issuer.set(|state| state.timing.latency = Duration::ZERO);
    issuer.issue(&FIRST.into(), &IssueAttempt::new(IssueId::parse(&id).unwrap(), 1)).await.unwrap();
    // It dies before it has stored the key.
    sleep(Duration::from_secs(600)).await;
    assert_settled(&store, &issuer, "key-1").await;
}
