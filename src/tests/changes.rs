//! What the cache and handles learn from a store that tells of changes.

use std::time::Duration;

use strongroom_core::{Backend as _, Change, ErrorKind};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use super::store::{Mood, Report, Store, kind, ms, path, secs, text};
use crate::{ReadPolicy, SecretsManager};

const HOUR: Duration = Duration::from_secs(3_600);
/// How soon a change has to be seen.
const SOON: Duration = Duration::from_millis(200);

/// Only a feed makes the cache or a handle read again soon.
fn long_lived() -> ReadPolicy {
    ReadPolicy::new().cache_ttl(HOUR).negative_ttl(HOUR).watch_interval(HOUR)
}

fn change_of(paths: &[&str]) -> Change {
    Change::Secrets(paths.iter().map(|text| path(text)).collect())
}

/// Lets the tasks run that have something to do.
async fn settle() {
    sleep(ms(1)).await;
}

/// The value of a secret that is read at once.
async fn read(secrets: &SecretsManager, at: &str) -> String {
    text(secrets.get(at).await)
}

#[tokio::test(start_paused = true)]
async fn the_next_read_after_a_change_asks_the_store() {
    for change in [change_of(&["other", "a", "none"]), Change::Any] {
        let (store, secrets) = Store::with_feed(long_lived()).await;
        store.set("b", "1").await;
        assert_eq!(read(&secrets, "a").await, "1");
        assert_eq!(read(&secrets, "b").await, "1");
        assert_eq!(kind(secrets.get("none").await), ErrorKind::NotFound);
        store.set("a", "2").await;
        store.set("none", "new").await;
        settle().await;
        assert_eq!(read(&secrets, "a").await, "1", "it is cached");
        assert_eq!(kind(secrets.get("none").await), ErrorKind::NotFound);
        assert_eq!((store.calls("a"), store.calls("none")), (1, 1));

        store.tell(change.clone());
        settle().await;
        for _ in 0..3 {
            assert_eq!(read(&secrets, "a").await, "2");
            assert_eq!(read(&secrets, "none").await, "new");
            assert_eq!(read(&secrets, "b").await, "1");
        }
        assert_eq!((store.calls("a"), store.calls("none")), (2, 2), "{change:?}");
        assert_eq!(store.calls("b"), if change == Change::Any { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn versions_and_batches_are_read_again_too() {
    for change in [change_of(&["a"]), Change::Any] {
        let (store, secrets) = Store::with_feed(long_lived()).await;
        assert_eq!(text(secrets.get_many(["a"]).await.remove(0)), "1");
        assert_eq!(text(secrets.get_version("a", 1).await), "1");
        store.inner.destroy(&path("a")).await.unwrap();
        store.tell(change);
        settle().await;
        assert_eq!(kind(secrets.get_many(["a"]).await.remove(0)), ErrorKind::NotFound);
        assert_eq!(kind(secrets.get_version("a", 1).await), ErrorKind::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_a_change_overtook_is_not_kept() {
    for change in [change_of(&["a"]), Change::Any] {
        let (store, secrets) = Store::with_feed(long_lived()).await;
        store.take(ms(50));
        let early = tokio::spawn({
            let secrets = secrets.clone();
            async move { read(&secrets, "a").await }
        });
        sleep(ms(10)).await;
        store.set("a", "2").await;
        store.tell(change);
        settle().await;
        assert_eq!(read(&secrets, "a").await, "2", "it does not join the earlier read");
        assert_eq!(early.await.unwrap(), "1", "it began before the change");
        assert_eq!(read(&secrets, "a").await, "2");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_sees_a_change_soon() {
    let without_cache = || ReadPolicy::new().cache_ttl(Duration::ZERO).watch_interval(HOUR);
    for policy in [long_lived(), without_cache()] {
        for change in [change_of(&["a"]), Change::Any] {
            let (store, secrets) = Store::with_feed(policy.clone()).await;
            let mut handle = secrets.watch("a").await.unwrap();
            for value in ["2", "3"] {
                sleep(secs(5)).await;
                assert!(timeout(SOON, handle.changed()).await.is_err());
                store.set("a", value).await;
                let calls = store.calls("a");
                store.tell(change.clone());
                let changed = timeout(SOON, handle.changed()).await.unwrap().unwrap();
                assert_eq!(changed.expose_text().unwrap(), value);
                sleep(secs(60)).await;
                assert_eq!(store.calls("a"), calls + 1, "one read is enough");
            }
            // Of another secret.
            let calls = store.calls("a");
            store.tell(change_of(&["b"]));
            sleep(secs(5)).await;
            assert_eq!(store.calls("a"), calls);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_does_not_start_with_a_value_that_a_change_overtook() {
    for change in [change_of(&["a"]), Change::Any] {
        let policy = ReadPolicy::new().cache_ttl(Duration::ZERO).watch_interval(HOUR);
        let (store, secrets) = Store::with_feed(policy).await;
        store.take(ms(50));
        let watching = tokio::spawn(async move { secrets.watch("a").await.unwrap() });
        sleep(ms(10)).await;
        store.set("a", "2").await;
        store.tell(change);
        assert_eq!(watching.await.unwrap().current().expose_text().unwrap(), "2");
    }
}

#[tokio::test(start_paused = true)]
async fn own_writes_that_are_reported_cost_one_read_more_at_most() {
    for change in [change_of(&["a"]), Change::Any] {
        let (store, secrets) = Store::with_feed(long_lived()).await;
        let mut handle = secrets.watch("a").await.unwrap();
        let before = store.calls("a");
        for value in 0..10 {
            secrets.put("a", value.to_string()).await.unwrap();
            handle.changed().await.unwrap();
            store.tell(change.clone());
            sleep(secs(1)).await;
            assert_eq!(read(&secrets, "a").await, value.to_string());
        }
        sleep(secs(600)).await;
        assert_eq!(store.calls("a") - before, 20);
    }
}

#[tokio::test(start_paused = true)]
async fn many_handles_read_again_in_groups_and_soon() {
    const HANDLES: usize = 400;
    let (store, secrets) = Store::with_feed(long_lived()).await;
    let mut handles = Vec::new();
    for number in 0..HANDLES {
        let at = format!("many/{number}");
        store.set(&at, "1").await;
        handles.push(secrets.watch(at).await.unwrap());
    }
    settle().await;
    let before = store.all_calls();
    for number in 0..HANDLES {
        store.set(&format!("many/{number}"), "2").await;
    }
    let start = Instant::now();
    store.tell(Change::Any);
    settle().await;
    let first = store.all_calls() - before;
    assert!((1..=HANDLES / 4).contains(&first), "{first} reads at once");
    for handle in &mut handles {
        assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "2");
    }
    assert!(start.elapsed() <= SOON, "{:?}", start.elapsed());
    assert_eq!(store.all_calls() - before, HANDLES);
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_a_change_of_any_secret_leaves_the_copies() {
    let (store, secrets) = Store::with_feed(long_lived()).await;
    let handle = secrets.watch("a").await.unwrap();
    assert_eq!(read(&secrets, "a").await, "1");
    for outage in [ErrorKind::Unavailable, ErrorKind::RateLimited] {
        store.fail(outage);
        store.tell(Change::Any);
        settle().await;
        for _ in 0..10 {
            let copy = secrets.get("a").await.unwrap();
            assert!(copy.is_stale());
            assert_eq!(copy.expose_text().unwrap(), "1");
            sleep(secs(1)).await;
        }
        assert!(handle.current().is_stale());
        // A further report in the outage takes nothing away.
        store.tell(Change::Any);
        settle().await;
        assert!(secrets.get("a").await.unwrap().is_stale());
        // And the one after it lets the next read ask the store at once.
        store.feel(Mood::Well);
        store.tell(Change::Any);
        settle().await;
        assert!(!secrets.get("a").await.unwrap().is_stale());
        assert!(!handle.current().is_stale());
    }
    store.feel(Mood::Silent);
    store.tell(Change::Any);
    settle().await;
    let start = Instant::now();
    assert!(secrets.get("a").await.unwrap().is_stale());
    assert!(start.elapsed() <= secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_copy_is_left_without_stale_reads_or_of_a_changed_secret() {
    let strict = long_lived().stale_if_error(Duration::ZERO);
    for (policy, change) in [(strict, Change::Any), (long_lived(), change_of(&["a"]))] {
        let (store, secrets) = Store::with_feed(policy).await;
        assert_eq!(read(&secrets, "a").await, "1");
        store.fail(ErrorKind::Unavailable);
        store.tell(change);
        settle().await;
        assert_eq!(kind(secrets.get("a").await), ErrorKind::Unavailable);
        let cache = secrets.shared.cache.as_ref().unwrap();
        assert_eq!(cache.count(), ((0, 0), (0, 0)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_counters_of_the_cache_stay_right() {
    let (store, secrets) = Store::with_feed(long_lived()).await;
    for number in 0..500 {
        let at = format!("many/{number}");
        store.set(&at, &"x".repeat(number)).await;
        secrets.get(&at).await.unwrap();
        assert_eq!(kind(secrets.get(format!("none/{number}")).await), ErrorKind::NotFound);
    }
    let cache = secrets.shared.cache.as_ref().unwrap();
    for _ in 0..3 {
        store.tell(Change::Any);
        settle().await;
        let (counted, held) = cache.count();
        assert_eq!(counted, held);
        assert_eq!(held.0, 500, "the answers that there is no secret are gone");
        secrets.get("many/7").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn no_task_follows_a_feed_without_a_reason() {
    let (store, secrets) = Store::with_feed(long_lived()).await;
    assert_eq!(store.followers(), 0, "nothing was read yet");
    secrets.put("b", "1").await.unwrap();
    assert_eq!(store.followers(), 0);
    let handle = secrets.watch("a").await.unwrap();
    secrets.get("a").await.unwrap();
    secrets.clone().namespace("x").unwrap().get("a").await.unwrap_err();
    assert_eq!(store.followers(), 1, "one for all");
    sleep(3 * HOUR).await;
    assert_eq!(store.followers(), 1);
    drop(handle);
    // The entry ends with its time, and the task after it.
    sleep(3 * HOUR).await;
    assert_eq!(store.followers(), 0);
    assert_eq!(read(&secrets, "a").await, "1");
    assert_eq!(store.followers(), 1);
    store.set("a", "2").await;
    store.tell(change_of(&["a"]));
    settle().await;
    assert_eq!(read(&secrets, "a").await, "2");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_manager() {
    let (store, secrets) = Store::with_feed(long_lived()).await;
    let handle = secrets.watch("a").await.unwrap();
    settle().await;
    assert_eq!(store.followers(), 1);
    secrets.close().await.unwrap();
    settle().await;
    assert_eq!(store.followers(), 0);
    drop(handle);

    let (store, secrets) = Store::with_feed(long_lived()).await;
    secrets.get("a").await.unwrap();
    settle().await;
    assert_eq!(store.followers(), 1);
    drop(secrets);
    settle().await;
    assert_eq!(store.followers(), 0);
}

#[tokio::test(start_paused = true)]
async fn secrets_live_as_long_as_before_once_the_feed_has_ended() {
    for panics in [false, true] {
        let (store, secrets) = Store::with_feed(long_lived()).await;
        assert_eq!(read(&secrets, "a").await, "1");
        settle().await;
        if panics {
            store.report(Report::Panic);
        } else {
            store.end_feeds();
        }
        settle().await;
        assert_eq!(store.followers(), 0);
        store.set("a", "2").await;
        assert_eq!(read(&secrets, "a").await, "1");
        sleep(HOUR).await;
        assert_eq!(read(&secrets, "a").await, "2");
        settle().await;
        assert_eq!(store.followers(), 0, "no other task follows a feed that has ended");
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn the_next_read_follows_the_store_when_the_runtime_has_ended() {
    let (first, second) = (runtime(), runtime());
    let (store, secrets) = first.block_on(async {
        let (store, secrets) = Store::with_feed(long_lived()).await;
        assert_eq!(read(&secrets, "a").await, "1");
        settle().await;
        (store, secrets)
    });
    let mut handle = second.block_on(async { secrets.watch("a").await.unwrap() });
    assert_eq!(store.followers(), 1);
    drop(first);
    assert_eq!(store.followers(), 0);
    second.block_on(async {
        store.set("a", "2").await;
        // The handle in this runtime was told, and its task follows the store from now on.
        let changed = timeout(secs(30), handle.changed()).await.unwrap().unwrap();
        assert_eq!(changed.expose_text().unwrap(), "2");
        drop(handle);
        assert_eq!(store.followers(), 1);
    });
    drop(second);
    assert_eq!(store.followers(), 0);
    runtime().block_on(async {
        store.set("a", "3").await;
        assert_eq!(read(&secrets, "a").await, "3", "nothing from before is served");
        assert_eq!(store.followers(), 1);
        store.set("a", "4").await;
        store.tell(Change::Any);
        let end = std::time::Instant::now() + secs(30);
        while read(&secrets, "a").await != "4" {
            assert!(std::time::Instant::now() < end);
            settle().await;
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_manager_as_a_backend_tells_of_changes_below_its_namespace() {
    let (store, secrets) = Store::with_feed(ReadPolicy::new()).await;
    let namespace = secrets.namespace("team").unwrap();
    let mut all = secrets.changes().unwrap();
    let mut below = namespace.changes().unwrap();
    store.tell(change_of(&["teams/a", "team"]));
    store.tell(change_of(&["team/x/y", "b", "team/z"]));
    store.tell(Change::Any);
    assert_eq!(all.next().await, Some(change_of(&["teams/a", "team"])));
    assert_eq!(below.next().await, Some(change_of(&["x/y", "z"])));
    assert_eq!(below.next().await, Some(Change::Any));
    store.end_feeds();
    assert_eq!(below.next().await, None);
}
