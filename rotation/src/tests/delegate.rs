//! Secrets that the store itself replaces, and what the kind of a secret says of who replaces it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use strongroom_core::{
    Backend, BackendInfo, Capability, ErrorKind, Health, MemoryBackend, MetadataPatch, PutOptions,
    Result, Rotated, Secret, SecretKind, SecretPath, SecretValue, Version, VersionSelector,
    async_trait,
};
use tokio::time::{Instant, sleep};

use super::issuer::{DAY, FIRST, PATH, annotate, engine, path, store, stored, told};
use super::order::noting;

use crate::clock;
use crate::{ManagedKey, RotationEngine, RotationPolicy, RotationStep};

const MINUTE: Duration = Duration::from_secs(60);

/// A store that replaces secrets some time after it was asked to, or never.
#[derive(Debug)]
struct Replacing {
    info: BackendInfo,
    inner: Arc<MemoryBackend>,
    takes: Option<Duration>,
    /// When the secret was changed last, if reads tell that.
    changed_at: Option<Arc<Mutex<SystemTime>>>,
    asked: AtomicUsize,
}

impl Replacing {
    async fn new(takes: Option<Duration>) -> Self {
        let inner = store().await;
        let mut info = inner.info().clone();
        info.capabilities = info.capabilities.with(Capability::Rotate);
        Self { info, inner, takes, changed_at: None, asked: AtomicUsize::new(0) }
    }

    /// The store, and an engine over it.
    fn engine(self) -> (Arc<Self>, RotationEngine) {
        let store = Arc::new(self);
        let engine = RotationEngine::new(Arc::clone(&store));
        (store, engine)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Backend for Replacing {
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

    async fn rotate(&self, path: &SecretPath) -> Result<Rotated> {
        let key = format!("key-{}", self.asked.fetch_add(1, Ordering::Relaxed) + 1);
        if let Some(takes) = self.takes {
            let (inner, path) = (Arc::clone(&self.inner), path.clone());
            let changed_at = self.changed_at.clone();
            tokio::spawn(async move {
                sleep(takes).await;
                inner.put(&path, key.as_str().into(), PutOptions::new()).await.unwrap();
                if let Some(changed_at) = changed_at {
                    *changed_at.lock().unwrap() = clock::wall();
                }
            });
        }
        Ok(Rotated::default())
    }
}

fn store_managed() -> ManagedKey {
    let policy = RotationPolicy::new().attempt_lease(Duration::from_secs(10));
    ManagedKey::store_managed(PATH).policy(policy)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_replaces_its_secret_is_asked_once_each_time_it_is_due() {
    for tells_times in [true, false] {
        let mut replacing = Replacing::new(Some(Duration::from_secs(5))).await;
        replacing.changed_at = tells_times.then(|| Arc::new(Mutex::new(clock::wall())));
        annotate(&replacing.inner, MetadataPatch::new().rotation_interval(120 * MINUTE)).await;
        let (store, engine) = replacing.engine();
        let (names, observer) = noting();
        let engine = engine.observer(observer);
        let key = engine.add(store_managed()).await.unwrap();
        sleep(110 * MINUTE).await;
        assert_eq!((store.asked(), key.state().generation), (0, 0));
        sleep(20 * MINUTE).await;
        for generation in 1..=3_u32 {
            assert_eq!(store.asked(), generation as usize, "times told: {tells_times}");
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
async fn a_store_that_does_not_replace_its_secret_is_told_of_and_the_key_stays() {
    let (store, engine) = Replacing::new(None).await.engine();
    let mut events = engine.events();
    let key = engine.add(store_managed()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    let last = told(&mut events).pop().unwrap();
    assert!(
        matches!(&last, RotationStep::Failed { error } if error.kind() == ErrorKind::Timeout),
        "{last:?}"
    );
    sleep(DAY).await;
    assert_eq!((store.asked(), key.state().generation), (1, 0), "nobody wants it any more");
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(store.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_the_store_replaces_late_is_used_then() {
    let (store, engine) = Replacing::new(Some(Duration::from_secs(20))).await.engine();
    let key = engine.add(store_managed()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((key.acquire().expose_text().unwrap(), key.acquire().generation()), ("key-1", 1));
    assert_eq!(store.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_not_replaced_keeps_its_fingerprint() {
    let (_store, engine) = Replacing::new(None).await.engine();
    let key = engine.add(store_managed()).await.unwrap();
    let before = key.acquire();
    let state = key.watch();
    sleep(DAY).await;
    assert_eq!(key.acquire().fingerprint(), before.fingerprint());
    assert!(!state.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn of_a_secret_with_fields_the_member_is_the_key() {
    let (store, engine) = Replacing::new(None).await.engine();
    let value = SecretValue::fields([("username", "app"), ("password", "hunter2")]);
    store.inner.put(&path(), value, PutOptions::new()).await.unwrap();
    let rotation = ManagedKey::store_managed(PATH).policy(RotationPolicy::new().member("password"));
    let key = engine.add(rotation).await.unwrap();
    assert_eq!(key.acquire().expose_text().unwrap(), "hunter2");
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_a_secret_says_who_replaces_it() {
    let store = store().await;
    let custom = engine(&store);
    let policy = RotationPolicy::new().single_instance();
    let key = custom.add(ManagedKey::for_kind(PATH).policy(policy)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    let (members, password) = stored(&store).await;
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

    let (replacing, database) = Replacing::new(Some(Duration::from_secs(1))).await.engine();
    annotate(&replacing.inner, MetadataPatch::new().kind(SecretKind::DbCredential)).await;
    let key = database.add(ManagedKey::for_kind(PATH)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    assert_eq!((key.acquire().expose_text().unwrap(), replacing.asked()), ("key-1", 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_later_has_the_store_asked_once_more() {
    let (store, engine) = Replacing::new(None).await.engine();
    let key = engine.add(store_managed()).await.unwrap();
    let rotating = key.clone();
    let rotating = tokio::spawn(async move { rotating.rotate().await });
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(store.asked(), 1);
    store.inner.delete(&path()).await.unwrap();
    assert_eq!(rotating.await.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    store.inner.undelete(&path()).await.unwrap();
    sleep(DAY).await;
    let start = Instant::now();
    let error = key.rotate().await.unwrap_err();
    assert_eq!((store.asked(), start.elapsed().as_secs()), (2, 10), "{error}");
}
