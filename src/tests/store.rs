//! A store that does as it is told, and counts what it is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_core::{
    Backend, BackendInfo, Change, ChangeFeed, Description, Error, ErrorKind, Health, HealthStatus,
    MemoryBackend, MetadataPatch, PutOptions, Result, RotateOutcome, Secret, SecretPath,
    SecretValue, Version, VersionInfo, VersionSelector, async_trait,
};
use tokio::sync::broadcast;
use tokio::time::sleep;

use crate::{ReadPolicy, SecretsManager};

/// What a test's cache keeps secrets for.
pub(super) const TTL: Duration = Duration::from_secs(60);

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

/// How the store answers reads.
#[derive(Clone, Debug)]
pub(super) enum Mood {
    Well,
    Failing(Error),
    Silent,
    Panicking,
}

/// What a feed does next.
#[derive(Clone, Debug)]
pub(super) enum Report {
    Change(Change),
    Panic,
}

#[derive(Debug)]
pub(super) struct Feed(broadcast::Receiver<Report>);

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(Report::Change(change)) => Some(change),
            Ok(Report::Panic) => panic!("the feed panics, as the test wants it to"),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change::Any),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Store {
    info: BackendInfo,
    pub(super) inner: MemoryBackend,
    mood: Mutex<Mood>,
    /// How long a read takes, and whether it gives what the store holds at its end, rather than at its beginning.
    latency: Mutex<(Duration, bool)>,
    /// How long before and after the moment at which a write is made.
    pub(super) write_latency: Mutex<Duration>,
    lease: Mutex<Option<Duration>>,
    failing_alone: Mutex<Option<(SecretPath, ErrorKind)>>,
    calls: Mutex<BTreeMap<SecretPath, usize>>,
    pub(super) batches: AtomicUsize,
    feeds: Mutex<Option<broadcast::Sender<Report>>>,
}

impl Store {
    pub(super) fn new() -> Arc<Self> {
        let inner = MemoryBackend::new();
        let mut info = inner.info().clone();
        info.capabilities = info.capabilities.with(strongroom_core::Capability::Rotate);
        info.default_cache_ttl = Some(TTL);
        Arc::new(Self {
            info,
            inner,
            mood: Mutex::new(Mood::Well),
            latency: Mutex::default(),
            write_latency: Mutex::default(),
            lease: Mutex::default(),
            failing_alone: Mutex::default(),
            calls: Mutex::default(),
            batches: AtomicUsize::new(0),
            feeds: Mutex::default(),
        })
    }

    /// A store that holds `a`, and a manager that makes no further attempts.
    pub(super) async fn with_a() -> (Arc<Self>, SecretsManager) {
        let store = Self::new();
        store.set("a", "1").await;
        let secrets = store.manager(ReadPolicy::new().retries(0));
        (store, secrets)
    }

    /// As [`with_a`](Self::with_a), with a feed of changes.
    pub(super) async fn with_feed(policy: ReadPolicy) -> (Arc<Self>, SecretsManager) {
        let store = Self::new();
        store.set("a", "1").await;
        *store.feeds.lock().unwrap() = Some(broadcast::channel(16).0);
        let secrets = store.manager(policy.retries(0));
        (store, secrets)
    }

    /// Makes all feeds report a change.
    pub(super) fn tell(&self, change: Change) {
        self.report(Report::Change(change));
    }

    pub(super) fn report(&self, report: Report) {
        let _ = self.feeds.lock().unwrap().as_ref().unwrap().send(report);
    }

    /// How many feeds there are.
    pub(super) fn followers(&self) -> usize {
        self.feeds.lock().unwrap().as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    pub(super) fn end_feeds(&self) {
        self.feeds.lock().unwrap().take();
    }

    pub(super) fn manager(self: &Arc<Self>, policy: ReadPolicy) -> SecretsManager {
        SecretsManager::with_policy(Arc::clone(self), policy)
    }

    /// Writes as another process would.
    pub(super) async fn set(&self, at: &str, value: &str) {
        self.inner.put(&path(at), value.into(), PutOptions::new()).await.unwrap();
    }

    pub(super) fn feel(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn mood(&self) -> Mood {
        self.mood.lock().unwrap().clone()
    }

    pub(super) fn fail(&self, kind: ErrorKind) {
        self.feel(Mood::Failing(Error::new(kind, "wait for the test to go on")));
    }

    /// Fails for one secret, in every mood.
    pub(super) fn fail_alone(&self, at: &str, kind: ErrorKind) {
        *self.failing_alone.lock().unwrap() = Some((path(at), kind));
    }

    pub(super) fn take(&self, latency: Duration) {
        *self.latency.lock().unwrap() = (latency, false);
    }

    /// Makes reads take so long and give what the store holds at their end.
    pub(super) fn look_after(&self, latency: Duration) {
        *self.latency.lock().unwrap() = (latency, true);
    }

    pub(super) fn lease_for(&self, lease: Duration) {
        *self.lease.lock().unwrap() = Some(lease);
    }

    /// How often a secret was read, alone or with others.
    pub(super) fn calls(&self, at: &str) -> usize {
        self.calls.lock().unwrap().get(at).copied().unwrap_or_default()
    }

    pub(super) fn all_calls(&self) -> usize {
        self.calls.lock().unwrap().values().sum()
    }

    async fn answer(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        *self.calls.lock().unwrap().entry(path.clone()).or_default() += 1;
        let mood = self.mood();
        let (latency, looks_at_end) = *self.latency.lock().unwrap();
        let mut result = self.inner.get(path, version).await;
        if !latency.is_zero() {
            sleep(latency).await;
        }
        if looks_at_end {
            result = self.inner.get(path, version).await;
        }
        let lease = *self.lease.lock().unwrap();
        let leased = |secret: Secret| match lease {
            Some(lease) => secret.with_lease(lease),
            None => secret,
        };
        let alone = self.failing_alone.lock().unwrap().clone();
        if let Some((_, kind)) = alone.filter(|(failing, _)| failing == path) {
            return Err(Error::new(kind, "wait for the test to go on"));
        }
        match mood {
            Mood::Well => result.map(leased),
            Mood::Failing(error) => Err(error),
            Mood::Silent => std::future::pending().await,
            Mood::Panicking => panic!("the backend panics, as the test wants it to"),
        }
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        let latency = *self.write_latency.lock().unwrap();
        sleep(latency).await;
        let result = write.await;
        sleep(latency).await;
        result
    }
}

#[async_trait]
impl Backend for Store {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.answer(path, version).await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        let reads = paths.iter().map(|path| self.answer(path, &VersionSelector::Active));
        futures_util::future::join_all(reads).await
    }

    async fn health(&self) -> Result<Health> {
        match self.mood() {
            Mood::Silent => std::future::pending().await,
            _ => Ok(Health::new(HealthStatus::Ready)),
        }
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        if let Mood::Failing(error) = self.mood() {
            return Err(error);
        }
        self.write(self.inner.put(path, value, options)).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.write(self.inner.delete(path)).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.write(self.inner.undelete(path)).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.write(self.inner.destroy(path)).await
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.inner.versions(path).await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.write(self.inner.rollback(path, version)).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        match self.mood() {
            Mood::Failing(error) => Err(error),
            _ => self.inner.describe(path).await,
        }
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.write(self.inner.annotate(path, patch)).await
    }

    async fn rotate(&self, _: &SecretPath) -> Result<RotateOutcome> {
        self.write(async { Ok(RotateOutcome::default()) }).await
    }

    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        let receiver = self.feeds.lock().unwrap().as_ref()?.subscribe();
        Some(Box::new(Feed(receiver)))
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// The text of what was read.
pub(super) fn text(read: Result<Secret>) -> String {
    read.unwrap().expose_text().unwrap().to_owned()
}

pub(super) fn kind(read: Result<Secret>) -> ErrorKind {
    read.unwrap_err().kind()
}
