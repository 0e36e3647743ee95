//! Where a backend is called from: other runtimes, threads without one; and values larger than any store
//! is made for.

use std::sync::Arc;
use std::thread;

use strongroom_core::{Backend, ErrorKind, SecretPath, SecretValue, VersionSelector};
use tokio::runtime::Builder;

use crate::conformance::{Case, Fixture, Seed, case};
use crate::planted;

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(serves_runtimes_that_come_and_go, [], SEEDS),
    case!(answers_a_thread_without_a_runtime, [], SEEDS),
    case!(answers_a_runtime_without_io_and_time, [], SEEDS),
    case!(a_value_of_64_mib_is_kept_or_refused, [Put]),
];

const KEY: &str = "surroundings/key";
const SEEDS: &[Seed] = &[Seed { path: KEY, text: planted!("-surroundings") }];

/// Runs `call` in a thread of its own, which has no runtime.
async fn in_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(call);
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap()
}

async fn read(backend: Arc<dyn Backend>, path: SecretPath) -> Result<Vec<u8>, ErrorKind> {
    let secret = backend.get(&path, &VersionSelector::Active).await;
    secret.map(|secret| secret.expose_bytes().to_vec()).map_err(|error| error.kind())
}

async fn serves_runtimes_that_come_and_go(store: &Fixture) {
    let expected = store.get(KEY).await.unwrap().expose_bytes().to_vec();
    for _ in 0..3 {
        let (backend, path) = (store.shared(), store.path(KEY));
        let answer = in_thread(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(read(backend, path))
        });
        assert_eq!(answer.await.as_ref(), Ok(&expected));
        // The connection of that runtime is gone.
        assert_eq!(read(store.shared(), store.path(KEY)).await.as_ref(), Ok(&expected));
    }
}

async fn answers_a_thread_without_a_runtime(store: &Fixture) {
    let expected = store.get(KEY).await.unwrap().expose_bytes().to_vec();
    let (backend, path) = (store.shared(), store.path(KEY));
    let answer = in_thread(move || futures_util::FutureExt::now_or_never(read(backend, path)));
    match answer.await.expect("it does not wait for anything") {
        Ok(value) => assert_eq!(value, expected),
        Err(kind) => assert_eq!(kind, ErrorKind::Config),
    }
}

async fn answers_a_runtime_without_io_and_time(store: &Fixture) {
    let expected = store.get(KEY).await.unwrap().expose_bytes().to_vec();
    let (backend, path) = (store.shared(), store.path(KEY));
    let answer = in_thread(move || {
        Builder::new_current_thread().build().unwrap().block_on(read(backend, path))
    });
    match answer.await {
        Ok(value) => assert_eq!(value, expected),
        Err(kind) => assert_eq!(kind, ErrorKind::Config),
    }
}

async fn a_value_of_64_mib_is_kept_or_refused(store: &Fixture) {
    store.put(KEY, planted!("-before")).await;
    let large = SecretValue::from("x".repeat(64 << 20));
    match store.put_with(KEY, large.clone(), strongroom_core::PutOptions::new()).await {
        Ok(_) => assert!(store.get(KEY).await.unwrap().value().constant_time_eq(&large)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert_eq!(
                store.get(KEY).await.unwrap().expose_bytes(),
                planted!("-before").as_bytes()
            );
        }
    }
    store.put(KEY, planted!("-after")).await;
    assert_eq!(store.get(KEY).await.unwrap().expose_bytes(), planted!("-after").as_bytes());
}
