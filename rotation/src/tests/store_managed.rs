//! Secrets that the store itself replaces, and the issuer that the kind of a secret selects.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use strongroom_core::{
    Backend, BackendInfo, Capability, ErrorKind, Health, MemoryBackend, MetadataPatch, PutOptions,
    Result, RotateOutcome, Secret, SecretKind, SecretPath, SecretValue, Version, VersionSelector,
    async_trait,
};
use tokio::time::{Instant, sleep};

use super::issuer::{DAY, FIRST, PATH, annotate, engine, path, read_record, received_steps, store};
use super::order::record_steps;

use crate::clock;
use crate::{ManagedKey, RotationEngine, RotationPolicy, RotationStep};

const MINUTE: Duration = Duration::from_secs(60);

/// A store that replaces a secret some time after each call of `rotate`, or never.
#[derive(Debug)]
struct SelfRotatingStore {
    info: BackendInfo,
    inner: Arc<MemoryBackend>,
    delay: Option<Duration>,
    /// When the secret was last changed, if reads return that.
    changed_at: Option<Arc<Mutex<SystemTime>>>,
    rotate_calls: AtomicUsize,
}

impl SelfRotatingStore {
    async fn new(delay: Option<Duration>) -> Self {
        let inner = store().await;
        let mut info = inner.info().clone();
        info.capabilities = info.capabilities.with(Capability::Rotate);
        Self { info, inner, delay, changed_at: None, rotate_calls: AtomicUsize::new(0) }
    }

    /// The store, and an engine over it.
    fn engine(self) -> (Arc<Self>, RotationEngine) {
        let store = Arc::new(self);
        let engine = RotationEngine::new(Arc::clone(&store));
        (store, engine)
    }

    fn rotate_calls(&self) -> usize {
        self.rotate_calls.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Backend for SelfRotatingStore {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let secret = self.inner.get(path, version).await?;
        let mut metadata = secret.metadata().clone();
        metadata.created_at = None;
        metadata.updated_at = self.changed_at.as_ref().map(|at| *at.lock().unwrap());
        Ok(Secret::new(path.clone(), secret.version().clone(), metadata, secret.value().clone()))
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.inner.put(path, value, options).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        let key = format!("key-{}", self.rotate_calls.fetch_add(1, Ordering::Relaxed) + 1);
        if let Some(delay) = self.delay {
            let (inner, path) = (Arc::clone(&self.inner), path.clone());
            let changed_at = self.changed_at.clone();
            tokio::spawn(async move {
                sleep(delay).await;
                inner.put(&path, key.as_str().into(), PutOptions::new()).await.unwrap();
                if let Some(changed_at) = changed_at {
                    *changed_at.lock().unwrap() = clock::wall();
                }
            });
        }
        Ok(RotateOutcome::default())
    }
}

fn store_managed() -> ManagedKey {
    let policy = RotationPolicy::new().attempt_lease(Duration::from_secs(10));
    ManagedKey::store_managed(PATH).policy(policy)
}

#[tokio::test(start_paused = true)]
async fn asks_the_store_once_each_time_the_secret_is_due() {
    for returns_times in [true, false] {
        let mut self_rotating = SelfRotatingStore::new(Some(Duration::from_secs(5))).await;
        self_rotating.changed_at = returns_times.then(|| Arc::new(Mutex::new(clock::wall())));
        annotate(&self_rotating.inner, MetadataPatch::new().rotation_interval(120 * MINUTE)).await;
        let (store, engine) = self_rotating.engine();
        let (names, observer) = record_steps();
        let engine = engine.observer(observer);
        let key = engine.add(store_managed()).await.unwrap();
        sleep(110 * MINUTE).await;
        assert_eq!((store.rotate_calls(), key.state().generation), (0, 0));
        sleep(20 * MINUTE).await;
        for generation in 1..=3_u32 {
            assert_eq!(store.rotate_calls(), generation as usize, "returns times: {returns_times}");
            let key_now = key.acquire();
            assert_eq!(key_now.generation(), u64::from(generation));
            assert_eq!(key_now.expose_text().unwrap(), format!("key-{generation}"));
            assert!(key.state().last_error.is_none());
            let names = std::mem::take(&mut *names.lock().unwrap());
            assert_eq!(names, ["due", "started", "switched", "finished"]);
            sleep(120 * MINUTE).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reports_a_store_that_does_not_replace_the_secret_and_keeps_the_key() {
    let (store, engine) = SelfRotatingStore::new(None).await.engine();
    let mut events = engine.events();
    let key = engine.add(store_managed()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    let last = received_steps(&mut events).pop().unwrap();
    assert!(
        matches!(&last, RotationStep::Failed { error } if error.kind() == ErrorKind::Timeout),
        "{last:?}"
    );
    sleep(DAY).await;
    assert_eq!(
        (store.rotate_calls(), key.state().generation),
        (1, 0),
        "the engine does not ask by itself"
    );
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(store.rotate_calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn uses_a_secret_that_the_store_replaces_late() {
    let (store, engine) = SelfRotatingStore::new(Some(Duration::from_secs(20))).await.engine();
    let key = engine.add(store_managed()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((key.acquire().expose_text().unwrap(), key.acquire().generation()), ("key-1", 1));
    assert_eq!(store.rotate_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_secret_keeps_its_fingerprint() {
    let (_store, engine) = SelfRotatingStore::new(None).await.engine();
    let key = engine.add(store_managed()).await.unwrap();
    let before = key.acquire();
    let state = key.watch();
    sleep(DAY).await;
    assert_eq!(key.acquire().fingerprint(), before.fingerprint());
    assert!(!state.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn uses_the_configured_member_of_a_secret_with_fields() {
    let (store, engine) = SelfRotatingStore::new(None).await.engine();
    let value = SecretValue::fields([("username", "app"), ("password", "hunter2")]);
    store.inner.put(&path(), value, PutOptions::new()).await.unwrap();
    let rotation = ManagedKey::store_managed(PATH).policy(RotationPolicy::new().member("password"));
    let key = engine.add(rotation).await.unwrap();
    assert_eq!(key.acquire().expose_text().unwrap(), "hunter2");
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_a_secret_selects_its_issuer() {
    let store = store().await;
    let custom = engine(&store);
    let policy = RotationPolicy::new().single_instance();
    let key = custom.add(ManagedKey::for_kind(PATH).policy(policy)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    let (members, password) = read_record(&store).await;
    assert_eq!((password.len(), key.acquire().expose_text().unwrap()), (32, &*password));
    assert!(members.contains(&"rotation_generation".into()), "{members:?}");

    for (kind, refused) in [
        (SecretKind::ApiKey, ErrorKind::InvalidInput),
        (SecretKind::DbCredential, ErrorKind::Unsupported),
    ] {
        annotate(&store, MetadataPatch::new().kind(kind)).await;
        let error = engine(&store).add(ManagedKey::for_kind(PATH)).await.unwrap_err();
        assert_eq!(error.kind(), refused, "{error}");
    }

    let (self_rotating, database) =
        SelfRotatingStore::new(Some(Duration::from_secs(1))).await.engine();
    annotate(&self_rotating.inner, MetadataPatch::new().kind(SecretKind::DbCredential)).await;
    let key = database.add(ManagedKey::for_kind(PATH)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    assert_eq!((key.acquire().expose_text().unwrap(), self_rotating.rotate_calls()), ("key-1", 1));
}

#[tokio::test(start_paused = true)]
async fn a_later_call_asks_the_store_again() {
    let (store, engine) = SelfRotatingStore::new(None).await.engine();
    let key = engine.add(store_managed()).await.unwrap();
    let rotating = key.clone();
    let rotating = tokio::spawn(async move { rotating.rotate().await });
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(store.rotate_calls(), 1);
    store.inner.delete(&path()).await.unwrap();
    assert_eq!(rotating.await.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    store.inner.undelete(&path()).await.unwrap();
    sleep(DAY).await;
    let start = Instant::now();
    let error = key.rotate().await.unwrap_err();
    assert_eq!((store.rotate_calls(), start.elapsed().as_secs()), (2, 10), "{error}");
}
