//! Keeps keys fresh: one task per key, which sleeps until something is to be done.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::catch_unwind;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use strongroom_core::{
    Backend, Capability, Error, ErrorKind, Operation, Result, Secret, SecretPath,
};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::adopt::Holding;
use super::clock;
use super::event::{Events, RotationEvent};
use super::keeper::Keeper;
use super::key::{Current, Held, KeyState, RotatingKey};
use super::managed_key::ManagedKey;
use super::permit::ConcurrencyPermit;
use super::record::Record;
use super::store::StoredSecret;
use super::store_checks::Looks;
use super::turn::Turn;

/// How many keys are replaced at a time, unless said otherwise.
const AT_ONCE: usize = 4;
/// How long a step that has begun may take when the engine stops: less than the 30 s that Kubernetes
/// leaves a container.
const GRACE: Duration = Duration::from_secs(20);
/// How many wishes wait for a task that is busy.
const WISHES: usize = 64;

/// Replaces keys before they expire, while the service goes on sending requests. Keep it: when it is
/// dropped, no key is replaced any more.
///
/// # Examples
/// ```
/// # async fn run(store: strongroom_core::MemoryBackend) -> strongroom_core::Result<()> {
/// use strongroom_rotation::{PasswordIssuer, PasswordPolicy, ManagedKey, RotationEngine};
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
    places: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

/// The keys that are kept fresh, and the tasks that do it. They end with this.
#[derive(Default)]
struct Kept {
    is_shut_down: bool,
    tasks: JoinSet<()>,
    keys: BTreeMap<SecretPath, KeptKey>,
}

struct KeptKey {
    key: RotatingKey,
    task: Task,
}

/// The task that keeps a key fresh.
#[derive(Clone)]
struct Task {
    /// The task holds its receiver to its end.
    stop: watch::Sender<bool>,
    handle: AbortHandle,
}

impl Task {
    /// Has the tasks end, and waits until they have; what takes too long is broken off.
    async fn end(tasks: Vec<Self>) {
        for task in &tasks {
            task.stop.send_replace(true);
        }
        let ended = join_all(tasks.iter().map(|task| task.stop.closed()));
        if timeout(GRACE, ended).await.is_err() {
            tracing::warn!("a step of a rotation took too long, and was broken off");
            for task in &tasks {
                task.handle.abort();
            }
        }
    }
}

impl RotationEngine {
    /// An engine over a store, or over a `SecretsManager` of the crate `strongroom`, whose cache then
    /// learns of each new key.
    pub fn new(backend: impl Backend) -> Self {
        Self {
            backend: Arc::new(backend),
            events: Events::new(None),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            kept: Mutex::default(),
        }
    }

    /// Tells each event to `observer` before the next step is made, on the task that makes it. A panic
    /// of it is caught, and changes nothing.
    pub fn observer(mut self, observer: impl Fn(&RotationEvent) + Send + Sync + 'static) -> Self {
        self.events = Events::new(Some(Arc::new(observer)));
        self
    }

    /// Sets how many keys are replaced at a time. 4 unless set; at least 1.
    pub fn max_concurrent_rotations(mut self, keys: usize) -> Self {
        self.places = Arc::new(Semaphore::new(keys.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// Tells of what happens to keys from now on. Who falls behind misses some.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<RotationEvent> {
        self.events.subscribe()
    }

    /// Keeps a key fresh from now on, and gives the handle that requests take it from. A rotation that
    /// was interrupted is finished. For a path that is kept fresh already it gives the handle of the
    /// first call.
    ///
    /// With an issuer, the secret becomes a JSON object when its first rotation begins: whoever reads
    /// it without the engine reads the member that
    /// [`RotationPolicy::member`](super::RotationPolicy::member) names. A secret that has expired in the
    /// store cannot be read, and so not rotated.
    ///
    /// # Errors
    /// As [`Backend::get`] for the key; [`ErrorKind::Unsupported`] if the store cannot be
    /// written under conditions, [`ErrorKind::InvalidInput`] if the secret has fields but none for the
    /// key, [`ErrorKind::Config`] outside a Tokio runtime with a timer, [`ErrorKind::Closed`] after
    /// [`shutdown`](Self::shutdown).
    pub async fn add(&self, rotation: ManagedKey) -> Result<RotatingKey> {
        let ManagedKey { path, means, policy, headers } = rotation;
        let policy = policy.bounded();
        let path = self.resolve(&path)?;
        if let Some(key) = self.kept(&path)? {
            return Ok(key);
        }
        let store = StoredSecret::new(Arc::clone(&self.backend), path.clone());
        let named = |error| store.named(error, Operation::Rotate);
        if !has_timer() {
            return Err(named(Error::new(
                ErrorKind::Config,
                "call it from a task of a Tokio runtime with a timer (`enable_all`)",
            )));
        }
        let secret = store.read(policy.attempt_lease).await?;
        let issuer = means.issuer(secret.metadata().kind).map_err(named)?;
        let needed: &[Capability] = match issuer {
            Some(_) => &[Capability::Put, Capability::Conditions],
            None => &[Capability::Rotate],
        };
        for capability in needed {
            store.require(*capability)?;
        }
        let record = match issuer {
            Some(_) => Record::of(&secret, &policy.member).map_err(named)?,
            None => Record::foreign(&secret, &policy.member),
        };
        let baseline = since(&store, &secret, policy.attempt_lease).await;
        let fingerprint = record.fingerprint(&record.key);
        let state = KeyState {
            generation: record.generation,
            fingerprint: fingerprint.clone(),
            expires_at: record.expires_at,
            rotated_at: record.rotated_at,
            last_error: None,
        };
        let (held, drained) = Held::new(record.key.clone(), record.generation, 0, fingerprint);
        let (wishes, wished) = mpsc::channel(WISHES);
        let key = Arc::new(Current {
            held: ArcSwap::from_pointee(held),
            state: watch::Sender::new(state),
            wishes,
            looks: Looks::default(),
            headers,
            has_complained: AtomicBool::new(false),
            #[cfg(test)]
            observed: std::sync::atomic::AtomicU64::new(0),
        });
        let turn = Turn {
            store,
            path: path.clone(),
            issuer,
            policy,
            key: Arc::clone(&key),
            events: self.events.clone(),
            // Another one for each task: what one remembers of its attempt, the next does not know.
            instance: uuid::Uuid::new_v4().to_string(),
            wanted: None,
            leaked: None,
            has_previous: false,
            seen: Some(secret),
            held: Holding {
                current: drained,
                same: Vec::new(),
                earlier: Vec::new(),
                since: Instant::now(),
            },
            pending: None,
            missing_since: None,
            older_since: None,
            noted: None,
            unmoved: None,
            stuck: None,
            conflicts: 0,
            drained: None,
            place: ConcurrencyPermit::among(Arc::clone(&self.places)),
            watched: None,
            asked: None,
            doubts: None,
            salt: record.salt().to_owned(),
            stored_end: record.expires_at,
            own: None,
            over: None,
            reluctance: 0,
            revoked: None,
            unrevoked: None,
            refused_at: None,
        };
        let (stop, stopped) = watch::channel(false);
        let keeper = Keeper::new(turn, wished, baseline, stopped);
        self.keep(path, RotatingKey(key), stop, keeper)
    }

    /// Keeps a key fresh, unless somebody else has begun to.
    fn keep(
        &self,
        path: SecretPath,
        key: RotatingKey,
        stop: watch::Sender<bool>,
        keeper: Keeper,
    ) -> Result<RotatingKey> {
        let mut kept = self.lock();
        if kept.is_shut_down {
            return Err(shut_down());
        }
        while kept.tasks.try_join_next().is_some() {}
        if let Some(known) = kept.keys.get(&path) {
            return Ok(known.key.clone());
        }
        let handle = kept.tasks.spawn(keeper.run());
        let task = Task { stop, handle };
        kept.keys.insert(path, KeptKey { key: key.clone(), task });
        Ok(key)
    }

    /// The key at a path, if it is kept fresh.
    fn kept(&self, path: &SecretPath) -> Result<Option<RotatingKey>> {
        let kept = self.lock();
        if kept.is_shut_down {
            return Err(shut_down());
        }
        Ok(kept.keys.get(path).map(|known| known.key.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a key fresh no longer; whether it was. Its handles go on with the last key, and a rotation
    /// under way is left where it stands, as by [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the path is none.
    pub async fn remove(&self, path: impl AsRef<str>) -> Result<bool> {
        let path = self.resolve(path.as_ref())?;
        let removed = self.lock().keys.remove(&path);
        let was_kept = removed.is_some();
        Task::end(removed.into_iter().map(|known| known.task).collect()).await;
        Ok(was_kept)
    }

    /// Stops: a step that has begun is ended, a rotation is left where it stands. Whoever starts next,
    /// here or elsewhere, goes on with it. A step that takes longer than 20 seconds is broken off, as if
    /// the process had died.
    pub async fn shutdown(&self) {
        let tasks = {
            let mut kept = self.lock();
            kept.is_shut_down = true;
            kept.keys.values().map(|known| known.task.clone()).collect()
        };
        Task::end(tasks).await;
    }

    fn resolve(&self, path: &str) -> Result<SecretPath> {
        SecretPath::parse(path)
            .map_err(|error| error.during(Operation::Rotate).from_backend(self.backend.info().kind))
    }
}

/// Since when a key that was never rotated is in use, as far as the store knows. Many stores tell
/// times only when asked for them.
async fn since(store: &StoredSecret, secret: &Secret, limit: std::time::Duration) -> SystemTime {
    let metadata = secret.metadata();
    let mut known = metadata.updated_at.or(metadata.created_at);
    if known.is_none() {
        known = store.describe_change(limit).await;
    }
    let now = clock::wall();
    known.map_or(now, |known| known.min(now))
}

/// Whether the caller runs on a Tokio runtime with a timer. Tokio tells that only by a panic.
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

fn shut_down() -> Error {
    Error::new(ErrorKind::Closed, "make a new rotation engine")
        .because("the rotation engine is shut down")
}
