//! Runtimes that have no timer, are gone, or are not driven.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use strongroom_core::{Backend as _, ErrorKind, MemoryBackend, PutOptions};
use tokio::runtime::{Builder, Runtime};

use super::store::{Mood, Store, kind, ms, path, text};
use crate::{ReadPolicy, SecretsManager};

fn with_timer() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn without_timer() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Drives a future without any runtime.
fn by_hand<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("it waits for something")
}

fn short_lived(store: &std::sync::Arc<Store>) -> SecretsManager {
    store.manager(
        ReadPolicy::new().retries(0).cache_ttl(ms(50)).stale_if_error(Duration::from_secs(60)),
    )
}

#[test]
fn reads_work_without_a_timer() {
    let store = MemoryBackend::new();
    let paths: Vec<_> = (0..200).map(|i| format!("key/{i}")).collect();
    let fill = async {
        for at in &paths {
            store.put(&path(at), "value".into(), PutOptions::new()).await.unwrap();
        }
    };
    by_hand(fill);
    for ttl in [Duration::ZERO, Duration::from_secs(60)] {
        let store = MemoryBackend::new();
        let secrets = SecretsManager::with_policy(store, ReadPolicy::new().cache_ttl(ttl));
        let work = async || {
            for at in &paths {
                secrets.put(at, "value").await.unwrap();
            }
            let read = secrets.get_many(&paths).await;
            assert!(read.into_iter().all(|read| text(read) == "value"));
            assert_eq!(text(secrets.get("key/7").await), "value");
            assert_eq!(secrets.watch("key/7").await.unwrap_err().kind(), ErrorKind::Config);
        };
        without_timer().block_on(work());
        by_hand(work());
    }
}

#[test]
fn each_caller_refreshes_itself_without_a_runtime() {
    let store = Store::new();
    by_hand(store.set("a", "1"));
    let secrets = short_lived(&store);
    assert_eq!(text(by_hand(secrets.get("a"))), "1");
    store.fail(ErrorKind::Unavailable);
    std::thread::sleep(ms(60));
    assert!(by_hand(secrets.get("a")).unwrap().is_stale());
    store.feel(Mood::Well);
    by_hand(store.set("a", "2"));
    let fresh = by_hand(secrets.get("a")).unwrap();
    assert!(fresh.is_stale() || fresh.expose_text().unwrap() == "2");
    // The pause after the failure is at most a second.
    std::thread::sleep(ms(1_050));
    assert_eq!(text(by_hand(secrets.get("a"))), "2");
}

#[test]
fn the_next_reader_repeats_a_refresh_lost_with_its_runtime() {
    let store = Store::new();
    by_hand(store.set("a", "1"));
    let secrets = short_lived(&store);
    with_timer().block_on(async {
        secrets.get("a").await.unwrap();
        store.fail(ErrorKind::Unavailable);
        tokio::time::sleep(ms(60)).await;
        assert!(secrets.get("a").await.unwrap().is_stale());
        tokio::time::sleep(ms(1_050)).await;
        // This has the store asked in the background, by a task that never runs.
        assert!(secrets.get("a").await.unwrap().is_stale());
    });
    store.feel(Mood::Well);
    by_hand(store.set("a", "2"));
    with_timer().block_on(async {
        let start = Instant::now();
        while secrets.get("a").await.unwrap().is_stale() {
            assert!(start.elapsed() < Duration::from_secs(5), "no task asks the store");
            tokio::time::sleep(ms(10)).await;
        }
        assert_eq!(text(secrets.get("a").await), "2");
    });
}

#[test]
fn a_read_in_a_stopped_runtime_does_not_block_its_key() {
    let store = Store::new();
    by_hand(store.set("a", "1"));
    let policy = ReadPolicy::new().retries(0).timeout(ms(300)).cache_ttl(ms(50));
    let secrets = store.manager(policy.stale_if_error(Duration::ZERO));
    store.take(ms(20));
    let idle = with_timer();
    let kept = idle.spawn({
        let secrets = secrets.clone();
        async move { secrets.get("a").await }
    });
    idle.block_on(tokio::task::yield_now());
    with_timer().block_on(async {
        assert_eq!(kind(secrets.get("a").await), ErrorKind::Timeout);
        // It should have been over a second ago.
        tokio::time::sleep(ms(1_050)).await;
        assert_eq!(text(secrets.get("a").await), "1");
    });
    drop(kept);
}
