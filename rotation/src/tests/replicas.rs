//! Reads that show what was there before.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, PutOptions, SecretValue};
use tokio::time::{Instant, sleep};

use super::faulty_store::FaultyStore;
use super::issuer::{
    DAY, FIRST, Fault, Issuer, alone, assert_live_for, assert_settled, path, store, stored, told,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn reads_that_lag_cost_no_key() {
    for lag in [50, 200, 1_000, 4_000] {
        for repeats in [true, false] {
            let (store, issuer) = (store().await, Issuer::new());
            issuer.set(|books| {
                (books.repeats, books.latency) = (repeats, Duration::from_millis(20));
            });
            let mut lagging = FaultyStore::new(&store).await;
            lagging.lag = Box::new(move |_, _| Duration::from_millis(lag));
            let engine = Arc::new(lagging).engine();
            let key = engine.add(alone(&issuer)).await.unwrap();
            let rotating = key.clone();
            let rotating = tokio::spawn(async move { rotating.rotate().await });
            assert_live_for(Duration::from_secs(60), &issuer, std::slice::from_ref(&key)).await;
            assert_eq!(rotating.await.unwrap().unwrap(), 1, "{lag} ms");
            let current = stored(&store).await.1;
            assert_ne!(current, FIRST);
            assert_eq!(key.acquire().expose_text().unwrap(), current);
            assert_settled(&store, &issuer, &current).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_key_is_not_taken_for_one_that_nobody_knows_where_reads_lag() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        (books.repeats, books.lists) = (false, true);
        books.live.extend(["key-1".to_owned(), "key-2".to_owned()]);
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
    // It never shows what others write.
    let unkind = Arc::new(FaultyStore::new(&store).await);
    store.put(&path(), stored("key-2", "key-1", "2"), PutOptions::new()).await.unwrap();
    let engine = unkind.engine();
    let _key = engine.add(alone(&issuer)).await.unwrap();
    sleep(HOUR).await;
    assert_eq!(issuer.live(), [FIRST, "key-1", "key-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_one_read_does_not_show_is_not_taken_for_lost() {
    let (store, issuer) = (store().await, Issuer::new());
    let mut unkind = FaultyStore::new(&store).await;
    unkind.forgets = Some(2);
    let engine = Arc::new(unkind).engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let keys = [key];
    assert_live_for(Duration::from_secs(120), &issuer, &keys).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_storing_is_in_doubt_is_not_revoked_because_reads_lag() {
    let (store, issuer) = (store().await, Issuer::new());
    let start = Instant::now();
    let mut unkind = FaultyStore::new(&store).await;
    unkind.lag = Box::new(move |_, writes| {
        let lags = writes >= 2 && start.elapsed() < Duration::from_secs(40);
        if lags { Duration::MAX } else { Duration::ZERO }
    });
    unkind.forgets = Some(2);
    let engine = Arc::new(unkind).engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let keys = [key];
    assert_live_for(Duration::from_secs(600), &issuer, &keys).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_the_one_that_lags_brings_no_revoked_key_back() {
    for seed in 0..20 {
        fastrand::seed(seed);
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|books| books.latency = Duration::from_millis(20));
        let mut unkind = FaultyStore::new(&store).await;
        unkind.lag = Box::new(|_, _| Duration::from_secs(2) * u32::from(fastrand::bool()));
        let unkind = Arc::new(unkind);
        let engine = unkind.engine();
        let mut events = engine.events();
        let key = engine.add(alone(&issuer)).await.unwrap();
        let rotating = key.clone();
        let rotating = tokio::spawn(async move { rotating.rotate().await });
        assert_live_for(Duration::from_secs(400), &issuer, &[key]).await;
        assert_eq!(rotating.await.unwrap().unwrap(), 1, "seed {seed}");
        let switches = told(&mut events).iter().filter(|step| step.name() == "switched").count();
        assert!(switches == 1 && unkind.reads() < 100, "{switches}, {} reads", unkind.reads());
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_an_operator_goes_back_to_is_not_revoked_where_reads_lag() {
    let (store, issuer) = (store().await, Issuer::new());
    let mut unkind = FaultyStore::new(&store).await;
    unkind.lag = Box::new(|_, _| Duration::from_secs(1));
    let unkind = Arc::new(unkind);
    let engine = unkind.engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    store.rollback(&path(), &1.into()).await.unwrap();
    unkind.note().await;
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(stored(&store).await.1, FIRST);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    assert_eq!(issuer.live(), [FIRST, "key-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_useless_key_where_reads_lag_is_the_only_one() {
    for lag in [0, 1_000] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|books| {
            (books.verify_refuses, books.repeats, books.lists) = (true, false, true);
        });
        let mut unkind = FaultyStore::new(&store).await;
        unkind.lag = Box::new(move |_, _| Duration::from_millis(lag));
        let engine = Arc::new(unkind).engine();
        let key = engine.add(alone(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        sleep(DAY).await;
        assert_eq!(issuer.issue_calls(), 1, "{lag} ms");
        assert_eq!(issuer.live(), [FIRST]);
        assert!(!stored(&store).await.0.contains(&"rotation_attempt".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_key_is_not_taken_for_one_that_nobody_knows_at_a_later_attempt() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        (books.repeats, books.lists) = (false, true);
        books.live.insert("key-1".to_owned());
        books.revoke_faults.push_back(Fault::Refuse(ErrorKind::Denied));
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
    let unkind = Arc::new(FaultyStore::new(&store).await);
    let engine = unkind.engine();
    let _key = engine.add(alone(&issuer)).await.unwrap();
    sleep(Duration::from_secs(12)).await;
    assert_eq!(unkind.writes(), 1);
    assert_eq!(issuer.live(), [FIRST, "key-1"]);
    // Another instance ends that rotation and makes the next; this one's reads lag.
    issuer.set(|books| {
        books.live.remove(FIRST);
        books.live.insert("key-2".to_owned());
    });
    store.put(&path(), record("key-2", "key-1", "2"), PutOptions::new()).await.unwrap();
    sleep(Duration::from_secs(15)).await;
    assert_eq!(issuer.live(), ["key-1", "key-2"], "key-2 is current in the store");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_an_operator_goes_back_to_is_not_revoked_at_a_later_attempt() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| books.revoke_faults.push_back(Fault::Refuse(ErrorKind::Denied)));
    let unkind = Arc::new(FaultyStore::new(&store).await);
    let engine = unkind.engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    store.rollback(&path(), &1.into()).await.unwrap();
    // Reads show it ten seconds later (`note`).
    sleep(Duration::from_secs(10)).await;
    unkind.note().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stored(&store).await.1, FIRST);
    assert!(issuer.live().contains(&FIRST.to_owned()), "{:?}", issuer.live());
}

#[tokio::test(start_paused = true)]
async fn numbers_of_generations_that_come_again_mean_nothing() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        books.live.insert("by hand".to_owned());
    });
    let mut unkind = FaultyStore::new(&store).await;
    unkind.lag = Box::new(|_, _| Duration::from_secs(1));
    let unkind = Arc::new(unkind);
    let engine = unkind.engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    let by_hand = store.put(&path(), "by hand".into(), PutOptions::new()).await.unwrap();
    unkind.note().await;
    sleep(Duration::from_secs(2)).await;
    key.check_store();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(key.acquire().expose_text().unwrap(), "by hand");
    let in_flight = key.acquire();
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(2)).await;
    store.rollback(&path(), &by_hand).await.unwrap();
    unkind.note().await;
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(stored(&store).await.1, "by hand");
    assert!(issuer.live().contains(&"by hand".to_owned()), "{:?}", issuer.live());
}
