//! Handles: the newest value of one secret, kept fresh in the background.

mod register;

use std::fmt;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::FutureExt as _;
use strongroom_core::{Error, ErrorKind, Operation, Result, Secret, SecretPath};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

pub(crate) use self::register::Watches;
use crate::manager::SecretsManager;
use crate::policy::bounded;
use crate::{clock, load, runtime};

/// How long after a failure the store is asked again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a look at the store is apart from the next at least, whatever leases say.
const SHORTEST: Duration = Duration::from_secs(1);

/// How often a first reading that a write may have overtaken is made again. The last one is used all
/// the same, and looked at again at once.
const TRIES: u32 = 8;
/// How soon a secret is looked at again that somebody may just be writing.
const SOON: Duration = Duration::from_secs(5);

/// The newest value of one secret: what a request handler holds on to. From
/// [`SecretsManager::watch`].
///
/// A task looks for a new version as often as the [`ReadPolicy`](crate::ReadPolicy) says, and at once
/// after a write through this manager. While the store cannot be asked, or has no such secret any
/// more, the last value stays, marked as stale. Cloning is cheap. The task ends with the last handle of
/// a path, with the manager that is closed, or with the runtime in which the first handle was made.
///
/// # Examples
/// ```
/// # async fn run(secrets: strongroom::SecretsManager) -> strongroom::Result<()> {
/// let password = secrets.watch("db/password").await?;
/// connect(password.current().expose_text()?); // in each request; it never waits
/// # Ok(())
/// # }
/// # fn connect(_password: &str) {}
/// ```
#[derive(Clone)]
pub struct SecretHandle {
    watched: Arc<Watched>,
    state: watch::Receiver<State>,
    /// How many changes this handle has told of.
    told: u64,
}

/// The secret that a handle had when it was asked, readable for as long as this is kept. Keep it for
/// one use, and clone the [`Secret`] to keep that longer.
pub struct Current(arc_swap::Guard<Arc<Secret>>);

impl Deref for Current {
    type Target = Secret;

    fn deref(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// How often a secret has changed, and whether somebody still looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    changes: u64,
    is_unattended: bool,
}

/// What the handles of one path share with the task that keeps them fresh.
pub(crate) struct Watched {
    path: SecretPath,
    /// The kind of the store.
    backend: &'static str,
    current: ArcSwap<Secret>,
    /// Held by whoever replaces the current secret.
    replacing: Mutex<()>,
    last_error: ArcSwapOption<Error>,
    state: watch::Sender<State>,
    /// Wakes the task. It outlives this, so that the task learns of its end.
    bell: Arc<Notify>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bell.notify_one();
    }
}

impl SecretHandle {
    /// The newest value that is known, without waiting.
    #[must_use]
    pub fn current(&self) -> Current {
        Current(self.watched.current.load())
    }

    /// Where the secret lives in its store.
    #[must_use]
    pub fn path(&self) -> &SecretPath {
        &self.watched.path
    }

    /// Waits until there is another version than the one that this handle was made with, or told of
    /// before, and gives it. Changes that come quickly may be seen as one.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] once the manager is closed, or the runtime is gone in which the first
    /// handle of this path was made: nobody looks any more.
    pub async fn changed(&mut self) -> Result<Secret> {
        let told = self.told;
        let news = |state: &State| state.changes != told || state.is_unattended;
        let state = self.state.wait_for(news).await.map(|state| *state);
        match state {
            Ok(State { changes, .. }) if changes != told => {
                self.told = changes;
                Ok(Secret::clone(&self.current()))
            }
            _ => {
                let closed = load::closed().during(Operation::Get).at(self.path());
                Err(closed.from_backend(self.watched.backend))
            }
        }
    }

    /// Why the store could not be asked the last time, if it could not. The current value is from
    /// before then: it may be replaced, deleted, or out of reach for this service.
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.watched.last_error.load().as_deref().cloned()
    }
}

impl fmt::Debug for SecretHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretHandle").field("current", &self.current()).finish_non_exhaustive()
    }
}

impl Watched {
    /// Nobody looks yet.
    fn new(first: &Secret, backend: &'static str) -> Self {
        Self {
            path: first.path().clone(),
            backend,
            current: ArcSwap::from_pointee(first.clone()),
            replacing: Mutex::default(),
            last_error: ArcSwapOption::empty(),
            state: watch::Sender::new(State { changes: 0, is_unattended: true }),
            bell: Arc::default(),
        }
    }

    /// Takes what was read, unless something newer is known.
    fn take(&self, secret: &Secret) {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.current.load_full();
        if secret.read_at() < known.read_at() {
            return;
        }
        self.current.store(Arc::new(secret.clone()));
        let was_failing = !secret.is_stale() && self.last_error.swap(None).is_some();
        let is_other =
            known.version() != secret.version() || !known.value().constant_time_eq(secret.value());
        if is_other {
            self.state.send_modify(|state| state.changes += 1);
        }
        drop(replacing);
        if was_failing {
            info!(path = %self.path, "a watched secret can be read again");
        }
    }

    /// Keeps the last value, and says why.
    fn fail(&self, error: &Error) {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.current.load_full();
        if !known.is_stale() {
            self.current.store(Arc::new(known.reissue(known.read_at(), true)));
        }
        let is_news = self.last_error.swap(Some(Arc::new(error.clone()))).is_none();
        drop(replacing);
        if is_news {
            warn!(path = %self.path, %error, "a watched secret cannot be read; its last value stays");
        }
    }
}

impl SecretsManager {
    /// Gives a handle on the active version of a secret, which is kept fresh in the background.
    ///
    /// # Errors
    /// As [`get`](Self::get), for the first value; [`ErrorKind::Config`] outside a Tokio runtime with a
    /// timer.
    pub async fn watch(&self, path: impl AsRef<str>) -> Result<SecretHandle> {
        let path = self.resolve(path.as_ref(), Operation::Get)?;
        let Some(runtime) = runtime::with_timer() else {
            let error = Error::new(
                ErrorKind::Config,
                "call it from a task of a Tokio runtime with a timer (`enable_all`)",
            )
            .because("a handle needs a task that keeps it fresh");
            return Err(self.named(error, Operation::Get, &path));
        };
        let whole = self.whole();
        let (watches, backend) = (&self.shared.watches, self.backend().kind);
        let mut tries = 0;
        loop {
            tries += 1;
            let changes = if tries < TRIES { Some(watches.changes()) } else { None };
            let first = whole.look_again(&path, None).await?;
            let attend = |watched: &Arc<Watched>| {
                let attendant = Attendant {
                    watched: Arc::downgrade(watched),
                    bell: Arc::clone(&watched.bell),
                    secrets: whole.clone(),
                };
                runtime.spawn(attendant.keep_fresh());
            };
            if let Some(watched) = watches.enter(&first, backend, changes, attend) {
                let state = watched.state.subscribe();
                let told = state.borrow().changes;
                return Ok(SecretHandle { watched, state, told });
            }
            self.ready(Operation::Get).map_err(|error| error.at(&path))?;
        }
    }
}

/// Looks for new versions as long as there are handles and the manager is open.
struct Attendant {
    watched: Weak<Watched>,
    bell: Arc<Notify>,
    secrets: SecretsManager,
}

impl Attendant {
    async fn keep_fresh(self) {
        let every = self.secrets.shared.policy.look_every(self.secrets.backend());
        let (mut failures, mut asked_to_wait) = (0_u32, Duration::ZERO);
        loop {
            let Some(alive) = self.watched.upgrade() else { return };
            let pause = match failures {
                0 => self.due_in(&alive.current.load(), every),
                _ => PAUSES.1.min(PAUSES.0 * 2_u32.saturating_pow(failures.min(16) - 1)),
            };
            let pause = jittered(pause).max(SHORTEST).max(asked_to_wait);
            let read_at = alive.current.load().read_at();
            drop(alive);
            let rung = tokio::time::timeout(pause, self.bell.notified()).await.is_ok();
            let Some(alive) = self.watched.upgrade() else { return };
            if !rung && failures == 0 && alive.current.load().read_at() != read_at {
                // Somebody else has read it meanwhile.
                continue;
            }
            let looking = AssertUnwindSafe(self.secrets.look_again(&alive.path, Some(every / 2)));
            match looking.catch_unwind().await.unwrap_or_else(|_| Err(load::panicked())) {
                Ok(secret) => {
                    alive.take(&secret);
                    (failures, asked_to_wait) = (0, Duration::ZERO);
                }
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) => {
                    alive.fail(&error);
                    failures = failures.saturating_add(1);
                    asked_to_wait = error.retry_after().map_or(Duration::ZERO, bounded);
                }
            }
        }
    }

    /// When a secret is to be read again: at its end, if that comes before the usual time, and soon if
    /// somebody may just be writing it.
    fn due_in(&self, secret: &Secret, every: Duration) -> Duration {
        let age = clock::instant().duration_since(secret.read_at());
        let expiry = secret.metadata().expires_at;
        let expiry = expiry.map(|end| end.duration_since(clock::wall()).unwrap_or_default());
        let lease = secret.lease().map(|lease| lease.saturating_sub(age));
        let cache = self.secrets.shared.cache.as_ref();
        let unsettled = cache.is_some_and(|cache| cache.is_unsettled(secret.path()));
        let ends = [expiry, lease, unsettled.then_some(SOON)].into_iter().flatten();
        ends.fold(every.saturating_sub(age), Duration::min)
    }
}

/// Whoever holds a handle learns that nobody looks any more.
impl Drop for Attendant {
    fn drop(&mut self) {
        let Some(watched) = self.watched.upgrade() else { return };
        if !self.secrets.is_closing() {
            let advice = "make a new handle with `watch`, in a runtime that lasts";
            let error = Error::new(ErrorKind::Closed, advice)
                .because("the runtime is gone in which this secret was kept fresh");
            watched.fail(&error);
        }
        watched.state.send_modify(|state| state.is_unattended = true);
    }
}

/// Nine tenths of a time to all of it.
fn jittered(time: Duration) -> Duration {
    time * fastrand::u32(90..=100) / 100
}
