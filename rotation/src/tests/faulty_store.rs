//! A store that is not as kind as the one in memory.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_core::{
    Backend, BackendInfo, Error, ErrorKind, Health, MemoryBackend, MetadataPatch, PutOptions,
    Result, Secret, SecretPath, SecretValue, Version, VersionSelector, async_trait,
};
use tokio::time::{Instant, sleep};

use super::issuer::path;
use crate::RotationEngine;

/// How old what a read shows is, from how many reads and writes there were before.
type Lag = dyn Fn(usize, usize) -> Duration + Send + Sync;

/// It tells no times with its secret, and does what its fields say.
pub(super) struct FaultyStore {
    inner: Arc<MemoryBackend>,
    pub(super) lag: Box<Lag>,
    /// How long a read takes, which shows what was there when it began.
    pub(super) takes: Duration,
    /// What was there, and since when.
    history: Mutex<Vec<(Instant, Secret)>>,
    /// Whether somebody always writes first.
    pub(super) loses: bool,
    /// Whether metadata may not be changed.
    pub(super) denies_metadata: bool,
    reads: AtomicUsize,
    writes: AtomicUsize,
    /// The write whose answer is lost; the read after it shows what was there at first.
    pub(super) forgets: Option<usize>,
    has_forgotten: AtomicBool,
    /// The write that stores the value and not the metadata.
    pub(super) halves: Option<usize>,
    /// The write that never ends.
    pub(super) hangs: Option<usize>,
}

impl FaultyStore {
    pub(super) async fn new(inner: &Arc<MemoryBackend>) -> Self {
        let unkind = Self {
            inner: Arc::clone(inner),
            lag: Box::new(|_, _| Duration::ZERO),
            takes: Duration::ZERO,
            history: Mutex::default(),
            loses: false,
            denies_metadata: false,
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            forgets: None,
            has_forgotten: AtomicBool::new(false),
            halves: None,
            hangs: None,
        };
        unkind.note().await;
        unkind
    }

    pub(super) fn engine(self: &Arc<Self>) -> RotationEngine {
        RotationEngine::new(Arc::clone(self))
    }

    /// Has reads show, in time, what others have written.
    pub(super) async fn note(&self) {
        let secret = self.inner.get(&path(), &VersionSelector::Active).await.unwrap();
        self.history.lock().unwrap().push((Instant::now(), secret));
    }

    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(super) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl Backend for FaultyStore {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    async fn get(&self, path: &SecretPath, _: &VersionSelector) -> Result<Secret> {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        let has_forgotten = self.has_forgotten.swap(false, Ordering::Relaxed);
        let lag = if has_forgotten { Duration::MAX } else { (self.lag)(reads, self.writes()) };
        let secret = {
            let history = self.history.lock().unwrap();
            let shown = history.iter().rfind(|(since, _)| since.elapsed() >= lag);
            shown.unwrap_or(&history[0]).1.clone()
        };
        sleep(self.takes).await;
        let mut metadata = secret.metadata().clone();
        (metadata.created_at, metadata.updated_at) = (None, None);
        Ok(Secret::new(path.clone(), secret.version().clone(), metadata, secret.value().clone()))
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        mut options: PutOptions,
    ) -> Result<Version> {
        if self.denies_metadata && !options.metadata.is_empty() {
            return Err(Error::new(ErrorKind::Denied, "ask the test for it"));
        }
        let writes = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.loses {
            return Err(Error::new(ErrorKind::Conflict, "wait for the test to go on"));
        }
        if self.hangs == Some(writes) {
            return std::future::pending().await;
        }
        let is_half = self.halves == Some(writes);
        if is_half {
            options.metadata = MetadataPatch::new();
        }
        let version = self.inner.put(path, value, options).await?;
        self.note().await;
        if is_half || self.forgets == Some(writes) {
            self.has_forgotten.store(!is_half, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Unavailable, "wait for the test to go on"));
        }
        Ok(version)
    }
}
