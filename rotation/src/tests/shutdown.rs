//! Keys that an engine manages no longer.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use super::issuer::{
    DAY, FIRST, Fault, Issuer, PATH, assert_settled, engine, received_steps, single_instance_key,
    store,
};
use crate::{RotationEngine, RotationPolicy, RotationStep};

#[tokio::test(start_paused = true)]
async fn a_removed_key_stays_as_it_is_and_can_be_added_again() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert!(engine.remove(PATH).await.unwrap());
    assert!(!engine.remove(PATH).await.unwrap());
    assert_eq!(engine.remove("no path/").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);

    let again = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert_eq!(again.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST, "no engine manages the first handle");
}

#[tokio::test(start_paused = true)]
async fn remove_waits_for_the_step_under_way() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.latency = Duration::from_secs(5));
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let rotating = tokio::spawn(async move { key.rotate().await });
    sleep(Duration::from_secs(1)).await;
    assert!(engine.remove(PATH).await.unwrap());
    assert_eq!(rotating.await.unwrap().unwrap(), 1, "the key is stored, and in use");
    let steps: Vec<_> = received_steps(&mut events).iter().map(RotationStep::name).collect();
    assert_eq!(steps, ["started", "issued", "stored", "switched"]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_aborts_a_hanging_step_after_twenty_seconds() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.issue.push_back(Fault::Hang));
    let first = engine(&store);
    let policy = RotationPolicy::new().single_instance().attempt_lease(DAY);
    let key = first.add(single_instance_key(&issuer).policy(policy)).await.unwrap();
    assert!(timeout(Duration::from_secs(1), key.rotate()).await.is_err());
    let start = Instant::now();
    let both = tokio::join!(first.shutdown(), first.shutdown());
    assert_eq!((both, start.elapsed().as_secs()), (((), ()), 20));

    let second = engine(&store);
    let _key = second.add(single_instance_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn reports_a_closed_store_once_and_stops() {
    let (store, issuer) = (store().await, Issuer::new());
    let secrets = Arc::clone(&store);
    let engine = RotationEngine::new(secrets.clone());
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    secrets.close().await.unwrap();
    sleep(DAY).await;
    let steps = received_steps(&mut events);
    let [RotationStep::Failed { error }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
}

#[tokio::test(start_paused = true)]
async fn removing_and_adding_a_key_during_an_attempt_leaves_no_key_behind() {
    for waits in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| {
            (state.is_idempotent, state.lists_keys) = (false, true);
            if waits {
                state.faults.issue.push_back(Fault::Hang);
            } else {
                state.timing.latency = Duration::from_secs(5);
            }
        });
        let engine = Arc::new(engine(&store));
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        assert!(timeout(Duration::from_secs(1), key.rotate()).await.is_err());
        let removing = Arc::clone(&engine);
        let removing = tokio::spawn(async move { removing.remove(PATH).await });
        sleep(Duration::from_millis(10)).await;
        let removing = if waits { Err(removing.await.unwrap()) } else { Ok(removing) };
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        sleep(Duration::from_secs(200)).await;
        if let Ok(removing) = removing {
            assert!(removing.await.unwrap().unwrap());
            assert_eq!(issuer.issue_calls(), 1);
        }
        let current = key.acquire().expose_text().unwrap().to_owned();
        assert_settled(&store, &issuer, &current).await;
    }
}
