//! Handles of a manager that acts as a principal: they end when it may not read the secret any more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use strongroom_access::Guarded;
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::handle::SecretHandle;
use super::state::WatchState;
use crate::act_as::Acting;

/// How often the rules are asked. A handle ends within a second after they have changed.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Acting {
    /// A handle that passes on what the host's handle of the same secret has, as long as the principal may read it.
    pub(crate) async fn watch(
        &self,
        path: &SecretPath,
        first: &Secret,
        runtime: &Handle,
    ) -> Result<SecretHandle> {
        let full = self.guarded.full(path)?;
        let host = self.host.watch(full.as_str()).await?;
        let state = Arc::new(WatchState::new(first, self.host.backend().kind));
        state.progress.send_modify(|progress| progress.has_task = true);
        let task = GuardedTask {
            state: Arc::downgrade(&state),
            wakeup: Arc::clone(&state.wakeup),
            guarded: Arc::clone(&self.guarded),
            path: path.clone(),
            host,
        };
        let progress = state.progress.subscribe();
        let reported = progress.borrow().changes;
        runtime.spawn(task.run());
        Ok(SecretHandle { state, progress, reported })
    }
}

/// Passes new versions on, while there are handles and the rules allow it.
struct GuardedTask {
    state: Weak<WatchState>,
    wakeup: Arc<Notify>,
    guarded: Arc<Guarded>,
    path: SecretPath,
    host: SecretHandle,
}

impl GuardedTask {
    async fn run(mut self) {
        loop {
            let ended = tokio::select! {
                // Only the drop of the last handle wakes it.
                () = self.wakeup.notified() => None,
                changed = tokio::time::timeout(CHECK_INTERVAL, self.host.changed()) => {
                    changed.ok().and_then(Result::err)
                }
            };
            let Some(state) = self.state.upgrade() else { return };
            let result = match ended {
                Some(error) => Err(error),
                None => self.pass_on(&state).await,
            };
            match result {
                Err(error) if ends(&error) => {
                    let tier = state.current.load().metadata().tier;
                    state.deny(&error);
                    self.guarded.record_denied_read(&self.path, tier).await;
                    return;
                }
                // Whether it may still be read cannot be known now; nothing new is handed out.
                Err(error) => state.fail(&error),
                Ok(()) => {}
            }
        }
    }

    /// Passes on what the host's handle has, if the rules allow it.
    async fn pass_on(&self, state: &WatchState) -> Result<()> {
        self.guarded.check_read(&self.path, state.current.load().metadata().tier)?;
        let newest = Secret::clone(&self.host.current());
        if !is_same(&newest, &state.current.load()) {
            let secret = self.guarded.hand_out_read(&self.path, newest).await?;
            state.update(&secret);
            return Ok(());
        }
        match self.host.last_error() {
            Some(error) => state.fail(&error),
            None => state.update(&newest),
        }
        Ok(())
    }
}

/// Whether nothing new is handed out. A version alone does not tell: some stores have only one, and a secret that was
/// destroyed and written again may have the number of an earlier one.
fn is_same(newest: &Secret, known: &Secret) -> bool {
    newest.version() == known.version()
        && newest.metadata().tier == known.metadata().tier
        && newest.value().constant_time_eq(known.value())
}

/// Whether a handle ends with this error: others may pass.
fn ends(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Denied
            | ErrorKind::ApprovalRequired
            | ErrorKind::Unauthenticated
            | ErrorKind::Closed
    )
}
