//! Keeps keys fresh: one task per key, which sleeps until something is to be done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use strongroom_core::{
    Capability, Error, ErrorKind, Metadata, Operation, Result, Secret, SecretKind, SecretPath,
};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::event::{Events, RotationEvent};
use super::header::{ExpiryHeaders, ExpiryUnit};
use super::issuer::KeyIssuer;
use super::keeper::Keeper;
use super::key::{Current, Held, KeyState, RotatingKey};
use super::password::PasswordIssuer;
use super::place::Place;
use super::policy::RotationPolicy;
use super::record::Record;
use super::turn::{Holding, Turn, retries};
use crate::{SecretsManager, clock, runtime};

/// How many keys are replaced at a time, unless said otherwise.
const AT_ONCE: usize = 4;
/// How many wishes wait for a task that is busy.
const WISHES: usize = 64;

/// A key to be kept fresh: where it is stored, who makes new ones, and when.
#[derive(Clone, Debug)]
pub struct Rotation {
    path: String,
    means: Means,
    policy: RotationPolicy,
    headers: ExpiryHeaders,
}

impl Rotation {
    /// The key at `path`, replaced by keys of `issuer`. Response headers that tell the key's remaining
    /// time do so in seconds, unless [`headers`](Self::headers) says otherwise.
    #[must_use]
    pub fn new(path: impl Into<String>, issuer: impl KeyIssuer) -> Self {
        Self::by(path.into(), Means::Issuer(Arc::new(issuer)))
    }

    /// A secret that the store itself replaces, such as the password of a static role in Vault, or a
    /// secret with a rotation function in AWS: the store is asked to when it is due.
    #[must_use]
    pub fn by_store(path: impl Into<String>) -> Self {
        Self::by(path.into(), Means::Store)
    }

    /// A secret that is replaced as its kind says: a `db_credential` by the store itself, a `custom`
    /// secret by a password of [`PasswordIssuer`]'s. Kinds whose keys somebody else makes need
    /// [`new`](Self::new) with their issuer.
    #[must_use]
    pub fn by_kind(path: impl Into<String>) -> Self {
        Self::by(path.into(), Means::Kind)
    }

    fn by(path: String, means: Means) -> Self {
        Self {
            path,
            means,
            policy: RotationPolicy::default(),
            headers: ExpiryHeaders::new(ExpiryUnit::Seconds),
        }
    }

    /// Sets when the key is replaced, and how long each step may take.
    #[must_use]
    pub fn policy(mut self, policy: RotationPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets which response headers tell when the key ends.
    #[must_use]
    pub fn headers(mut self, headers: ExpiryHeaders) -> Self {
        self.headers = headers;
        self
    }
}

/// Who makes new keys.
#[derive(Clone, Debug)]
enum Means {
    Issuer(Arc<dyn KeyIssuer>),
    Store,
    /// What suits the secret's kind.
    Kind,
}

impl Means {
    /// The issuer, or `None` if the store replaces the secret itself.
    fn issuer(self, kind: SecretKind) -> Result<Option<Arc<dyn KeyIssuer>>> {
        match (self, kind) {
            (Self::Issuer(issuer), _) => Ok(Some(issuer)),
            (Self::Store, _) | (Self::Kind, SecretKind::DbCredential) => Ok(None),
            (Self::Kind, SecretKind::Custom) => Ok(Some(Arc::new(PasswordIssuer::default()))),
            (Self::Kind, kind) => Err(Error::new(
                ErrorKind::InvalidInput,
                "name who makes new keys, with `Rotation::new`",
            )
            .because(format!("nobody is known who makes secrets of the kind `{kind}`"))),
        }
    }
}

/// Replaces keys before they expire, while the service goes on sending requests. Keep it: when it is
/// dropped, no key is replaced any more.
///
/// # Examples
/// ```
/// # async fn run(secrets: strongroom::SecretsManager) -> strongroom::Result<()> {
/// use strongroom::rotation::{PasswordIssuer, PasswordPolicy, Rotation, RotationEngine};
///
/// let engine = RotationEngine::new(secrets);
/// let issuer = PasswordIssuer::new(&PasswordPolicy::default())?;
/// let key = engine.add(Rotation::new("internal/token", issuer)).await?;
/// send_a_request(key.acquire().expose_text()?); // the guard lives as long as the request
/// engine.shutdown().await;
/// # Ok(())
/// # }
/// # fn send_a_request(_key: &str) {}
/// ```
#[must_use]
pub struct RotationEngine {
    secrets: SecretsManager,
    events: Events,
    places: Arc<Semaphore>,
    /// The name of this instance in the store.
    instance: String,
    stop: watch::Sender<bool>,
    kept: tokio::sync::Mutex<Kept>,
}

/// The keys that are kept fresh, and the tasks that do it.
#[derive(Default)]
struct Kept {
    tasks: JoinSet<()>,
    keys: BTreeMap<SecretPath, RotatingKey>,
}

impl RotationEngine {
    /// An engine over the secrets of `secrets`.
    pub fn new(secrets: SecretsManager) -> Self {
        Self {
            secrets,
            events: Events::new(None),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            instance: uuid::Uuid::new_v4().to_string(),
            stop: watch::Sender::new(false),
            kept: tokio::sync::Mutex::default(),
        }
    }

    /// Tells each event to `observer` before the next step is made, on the task that makes it. A panic
    /// of it is caught, and changes nothing.
    pub fn observer(mut self, observer: impl Fn(&RotationEvent) + Send + Sync + 'static) -> Self {
        self.events = Events::new(Some(Arc::new(observer)));
        self
    }

    /// Sets how many keys are replaced at a time. 4 unless set; at least 1.
    pub fn at_once(mut self, keys: usize) -> Self {
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
    /// it without the engine reads the member that [`RotationPolicy::member`] names. A secret that has
    /// expired in the store cannot be read, and so not rotated.
    ///
    /// # Errors
    /// As [`get`](SecretsManager::get) for the key; [`ErrorKind::Unsupported`] if the store cannot be
    /// written under conditions, [`ErrorKind::InvalidInput`] if the secret has fields but none for the
    /// key, [`ErrorKind::Config`] outside a Tokio runtime with a timer, [`ErrorKind::Closed`] after
    /// [`shutdown`](Self::shutdown).
    pub async fn add(&self, rotation: Rotation) -> Result<RotatingKey> {
        let Rotation { path, means, policy, headers } = rotation;
        let policy = policy.bounded();
        let path = self.secrets.resolve(&path, Operation::Rotate)?;
        let mut kept = self.kept.lock().await;
        let Kept { tasks, keys } = &mut *kept;
        if *self.stop.borrow() {
            return Err(super::key::shut_down());
        }
        if let Some(key) = keys.get(&path) {
            return Ok(key.clone());
        }
        let named = |error| self.secrets.named(error, Operation::Rotate, &path);
        if runtime::with_timer().is_none() {
            return Err(named(Error::new(
                ErrorKind::Config,
                "call it from a task of a Tokio runtime with a timer (`enable_all`)",
            )));
        }
        let secrets = self.secrets.whole();
        let secret = secrets.refresh(path.as_str()).await?;
        let issuer = means.issuer(secret.metadata().kind).map_err(named)?;
        let needed: &[Capability] = match issuer {
            Some(_) => &[Capability::Put, Capability::Conditions],
            None => &[Capability::Rotate],
        };
        for capability in needed {
            self.secrets.require(*capability, Operation::Rotate, &path)?;
        }
        let record = match issuer {
            Some(_) => Record::of(&secret, &policy.member).map_err(named)?,
            None => Record::foreign(&secret, &policy.member),
        };
        let baseline = self.since(&secrets, &path, &secret).await;
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
            headers,
            #[cfg(test)]
            observed: std::sync::atomic::AtomicU64::new(0),
        });
        let turn = Turn {
            secrets,
            path: path.clone(),
            issuer,
            policy,
            key: Arc::clone(&key),
            events: self.events.clone(),
            instance: self.instance.clone(),
            wanted: None,
            seen: Some(secret),
            held: Holding {
                current: drained,
                same: Vec::new(),
                earlier: Vec::new(),
                since: Instant::now(),
            },
            pending: None,
            missing_since: None,
            conflicts: 0,
            drained: None,
            place: Place::among(Arc::clone(&self.places)),
            watched: None,
            asked: None,
            doubts: None,
            salt: record.salt().to_owned(),
            own: None,
            over: None,
            refusals: 0,
            retries: retries(),
        };
        let keeper = Keeper::new(turn, wished, baseline, self.stop.subscribe());
        tasks.spawn(keeper.run());
        let key = RotatingKey(key);
        keys.insert(path, key.clone());
        Ok(key)
    }

    /// Stops: a step that has begun is ended, a rotation is left where it stands. Whoever starts next,
    /// here or elsewhere, goes on with it.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut kept = self.kept.lock().await;
        while kept.tasks.join_next().await.is_some() {}
    }

    /// Since when a key that was never rotated is in use, as far as the store knows. Many stores tell
    /// times only when asked for them.
    async fn since(
        &self,
        secrets: &SecretsManager,
        path: &SecretPath,
        secret: &Secret,
    ) -> SystemTime {
        let told = |metadata: &Metadata| metadata.updated_at.or(metadata.created_at);
        let mut known = told(secret.metadata());
        if known.is_none() {
            let described = secrets.describe(path.as_str()).await;
            known = described.ok().and_then(|it| told(&it.metadata));
        }
        let now = clock::wall();
        known.map_or(now, |known| known.min(now))
    }
}

impl fmt::Debug for RotationEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotationEngine")
            .field("secrets", &self.secrets)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
