//! An instance that dies at a step, and one that goes on.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::crashing::dying_at;
use super::issuer::{FIRST, Fault, Issuer, alone, assert_settled, engine, store, told};
use crate::RotationStep;

const STEPS: [&str; 7] =
    ["started", "issued", "stored", "switched", "drained", "revoked", "finished"];

#[tokio::test(start_paused = true)]
async fn whoever_starts_after_a_crash_at_any_step_ends_the_rotation() {
    for (repeats, lists) in [(true, false), (false, true)] {
        for dies_at in STEPS {
            let (store, issuer) = (store().await, Issuer::new());
            issuer.set(|books| (books.repeats, books.lists) = (repeats, lists));
            let (first, rotation) = dying_at(dies_at, &store, &issuer);
            let key = first.add(rotation).await.unwrap();
            let _ = timeout(Duration::from_secs(1), key.rotate()).await;
            sleep(Duration::from_secs(1)).await;
            assert!(issuer.is_live(&key.acquire()), "died at {dies_at}");
            drop((first, key));

            let second = engine(&store);
            let key = second.add(alone(&issuer)).await.unwrap();
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
async fn a_key_that_may_have_been_left_behind_is_reported() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| books.repeats = false);
    let (first, rotation) = dying_at("issued", &store, &issuer);
    let key = first.add(rotation).await.unwrap();
    assert!(timeout(Duration::from_secs(1), key.rotate()).await.is_err());
    drop((first, key));
    let second = engine(&store);
    let mut events = second.events();
    let _key = second.add(alone(&issuer)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let is_told = |step: &RotationStep| matches!(step, RotationStep::Orphaned { revoked: None });
    assert!(told(&mut events).iter().any(is_told));
    assert_eq!(issuer.live(), ["key-1", "key-2"], "this issuer cannot list its keys");
}

#[tokio::test(start_paused = true)]
async fn a_key_left_behind_is_looked_for_though_its_finder_dies_too() {
    for dies_at in ["started", "issued", "stored", "drained", "revoked"] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|books| (books.repeats, books.lists) = (false, true));
        for dies_at in ["issued", dies_at] {
            let (engine, rotation) = dying_at(dies_at, &store, &issuer);
            let key = engine.add(rotation).await.unwrap();
            if dies_at == "issued" {
                let _ = timeout(Duration::from_secs(1), key.rotate()).await;
            }
            sleep(Duration::from_secs(120)).await;
        }
        let last = engine(&store);
        let key = last.add(alone(&issuer)).await.unwrap();
        sleep(Duration::from_secs(120)).await;
        let current = key.acquire().expose_text().unwrap().to_owned();
        assert_settled(&store, &issuer, &current).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_answer_was_lost_is_looked_for() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        (books.repeats, books.lists) = (false, true);
        books.issue_faults.push_back(Fault::Lose);
    });
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    assert_eq!(issuer.0.lock().unwrap().issued, 2);
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, "key-2").await;
}
