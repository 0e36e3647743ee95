//! Handles: the newest value of one secret, kept fresh in the background.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use strongroom_core::{Error, ErrorKind, Operation, Result, Secret, SecretPath};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::clock;
use crate::manager::SecretsManager;

/// How long after a failure the store is asked again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a look at the store is apart from the next at least, whatever leases say.
const SHORTEST: Duration = Duration::from_secs(1);

/// The newest value of one secret: what a request handler holds on to. From
/// [`SecretsManager::watch`].
///
/// A task looks for a new version as often as the [`ReadPolicy`](crate::ReadPolicy) says, and at once
/// after a write through this manager. While the store cannot be asked, or has no such secret any
/// more, the last value stays. Cloning is cheap; the task ends with the last handle of a path, or when
/// the manager is closed.
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
    seen: watch::Receiver<State>,
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

/// How often a handle has changed, and whether it still can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    changes: u64,
    is_closed: bool,
}

/// What the handles of one path share with the task that keeps them fresh.
struct Watched {
    path: SecretPath,
    current: ArcSwap<Secret>,
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

    /// Waits until there is another version than this handle, or the one it was cloned from, has
    /// waited for before, and gives it. Changes that come quickly may be seen as one.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] once the manager is closed.
    pub async fn changed(&mut self) -> Result<Secret> {
        let was = self.seen.borrow_and_update().changes;
        let changed = self.seen.wait_for(|state| state.changes != was || state.is_closed).await;
        match changed.map(|state| *state) {
            Ok(state) if !state.is_closed => Ok(Secret::clone(&self.current())),
            _ => Err(crate::load::closed().during(Operation::Get).at(self.path())),
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

/// The paths that have handles.
#[derive(Default)]
pub(crate) struct Watches {
    watched: Mutex<HashMap<SecretPath, Weak<Watched>>>,
    /// How many there are, for those who need not look.
    count: AtomicUsize,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<SecretPath, Weak<Watched>>> {
        // A panic cannot leave the map half-changed.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, path: &SecretPath) -> Option<Arc<Watched>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().get(path)?.upgrade()
    }

    /// Passes on what somebody has read.
    pub(crate) fn offer(&self, secret: &Secret) {
        if let Some(watched) = self.find(secret.path()) {
            watched.take(secret);
        }
    }

    /// Has the handles of a path look for a new version at once.
    pub(crate) fn ring(&self, path: &SecretPath) {
        if let Some(watched) = self.find(path) {
            watched.bell.notify_one();
        }
    }

    /// Tells all handles that nothing comes any more.
    pub(crate) fn close(&self) {
        for watched in self.lock().drain().filter_map(|(_, watched)| watched.upgrade()) {
            watched.state.send_modify(|state| state.is_closed = true);
            watched.bell.notify_one();
        }
        self.count.store(0, Ordering::Release);
    }

    /// The handles of a path share one task; `spawn` starts it if there is none.
    fn enter(&self, first: &Secret, spawn: impl FnOnce(&Arc<Watched>)) -> Arc<Watched> {
        let mut all = self.lock();
        if let Some(watched) = all.get(first.path()).and_then(Weak::upgrade) {
            return watched;
        }
        all.retain(|_, watched| watched.strong_count() > 0);
        let watched = Arc::new(Watched {
            path: first.path().clone(),
            current: ArcSwap::from_pointee(first.clone()),
            last_error: ArcSwapOption::empty(),
            state: watch::Sender::new(State::default()),
            bell: Arc::default(),
        });
        all.insert(first.path().clone(), Arc::downgrade(&watched));
        self.count.store(all.len(), Ordering::Release);
        spawn(&watched);
        watched
    }
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().keys()).finish()
    }
}

impl Watched {
    /// Takes what was read, unless something newer is known.
    fn take(&self, secret: &Secret) {
        let known = self.current.load();
        if secret.read_at() < known.read_at() {
            return;
        }
        let is_other =
            known.version() != secret.version() || !known.value().constant_time_eq(secret.value());
        drop(known);
        self.current.store(Arc::new(secret.clone()));
        if !secret.is_stale() && self.last_error.swap(None).is_some() {
            info!(path = %self.path, "a watched secret can be read again");
        }
        if is_other {
            self.state.send_modify(|state| state.changes += 1);
        }
    }

    /// Keeps the last value, and says why.
    fn fail(&self, error: &Error) {
        let known = self.current.load_full();
        if !known.is_stale() {
            self.current.store(Arc::new(known.reissue(known.read_at(), true)));
        }
        if self.last_error.swap(Some(Arc::new(error.clone()))).is_none() {
            warn!(path = %self.path, %error, "a watched secret cannot be read; its last value stays");
        }
    }
}

impl SecretsManager {
    /// Gives a handle on the active version of a secret, which is kept fresh in the background.
    ///
    /// # Errors
    /// As [`get`](Self::get), for the first value; [`ErrorKind::Config`] outside a Tokio runtime.
    pub async fn watch(&self, path: impl AsRef<str>) -> Result<SecretHandle> {
        let first = self.get(path).await?;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            let error = Error::new(ErrorKind::Config, "call it from a task of a Tokio runtime")
                .because("a handle needs a task that keeps it fresh");
            return Err(self.named(error, Operation::Get, first.path()));
        };
        let whole = Self { shared: Arc::clone(&self.shared), namespace: None };
        let watched = self.shared.watches.enter(&first, |watched| {
            runtime.spawn(keep_fresh(Arc::downgrade(watched), Arc::clone(&watched.bell), whole));
        });
        // A close that came meanwhile did not see this handle.
        self.ready(Operation::Get)?;
        let seen = watched.state.subscribe();
        Ok(SecretHandle { watched, seen })
    }
}

/// Looks for new versions as long as there are handles and the manager is open.
async fn keep_fresh(watched: Weak<Watched>, bell: Arc<Notify>, secrets: SecretsManager) {
    let every = secrets.shared.policy.look_every(secrets.backend());
    let mut failures = 0_u32;
    loop {
        let Some(alive) = watched.upgrade() else { return };
        let pause = match failures {
            0 => jittered(due_in(&alive.current.load(), every)).max(SHORTEST),
            _ => jittered(PAUSES.1.min(PAUSES.0 * 2_u32.saturating_pow(failures.min(16) - 1))),
        };
        let read_at = alive.current.load().read_at();
        drop(alive);
        let rung = tokio::time::timeout(pause, bell.notified()).await.is_ok();
        let Some(alive) = watched.upgrade() else { return };
        if !rung && failures == 0 && alive.current.load().read_at() != read_at {
            // Somebody else has read it meanwhile.
            continue;
        }
        match secrets.look_again(&alive.path, every / 2).await {
            Ok(secret) => {
                alive.take(&secret);
                failures = 0;
            }
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                alive.fail(&error);
                failures = failures.saturating_add(1);
            }
        }
    }
}

/// When a secret is to be read again. One that ends before then is read at its end.
fn due_in(secret: &Secret, every: Duration) -> Duration {
    let age = clock::instant().duration_since(secret.read_at());
    let left = every.saturating_sub(age);
    let lease = secret.lease().map(|lease| lease.saturating_sub(age));
    [lease].into_iter().flatten().fold(left, Duration::min)
}

/// Nine tenths of a time to all of it.
fn jittered(time: Duration) -> Duration {
    time * fastrand::u32(90..=100) / 100
}
