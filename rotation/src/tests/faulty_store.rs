//! A store whose reads lag and whose calls fail as a test configures.

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

/// The lag of a read, from the numbers of earlier reads and writes.
type Lag = dyn Fn(usize, usize) -> Duration + Send + Sync;

/// A store that returns no times with its secret. Its fields set its faults.
pub(super) struct FaultyStore {
    inner: Arc<MemoryBackend>,
    pub(super) lag: Box<Lag>,
    /// How long a read takes. It returns what the store held when it began.
    pub(super) read_time: Duration,
    /// What the store has held, and since when.
    history: Mutex<Vec<(Instant, Secret)>>,
    /// Whether each write fails with a conflict.
    pub(super) always_conflicts: bool,
    /// Whether metadata may not be changed.
    pub(super) denies_metadata: bool,
    reads: AtomicUsize,
    writes: AtomicUsize,
    /// The number of the write whose answer is lost. The read after it returns the first value.
    pub(super) loses_answer_to: Option<usize>,
    returns_first_value: AtomicBool,
    /// The number of the write that stores the value without the metadata, and fails.
    pub(super) drops_metadata_of: Option<usize>,
    /// The number of the write that never ends.
    pub(super) hangs_at: Option<usize>,
}

impl FaultyStore {
    pub(super) async fn new(inner: &Arc<MemoryBackend>) -> Self {
        let faulty = Self {
            inner: Arc::clone(inner),
            lag: Box::new(|_, _| Duration::ZERO),
            read_time: Duration::ZERO,
            history: Mutex::default(),
            always_conflicts: false,
            denies_metadata: false,
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            loses_answer_to: None,
            returns_first_value: AtomicBool::new(false),
            drops_metadata_of: None,
            hangs_at: None,
        };
        faulty.sync().await;
        faulty
    }

    pub(super) fn engine(self: &Arc<Self>) -> RotationEngine {
        RotationEngine::new(Arc::clone(self))
    }

    /// Takes over what a test has written to the store below. Reads return it after their lag.
    pub(super) async fn sync(&self) {
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
        let is_first = self.returns_first_value.swap(false, Ordering::Relaxed);
        let lag = if is_first { Duration::MAX } else { (self.lag)(reads, self.writes()) };
        let secret = {
            let history = self.history.lock().unwrap();
            let shown = history.iter().rfind(|(since, _)| since.elapsed() >= lag);
            shown.unwrap_or(&history[0]).1.clone()
        };
        sleep(self.read_time).await;
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
        if self.always_conflicts {
            return Err(Error::new(ErrorKind::Conflict, "wait for the test to go on"));
        }
        if self.hangs_at == Some(writes) {
            return std::future::pending().await;
        }
        let drops_metadata = self.drops_metadata_of == Some(writes);
        if drops_metadata {
            options.metadata = MetadataPatch::new();
        }
        let version = self.inner.put(path, value, options).await?;
        self.sync().await;
        if drops_metadata || self.loses_answer_to == Some(writes) {
            self.returns_first_value.store(!drops_metadata, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Unavailable, "wait for the test to go on"));
        }
        Ok(version)
    }
}
