//! The steps of a rotation, in order, and what starts one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, PutOptions, SecretValue};
use tokio::time::{Instant, sleep};

use super::issuer::{
    DAY, FIRST, Issuer, annotate, assert_settled, engine, path, received_steps,
    single_instance_key, store,
};
use crate::clock;
use crate::{ExpiryHeaders, ExpiryUnit, RotationEvent, RotationStep};

/// An observer that records the names of all steps, and the names.
pub(super) fn record_steps()
-> (Arc<Mutex<Vec<&'static str>>>, impl Fn(&RotationEvent) + Send + Sync) {
    let names = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&names);
    (names, move |event: &RotationEvent| recorded.lock().unwrap().push(event.step.name()))
}

#[tokio::test(start_paused = true)]
async fn replaces_a_key_in_order_while_requests_are_in_flight() {
    let (store, issuer) = (store().await, Issuer::new());
    let (names, observer) = record_steps();
    let engine = engine(&store).observer(observer);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    assert_eq!((in_flight.expose_text().unwrap(), in_flight.generation()), (FIRST, 0));

    assert_eq!(key.rotate().await.unwrap(), 1);
    let next = key.acquire();
    assert_eq!((next.expose_text().unwrap(), next.generation()), ("key-1", 1));
    assert_ne!(next.fingerprint(), in_flight.fingerprint());
    assert!(key.is_current(&next) && !key.is_current(&in_flight));
    sleep(Duration::from_secs(2)).await;
    assert!(issuer.is_live(&in_flight), "a request carries the key");
    drop(in_flight);
    sleep(Duration::from_millis(10)).await;
    assert_settled(&store, &issuer, "key-1").await;
    let expected = ["started", "issued", "stored", "switched", "drained", "revoked", "finished"];
    assert_eq!(*names.lock().unwrap(), expected);
    let state = key.state();
    assert_eq!((state.generation, state.last_error.is_none()), (1, true));
    assert!(!format!("{key:?} {state:?} {next:?} {engine:?}").contains("key-1"));
}

#[tokio::test(start_paused = true)]
async fn waits_for_a_hanging_request_no_longer_than_drain_timeout() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let hanging = key.acquire();
    let start = Instant::now();
    key.rotate().await.unwrap();
    while issuer.is_live(&hanging) {
        sleep(Duration::from_millis(100)).await;
    }
    let taken = start.elapsed();
    assert!((4_900..5_300).contains(&taken.as_millis()), "{taken:?}");
    sleep(Duration::from_millis(10)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn rotations_of_one_key_run_one_after_the_other() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for generation in 1..=20 {
        let _in_flight = key.acquire();
        assert!(key.rotate().await.unwrap() >= generation);
    }
    let together = futures_util::future::join_all((0..10).map(|_| key.rotate())).await;
    assert!(together.iter().all(|rotated| *rotated.as_ref().unwrap() == 21), "{together:?}");
    sleep(Duration::from_secs(6)).await;
    assert_settled(&store, &issuer, "key-21").await;
    engine.shutdown().await;
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(key.acquire().expose_text().unwrap(), "key-21", "the last key still works");
    let error = engine.add(single_instance_key(&issuer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn replaces_a_key_after_its_interval_or_before_its_expiry() {
    for (by_interval, at_first, then) in [(true, 80 * DAY, 11 * DAY), (false, 22 * DAY, 2 * DAY)] {
        let (store, issuer) = (store().await, Issuer::new());
        let patch = MetadataPatch::new();
        let patch = if by_interval {
            patch.rotation_interval(90 * DAY)
        } else {
            patch.expires_at(clock::wall() + 30 * DAY)
        };
        annotate(&store, patch).await;
        let engine = engine(&store);
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        sleep(at_first).await;
        assert_eq!(key.state().generation, 0);
        sleep(then).await;
        assert_eq!(key.state().generation, 1);
        sleep(Duration::from_secs(60)).await;
        let described = store.describe(&path()).await.unwrap();
        assert_eq!(described.metadata.expires_at, None, "the expiry was that of the old key");
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_with_a_near_expiry_replaces_the_key_once() {
    let (store, issuer) = (store().await, Issuer::new());
    let (names, observer) = record_steps();
    let engine = engine(&store).observer(observer);
    let headers = ExpiryHeaders::new(ExpiryUnit::Days);
    let key = engine.add(single_instance_key(&issuer).headers(headers)).await.unwrap();
    let respond = |days: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-key-expires-in", days.parse().unwrap());
        key.observe(&headers);
    };
    for bad in ["", "soon", "-1", "1e9", "99999999999999999999", "nan"] {
        respond(bad);
    }
    respond("8");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(key.state().generation, 0);
    for _ in 0..1000 {
        respond("6");
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!((key.state().generation, issuer.issue_calls()), (1, 1));
    // If every key expires in six days, the engine replaces a key neither for each response nor each hour,
    // but when two thirds of its life are over.
    for _ in 0..700 {
        respond("6");
        sleep(Duration::from_secs(3600)).await;
    }
    assert!((2..=4).contains(&key.state().generation), "{}", key.state().generation);
    let due = names.lock().unwrap().iter().filter(|name| **name == "due").count();
    assert_eq!(due as u64, key.state().generation);
}

#[tokio::test(start_paused = true)]
async fn reports_an_expiry_seven_days_and_one_day_ahead() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        state.faults.issue =
            std::iter::repeat_n(super::issuer::Fault::Refuse(ErrorKind::Denied), 100_000).collect();
    });
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + 10 * DAY)).await;
    let (names, observer) = record_steps();
    let engine = engine(&store).observer(observer);
    let _key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let notices = || names.lock().unwrap().iter().filter(|name| **name == "expiring").count();
    for (days, count) in [(2, 0), (2, 1), (4, 1), (2, 2)] {
        sleep(days * DAY).await;
        assert_eq!(notices(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn uses_a_key_that_an_operator_puts_in_the_store() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let old = key.acquire();
    store.put(&path(), "by hand".into(), PutOptions::new()).await.unwrap();
    key.check_store();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(key.acquire().expose_text().unwrap(), "by hand");
    assert!(!key.is_current(&old));
}

#[tokio::test(start_paused = true)]
async fn a_key_keeps_its_fingerprint_until_it_is_revoked() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let first = key.acquire().fingerprint().clone();
    sleep(DAY).await;
    assert_eq!(*key.acquire().fingerprint(), first, "the store was read often");
    key.rotate().await.unwrap();
    let second = key.acquire().fingerprint().clone();
    sleep(Duration::from_secs(1)).await;
    let fingerprints: Vec<_> = received_steps(&mut events)
        .into_iter()
        .filter_map(|step| match step {
            RotationStep::Issued { fingerprint } | RotationStep::Revoked { fingerprint } => {
                Some(fingerprint)
            }
            _ => None,
        })
        .collect();
    assert_eq!(fingerprints, [second, first], "the one issued, the one revoked");
}

#[tokio::test(start_paused = true)]
async fn waits_for_requests_that_began_under_another_fingerprint() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    let salted = SecretValue::fields([("key", FIRST), ("rotation_salt", "of another instance")]);
    store.put(&path(), salted, PutOptions::new()).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    assert!(issuer.is_live(&in_flight));
    drop(in_flight);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}
