//! Stores that are not as kind as the one in memory: their reads lag and tell no times, or somebody
//! always writes first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use strongroom_core::{
    Backend, BackendInfo, Error, ErrorKind, Health, HealthStatus, MemoryBackend, MetadataPatch,
    PutOptions, Result, Secret, SecretPath, SecretValue, Version, VersionSelector, async_trait,
};
use tokio::time::{Instant, sleep};

use super::issuer::{
    DAY, FIRST, Issuer, alone, annotate, assert_live_for, assert_settled, path, store, stored,
};
use crate::rotation::RotationEngine;
use crate::{SecretsManager, clock};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Unkind {
    inner: Arc<MemoryBackend>,
    /// Reads show what was there so long ago.
    lag: Duration,
    /// What was there, and since when.
    history: Mutex<Vec<(Instant, Secret)>>,
    /// Whether somebody always writes first.
    loses: bool,
    writes: AtomicUsize,
    /// The write whose answer is lost; the read after it shows what was there at first.
    forgets: Option<usize>,
    has_forgotten: AtomicBool,
    /// The write that stores the value and not the metadata.
    halves: Option<usize>,
    /// The write that never ends.
    hangs: Option<usize>,
}

impl Unkind {
    async fn new(inner: &Arc<MemoryBackend>) -> Self {
        let first = inner.get(&path(), &VersionSelector::Active).await.unwrap();
        Self {
            inner: Arc::clone(inner),
            lag: Duration::ZERO,
            history: Mutex::new(vec![(Instant::now(), first)]),
            loses: false,
            writes: AtomicUsize::new(0),
            forgets: None,
            has_forgotten: AtomicBool::new(false),
            halves: None,
            hangs: None,
        }
    }

    fn engine(self) -> RotationEngine {
        RotationEngine::new(SecretsManager::with_backend(self))
    }
}

#[async_trait]
impl Backend for Unkind {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    async fn get(&self, path: &SecretPath, _: &VersionSelector) -> Result<Secret> {
        let history = self.history.lock().unwrap();
        let has_forgotten = self.has_forgotten.swap(false, Ordering::Relaxed);
        let lag = if has_forgotten { Duration::MAX } else { self.lag };
        let (_, secret) =
            history.iter().rfind(|(since, _)| since.elapsed() >= lag).unwrap_or(&history[0]);
        let mut metadata = secret.metadata().clone();
        (metadata.created_at, metadata.updated_at) = (None, None);
        Ok(Secret::new(path.clone(), secret.version().clone(), metadata, secret.value().clone()))
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::new(HealthStatus::Ready))
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let writes = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.loses {
            return Err(Error::new(ErrorKind::Conflict, "wait for the test to go on"));
        }
        if self.hangs == Some(writes) {
            return std::future::pending().await;
        }
        let is_half = self.halves == Some(writes);
        let mut options = options;
        if is_half {
            options.metadata = MetadataPatch::new();
        }
        let version = self.inner.put(path, value, options).await?;
        let secret = self.inner.get(path, &VersionSelector::Active).await?;
        self.history.lock().unwrap().push((Instant::now(), secret));
        if is_half || self.forgets == Some(writes) {
            self.has_forgotten.store(!is_half, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Unavailable, "wait for the test to go on"));
        }
        Ok(version)
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_store_tells_no_times_the_interval_counts_from_the_first_look() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().rotation_interval(DAY)).await;
    let engine = Unkind::new(&store).await.engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    sleep(22 * HOUR).await;
    assert_eq!(key.state().generation, 0);
    sleep(3 * HOUR).await;
    assert_eq!(key.state().generation, 1);
    sleep(75 * HOUR).await;
    assert_eq!((key.state().generation, issuer.issue_calls()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn reads_that_lag_cost_no_key() {
    for lag in [50, 200, 1_000, 4_000] {
        for repeats in [true, false] {
            let (store, issuer) = (store().await, Issuer::new());
            issuer.set(|books| {
                (books.repeats, books.latency) = (repeats, Duration::from_millis(20));
            });
            let mut lagging = Unkind::new(&store).await;
            lagging.lag = Duration::from_millis(lag);
            let engine = lagging.engine();
            let key = engine.add(alone(&issuer)).await.unwrap();
            let rotating = key.clone();
            let rotating = tokio::spawn(async move { rotating.rotate().await });
            assert_live_for(Duration::from_secs(60), &issuer, std::slice::from_ref(&key)).await;
            assert_eq!(rotating.await.unwrap().unwrap(), 1, "{lag} ms");
            let current = stored(&store).await.1;
            assert_ne!(current, FIRST);
            assert_eq!(key.acquire().expose_text().unwrap(), current);
            assert_settled(&store, &issuer, &current).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_somebody_always_writes_first_it_is_given_up_after_a_while() {
    let (store, issuer) = (store().await, Issuer::new());
    let mut unkind = Unkind::new(&store).await;
    unkind.loses = true;
    let unkind = Arc::new(unkind);
    let engine = RotationEngine::new(SecretsManager::with_backend(Arc::clone(&unkind)));
    let key = engine.add(alone(&issuer)).await.unwrap();
    let start = Instant::now();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let writes = unkind.writes.load(Ordering::Relaxed);
    assert!((2..=11).contains(&writes), "{writes} writes");
    assert_eq!(issuer.issue_calls(), 0, "nobody has noted that a key is being got");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_one_read_does_not_show_is_not_taken_for_lost() {
    let (store, issuer) = (store().await, Issuer::new());
    let mut unkind = Unkind::new(&store).await;
    unkind.forgets = Some(2);
    let engine = unkind.engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let keys = [key];
    assert_live_for(Duration::from_secs(120), &issuer, &keys).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_was_not_stored_with_its_key_follows_later() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + DAY)).await;
    issuer.set(|books| books.lifetime = Some(30 * DAY));
    let mut unkind = Unkind::new(&store).await;
    unkind.halves = Some(2);
    let engine = unkind.engine();
    let key = engine.add(alone(&issuer)).await.unwrap();
    sleep(HOUR).await;
    let left = |end: SystemTime| end.duration_since(clock::wall()).unwrap();
    let kept = store.describe(&path()).await.unwrap().metadata.expires_at.unwrap();
    assert!(left(kept) > 29 * DAY, "{:?}", left(kept));
    assert!(left(key.state().expires_at.unwrap()) > 29 * DAY);
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_not_waited_for_without_end() {
    for hangs in 1..=3 {
        let (store, issuer) = (store().await, Issuer::new());
        let mut unkind = Unkind::new(&store).await;
        unkind.hangs = Some(hangs);
        let engine = unkind.engine();
        let key = engine.add(alone(&issuer)).await.unwrap();
        let start = Instant::now();
        let rotated = key.rotate().await.map_err(|error| error.kind());
        assert_eq!(rotated, if hangs < 3 { Err(ErrorKind::Timeout) } else { Ok(1) });
        assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
        sleep(Duration::from_secs(60)).await;
        let current = if hangs == 1 { FIRST } else { "key-1" };
        assert_settled(&store, &issuer, current).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_key_is_not_taken_for_one_that_nobody_knows_where_reads_lag() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        (books.repeats, books.lists) = (false, true);
        books.live.extend(["key-1".to_owned(), "key-2".to_owned()]);
    });
    let stored = |key: &str, previous: &str, generation: &str| {
        SecretValue::fields([
            ("key", key),
            ("rotation_previous", previous),
            ("rotation_generation", generation),
            ("rotation_unsure", "true"),
        ])
    };
    store.put(&path(), stored("key-1", FIRST, "1"), PutOptions::new()).await.unwrap();
    let unkind = Unkind::new(&store).await;
    // It never shows what others write.
    store.put(&path(), stored("key-2", "key-1", "2"), PutOptions::new()).await.unwrap();
    let engine = unkind.engine();
    let _key = engine.add(alone(&issuer)).await.unwrap();
    sleep(HOUR).await;
    assert_eq!(issuer.live(), [FIRST, "key-1", "key-2"]);
}
