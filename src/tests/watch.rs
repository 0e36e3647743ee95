//! Handles.

use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, MetadataPatch};
use tokio::time::{Instant, sleep, timeout};

use super::store::{Mood, Store, TTL, ms, path, secs};
use crate::{Current, ReadPolicy, SecretHandle, clock};

fn value_of(current: &Current) -> &str {
    current.expose_text().unwrap()
}

async fn changes_within(handle: &mut SecretHandle, limit: Duration) -> bool {
    timeout(limit, handle.changed()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_handle_follows_writes_of_other_processes() {
    let (store, secrets) = Store::with_a().await;
    let mut handle = secrets.watch("a").await.unwrap();
    assert_eq!(value_of(&handle.current()), "1");
    assert!(!changes_within(&mut handle, 3 * TTL).await, "nothing has changed");
    store.set("a", "2").await;
    let start = Instant::now();
    let changed = handle.changed().await.unwrap();
    assert_eq!(changed.expose_text().unwrap(), "2");
    assert!(start.elapsed() <= TTL, "{:?}", start.elapsed());
    assert_eq!(value_of(&handle.current()), "2");
    assert!(!changes_within(&mut handle, 3 * TTL).await, "it was told once");
}

#[tokio::test(start_paused = true)]
async fn a_handle_follows_own_writes_immediately() {
    let (_store, secrets) = Store::with_a().await;
    let mut handle = secrets.namespace("a").map(|_| secrets.watch("a")).unwrap().await.unwrap();
    for value in ["2", "3"] {
        secrets.put("a", value).await.unwrap();
        let start = Instant::now();
        assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), value);
        assert_eq!(start.elapsed(), ms(0));
    }
}

#[tokio::test(start_paused = true)]
async fn reports_a_change_from_before_the_wait() {
    let (_store, secrets) = Store::with_a().await;
    let mut handle = secrets.watch("a").await.unwrap();
    secrets.put("a", "2").await.unwrap();
    sleep(ms(1)).await;
    let mut clone = handle.clone();
    for handle in [&mut handle, &mut clone] {
        assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "2");
        assert!(!changes_within(handle, secs(600)).await, "it was told once");
    }
    // As if a pool of connections were rebuilt in the meantime.
    secrets.put("a", "3").await.unwrap();
    sleep(secs(10)).await;
    assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_handle_does_not_start_with_a_replaced_value() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(50));
    let watching = tokio::spawn({
        let secrets = secrets.clone();
        async move { secrets.watch("a").await }
    });
    sleep(ms(10)).await;
    secrets.put("a", "2").await.unwrap();
    let handle = watching.await.unwrap().unwrap();
    assert_eq!(value_of(&handle.current()), "2");
}

#[test]
fn keeps_the_newest_of_reads_in_any_order() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (store, secrets) = Store::with_a().await;
        let handle = secrets.watch("a").await.unwrap();
        let refreshing: Vec<_> = (0..4)
            .map(|_| {
                let secrets = secrets.clone();
                tokio::spawn(async move {
                    for _ in 0..500 {
                        secrets.refresh("a").await.unwrap();
                    }
                })
            })
            .collect();
        let mut newest = 0;
        for value in 2..500_u64 {
            store.set("a", &value.to_string()).await;
            let current: u64 = value_of(&handle.current()).parse().unwrap();
            assert!(current >= newest, "it went back from {newest} to {current}");
            newest = current;
            tokio::task::yield_now().await;
        }
        for task in refreshing {
            task.await.unwrap();
        }
        assert_eq!(value_of(&handle.current()), "499");
    });
}

#[tokio::test(start_paused = true)]
async fn a_handle_survives_a_panic_of_the_backend() {
    let store = Store::new();
    store.set("a", "1").await;
    let secrets = store.manager(ReadPolicy::new().cache_ttl(Duration::ZERO));
    let mut handle = secrets.watch("a").await.unwrap();
    store.feel(Mood::Panicking);
    sleep(secs(60)).await;
    assert_eq!(handle.last_error().unwrap().kind(), ErrorKind::Internal);
    assert!(handle.current().is_stale());
    store.feel(Mood::Well);
    store.set("a", "2").await;
    assert!(changes_within(&mut handle, secs(31)).await);
}

#[test]
fn a_handle_reports_that_its_runtime_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (store, secrets, mut handle) = first.block_on(async {
        let (store, secrets) = Store::with_a().await;
        let handle = secrets.watch("a").await.unwrap();
        (store, secrets, handle)
    });
    drop(first);
    assert!(handle.current().is_stale());
    assert_eq!(handle.last_error().unwrap().kind(), ErrorKind::Closed);
    second.block_on(async {
        assert_eq!(handle.changed().await.unwrap_err().kind(), ErrorKind::Closed);
        store.set("a", "2").await;
        // A new handle starts a task, which also serves the old one.
        let again = secrets.watch("a").await.unwrap();
        secrets.refresh("a").await.unwrap();
        assert_eq!(value_of(&again.current()), "2");
        assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "2");
        assert!(handle.last_error().is_none());
    });
}

#[tokio::test(start_paused = true)]
async fn a_handle_learns_of_an_expiry_and_of_a_late_rotation() {
    let (store, secrets) = Store::with_a().await;
    let patch = MetadataPatch::new().expires_at(clock::wall() + secs(20));
    store.inner.annotate(&path("a"), &patch).await.unwrap();
    let mut handle = secrets.watch("a").await.unwrap();
    store.fail(ErrorKind::Expired);
    sleep(secs(25)).await;
    assert_eq!(handle.last_error().unwrap().kind(), ErrorKind::Expired);
    assert!(handle.current().is_stale());

    store.feel(Mood::Well);
    store.inner.annotate(&path("a"), &MetadataPatch::new().clear_expires_at()).await.unwrap();
    sleep(secs(60)).await;
    secrets.rotate("a").await.unwrap();
    sleep(secs(8)).await;
    store.set("a", "rotated").await;
    assert!(changes_within(&mut handle, secs(6)).await);
}

#[tokio::test(start_paused = true)]
async fn a_handle_and_the_cache_share_their_reads() {
    let (store, secrets) = Store::with_a().await;
    let handle = secrets.watch("a").await.unwrap();
    let again = secrets.watch("a").await.unwrap();
    for _ in 0..600 {
        secrets.get("a").await.unwrap();
        sleep(secs(1)).await;
    }
    assert!((10..=16).contains(&store.calls("a")), "{}", store.calls("a"));
    store.set("a", "2").await;
    secrets.refresh("a").await.unwrap();
    assert_eq!(value_of(&handle.current()), "2");
    assert_eq!(value_of(&again.current()), "2");
}

#[tokio::test(start_paused = true)]
async fn the_last_value_stays_while_the_secret_cannot_be_read() {
    for trouble in [ErrorKind::Unavailable, ErrorKind::Denied, ErrorKind::NotFound] {
        let (store, secrets) = Store::with_a().await;
        let mut handle = secrets.watch("a").await.unwrap();
        assert!(handle.last_error().is_none());
        store.fail(trouble);
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(value_of(&handle.current()), "1");
        assert!(handle.current().is_stale());
        assert_eq!(handle.last_error().unwrap().kind(), trouble);
        assert!(store.calls("a") < 160, "{} requests in an hour", store.calls("a"));
        store.feel(Mood::Well);
        store.set("a", "2").await;
        let start = Instant::now();
        assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "2");
        assert!(start.elapsed() <= secs(31), "{:?}", start.elapsed());
        assert!(!handle.current().is_stale() && handle.last_error().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_does_not_stop_a_handle() {
    let (store, secrets) = Store::with_a().await;
    let mut handle = secrets.watch("a").await.unwrap();
    store.feel(Mood::Silent);
    sleep(secs(600)).await;
    assert_eq!(handle.last_error().unwrap().kind(), ErrorKind::Timeout);
    store.feel(Mood::Well);
    store.set("a", "2").await;
    assert!(changes_within(&mut handle, secs(61)).await);
}

#[tokio::test(start_paused = true)]
async fn a_handle_without_a_cache_reads_at_its_interval() {
    let store = Store::new();
    store.set("a", "1").await;
    let policy = ReadPolicy::new().cache_ttl(Duration::ZERO).watch_interval(secs(5));
    let secrets = store.manager(policy);
    let mut handle = secrets.watch("a").await.unwrap();
    store.set("a", "2").await;
    assert!(changes_within(&mut handle, secs(6)).await);
    let before = store.calls("a");
    sleep(secs(100)).await;
    assert!((20..=23).contains(&(store.calls("a") - before)), "{}", store.calls("a") - before);
    secrets.put("a", "3").await.unwrap();
    assert!(changes_within(&mut handle, ms(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_handle_reads_again_when_a_lease_ends() {
    let (store, secrets) = Store::with_a().await;
    store.lease_for(secs(7));
    let mut handle = secrets.watch("a").await.unwrap();
    store.set("a", "2").await;
    assert!(changes_within(&mut handle, secs(8)).await);
}

#[tokio::test(start_paused = true)]
async fn no_task_reads_without_handles() {
    let (store, secrets) = Store::with_a().await;
    let handle = secrets.watch("a").await.unwrap();
    let clone = handle.clone();
    drop(handle);
    sleep(secs(600)).await;
    let calls = store.calls("a");
    assert!(calls >= 10, "{calls}");
    drop(clone);
    sleep(secs(6000)).await;
    assert_eq!(store.calls("a"), calls);
    let handle = secrets.watch("a").await.unwrap();
    sleep(secs(600)).await;
    assert!(store.calls("a") >= calls + 10);
    drop(handle);
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_the_wait_and_keeps_the_value() {
    let (_store, secrets) = Store::with_a().await;
    let mut handle = secrets.watch("a").await.unwrap();
    let mut waiting = handle.clone();
    let waiting = tokio::spawn(async move { waiting.changed().await });
    sleep(ms(1)).await;
    secrets.close().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(handle.changed().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(value_of(&handle.current()), "1");
    assert_eq!(secrets.watch("a").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_has_no_handle_and_a_handle_shows_no_value() {
    let (store, secrets) = Store::with_a().await;
    assert_eq!(secrets.watch("none").await.unwrap_err().kind(), ErrorKind::NotFound);
    store.set("b", "hunter2").await;
    let handle = secrets.watch("b").await.unwrap();
    let shown = format!("{handle:?} {:?} {secrets:?}", handle.current());
    assert!(!shown.contains("hunter2") && shown.contains("[REDACTED]"), "{shown}");
    assert_eq!(handle.path().as_str(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_handle_reads_again_after_the_machine_was_suspended() {
    let (store, secrets) = Store::with_a().await;
    let policy = ReadPolicy::new().watch_interval(secs(3_600)).cache_ttl(secs(3_600));
    let secrets_of_day = store.manager(policy);
    for (secrets, asleep) in [(secrets, TTL), (secrets_of_day, secs(8 * 3_600))] {
        store.set("a", "1").await;
        let mut handle = secrets.watch("a").await.unwrap();
        store.set("a", "2").await;
        sleep(secs(2)).await;
        assert_eq!(value_of(&handle.current()), "1");
        clock::suspend(asleep);
        assert!(changes_within(&mut handle, secs(2)).await);
        assert_eq!(value_of(&handle.current()), "2");
        assert!(!handle.current().is_stale());

        store.feel(Mood::Silent);
        clock::suspend(asleep);
        sleep(secs(2)).await;
        assert!(handle.current().is_stale());
        store.feel(Mood::Well);
    }
}
