//! Which paths have handles.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use strongroom_core::{Secret, SecretPath};

use super::state::{Progress, WatchState};

/// The paths that have handles.
#[derive(Default)]
pub(crate) struct WatchRegistry {
    entries: Mutex<Entries>,
    /// The number of paths, so that a read of a manager without handles takes no lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct Entries {
    states: HashMap<SecretPath, Weak<WatchState>>,
    /// How often a secret was written or invalidated.
    writes: u64,
    is_closed: bool,
}

impl WatchRegistry {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A panic cannot leave the entries half-written.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a secret that was read on to its handles.
    pub(crate) fn offer(&self, secret: &Secret) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let state = self.lock().states.get(secret.path()).and_then(Weak::upgrade);
        if let Some(state) = state {
            state.update(secret);
        }
    }

    /// Makes the task of a path read its secret immediately.
    pub(crate) fn notify(&self, path: &SecretPath) {
        let mut entries = self.lock();
        entries.writes += 1;
        let state = entries.states.get(path).and_then(Weak::upgrade);
        drop(entries);
        if let Some(state) = state {
            state.wakeup.notify_one();
        }
    }

    /// How often secrets were written or invalidated until now.
    pub(super) fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Ends all tasks. Their handles report that the manager is closed.
    pub(crate) fn close(&self) {
        let mut entries = self.lock();
        entries.is_closed = true;
        let all: Vec<_> = entries.states.drain().collect();
        drop(entries);
        self.count.store(0, Ordering::Release);
        for state in all.into_iter().filter_map(|(_, state)| state.upgrade()) {
            state.progress.send_modify(|progress| progress.has_task = false);
            state.wakeup.notify_one();
        }
    }

    /// The state for a handle of `first`, which was read after so many writes. The handles of a path share one
    /// task; `spawn_task` starts it if there is none. `None` if a write may have overtaken the read, or the manager
    /// is closed.
    pub(super) fn register(
        &self,
        first: &Secret,
        backend: &'static str,
        writes: Option<u64>,
        spawn_task: impl FnOnce(&Arc<WatchState>),
    ) -> Option<Arc<WatchState>> {
        let mut entries = self.lock();
        let is_overtaken = writes.is_some_and(|writes| writes != entries.writes);
        if is_overtaken || entries.is_closed {
            return None;
        }
        let state = entries.states.get(first.path()).and_then(Weak::upgrade);
        let state = state.unwrap_or_else(|| Arc::new(WatchState::new(first, backend)));
        let claim = |progress: &mut Progress| !std::mem::replace(&mut progress.has_task, true);
        if state.progress.send_if_modified(claim) {
            spawn_task(&state);
        }
        entries.states.retain(|_, state| state.strong_count() > 0);
        entries.states.insert(first.path().clone(), Arc::downgrade(&state));
        self.count.store(entries.states.len(), Ordering::Release);
        drop(entries);
        state.update(first);
        if writes.is_none() {
            state.wakeup.notify_one();
        }
        Some(state)
    }
}

impl fmt::Debug for WatchRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().states.keys()).finish()
    }
}
