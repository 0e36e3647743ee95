//! Slots whose keys are wrapped by a key outside. The service here stands in for a KMS, to fail on demand; the tests of
//! `strongroom` use AWS KMS and the transit engine.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::Duration;

use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{
    Backend as _, Error, ErrorKind, Result, SecretValue, WrapContext, WrappingKey, async_trait,
};
use support::{config, directory_in_memory, is_intact, put_next, raw};

/// What a service keeps, and does.
#[derive(Default)]
struct State {
    wrapped: HashMap<Vec<u8>, (SecretValue, WrapContext)>,
    calls: usize,
    failure: Option<Error>,
}

#[derive(Clone)]
struct Service {
    name: &'static str,
    state: Arc<Mutex<State>>,
}

impl Service {
    fn new(name: &'static str) -> Self {
        Self { name, state: Arc::default() }
    }

    fn source(&self) -> KeySource {
        KeySource::Wrapping(Arc::new(self.clone()))
    }

    fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    fn fail(&self, failure: Option<Error>) {
        self.state.lock().unwrap().failure = failure;
    }

    async fn call(&self) -> Result<()> {
        // Needs the runtime, as requests do.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        state.failure.clone().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.name).finish()
    }
}

#[async_trait]
impl WrappingKey for Service {
    fn kind(&self) -> &'static str {
        "aws-kms"
    }

    fn key_id(&self) -> &str {
        self.name
    }

    async fn wrap(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
        self.call().await?;
        let mut state = self.state.lock().unwrap();
        let wrapped = format!("{} {}", self.name, state.wrapped.len()).into_bytes();
        state.wrapped.insert(wrapped.clone(), (key.clone(), context.clone()));
        Ok(wrapped)
    }

    async fn unwrap(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
        self.call().await?;
        let state = self.state.lock().unwrap();
        match state.wrapped.get(wrapped) {
            Some((key, of)) if of == context => Ok(key.clone()),
            _ => Err(Error::new(ErrorKind::Corrupt, "check the key").because("it does not match")),
        }
    }
}

fn with(directory: &Path, keys: Vec<KeySource>) -> NativeConfig {
    let mut config = config(directory);
    config.keys = keys;
    config
}

async fn opens(directory: &Path, keys: Vec<KeySource>) {
    let backend = NativeBackend::open(with(directory, keys)).await.unwrap();
    assert!(is_intact(&backend, "a", 1).await);
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_key_outside_is_asked_when_the_store_is_opened_alone() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let service = Service::new("alias/one");
    let backend = NativeBackend::open(with(directory, vec![service.source()])).await.unwrap();
    assert_eq!(service.calls(), 2, "to wrap a new key, and to open the store");
    for version in 1..=3 {
        put_next(&backend, "a", version).await;
        assert!(is_intact(&backend, "a", version).await);
    }
    let slots = backend.slots().await.unwrap();
    assert_eq!(
        (slots[0].kind.as_str(), slots[0].key_id.as_deref()),
        ("aws-kms", Some("alias/one"))
    );
    backend.rotate_root_key().await.unwrap();
    assert!(is_intact(&backend, "a", 1).await);
    backend.close().await.unwrap();
    assert_eq!(service.calls(), 2);
    opens(directory, vec![service.source()]).await;
    assert_eq!(service.calls(), 3);
    let state = service.state.lock().unwrap();
    let (key, context) = state.wrapped.values().next().unwrap();
    assert_eq!(key.len(), 32);
    let names: Vec<_> = context.entries().map(|(name, value)| (name, value.len())).collect();
    assert_eq!(names, [("slot", 32), ("store", 32)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_a_key_outside_keeps_its_kind_and_another_slot_opens_the_store() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let service = Service::new("alias/one");
    let passphrase = || KeySource::Passphrase("correct horse battery".into());
    let backend = NativeBackend::open(with(directory, vec![service.source()])).await.unwrap();
    put_next(&backend, "a", 1).await;
    backend.add_slot(passphrase(), None).await.unwrap();
    backend.close().await.unwrap();
    for (kind, is_temporary) in [
        (ErrorKind::Unavailable, true),
        (ErrorKind::Timeout, true),
        (ErrorKind::RateLimited, true),
        (ErrorKind::Denied, false),
        (ErrorKind::Unauthenticated, false),
        (ErrorKind::NotFound, false),
    ] {
        let failure = Error::new(kind, "ask the operator").because("alias/one failed");
        service.fail(Some(failure));
        let error = NativeBackend::open(with(directory, vec![service.source()])).await.unwrap_err();
        assert_eq!((error.kind(), error.is_temporary()), (kind, is_temporary), "{error}");
        assert!(error.to_string().contains("alias/one failed"), "{error}");
        opens(directory, vec![service.source(), passphrase()]).await;
    }
    let backend = NativeBackend::open(with(directory, vec![passphrase()])).await.unwrap();
    let error = backend.add_slot(Service::new("b").source(), None).await;
    assert_eq!(error.unwrap(), 3);
    let error = backend.add_slot(service.source(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(backend.slots().await.unwrap().len(), 3);
}

#[tokio::test]
async fn the_slot_that_names_the_key_is_tried_first_and_no_slot_takes_the_key_of_another() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let services = [Service::new("alias/one"), Service::new("alias/two")];
    let [one, two] = &services;
    let backend = NativeBackend::open(with(directory, vec![one.source()])).await.unwrap();
    put_next(&backend, "a", 1).await;
    backend.add_slot(two.source(), None).await.unwrap();
    backend.close().await.unwrap();
    let before = two.calls();
    opens(directory, vec![two.source()]).await;
    assert_eq!(two.calls(), before + 1, "no other slot was tried");
    // Another name of the same key.
    let renamed = Service { name: "key/1234", state: Arc::clone(&two.state) };
    opens(directory, vec![renamed.source()]).await;

    let exchange = "CREATE TEMP TABLE before AS SELECT id, parameters FROM slots; \
                    UPDATE slots SET parameters = (SELECT parameters FROM before WHERE before.id <> slots.id)";
    raw(directory).execute_batch(exchange).unwrap();
    for service in &services {
        let error = NativeBackend::open(with(directory, vec![service.source()])).await.unwrap_err();
        let kinds = [ErrorKind::Corrupt, ErrorKind::Unauthenticated];
        assert!(kinds.contains(&error.kind()), "{error}");
    }
}

/// Waits for a future without a runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_store_is_opened_outside_of_a_runtime() {
    let directory = directory_in_memory();
    let service = Service::new("alias/one");
    let open = NativeBackend::open(with(directory.path(), vec![service.source()]));
    let backend = block_on(open).unwrap();
    assert_eq!(block_on(backend.slots()).unwrap().len(), 1);
    block_on(backend.close()).unwrap();
    assert_eq!(service.calls(), 2);
}
