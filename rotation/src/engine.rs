//! Manages keys: one task per key, which sleeps until the key is due.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use strongroom_core::{Backend, Capability, Error, ErrorKind, Operation, Result, SecretPath};
use strongroom_rotation_protocol::{self as protocol, Issuer, Rules};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::clock;
use super::drain::DrainTracker;
use super::event::{Events, RotationEvent};
use super::issuer::KeyIssuer;
use super::key::{KeyGeneration, KeyState, RotatingKey, SharedKey};
use super::managed_key::ManagedKey;
use super::permit::ConcurrencyPermit;
use super::policy::RotationPolicy;
use super::record::StoredRecord;
use super::store::StoredSecret;
use super::worker::{Inbox, InitialState, RotationWorker, WorkerContext};

/// How many keys are replaced at a time by default.
const CONCURRENT_ROTATIONS: usize = 4;
/// How long the current step may take when the engine stops: less than the 30 s that Kubernetes grants a
/// container.
const GRACE_PERIOD: Duration = Duration::from_secs(20);
/// How many commands may be queued for a busy task.
const COMMAND_BACKLOG: usize = 64;

/// Replaces keys before they expire, while the service goes on sending requests. Keep it: once it is
/// dropped, it replaces no key any more.
///
/// # Examples
/// ```
/// # async fn run(store: strongroom_core::MemoryBackend) -> strongroom_core::Result<()> {
/// use strongroom_rotation::{ManagedKey, PasswordIssuer, PasswordPolicy, RotationEngine};
///
/// let engine = RotationEngine::new(store);
/// let issuer = PasswordIssuer::new(&PasswordPolicy::default())?;
/// let key = engine.add(ManagedKey::new("internal/token", issuer)).await?;
/// send_a_request(key.acquire().expose_text()?); // the guard lives as long as the request
/// engine.shutdown().await;
/// # Ok(())
/// # }
/// # fn send_a_request(_key: &str) {}
/// ```
#[must_use]
pub struct RotationEngine {
    backend: Arc<dyn Backend>,
    events: Events,
    permits: Arc<Semaphore>,
    managed: Mutex<Managed>,
}

/// The keys that an engine manages, and their tasks. The tasks end with it.
#[derive(Default)]
struct Managed {
    is_shut_down: bool,
    tasks: JoinSet<()>,
    keys: BTreeMap<SecretPath, (RotatingKey, Task)>,
}

/// The task that rotates one key.
#[derive(Clone)]
struct Task {
    /// The task drops its receiver when it ends.
    stop: watch::Sender<bool>,
    handle: AbortHandle,
}

impl Task {
    /// Stops tasks, and waits until they have ended. Aborts those that take too long.
    async fn stop(tasks: Vec<Self>) {
        for task in &tasks {
            task.stop.send_replace(true);
        }
        let ended = join_all(tasks.iter().map(|task| task.stop.closed()));
        if timeout(GRACE_PERIOD, ended).await.is_err() {
            tracing::warn!("a step of a rotation took too long, and was aborted");
            for task in &tasks {
                task.handle.abort();
            }
        }
    }
}

impl RotationEngine {
    /// An engine over a store. Over a `SecretsManager` of the crate `strongroom`, the manager's cache sees
    /// each new key at once.
    pub fn new(backend: impl Backend) -> Self {
        Self {
            backend: Arc::new(backend),
            events: Events::new(None),
            permits: Arc::new(Semaphore::new(CONCURRENT_ROTATIONS)),
            managed: Mutex::default(),
        }
    }

    /// Passes each event to `observer` before the next step, on the task that rotates the key. The engine
    /// catches a panic of the observer and continues.
    pub fn observer(mut self, observer: impl Fn(&RotationEvent) + Send + Sync + 'static) -> Self {
        self.events = Events::new(Some(Arc::new(observer)));
        self
    }

    /// Sets how many keys are replaced at a time. 4 by default; at least 1.
    pub fn max_concurrent_rotations(mut self, keys: usize) -> Self {
        self.permits = Arc::new(Semaphore::new(keys.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// Subscribes to the events from now on. Slow receivers lose events.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<RotationEvent> {
        self.events.subscribe()
    }

    /// Manages a key from now on, and returns the handle that requests take it from. An interrupted
    /// rotation resumes: at once if the new key is stored, and after
    /// [`attempt_lease`](super::RotationPolicy::attempt_lease) if another instance, which may have been
    /// this one before a restart, still holds the attempt. For a path that the engine manages already, it
    /// returns the handle of the first call.
    ///
    /// The first key must be in the store. A key is due by the secret's rotation interval
    /// ([`MetadataPatch::rotation_interval`](strongroom_core::MetadataPatch::rotation_interval)), by its
    /// expiry or the key's, or by what responses report; without any of them, only callers replace it.
    ///
    /// With an issuer, the secret becomes a JSON object when its first rotation begins: programs that read
    /// it without the engine find the key in the member that
    /// [`RotationPolicy::member`](super::RotationPolicy::member) names. A secret that has expired in the
    /// store cannot be read, and so not rotated.
    ///
    /// # Errors
    /// As [`Backend::get`] for the key; [`ErrorKind::Unsupported`] if the store has no conditional writes,
    /// or if a later version of this library has written the secret;
    /// [`ErrorKind::InvalidInput`] if the secret has fields but none for the key, or if the policy is
    /// invalid (a member that begins with `rotation_`, a lease of zero), [`ErrorKind::Config`]
    /// outside a Tokio runtime with a timer, [`ErrorKind::Closed`] after [`shutdown`](Self::shutdown).
    pub async fn add(&self, key: ManagedKey) -> Result<RotatingKey> {
        let ManagedKey { path, issuer, policy, headers } = key;
        let path = self.resolve(&path)?;
        let policy = policy.check().map_err(|error| {
            error.during(Operation::Rotate).at(&path).from_backend(self.backend.info().kind)
        })?;
        if let Some(key) = self.find(&path)? {
            return Ok(key);
        }
        let store = StoredSecret::new(Arc::clone(&self.backend), path.clone());
        let with_context = |error| store.add_error_context(error, Operation::Rotate);
        if !has_timer() {
            return Err(with_context(Error::new(
                ErrorKind::Config,
                "call it from a task of a Tokio runtime with a timer (`enable_all`)",
            )));
        }
        let secret = store.read(policy.attempt_lease).await?;
        let issuer = issuer.choose(secret.metadata().kind).map_err(with_context)?;
        let needed: &[Capability] = match issuer {
            Some(_) => &[Capability::Put, Capability::Conditions],
            None => &[Capability::Rotate],
        };
        for capability in needed {
            store.require(*capability)?;
        }
        let record = match issuer {
            Some(_) => StoredRecord::parse(&secret, &policy.member).map_err(with_context)?,
            None => StoredRecord::parse_store_managed(&secret, &policy.member),
        };
        let metadata = secret.metadata();
        let mut changed_at = metadata.updated_at.or(metadata.created_at);
        if changed_at.is_none() {
            // Many stores return times only with metadata.
            changed_at = store.describe_change(policy.attempt_lease).await;
        }
        let baseline = changed_at.map_or_else(clock::wall, |at| at.min(clock::wall()));
        let (current, drained) = first_generation(&record);
        let (commands, received) = mpsc::channel(COMMAND_BACKLOG);
        let state = state(&record);
        let key = Arc::new(SharedKey::new(current, state, commands, headers));
        let (stop, stopped) = watch::channel(false);
        let rules = rules(&policy, issuer.as_deref());
        let events = self.events.clone();
        let context = WorkerContext { store, issuer, key: Arc::clone(&key), events };
        let initial = InitialState {
            secret,
            record,
            baseline,
            drain: DrainTracker::new(drained),
            permit: ConcurrencyPermit::new(Arc::clone(&self.permits)),
            inbox: Inbox::new(received, stopped),
        };
        let worker = RotationWorker::new(context, policy, rules, initial);
        self.start(path, RotatingKey(key), stop, worker)
    }

    /// Starts the task of a key, unless another call has done so meanwhile.
    fn start(
        &self,
        path: SecretPath,
        key: RotatingKey,
        stop: watch::Sender<bool>,
        worker: RotationWorker,
    ) -> Result<RotatingKey> {
        let mut managed = self.lock();
        if managed.is_shut_down {
            return Err(shut_down_error());
        }
        while managed.tasks.try_join_next().is_some() {}
        if let Some((existing, _)) = managed.keys.get(&path) {
            return Ok(existing.clone());
        }
        let handle = managed.tasks.spawn(worker.run());
        managed.keys.insert(path, (key.clone(), Task { stop, handle }));
        Ok(key)
    }

    /// The key at a path, if the engine manages it.
    fn find(&self, path: &SecretPath) -> Result<Option<RotatingKey>> {
        let managed = self.lock();
        if managed.is_shut_down {
            return Err(shut_down_error());
        }
        Ok(managed.keys.get(path).map(|(key, _)| key.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Managed> {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops managing a key. Returns whether the engine managed it. Its handles keep the last key. An
    /// unfinished rotation stays as it is, as after [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not a path.
    pub async fn remove(&self, path: impl AsRef<str>) -> Result<bool> {
        let path = self.resolve(path.as_ref())?;
        let removed = self.lock().keys.remove(&path);
        let was_managed = removed.is_some();
        Task::stop(removed.into_iter().map(|(_, task)| task).collect()).await;
        Ok(was_managed)
    }

    /// Stops the engine after the current step of each key. An unfinished rotation stays as it is, and the next
    /// instance resumes it. Aborts a step that takes longer than 20 seconds, as if the process had died.
    pub async fn shutdown(&self) {
        let tasks = {
            let mut managed = self.lock();
            managed.is_shut_down = true;
            managed.keys.values().map(|(_, task)| task.clone()).collect()
        };
        Task::stop(tasks).await;
    }

    fn resolve(&self, path: &str) -> Result<SecretPath> {
        SecretPath::parse(path)
            .map_err(|error| error.during(Operation::Rotate).from_backend(self.backend.info().kind))
    }
}

/// The key that the store holds when a worker starts.
fn first_generation(record: &StoredRecord) -> (KeyGeneration, super::drain::Drained) {
    let fingerprint = record.fingerprint(&record.key);
    KeyGeneration::new(record.key.clone(), record.generation, 0, fingerprint)
}

fn state(record: &StoredRecord) -> KeyState {
    KeyState {
        generation: record.generation,
        fingerprint: record.fingerprint(&record.key),
        expires_at: record.times.expires_at,
        rotated_at: record.times.rotated_at,
        last_error: None,
    }
}

/// The rules for the protocol.
fn rules(policy: &RotationPolicy, issuer: Option<&dyn KeyIssuer>) -> Rules {
    Rules {
        issuer: issuer.map_or(Issuer::Store, |issuer| Issuer::Remote {
            is_idempotent: issuer.is_idempotent(),
        }),
        drain_timeout: policy.drain_timeout,
        propagation_timeout: policy.propagation_timeout,
        attempt_lease: policy.attempt_lease,
        max_read_lag: protocol::MAX_READ_LAG,
        revocation_pause: protocol::REVOCATION_PAUSE,
    }
}

/// Whether the caller runs on a Tokio runtime with a timer. Tokio reports a missing one only by a panic.
fn has_timer() -> bool {
    let probe = || drop(tokio::time::sleep(Duration::ZERO));
    tokio::runtime::Handle::try_current().is_ok() && catch_unwind(probe).is_ok()
}

impl fmt::Debug for RotationEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotationEngine")
            .field("backend", &self.backend.info().kind)
            .finish_non_exhaustive()
    }
}

fn shut_down_error() -> Error {
    Error::new(ErrorKind::Closed, "create a new rotation engine")
        .because("the rotation engine is shut down")
}
