//! The back-off and the marks that all instances share through the record.

use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{
    Backend as _, ErrorKind, MetadataPatch, PutOptions, SecretValue, VersionSelector,
};
use tokio::time::{Instant, sleep};

use super::faulty_store::FaultyStore;
use super::issuer::{
    DAY, FIRST, Fault, Issuer, PATH, annotate, assert_settled, engine, path, read_record,
    single_instance_key, store,
};
use crate::{ManagedKey, RotationPolicy, clock};

/// A key of several instances that read the store every five minutes.
fn rarely_read(issuer: &Issuer) -> ManagedKey {
    let policy = RotationPolicy::new()
        .propagation_timeout(Duration::from_secs(900))
        .drain_timeout(Duration::from_secs(5))
        .attempt_lease(Duration::from_secs(10));
    ManagedKey::new(PATH, issuer.clone()).policy(policy)
}

#[tokio::test(start_paused = true)]
async fn instances_share_one_back_off_while_the_issuer_refuses() {
    for kind in [ErrorKind::Denied, ErrorKind::Unavailable] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| state.faults.issue = repeat_n(Fault::Refuse(kind), 100_000).collect());
        let engines: Vec<_> = (0..8).map(|_| engine(&store)).collect();
        let mut keys = Vec::new();
        for engine in &engines {
            keys.push(engine.add(rarely_read(&issuer)).await.unwrap());
        }
        keys[0].rotate_compromised().await.unwrap_err();
        sleep(DAY).await;
        let versions = store.versions(&path()).await.unwrap().len();
        assert!(versions < 160, "{versions} versions in a day: {kind}");
        // Once the issuer gives keys again, the compromised one goes within an hour.
        issuer.set(|state| state.faults.issue.clear());
        sleep(Duration::from_secs(2 * 3600)).await;
        assert_eq!(read_record(&store).await.1, "key-1");
        assert_settled(&store, &issuer, "key-1").await;
        assert!(!read_record(&store).await.0.iter().any(|name| name == "rotation_not_before"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_shorten_the_back_off_and_a_caller_does() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + 6 * DAY)).await;
    issuer.set(|state| {
        state.faults.issue = repeat_n(Fault::Refuse(ErrorKind::Denied), 100_000).collect();
    });
    for _ in 0..200 {
        let engine = engine(&store);
        let _key = engine.add(single_instance_key(&issuer)).await.unwrap();
        sleep(Duration::from_secs(30)).await;
        engine.shutdown().await;
    }
    let calls = issuer.issue_calls();
    assert!(calls < 20, "{calls} calls in 100 minutes of restarts");
    issuer.set(|state| state.faults.issue.clear());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let start = Instant::now();
    assert_eq!(key.rotate().await.unwrap(), 1);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_no_instance_may_change_costs_one_key_for_all() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + DAY)).await;
    issuer.set(|state| state.timing.lifetime = Some(90 * DAY));
    let mut faulty = FaultyStore::new(&store).await;
    faulty.denies_metadata = true;
    let faulty = Arc::new(faulty);
    let engines: Vec<_> = (0..6).map(|_| faulty.engine()).collect();
    let mut keys = Vec::new();
    for engine in &engines {
        keys.push(engine.add(rarely_read(&issuer)).await.unwrap());
    }
    sleep(5 * DAY).await;
    assert_eq!(issuer.issue_calls(), 1);
    assert!(read_record(&store).await.0.iter().any(|name| name == "rotation_fixed_expiry"));
    drop((engines, keys));
    let later = faulty.engine();
    let key = later.add(rarely_read(&issuer)).await.unwrap();
    sleep(5 * DAY).await;
    assert_eq!((issuer.issue_calls(), key.state().generation), (1, 1), "after a restart");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_later_version_is_refused_and_left_as_it_is() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let later = SecretValue::fields([
        ("key", "key-9"),
        ("rotation_version", "2"),
        ("rotation_generation", "9"),
    ]);
    let version = store.put(&path(), later, PutOptions::new()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST, "the last good key stays");
    sleep(DAY).await;
    let stored = store.get(&path(), &VersionSelector::Active).await.unwrap();
    assert_eq!((stored.version(), issuer.issue_calls()), (&version, 0));
    let again = super::issuer::engine(&store);
    let error = again.add(single_instance_key(&issuer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("update this library"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn fencing_tokens_grow_with_each_attempt_also_after_a_rollback() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for _ in 0..5 {
        key.rotate().await.unwrap();
        sleep(Duration::from_secs(10)).await;
    }
    store.rollback(&path(), &1.into()).await.unwrap();
    key.check_store();
    sleep(Duration::from_secs(20)).await;
    issuer.set(|state| {
        state.live.insert(FIRST.to_owned());
    });
    key.rotate().await.unwrap();
    let tokens = issuer.0.lock().unwrap().tokens.clone();
    assert_eq!(tokens.len(), 6);
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}
