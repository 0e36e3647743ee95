//! Reads that return what the store held before.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, PutOptions, SecretValue};
use tokio::time::{Instant, sleep};

use super::faulty_store::FaultyStore;
use super::issuer::{
    DAY, FIRST, Fault, Issuer, assert_live_for, assert_settled, path, read_record, received_steps,
    single_instance_key, store,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn lagging_reads_lose_no_key() {
    for lag in [50, 200, 1_000, 4_000] {
        for is_idempotent in [true, false] {
            let (store, issuer) = (store().await, Issuer::new());
            issuer.set(|state| {
                (state.is_idempotent, state.timing.latency) =
                    (is_idempotent, Duration::from_millis(20));
            });
            let mut lagging = FaultyStore::new(&store).await;
            lagging.lag = Box::new(move |_, _| Duration::from_millis(lag));
            let engine = Arc::new(lagging).engine();
            let key = engine.add(single_instance_key(&issuer)).await.unwrap();
            let rotating = key.clone();
            let rotating = tokio::spawn(async move { rotating.rotate().await });
            assert_live_for(Duration::from_secs(60), &issuer, std::slice::from_ref(&key)).await;
            assert_eq!(rotating.await.unwrap().unwrap(), 1, "{lag} ms");
            let current = read_record(&store).await.1;
            assert_ne!(current, FIRST);
            assert_eq!(key.acquire().expose_text().unwrap(), current);
            assert_settled(&store, &issuer, &current).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn does_not_revoke_a_newer_key_as_untracked_if_reads_lag() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        (state.is_idempotent, state.lists_keys) = (false, true);
        state.live.extend(["key-1".to_owned(), "key-2".to_owned()]);
    });
    let stored = |key: &str, previous: &str, generation: &str| {
        SecretValue::fields([
            ("key", key),
            ("rotation_previous", previous),
            ("rotation_generation", generation),
            ("rotation_unsure", "true"),
        ])
    };
    store.put(&path(), stored("key-1", FIRST, "1"), PutOptions::new()).await.unwrap();
    // Its reads never return what the test writes below it.
    let faulty = Arc::new(FaultyStore::new(&store).await);
    store.put(&path(), stored("key-2", "key-1", "2"), PutOptions::new()).await.unwrap();
    let engine = faulty.engine();
    let _key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(HOUR).await;
    assert_eq!(issuer.live(), [FIRST, "key-1", "key-2"]);
}

#[tokio::test(start_paused = true)]
async fn does_not_revoke_a_new_key_that_one_read_does_not_show() {
    let (store, issuer) = (store().await, Issuer::new());
    let mut faulty = FaultyStore::new(&store).await;
    faulty.loses_answer_to = Some(2);
    let engine = Arc::new(faulty).engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let keys = [key];
    assert_live_for(Duration::from_secs(120), &issuer, &keys).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn does_not_revoke_a_key_whose_write_is_in_doubt_while_reads_lag() {
    let (store, issuer) = (store().await, Issuer::new());
    let start = Instant::now();
    let mut faulty = FaultyStore::new(&store).await;
    faulty.lag = Box::new(move |_, writes| {
        let lags = writes >= 2 && start.elapsed() < Duration::from_secs(40);
        if lags { Duration::MAX } else { Duration::ZERO }
    });
    faulty.loses_answer_to = Some(2);
    let engine = Arc::new(faulty).engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let keys = [key];
    assert_live_for(Duration::from_secs(600), &issuer, &keys).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn a_lagging_replica_does_not_bring_back_a_revoked_key() {
    for seed in 0..20 {
        fastrand::seed(seed);
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| state.timing.latency = Duration::from_millis(20));
        let mut faulty = FaultyStore::new(&store).await;
        faulty.lag = Box::new(|_, _| Duration::from_secs(2) * u32::from(fastrand::bool()));
        let faulty = Arc::new(faulty);
        let engine = faulty.engine();
        let mut events = engine.events();
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        let rotating = key.clone();
        let rotating = tokio::spawn(async move { rotating.rotate().await });
        assert_live_for(Duration::from_secs(400), &issuer, &[key]).await;
        assert_eq!(rotating.await.unwrap().unwrap(), 1, "seed {seed}");
        let switches =
            received_steps(&mut events).iter().filter(|step| step.name() == "switched").count();
        assert!(switches == 1 && faulty.reads() < 100, "{switches}, {} reads", faulty.reads());
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn does_not_revoke_a_key_that_an_operator_rolled_back_to_if_reads_lag() {
    let (store, issuer) = (store().await, Issuer::new());
    let mut faulty = FaultyStore::new(&store).await;
    faulty.lag = Box::new(|_, _| Duration::from_secs(1));
    let faulty = Arc::new(faulty);
    let engine = faulty.engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    store.rollback(&path(), &1.into()).await.unwrap();
    faulty.sync().await;
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(read_record(&store).await.1, FIRST);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    assert_eq!(issuer.live(), [FIRST, "key-1"]);
}

#[tokio::test(start_paused = true)]
async fn gets_no_second_key_if_the_first_does_not_work_and_reads_lag() {
    for lag in [0, 1_000] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| {
            (state.faults.rejects_keys, state.is_idempotent, state.lists_keys) =
                (true, false, true);
        });
        let mut faulty = FaultyStore::new(&store).await;
        faulty.lag = Box::new(move |_, _| Duration::from_millis(lag));
        let engine = Arc::new(faulty).engine();
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        sleep(DAY).await;
        assert_eq!(issuer.issue_calls(), 1, "{lag} ms");
        assert_eq!(issuer.live(), [FIRST]);
        assert!(!read_record(&store).await.0.contains(&"rotation_attempt".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn does_not_revoke_a_newer_key_as_untracked_at_a_later_try() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        (state.is_idempotent, state.lists_keys) = (false, true);
        state.live.insert("key-1".to_owned());
        state.faults.revoke.push_back(Fault::Refuse(ErrorKind::Denied));
    });
    let record = |key: &str, previous: &str, generation: &str| {
        SecretValue::fields([
            ("key", key),
            ("rotation_previous", previous),
            ("rotation_generation", generation),
            ("rotation_unsure", "true"),
        ])
    };
    store.put(&path(), record("key-1", FIRST, "1"), PutOptions::new()).await.unwrap();
    let faulty = Arc::new(FaultyStore::new(&store).await);
    let engine = faulty.engine();
    let _key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(Duration::from_secs(12)).await;
    assert_eq!(faulty.writes(), 1);
    assert_eq!(issuer.live(), [FIRST, "key-1"]);
    // Another instance finishes that rotation and starts the next one. The reads of this instance lag.
    issuer.set(|state| {
        state.live.remove(FIRST);
        state.live.insert("key-2".to_owned());
    });
    store.put(&path(), record("key-2", "key-1", "2"), PutOptions::new()).await.unwrap();
    sleep(Duration::from_secs(15)).await;
    assert_eq!(issuer.live(), ["key-1", "key-2"], "key-2 is current in the store");
}

#[tokio::test(start_paused = true)]
async fn does_not_revoke_a_key_that_an_operator_rolled_back_to_at_a_later_try() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.revoke.push_back(Fault::Refuse(ErrorKind::Denied)));
    let faulty = Arc::new(FaultyStore::new(&store).await);
    let engine = faulty.engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    store.rollback(&path(), &1.into()).await.unwrap();
    // Reads return it ten seconds later (`sync`).
    sleep(Duration::from_secs(10)).await;
    faulty.sync().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(read_record(&store).await.1, FIRST);
    assert!(issuer.live().contains(&FIRST.to_owned()), "{:?}", issuer.live());
}

#[tokio::test(start_paused = true)]
async fn a_generation_number_that_repeats_after_a_rollback_revokes_no_key_in_use() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        state.live.insert("by hand".to_owned());
    });
    let mut faulty = FaultyStore::new(&store).await;
    faulty.lag = Box::new(|_, _| Duration::from_secs(1));
    let faulty = Arc::new(faulty);
    let engine = faulty.engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    let by_hand = store.put(&path(), "by hand".into(), PutOptions::new()).await.unwrap();
    faulty.sync().await;
    sleep(Duration::from_secs(2)).await;
    key.check_store();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(key.acquire().expose_text().unwrap(), "by hand");
    let in_flight = key.acquire();
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(2)).await;
    store.rollback(&path(), &by_hand).await.unwrap();
    faulty.sync().await;
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(read_record(&store).await.1, "by hand");
    assert!(issuer.live().contains(&"by hand".to_owned()), "{:?}", issuer.live());
}
