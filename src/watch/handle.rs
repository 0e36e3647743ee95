//! What an application holds of a watched secret.

use std::fmt;
use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Operation, Result, Secret, SecretPath};
use tokio::sync::watch;

use super::state::{Current, Progress, WatchState};
use super::suspend;
use super::task::WatchTask;
use crate::error::closed;
use crate::manager::SecretsManager;
use crate::{changes, runtime};

/// How often `watch` repeats a first read that a write may have overtaken. The last read is used nevertheless, and
/// repeated immediately in the background.
const MAX_FIRST_READS: u32 = 8;

/// The newest value of one secret: what a request handler keeps. From
/// [`SecretsManager::watch`].
///
/// A task reads the secret as often as the [`ReadPolicy`](crate::ReadPolicy) says, and immediately
/// after a write through this manager, or when the store tells of a change by another process. While the store is unavailable, or no longer has the
/// secret, the last value stays, marked as stale. Cloning is cheap. The task ends with the last handle of
/// a path, when the manager is closed, or with the runtime in which the first handle was made.
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
    pub(super) state: Arc<WatchState>,
    pub(super) progress: watch::Receiver<Progress>,
    /// How many changes this handle has reported.
    pub(super) reported: u64,
}

impl SecretHandle {
    /// The newest known value, without waiting.
    #[must_use]
    pub fn current(&self) -> Current {
        Current(self.state.current.load())
    }

    /// Where the secret lives in its store.
    #[must_use]
    pub fn path(&self) -> &SecretPath {
        &self.state.path
    }

    /// Waits for a version other than the one that this handle was made with or has reported
    /// before, and returns it. Changes that come quickly may be reported as one.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] once the manager is closed, or the runtime is gone in which the first
    /// handle of this path was made: no task reads the secret any more. [`ErrorKind::Denied`] and
    /// [`ErrorKind::Unauthenticated`], from a manager that acts as a principal, once that may not read the secret
    /// any more.
    pub async fn changed(&mut self) -> Result<Secret> {
        let reported = self.reported;
        let is_news = |progress: &Progress| progress.changes != reported || !progress.has_task;
        let progress = self.progress.wait_for(is_news).await.map(|progress| *progress);
        match progress {
            Ok(Progress { changes, .. }) if changes != reported => {
                self.reported = changes;
                Ok(Secret::clone(&self.current()))
            }
            _ => {
                let error = self.state.ended_by().unwrap_or_else(closed);
                Err(error.during(Operation::Get).at(self.path()).from_backend(self.state.backend))
            }
        }
    }

    /// The error of the last read in the background, if it failed. The current value is from an earlier
    /// read: since then, the secret may have been replaced or deleted, or access may have been revoked.
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.state.last_error.load().as_deref().cloned()
    }
}

impl fmt::Debug for SecretHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretHandle").field("current", &self.current()).finish_non_exhaustive()
    }
}

impl SecretsManager {
    /// Returns a handle on the active version of a secret, which a task keeps fresh in the background.
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
            return Err(self.add_context(error, Operation::Get, &path));
        };
        #[cfg(feature = "access")]
        if let Some(acting) = self.shared.acting.get() {
            let first = self.without_namespace().get(path.as_str()).await?;
            return Box::pin(acting.watch(&path, &first, &runtime)).await;
        }
        let root = self.without_namespace();
        let (registry, backend) = (&self.shared.watches, self.backend().kind);
        let mut reads = 0;
        changes::follow(&self.shared);
        loop {
            reads += 1;
            let writes = (reads < MAX_FIRST_READS).then(|| registry.writes());
            let first = root.read_for_handle(&path, None).await?;
            let spawn_task = |state: &Arc<WatchState>| {
                runtime.spawn(WatchTask::new(state, root.clone()).run());
            };
            if let Some(state) = registry.register(&first, backend, writes, spawn_task) {
                let progress = state.progress.subscribe();
                let reported = progress.borrow().changes;
                suspend::start(&self.shared, &runtime);
                changes::follow(&self.shared);
                return Ok(SecretHandle { state, progress, reported });
            }
            self.ready(Operation::Get).map_err(|error| error.at(&path))?;
        }
    }
}
