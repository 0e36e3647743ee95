//! A cache hit allocates nothing.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test reports a failure with a panic")]

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use strongroom::{MemoryBackend, ReadOptions, ReadPolicy, SecretsManager};

const PATH: &str = "production/openai/api-key";

/// Polls a future that is ready immediately.
fn poll_ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a hit waits for nothing"),
    }
}

fn allocations(read: impl FnOnce()) -> u64 {
    measure(read).count_total
}

async fn manager_with_cached_secret() -> SecretsManager {
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(3600));
    let secrets = SecretsManager::with_policy(MemoryBackend::new(), policy);
    secrets.put(PATH, "sk-0123456789abcdef").await.unwrap();
    secrets
}

#[tokio::test]
async fn a_hit_allocates_nothing() {
    let secrets = manager_with_cached_secret().await;
    let (production, clone) = (secrets.namespace("production").unwrap(), secrets.clone());
    let hour = ReadOptions::new().max_age(Duration::from_secs(3600));
    let handle = secrets.watch(PATH).await.unwrap();

    let missed = allocations(|| drop(poll_ready(SecretsManager::get(&secrets, "none"))));
    assert!(missed > 0, "allocations are counted");
    let hits = allocations(|| {
        for _ in 0..1000 {
            black_box(poll_ready(secrets.get(PATH)).unwrap().expose_bytes());
            black_box(poll_ready(clone.get(PATH)).unwrap().version());
            black_box(poll_ready(production.get("openai/api-key")).unwrap().metadata());
            black_box(poll_ready(secrets.get_with(PATH, hour.clone())).unwrap().age());
            black_box(handle.current().expose_bytes());
        }
    });
    assert_eq!(hits, 0, "{hits} allocations in 5,000 hits");
    println!("5,000 hits: {hits} allocations");
}

#[tokio::test]
async fn a_hit_on_another_thread_allocates_nothing() {
    let secrets = manager_with_cached_secret().await;
    secrets.get(PATH).await.unwrap();
    let reader = std::thread::spawn(move || {
        // The first read allocates the thread-local state.
        drop(poll_ready(secrets.get(PATH)));
        allocations(|| drop(black_box(poll_ready(secrets.get(PATH)))))
    });
    assert_eq!(reader.join().unwrap(), 0);
}
