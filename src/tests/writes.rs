//! Writes through the manager, and reads that race them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use strongroom_core::{ErrorKind, MetadataPatch};
use tokio::time::sleep;

use super::store::{Store, TTL, kind, ms, secs, text};
use crate::{ReadPolicy, SecretsManager};

#[tokio::test(start_paused = true)]
async fn the_next_read_of_each_clone_sees_a_write() {
    let (store, secrets) = Store::with_a().await;
    store.set("b/c", "below").await;
    let clone = secrets.clone();
    let namespace = secrets.namespace("b").unwrap();
    assert_eq!(text(namespace.get("c").await), "below");
    assert_eq!(text(clone.get("a").await), "1");
    assert_eq!(text(clone.get_version("a", 1).await), "1");

    secrets.put("a", "2").await.unwrap();
    assert_eq!(text(clone.get("a").await), "2");
    secrets.put("b/c", "changed").await.unwrap();
    assert_eq!(text(namespace.get("c").await), "changed");
    secrets.put_json("a", &3).await.unwrap();
    assert_eq!(text(clone.get("a").await), "3");
    secrets.rollback("a", 1).await.unwrap();
    assert_eq!(text(clone.get("a").await), "1");
    secrets.annotate("a", MetadataPatch::new().tag("team", "ai")).await.unwrap();
    let tagged = clone.get("a").await.unwrap();
    assert_eq!(tagged.metadata().tags.get("team").map(String::as_str), Some("ai"));
    secrets.delete("a").await.unwrap();
    assert_eq!(kind(clone.get("a").await), ErrorKind::NotFound);
    assert_eq!(kind(clone.get_version("a", 1).await), ErrorKind::NotFound);
    secrets.undelete("a").await.unwrap();
    assert_eq!(text(clone.get("a").await), "1");
    secrets.destroy("a").await.unwrap();
    assert_eq!(kind(clone.get("a").await), ErrorKind::NotFound);
    // A conflict shows that what is kept is outdated.
    store.set("d", "1").await;
    assert_eq!(text(clone.get("d").await), "1");
    store.set("d", "2").await;
    let options = strongroom_core::PutOptions::new().must_be_version(1);
    let conflict = secrets.put_with("d", "3", options).await.unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert_eq!(text(clone.get("d").await), "2");
}

#[tokio::test(start_paused = true)]
async fn does_not_keep_a_read_that_a_write_overtook() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(50));
    let mut early = Box::pin(secrets.get("a"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(early.as_mut().poll(&mut context).is_pending());
    secrets.put("a", "2").await.unwrap();
    // It does not join the reading that began before.
    let late = secrets.clone();
    let late = tokio::spawn(async move { late.get("a").await });
    assert_eq!(text(early.await), "1", "it began before the write");
    assert_eq!(text(late.await.unwrap()), "2");
    assert_eq!(text(secrets.get("a").await), "2");
    // The early read ended while the late one was under way, and might have seen a newer version: the late one is not
    // kept either.
    assert_eq!(store.calls("a"), 3);
    assert_eq!(text(secrets.get("a").await), "2");
    assert_eq!(store.calls("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn reads_the_store_after_a_cancelled_write() {
    let (store, secrets) = Store::with_a().await;
    assert_eq!(text(secrets.get("a").await), "1");
    *store.write_latency.lock().unwrap() = secs(1);
    {
        let mut put = pin!(secrets.put("a", "never sent"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(put.as_mut().poll(&mut context).is_pending());
    }
    // As if the store went on with it.
    assert_eq!(text(secrets.get("a").await), "1");
    store.set("a", "2").await;
    assert_eq!(text(secrets.get("a").await), "2", "nothing was kept meanwhile");
    sleep(secs(61)).await;
    for _ in 0..3 {
        assert_eq!(text(secrets.get("a").await), "2");
    }
    assert_eq!(store.calls("a"), 4);
}

#[tokio::test(start_paused = true)]
async fn sees_a_rotation_that_the_store_makes_later() {
    let (store, secrets) = Store::with_a().await;
    assert_eq!(text(secrets.get("a").await), "1");
    secrets.rotate("a").await.unwrap();
    assert_eq!(text(secrets.get("a").await), "1");
    sleep(secs(5)).await;
    store.set("a", "rotated").await;
    assert_eq!(text(secrets.get("a").await), "rotated");
}

/// Readers and writers of one secret with random pauses: a read that starts after a write has
/// returned gives that write or a later one.
async fn race(seed: u64) {
    fastrand::seed(seed);
    let store = Store::new();
    store.set("a", "0").await;
    let policy = ReadPolicy::new().cache_ttl(ms(fastrand::u64(20..200))).retries(0);
    let secrets = store.manager(policy);
    let written = Arc::new(AtomicU64::new(0));
    let pause = || ms(fastrand::u64(0..30));
    let tasks = (0..8).map(|reader| {
        let (secrets, written, store) = (secrets.clone(), Arc::clone(&written), store.clone());
        tokio::spawn(async move {
            for _ in 0..40 {
                store.take(pause());
                let least = written.load(Ordering::SeqCst);
                let got = read(&secrets, reader).await;
                assert!(got >= least, "seed {seed}: read {got} after {least} was written");
                sleep(pause()).await;
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for value in 1..=40_u64 {
        *store.write_latency.lock().unwrap() = pause() / 2;
        secrets.put("a", value.to_string()).await.unwrap();
        written.store(value, Ordering::SeqCst);
        sleep(pause()).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn read(secrets: &SecretsManager, reader: u64) -> u64 {
    let read = match reader % 3 {
        0 => secrets.get_many(["a"]).await.remove(0),
        1 => secrets.refresh("a").await,
        _ => secrets.get("a").await,
    };
    text(read).parse().unwrap()
}

#[test]
fn no_read_after_a_write_gives_an_older_value() {
    for seed in 0..300 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(race(seed));
    }
}

/// The same on threads, with the real clock: the schedule is the machine's.
#[test]
fn no_other_thread_reads_an_older_value_after_a_write() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::new();
        store.set("a", "0").await;
        let secrets = store.manager(ReadPolicy::new().cache_ttl(TTL).retries(0));
        let written = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..6)
            .map(|reader| {
                let (secrets, written) = (secrets.clone(), Arc::clone(&written));
                tokio::spawn(async move {
                    loop {
                        let least = written.load(Ordering::SeqCst);
                        let got = read(&secrets, reader).await;
                        assert!(got >= least, "read {got} after {least} was written");
                        if least == u64::MAX || got == 2_000 {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for value in 1..=2_000_u64 {
            secrets.put("a", value.to_string()).await.unwrap();
            written.store(value, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        }
    });
}
