//! What must hold however the steps of readers, writers and cancelled callers interleave.
//!
//! - Reads of one cold secret make one call to the store.
//! - No read gives an older version than one that ended before it began, whether that was a `get`, a `refresh`, a
//!   batch or a write.
//! - No caller hangs when others are cancelled or the manager is closed.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod store;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};
use strongroom::{ErrorKind, ReadOptions, ReadPolicy, Secret, SecretsManager};

use store::{Floor, PATH, Store, version_of};

/// How many interleavings each test tries.
const ITERATIONS: usize = 1_500;
/// How many switches of threads at unlikely moments an interleaving has (probabilistic concurrency testing).
const SWITCHES: usize = 4;

/// Runs `scenario` in interleavings that are random, and in others that look for rare orders.
fn explore(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let mut config = Config::new();
    // An unoptimized read takes more than the default of 32 KiB.
    config.stack_size = 256 << 10;
    Runner::new(RandomScheduler::new(ITERATIONS), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(SWITCHES, ITERATIONS), config).run(scenario);
}

/// A manager with a cache over a store.
fn open() -> (Arc<Store>, SecretsManager) {
    let store = Arc::new(Store::default());
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(3_600));
    let secrets = SecretsManager::with_policy(Arc::clone(&store), policy);
    (store, secrets)
}

/// Runs an operation on a thread of its own.
fn run<F: Future<Output = ()> + 'static>(
    secrets: &SecretsManager,
    operation: impl FnOnce(SecretsManager) -> F + Send + 'static,
) -> thread::JoinHandle<()> {
    let secrets = secrets.clone();
    thread::spawn(move || block_on(operation(secrets)))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A read that must not be older than those that ended before it began.
async fn read(secrets: &SecretsManager, floor: &Floor, kind: Read) {
    let least = floor.get();
    let fresh = ReadOptions::new().max_age(Duration::from_millis(1));
    let secret: Secret = match kind {
        Read::Get => secrets.get(PATH).await.unwrap(),
        Read::Refresh => secrets.refresh(PATH).await.unwrap(),
        Read::Young => secrets.get_with(PATH, fresh).await.unwrap(),
        Read::Batch => secrets.get_many([PATH]).await.remove(0).unwrap(),
        Read::YoungBatch => secrets.get_many_with([PATH], fresh).await.remove(0).unwrap(),
    };
    let version = version_of(&secret);
    assert!(version >= least, "{kind:?} gave {version} after another read gave {least}");
    floor.raise(version);
}

#[derive(Clone, Copy, Debug)]
enum Read {
    Get,
    Refresh,
    /// With a limit to its age.
    Young,
    Batch,
    YoungBatch,
}

/// Polls a read so many times and drops it.
async fn cancel_after(polls: usize, read: impl Future) {
    let mut read = pin!(read);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 || read.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn readers_of_a_cold_secret_share_one_call() {
    explore(|| {
        let (store, secrets) = open();
        let get = |secrets: SecretsManager| async move { drop(secrets.get(PATH).await.unwrap()) };
        let batch = |secrets: SecretsManager| async move {
            drop(secrets.get_many([PATH]).await.remove(0).unwrap());
        };
        join([run(&secrets, get), run(&secrets, get), run(&secrets, batch)]);
        assert_eq!(store.calls(), 1);
    });
}

#[test]
fn no_read_gives_an_older_version_than_an_earlier_one() {
    explore(|| {
        let (store, secrets) = open();
        let floor = Floor::default();
        let reads = [
            [Read::Refresh, Read::Get],
            [Read::Young, Read::Get],
            [Read::Refresh, Read::Batch],
            [Read::YoungBatch, Read::Get],
        ];
        let readers = reads.map(|kinds| {
            let floor = floor.clone();
            run(&secrets, async move |secrets: SecretsManager| {
                for kind in kinds {
                    read(&secrets, &floor, kind).await;
                }
            })
        });
        let other_process = thread::spawn(move || {
            for _ in 0..2 {
                store.replace();
            }
        });
        join(readers);
        other_process.join().unwrap();
    });
}

#[test]
fn no_thread_serves_an_entry_that_another_thread_saw_replaced() {
    explore(|| {
        let (store, secrets) = open();
        let floor = Floor::default();
        block_on(read(&secrets, &floor, Read::Get));
        store.replace();
        // A thread's second read fills its slot, and its third one uses it.
        let reader = |reads: usize, kind: Read| {
            let floor = floor.clone();
            run(&secrets, async move |secrets: SecretsManager| {
                for _ in 0..reads {
                    read(&secrets, &floor, kind).await;
                }
            })
        };
        join([reader(3, Read::Get), reader(1, Read::Get), reader(1, Read::Refresh)]);
    });
}

#[test]
fn the_cache_keeps_what_a_refresh_gave() {
    explore(|| {
        let (store, secrets) = open();
        let refresh =
            |secrets: SecretsManager| async move { drop(secrets.refresh(PATH).await.unwrap()) };
        join([run(&secrets, refresh), run(&secrets, refresh), run(&secrets, refresh)]);
        let calls = store.calls();
        assert!(calls <= 3, "{calls} calls for three refreshes");
        block_on(secrets.get(PATH)).unwrap();
        assert_eq!(store.calls(), calls, "the refresh was not kept");
    });
}

#[test]
fn a_read_after_a_write_gives_what_was_written() {
    explore(|| {
        let (_store, secrets) = open();
        let floor = Floor::default();
        let write = |floor: Floor| {
            async move |secrets: SecretsManager| {
                let version = secrets.put(PATH, "another value").await.unwrap();
                floor.raise(version.number().unwrap());
                read(&secrets, &floor, Read::Get).await;
            }
        };
        let readers = [[Read::Get, Read::Get], [Read::Refresh, Read::Get]].map(|kinds| {
            let floor = floor.clone();
            run(&secrets, async move |secrets: SecretsManager| {
                for kind in kinds {
                    read(&secrets, &floor, kind).await;
                }
            })
        });
        let invalidate =
            run(&secrets, async |secrets: SecretsManager| secrets.invalidate(PATH).unwrap());
        let writer = run(&secrets, write(floor.clone()));
        join(readers);
        join([writer, invalidate]);
        block_on(read(&secrets, &floor, Read::Get));
    });
}

#[test]
fn a_read_that_an_invalidation_overtook_counts_as_an_earlier_one() {
    explore(|| {
        let (store, secrets) = open();
        let floor = Floor::default();
        let reader = |reads: usize| {
            let floor = floor.clone();
            run(&secrets, async move |secrets: SecretsManager| {
                for _ in 0..reads {
                    read(&secrets, &floor, Read::Get).await;
                }
            })
        };
        let readers = [reader(2), reader(1), reader(1)];
        let invalidate =
            run(&secrets, async |secrets: SecretsManager| secrets.invalidate(PATH).unwrap());
        store.replace();
        join(readers);
        join([invalidate]);
    });
}

#[test]
fn a_cancelled_caller_leaves_its_flight_to_the_others() {
    explore(|| {
        let (store, secrets) = open();
        let cancelled = (0..3).map(|polls| {
            run(&secrets, async move |secrets: SecretsManager| {
                cancel_after(polls, secrets.get(PATH)).await;
            })
        });
        let cancelled_refresh = run(&secrets, async |secrets: SecretsManager| {
            cancel_after(2, secrets.refresh(PATH)).await;
        });
        let reader = run(&secrets, async |secrets: SecretsManager| {
            drop(secrets.get(PATH).await.unwrap());
        });
        join(cancelled);
        join([cancelled_refresh, reader]);
        assert!(store.is_idle(), "a call is left under way");
        let calls = store.calls();
        block_on(secrets.get(PATH)).unwrap();
        assert_eq!(store.calls(), calls, "the reader's outcome was not kept");
    });
}

#[test]
fn no_caller_hangs_when_the_manager_is_closed() {
    explore(|| {
        let (_store, secrets) = open();
        let read = |kind: Read| {
            async move |secrets: SecretsManager| {
                let result = match kind {
                    Read::Refresh => secrets.refresh(PATH).await,
                    Read::Batch => secrets.get_many([PATH]).await.remove(0),
                    _ => secrets.get(PATH).await,
                };
                if let Err(error) = result {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                }
            }
        };
        let readers = [Read::Get, Read::Refresh, Read::Batch].map(|kind| run(&secrets, read(kind)));
        let closer = run(&secrets, async |secrets: SecretsManager| {
            secrets.close().await.unwrap();
            let error = secrets.get(PATH).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed);
        });
        join(readers);
        join([closer]);
    });
}
