//! An instance that dies at a step, and one that resumes the rotation.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::issuer::{
    FIRST, Fault, Issuer, assert_settled, engine, received_steps, single_instance_key, store,
};
use super::killable::engine_killed_at;
use crate::RotationStep;

const STEPS: [&str; 7] =
    ["started", "issued", "stored", "switched", "drained", "revoked", "finished"];

#[tokio::test(start_paused = true)]
async fn the_next_instance_finishes_the_rotation_after_a_crash_at_any_step() {
    for (is_idempotent, lists_keys) in [(true, false), (false, true)] {
        for dies_at in STEPS {
            let (store, issuer) = (store().await, Issuer::new());
            issuer
                .set(|state| (state.is_idempotent, state.lists_keys) = (is_idempotent, lists_keys));
            let (first, rotation) = engine_killed_at(dies_at, &store, &issuer);
            let key = first.add(rotation).await.unwrap();
            let _ = timeout(Duration::from_secs(1), key.rotate()).await;
            sleep(Duration::from_secs(1)).await;
            assert!(issuer.is_live(&key.acquire()), "died at {dies_at}");
            drop((first, key));

            let second = engine(&store);
            let key = second.add(single_instance_key(&issuer)).await.unwrap();
            for _ in 0..60 {
                assert!(issuer.is_live(&key.acquire()), "died at {dies_at}");
                sleep(Duration::from_secs(1)).await;
            }
            let current = key.acquire().expose_text().unwrap().to_owned();
            assert_ne!(current, FIRST, "died at {dies_at}");
            assert_settled(&store, &issuer, &current).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reports_that_a_key_may_have_been_left_behind() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.is_idempotent = false);
    let (first, rotation) = engine_killed_at("issued", &store, &issuer);
    let key = first.add(rotation).await.unwrap();
    assert!(timeout(Duration::from_secs(1), key.rotate()).await.is_err());
    drop((first, key));
    let second = engine(&store);
    let mut events = second.events();
    let _key = second.add(single_instance_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let is_unknown = |step: &RotationStep| matches!(step, RotationStep::Orphaned { revoked: None });
    assert!(received_steps(&mut events).iter().any(is_unknown));
    assert_eq!(issuer.live(), ["key-1", "key-2"], "this issuer cannot list its keys");
}

#[tokio::test(start_paused = true)]
async fn revokes_a_key_left_behind_after_two_crashes() {
    for dies_at in ["started", "issued", "stored", "drained", "revoked"] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| (state.is_idempotent, state.lists_keys) = (false, true));
        for dies_at in ["issued", dies_at] {
            let (engine, rotation) = engine_killed_at(dies_at, &store, &issuer);
            let key = engine.add(rotation).await.unwrap();
            if dies_at == "issued" {
                let _ = timeout(Duration::from_secs(1), key.rotate()).await;
            }
            sleep(Duration::from_secs(120)).await;
        }
        let last = engine(&store);
        let key = last.add(single_instance_key(&issuer)).await.unwrap();
        sleep(Duration::from_secs(120)).await;
        let current = key.acquire().expose_text().unwrap().to_owned();
        assert_settled(&store, &issuer, &current).await;
    }
}

#[tokio::test(start_paused = true)]
async fn revokes_a_key_whose_answer_was_lost() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        (state.is_idempotent, state.lists_keys) = (false, true);
        state.faults.issue.push_back(Fault::Lose);
    });
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    assert_eq!(issuer.0.lock().unwrap().issued, 2);
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, "key-2").await;
}
