//! When a key is due, in the less obvious cases.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, PutOptions, SecretValue};
use tokio::time::{Instant, sleep};

use super::faulty_store::FaultyStore;
use super::issuer::{
    DAY, Fault, Issuer, PATH, annotate, assert_settled, engine, path, single_instance_key, store,
};
use crate::clock;
use crate::{ManagedKey, RotationPolicy};

#[tokio::test(start_paused = true)]
async fn replaces_a_key_that_lives_shorter_than_min_key_age_before_it_expires() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.lifetime = Some(Duration::from_secs(1800)));
    let engine = engine(&store);
    let policy = RotationPolicy::new().single_instance().rotate_before(Duration::from_secs(300));
    let key = engine.add(ManagedKey::new(PATH, issuer.clone()).policy(policy)).await.unwrap();
    key.rotate().await.unwrap();
    for _ in 0..1_000 {
        sleep(Duration::from_secs(15)).await;
        assert!(key.state().expires_at.unwrap() > clock::wall());
    }
    let generation = key.state().generation;
    assert!((10..=12).contains(&generation), "every 25 minutes, not {generation} times");
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_does_not_delay_the_interval() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().rotation_interval(10 * DAY)).await;
    issuer.set(|state| state.faults.issue.push_back(Fault::Refuse(ErrorKind::Denied)));
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(11 * DAY).await;
    assert_eq!((issuer.issue_calls(), key.state().generation), (2, 1));
    sleep(10 * DAY).await;
    assert_eq!((issuer.issue_calls(), key.state().generation), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn spreads_rotations_of_keys_with_one_expiry_over_an_hour() {
    let mut earlier = Vec::new();
    for seed in 0..5 {
        fastrand::seed(seed);
        let (store, issuer) = (store().await, Issuer::new());
        let start = Instant::now();
        annotate(&store, MetadataPatch::new().expires_at(clock::wall() + 17 * DAY)).await;
        let engine = engine(&store);
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        key.watch().wait_for(|state| state.generation == 1).await.unwrap();
        earlier.push((10 * DAY).saturating_sub(start.elapsed()).as_secs());
    }
    assert!(earlier.iter().all(|seconds| *seconds <= 3600), "{earlier:?}");
    let spread = earlier.iter().max().unwrap() - earlier.iter().min().unwrap();
    assert!(spread > 600, "{earlier:?}");
}

#[tokio::test(start_paused = true)]
async fn accepts_unlimited_times_in_the_policy() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let policy = RotationPolicy::new().rotate_before(Duration::MAX).min_key_age(Duration::MAX);
    let policy = policy.single_instance().drain_timeout(Duration::MAX).attempt_lease(Duration::MAX);
    let key = engine.add(ManagedKey::new(PATH, issuer.clone()).policy(policy)).await.unwrap();
    for generation in 1..=2 {
        assert_eq!(key.rotate().await.unwrap(), generation);
        sleep(Duration::from_secs(1)).await;
        assert_settled(&store, &issuer, &format!("key-{generation}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unlimited_propagation_timeout_keeps_the_old_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let policy =
        RotationPolicy::new().propagation_timeout(Duration::MAX).drain_timeout(Duration::MAX);
    let key = engine.add(ManagedKey::new(PATH, issuer.clone()).policy(policy)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    let next = tokio::time::timeout(DAY, key.rotate()).await;
    assert!(next.is_err(), "the next rotation waits for the first one: {next:?}");
    assert_eq!(issuer.live(), ["key-0", "key-1"]);
}

#[tokio::test(start_paused = true)]
async fn accepts_an_expiry_beyond_the_year_9999() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.lifetime = Some(Duration::from_secs(300_000_000_000)));
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for generation in 1..=2 {
        assert_eq!(key.rotate().await.unwrap(), generation);
    }
    sleep(Duration::from_secs(1)).await;
    let end = key.state().expires_at.unwrap();
    assert_eq!(humantime::format_rfc3339_seconds(end).to_string(), "9999-12-31T23:59:59Z");
    assert_settled(&store, &issuer, "key-2").await;
}

fn expires_in(seconds: &'static str) -> http::HeaderMap {
    let name = http::HeaderName::from_static("x-key-expires-in");
    http::HeaderMap::from_iter([(name, http::HeaderValue::from_static(seconds))])
}

#[tokio::test(start_paused = true)]
async fn headers_with_a_near_expiry_for_every_key_cost_few_keys() {
    for (seconds, most) in [("0", 64), ("10", 64), ("900", 26), ("3000", 8)] {
        let (store, issuer) = (store().await, Issuer::new());
        let engine = engine(&store);
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        for _ in 0..10 * 120 {
            key.observe(&expires_in(seconds));
            sleep(Duration::from_secs(30)).await;
        }
        let generation = key.state().generation;
        assert!((most / 2..=most).contains(&generation), "{generation} in ten hours: {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn asks_an_issuer_of_expired_or_short_lived_keys_for_few() {
    for (seconds, most) in [(0, 2), (1, 370), (60, 95)] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| state.timing.lifetime = Some(Duration::from_secs(seconds)));
        let engine = engine(&store);
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        key.rotate().await.unwrap();
        sleep(Duration::from_secs(3600)).await;
        let generation = key.state().generation;
        assert!((most * 3 / 4..=most).contains(&generation), "{generation} in an hour");
    }
}

#[tokio::test(start_paused = true)]
async fn reports_an_implausible_header_once_for_each_key_until_a_plausible_one() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let mut state = key.watch();
    let mut complaints = 0;
    for _ in 0..1_000 {
        key.observe(&expires_in("soon"));
        sleep(Duration::from_secs(1)).await;
        complaints += u32::from(state.has_changed().unwrap());
        let error = state.borrow_and_update().last_error.clone();
        assert_eq!(error.unwrap().kind(), ErrorKind::InvalidInput);
    }
    // Each read of the store, once in five minutes, reports the same again.
    assert!(complaints <= 5, "{complaints}");
    key.observe(&expires_in("8640000"));
    sleep(Duration::from_secs(301)).await;
    assert!(key.state().last_error.is_none());
    key.observe(&expires_in("soon"));
    sleep(Duration::from_secs(1)).await;
    assert!(key.state().last_error.is_some());
    key.observe(&expires_in("8639698"));
    sleep(Duration::from_secs(301)).await;
    assert!(key.state().last_error.is_none(), "the expiry was known before");
    key.rotate().await.unwrap();
    key.observe(&expires_in("soon"));
    sleep(Duration::from_secs(1)).await;
    assert!(key.state().last_error.is_some());
}

#[tokio::test(start_paused = true)]
async fn changing_expiry_headers_cause_few_reads() {
    let (store, issuer) = (store().await, Issuer::new());
    let store = Arc::new(FaultyStore::new(&store).await);
    let engine = store.engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let before = store.reads();
    for response in 0..10_000 {
        key.observe(&expires_in(if response % 2 == 0 { "8640000" } else { "8650000" }));
        sleep(Duration::from_millis(1)).await;
    }
    assert!(store.reads() - before < 5, "{} reads in ten seconds", store.reads() - before);
}

#[tokio::test(start_paused = true)]
async fn a_fast_clock_of_the_writer_does_not_replace_the_key_early() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        state.timing.lifetime = Some(Duration::from_secs(3600));
        state.live.insert("key-9".to_owned());
    });
    let ahead =
        humantime::format_rfc3339_millis(clock::wall() + Duration::from_secs(2 * 3600)).to_string();
    let end =
        humantime::format_rfc3339_millis(clock::wall() + Duration::from_secs(3600)).to_string();
    let value = SecretValue::fields([
        ("key", "key-9"),
        ("rotation_generation", "1"),
        ("rotation_rotated_at", ahead.as_str()),
        ("rotation_expires_at", end.as_str()),
    ]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    let engine = engine(&store);
    let _key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(issuer.issue_calls(), 0, "the key is new and works for an hour");
}
