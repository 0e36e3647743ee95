//! What instances and operators that share one key must not do to each other.

use std::time::{Duration, SystemTime};

use strongroom_core::{Backend as _, PutOptions, SecretValue};
use tokio::time::sleep;

use super::issuer::{
    FIRST, Issuer, assert_live_for, assert_settled, engine, path, read_record, shared_key,
    single_instance_key, store,
};
use crate::clock;
use crate::{ExpiryHeaders, ExpiryUnit};

/// A time before now, as the record holds it.
fn ago(seconds: u64) -> String {
    let time: SystemTime = clock::wall() - Duration::from_secs(seconds);
    humantime::format_rfc3339_millis(time).to_string()
}

#[tokio::test(start_paused = true)]
async fn instances_notice_the_next_key_in_time_after_a_long_outage() {
    let (store, issuer) = (store().await, Issuer::new());
    let engines: Vec<_> = (0..4).map(|_| engine(&store)).collect();
    let mut keys = Vec::new();
    for engine in &engines {
        keys.push(engine.add(shared_key(&issuer)).await.unwrap());
    }
    sleep(Duration::from_secs(1)).await;
    store.delete(&path()).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    store.undelete(&path()).await.unwrap();
    keys[0].rotate().await.unwrap();
    assert_live_for(Duration::from_secs(120), &issuer, &keys).await;
    assert!(keys.iter().all(|key| key.state().generation == 1), "{keys:?}");
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_every_instance_observes_costs_one_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let engines: Vec<_> = (0..4).map(|_| engine(&store)).collect();
    let mut keys = Vec::new();
    for engine in &engines {
        let headers = ExpiryHeaders::new(ExpiryUnit::Hours);
        keys.push(engine.add(shared_key(&issuer).headers(headers)).await.unwrap());
    }
    let headers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-key-expires-in"),
        http::HeaderValue::from_static("5"),
    )]);
    for key in &keys {
        key.observe(&headers);
    }
    sleep(Duration::from_secs(4 * 3600)).await;
    assert_eq!(issuer.issue_calls(), 1, "a header of the old key does not count for the new one");
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn adding_a_path_twice_returns_the_same_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let one = engine.add(single_instance_key(&issuer)).await.unwrap();
    let two = engine.add(single_instance_key(&issuer)).await.unwrap();
    one.rotate().await.unwrap();
    assert_eq!(
        two.acquire().expose_text().unwrap(),
        "key-1",
        "both handles see the new key at once"
    );
    assert_eq!(two.rotate().await.unwrap(), 2);
    assert_live_for(Duration::from_secs(60), &issuer, &[one, two]).await;
    assert_settled(&store, &issuer, "key-2").await;
}

#[tokio::test(start_paused = true)]
async fn does_not_revoke_a_key_that_an_operator_rolled_back_to() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    store.rollback(&path(), &1.into()).await.unwrap();
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(read_record(&store).await.1, FIRST);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    assert_eq!(issuer.live(), [FIRST, "key-1"], "the operator has to revoke it");
}

#[tokio::test(start_paused = true)]
async fn withdraws_an_attempt_that_an_operator_rolled_back_to() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    store.rollback(&path(), &2.into()).await.unwrap();
    assert!(read_record(&store).await.0.contains(&"rotation_attempt".into()));
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    let (members, current) = read_record(&store).await;
    assert_eq!((current.as_str(), issuer.issue_calls()), (FIRST, 1));
    assert!(!members.contains(&"rotation_attempt".into()), "{members:?}");
    assert_eq!(issuer.live(), [FIRST, "key-1"]);
    assert_eq!(key.rotate().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_clock_of_another_instance_does_not_revoke_the_old_key_early() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        state.live.insert("key-9".into());
    });
    let (first, second) = (engine(&store), engine(&store));
    let keys = [
        first.add(shared_key(&issuer)).await.unwrap(),
        second.add(shared_key(&issuer)).await.unwrap(),
    ];
    sleep(Duration::from_secs(1)).await;
    let value = SecretValue::fields([
        ("key", "key-9"),
        ("rotation_previous", FIRST),
        ("rotation_generation", "1"),
        ("rotation_rotated_at", &ago(200)),
    ]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    keys[0].check_store();
    assert_live_for(Duration::from_secs(120), &issuer, &keys).await;
    assert_settled(&store, &issuer, "key-9").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_clock_of_another_instance_does_not_shorten_its_lease() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(shared_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let value = SecretValue::fields([
        ("key", FIRST),
        ("rotation_intent", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("rotation_intent_at", &ago(120)),
        ("rotation_intent_by", "another instance"),
    ]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    key.check_store();
    sleep(Duration::from_secs(9)).await;
    assert_eq!(issuer.issue_calls(), 0, "the lease is for ten seconds");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(issuer.issue_calls(), 1);
    assert_settled(&store, &issuer, "key-1").await;
}
