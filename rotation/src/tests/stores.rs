//! Stores that return no times, fail half-way, or always report a conflict.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom_core::{Backend as _, ErrorKind, MetadataPatch};
use tokio::time::{Instant, sleep};

use super::faulty_store::FaultyStore;
use super::issuer::{
    DAY, FIRST, Issuer, annotate, assert_settled, path, shared_key, single_instance_key, store,
};
use crate::clock;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn counts_the_interval_from_the_first_read_if_the_store_tells_no_times() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().rotation_interval(DAY)).await;
    let engine = Arc::new(FaultyStore::new(&store).await).engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(22 * HOUR).await;
    assert_eq!(key.state().generation, 0);
    sleep(3 * HOUR).await;
    assert_eq!(key.state().generation, 1);
    sleep(75 * HOUR).await;
    assert_eq!((key.state().generation, issuer.issue_calls()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_repeated_write_conflicts() {
    let (store, issuer) = (store().await, Issuer::new());
    let mut faulty = FaultyStore::new(&store).await;
    faulty.always_conflicts = true;
    let faulty = Arc::new(faulty);
    let engine = faulty.engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let start = Instant::now();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let writes = faulty.writes();
    assert!((2..=11).contains(&writes), "{writes} writes");
    assert_eq!(issuer.issue_calls(), 0, "no attempt was stored");
}

#[tokio::test(start_paused = true)]
async fn stores_the_expiry_later_if_the_first_write_missed_it() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + DAY)).await;
    issuer.set(|state| state.timing.lifetime = Some(30 * DAY));
    let mut faulty = FaultyStore::new(&store).await;
    faulty.drops_metadata_of = Some(2);
    let engine = Arc::new(faulty).engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(HOUR).await;
    let left = |end: SystemTime| end.duration_since(clock::wall()).unwrap();
    let kept = store.describe(&path()).await.unwrap().metadata.expires_at.unwrap();
    assert!(left(kept) > 29 * DAY, "{:?}", left(kept));
    assert!(left(key.state().expires_at.unwrap()) > 29 * DAY);
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_store_no_longer_than_attempt_lease() {
    for hangs in 1..=3 {
        let (store, issuer) = (store().await, Issuer::new());
        let mut faulty = FaultyStore::new(&store).await;
        faulty.hangs_at = Some(hangs);
        let engine = Arc::new(faulty).engine();
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        let start = Instant::now();
        let rotated = key.rotate().await.map_err(|error| error.kind());
        assert_eq!(rotated, if hangs < 3 { Err(ErrorKind::Timeout) } else { Ok(1) });
        assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
        sleep(Duration::from_secs(60)).await;
        let current = if hangs == 1 { FIRST } else { "key-1" };
        assert_settled(&store, &issuer, current).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_may_not_be_changed_causes_one_rotation() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + DAY)).await;
    issuer.set(|state| state.timing.lifetime = Some(90 * DAY));
    let mut faulty = FaultyStore::new(&store).await;
    faulty.denies_metadata = true;
    let engine = Arc::new(faulty).engine();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(10 * DAY).await;
    assert_eq!((key.state().generation, issuer.issue_calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn keeps_an_expiry_that_an_operator_sets_during_a_rotation() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = super::issuer::engine(&store);
    let key = engine.add(shared_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    let end = clock::wall() + 30 * DAY;
    annotate(&store, MetadataPatch::new().expires_at(end)).await;
    sleep(Duration::from_secs(120)).await;
    assert_settled(&store, &issuer, "key-1").await;
    let kept = store.describe(&path()).await.unwrap().metadata.expires_at.unwrap();
    assert!(end.duration_since(kept).unwrap() < Duration::from_millis(1), "{kept:?}");
}
