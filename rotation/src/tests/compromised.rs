//! Compromised keys.

use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, PutOptions, SecretValue, VersionSelector};
use tokio::time::{Instant, sleep, timeout};

use super::faulty_store::FaultyStore;
use super::issuer::{
    FIRST, Fault, Issuer, PATH, assert_live_for, assert_settled, engine, path, read_record,
    received_steps, shared_key, single_instance_key, store,
};
use super::killable::engine_killed_at;
use crate::{ManagedKey, RotationPolicy, RotationStep, report_compromised};

const DENIED: Fault = Fault::Refuse(ErrorKind::Denied);

#[tokio::test(start_paused = true)]
async fn revokes_a_compromised_key_before_it_answers_the_caller() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.latency = Duration::from_millis(100));
    let (first, second) = (engine(&store), engine(&store));
    let key = first.add(shared_key(&issuer)).await.unwrap();
    let elsewhere = second.add(shared_key(&issuer)).await.unwrap();
    let in_flight = [key.acquire(), elsewhere.acquire()];
    let start = Instant::now();
    assert_eq!(key.rotate_compromised().await.unwrap(), 1);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!in_flight.iter().any(|guard| issuer.is_live(guard)));
    assert_settled(&store, &issuer, "key-1").await;
    elsewhere.check_store();
    sleep(Duration::from_millis(10)).await;
    assert!(issuer.is_live(&elsewhere.acquire()));
    assert!(!read_record(&store).await.0.contains(&"rotation_compromised".into()));

    // The next rotation waits for requests in flight again.
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    assert!(issuer.is_live(&in_flight));
}

#[tokio::test(start_paused = true)]
async fn a_compromised_key_waits_neither_for_a_running_rotation_nor_for_other_keys() {
    let (store, issuer) = (store().await, Issuer::new());
    let busy = Issuer::new();
    busy.set(|state| state.faults.issue.push_back(Fault::Hang));
    store.put(&"busy".parse().unwrap(), FIRST.into(), PutOptions::new()).await.unwrap();
    let engine = engine(&store).max_concurrent_rotations(1);
    let policy = RotationPolicy::new().attempt_lease(Duration::from_secs(3600));
    let busy = engine.add(ManagedKey::new("busy", busy).policy(policy)).await.unwrap();
    let key = engine.add(shared_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    assert!(timeout(Duration::from_secs(1), busy.rotate()).await.is_err());
    let in_flight = key.acquire();
    let start = Instant::now();
    assert_eq!(key.rotate_compromised().await.unwrap(), 2);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!issuer.is_live(&in_flight));
    assert_settled(&store, &issuer, "key-2").await;
}

#[tokio::test(start_paused = true)]
async fn replaces_a_compromised_key_after_the_issuer_refused_at_first() {
    for restarts in [false, true] {
        let (store, issuer) = (store().await, Issuer::new());
        let refusal = Fault::Refuse(ErrorKind::Denied);
        issuer.set(|state| state.faults.issue = repeat_n(refusal, 3).collect());
        let first = engine(&store);
        let key = first.add(single_instance_key(&issuer)).await.unwrap();
        assert_eq!(key.rotate_compromised().await.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
        let second = engine(&store);
        if restarts {
            first.shutdown().await;
            let _key = second.add(single_instance_key(&issuer)).await.unwrap();
        }
        sleep(Duration::from_secs(120)).await;
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn reports_a_compromised_key_that_the_issuer_does_not_revoke() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    issuer.set(|state| state.faults.revoke.push_back(Fault::Refuse(ErrorKind::Denied)));
    assert_eq!(key.rotate_compromised().await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(key.acquire().expose_text().unwrap(), "key-1", "the new key is in use nevertheless");
    sleep(Duration::from_secs(20)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_resumes_after_a_crash_revokes_the_compromised_key_at_once() {
    for dies_at in ["started", "issued", "stored", "switched", "drained"] {
        let (store, issuer) = (store().await, Issuer::new());
        let (first, rotation) = engine_killed_at(dies_at, &store, &issuer);
        let key = first.add(rotation).await.unwrap();
        assert!(timeout(Duration::from_secs(1), key.rotate_compromised()).await.is_err());
        drop((first, key));

        let second = engine(&store);
        let key = second.add(shared_key(&issuer)).await.unwrap();
        let _in_flight = key.acquire();
        // The lease of the instance that died, and no longer.
        sleep(Duration::from_secs(11)).await;
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn revokes_a_key_that_an_operator_marked_as_compromised() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(shared_key(&issuer)).await.unwrap();
    let value = SecretValue::fields([("key", FIRST), ("rotation_compromised", "0")]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    key.check_store();
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_reports_a_compromised_key_through_the_store() {
    let (store, issuer) = (store().await, Issuer::new());
    // No rotation has written the secret, nor one whose members only begin like those of a record.
    assert!(!report_compromised(&*store, &path()).await.unwrap());
    let theirs = SecretValue::fields([("key", FIRST), ("rotation_interval", "30d")]);
    store.put(&path(), theirs, PutOptions::new()).await.unwrap();
    assert!(!report_compromised(&*store, &path()).await.unwrap());
    let engine = engine(&store);
    let key = engine.add(shared_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    assert_eq!(report_compromised(&*store, &path()).await.unwrap_err().kind(), ErrorKind::Conflict);
    sleep(Duration::from_secs(100)).await;
    assert_settled(&store, &issuer, "key-1").await;
    assert!(report_compromised(&*store, &path()).await.unwrap());
    // Once more changes nothing.
    assert!(report_compromised(&*store, &path()).await.unwrap());
    sleep(Duration::from_secs(100)).await;
    assert_settled(&store, &issuer, "key-2").await;
    assert_eq!(key.acquire().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_later_version_is_not_marked() {
    let store = store().await;
    let value = SecretValue::fields([("key", FIRST), ("rotation_version", "2")]);
    let version = store.put(&path(), value, PutOptions::new()).await.unwrap();
    let error = report_compromised(&*store, &path()).await.unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Unsupported, Some(&path())));
    let now = store.get(&path(), &VersionSelector::Active).await.unwrap();
    assert_eq!(now.version(), &version);
}

#[tokio::test(start_paused = true)]
async fn ignores_a_compromise_mark_of_another_generation() {
    let (store, issuer) = (store().await, Issuer::new());
    let (first, second) = (engine(&store), engine(&store));
    let key = first.add(shared_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(100)).await;
    let now = store.get(&path(), &VersionSelector::Active).await.unwrap();
    for earlier in ["0", "2", "true", ""] {
        let value = now.value().with_fields(&[("rotation_compromised", Some(earlier))]).unwrap();
        store.put(&path(), value, PutOptions::new()).await.unwrap();
        let keys = [key.clone(), second.add(shared_key(&issuer)).await.unwrap()];
        key.check_store();
        assert_live_for(Duration::from_secs(60), &issuer, &keys).await;
        assert_eq!(issuer.issue_calls(), 1, "{earlier:?}");
        second.remove(PATH).await.unwrap();
    }
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    assert!(issuer.is_live(&in_flight), "the rotation waits as usual");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_an_operator_puts_in_place_of_a_compromised_one_is_not_compromised() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for _ in 0..5 {
        key.rotate().await.unwrap();
    }
    sleep(Duration::from_secs(10)).await;
    issuer.set(|state| {
        state.faults.issue = repeat_n(Fault::Refuse(ErrorKind::Denied), 3).collect();
        state.live.insert("by hand".into());
    });
    assert_eq!(key.rotate_compromised().await.unwrap_err().kind(), ErrorKind::Denied);
    store.put(&path(), "by hand".into(), PutOptions::new()).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(key.acquire().expose_text().unwrap(), "by hand");
    assert_eq!(issuer.live(), ["by hand", "key-5"]);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_after_a_compromised_key_is_revoked_waits_as_usual() {
    let (store, issuer) = (store().await, Issuer::new());
    let faulty = Arc::new(FaultyStore::new(&store).await);
    let engine = faulty.engine();
    let key = engine.add(shared_key(&issuer)).await.unwrap();
    issuer.set(|state| {
        state.faults.issue = repeat_n(Fault::Refuse(ErrorKind::Denied), 1).collect();
        state.live.extend(["key-8".to_owned(), "key-9".to_owned()]);
    });
    key.rotate_compromised().await.unwrap_err();
    // Another instance replaces the compromised key, and then the next one as usual. This instance sees one
    // change.
    issuer.set(|state| {
        state.live.remove(FIRST);
    });
    let value = SecretValue::fields([
        ("key", "key-9"),
        ("rotation_previous", "key-8"),
        ("rotation_generation", "2"),
    ]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    faulty.sync().await;
    key.check_store();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(
        issuer.live(),
        ["key-8", "key-9"],
        "other instances may use key-8 for {:?}",
        Duration::from_secs(35)
    );
}

#[tokio::test(start_paused = true)]
async fn tries_to_revoke_a_compromised_key_every_hour() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let refusals = repeat_n(Fault::Refuse(ErrorKind::Denied), 30);
    issuer.set(|state| state.faults.revoke = refusals.collect());
    assert_eq!(key.rotate_compromised().await.unwrap_err().kind(), ErrorKind::Denied);
    sleep(Duration::from_secs(30 * 3600)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn further_calls_do_not_leave_a_compromised_key_unrevoked() {
    for call in ["rotate_compromised", "rotate"] {
        let (store, issuer) = (store().await, Issuer::new());
        let engine = engine(&store);
        let mut events = engine.events();
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        issuer.set(|state| state.faults.revoke = repeat_n(DENIED, 4).collect());
        assert_eq!(key.rotate_compromised().await.unwrap_err().kind(), ErrorKind::Denied);
        for _ in 0..3 {
            let again =
                if call == "rotate" { key.rotate().await } else { key.rotate_compromised().await };
            assert_eq!(again.unwrap_err().kind(), ErrorKind::Denied);
        }
        assert_eq!(key.rotate_compromised().await.unwrap(), 2);
        sleep(Duration::from_secs(1)).await;
        assert_settled(&store, &issuer, "key-2").await;
        assert!(!received_steps(&mut events).iter().any(|step| step.name() == "revocation_failed"));
    }
}

#[tokio::test(start_paused = true)]
async fn after_five_refusals_a_key_that_delays_a_compromised_one_is_reported() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    issuer.set(|state| state.faults.revoke = repeat_n(DENIED, 100).collect());
    for _ in 0..5 {
        assert_eq!(key.rotate_compromised().await.unwrap_err().kind(), ErrorKind::Denied);
    }
    assert_eq!(key.state().generation, 2);
    let unrevoked = |step: &RotationStep| step.name() == "revocation_failed";
    assert_eq!(received_steps(&mut events).iter().filter(|step| unrevoked(step)).count(), 1);
    issuer.set(|state| state.faults.revoke.clear());
    assert_eq!(key.rotate_compromised().await.unwrap(), 3);
    assert_eq!(issuer.live(), [FIRST, "key-3"]);
}

#[tokio::test(start_paused = true)]
async fn an_old_key_that_cannot_be_revoked_does_not_delay_a_compromised_one() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    // For as many calls as revoke the first key.
    issuer.set(|state| {
        state.faults.revoke = repeat_n(Fault::Refuse(ErrorKind::Timeout), 5).collect();
    });
    drop(in_flight);
    let start = Instant::now();
    while key.rotate_compromised().await.is_err() && start.elapsed() < Duration::from_secs(600) {}
    assert_eq!(key.state().generation, 2);
    assert_eq!(issuer.live(), [FIRST, "key-2"]);
}
