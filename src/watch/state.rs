//! What the handles of one path share.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use strongroom_core::{Error, Secret, SecretPath};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

/// The secret that a handle had when it was asked, readable for as long as this is kept. Keep it for
/// one use, and clone the [`Secret`] to keep that longer.
pub struct Current(pub(super) arc_swap::Guard<Arc<Secret>>);

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

/// What handles wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How often the secret has changed.
    pub(super) changes: u64,
    /// Whether a task reads the secret in the background.
    pub(super) has_task: bool,
}

/// What the handles of one path share with the task that keeps them fresh.
pub(crate) struct WatchState {
    pub(super) path: SecretPath,
    /// The kind of the store.
    pub(super) backend: &'static str,
    pub(super) current: ArcSwap<Secret>,
    /// Held while the current secret is replaced.
    replacing: Mutex<()>,
    pub(super) last_error: ArcSwapOption<Error>,
    /// Why the principal may not read the secret any more.
    denied: ArcSwapOption<Error>,
    pub(super) progress: watch::Sender<Progress>,
    /// Wakes the task, also when the last handle is dropped.
    pub(super) wakeup: Arc<Notify>,
}

impl Drop for WatchState {
    fn drop(&mut self) {
        self.wakeup.notify_one();
    }
}

impl WatchState {
    /// The state for the first handle of a path. It has no task yet.
    pub(super) fn new(first: &Secret, backend: &'static str) -> Self {
        Self {
            path: first.path().clone(),
            backend,
            current: ArcSwap::from_pointee(first.clone()),
            replacing: Mutex::default(),
            last_error: ArcSwapOption::empty(),
            denied: ArcSwapOption::empty(),
            progress: watch::Sender::default(),
            wakeup: Arc::default(),
        }
    }

    /// Replaces the current secret, unless it is the newer one.
    pub(super) fn update(&self, secret: &Secret) {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        if secret.read_at() < current.read_at() {
            return;
        }
        self.current.store(Arc::new(secret.clone()));
        let was_failing = !secret.is_stale() && self.last_error.swap(None).is_some();
        let is_changed = current.version() != secret.version()
            || !current.value().constant_time_eq(secret.value());
        if is_changed {
            self.progress.send_modify(|progress| progress.changes += 1);
        }
        drop(replacing);
        if is_changed {
            let version = secret.version();
            info!(path = %self.path, %version, "a watched secret has a new version");
        }
        if was_failing {
            info!(path = %self.path, "a watched secret can be read again");
        }
    }

    /// Marks the last value as stale until it is read again.
    pub(super) fn mark_stale(&self) {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.mark_stale_locked();
        drop(replacing);
    }

    fn mark_stale_locked(&self) {
        let current = self.current.load_full();
        if !current.is_stale() {
            self.current.store(Arc::new(current.reissue(current.read_at(), true)));
        }
    }

    /// Ends the handles, since the principal may not read the secret any more.
    #[cfg(feature = "access")]
    pub(super) fn deny(&self, error: &Error) {
        self.denied.store(Some(Arc::new(error.clone())));
        self.fail(error);
        self.progress.send_modify(|progress| progress.has_task = false);
    }

    /// The error that ended the handles, unless the manager was closed.
    pub(super) fn ended_by(&self) -> Option<Error> {
        self.denied.load().as_deref().cloned()
    }

    /// Keeps the last value, marked as stale, and the error.
    pub(super) fn fail(&self, error: &Error) {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.mark_stale_locked();
        let is_first = self.last_error.swap(Some(Arc::new(error.clone()))).is_none();
        drop(replacing);
        if is_first {
            warn!(path = %self.path, %error, "a watched secret cannot be read; its last value stays");
        }
    }
}
