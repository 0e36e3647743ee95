//! Which paths have handles.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use strongroom_core::{Secret, SecretPath};
use tokio::sync::Notify;

use super::state::{Progress, WatchState};

/// How many states are kept before those without handles are removed.
const MIN_CLEANUP: usize = 64;

/// The paths that have handles.
#[derive(Default)]
pub(crate) struct WatchRegistry {
    entries: Mutex<Entries>,
    /// The number of paths, so that a read of a manager without handles takes no lock.
    count: AtomicUsize,
    /// Whether a task looks after suspensions of the machine.
    pub(super) has_suspend_watcher: AtomicBool,
}

#[derive(Default)]
struct Entries {
    states: HashMap<SecretPath, Weak<WatchState>>,
    /// How many states make the next handle remove those without handles: twice as many as were left
    /// the last time, so that a handle costs the same however many there are.
    cleanup_at: usize,
    /// How often a secret was written or invalidated, or the store told of changes.
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

    /// Counts a change of the store: of secrets, or maybe of any. Returns the wake-ups of the tasks that have to read again.
    pub(crate) fn record_change(&self, paths: Option<&[SecretPath]>) -> Vec<Arc<Notify>> {
        let mut entries = self.lock();
        entries.writes += 1;
        let states: Vec<_> = match paths {
            Some(paths) => {
                paths.iter().filter_map(|path| entries.states.get(path)?.upgrade()).collect()
            }
            None => entries.states.values().filter_map(Weak::upgrade).collect(),
        };
        drop(entries);
        states.iter().map(|state| Arc::clone(&state.wakeup)).collect()
    }

    /// All states. Those without handles cannot be upgraded.
    pub(super) fn states(&self) -> Vec<Weak<WatchState>> {
        self.lock().states.values().cloned().collect()
    }

    pub(crate) fn has_handles(&self) -> bool {
        self.lock().states.values().any(|state| state.strong_count() > 0)
    }

    /// How often secrets were written or invalidated, or the store told of changes, until now.
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
        if entries.states.len() >= entries.cleanup_at {
            entries.states.retain(|_, state| state.strong_count() > 0);
            entries.cleanup_at = (2 * entries.states.len()).max(MIN_CLEANUP);
        }
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
        let entries = self.lock();
        let live = entries.states.iter().filter(|(_, state)| state.strong_count() > 0);
        f.debug_list().entries(live.map(|(path, _)| path)).finish()
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::Metadata;

    use super::*;

    fn secret(path: &str) -> Secret {
        let path = SecretPath::parse(path).unwrap();
        Secret::new(path, 1.into(), Metadata::default(), "value".into())
    }

    #[test]
    fn states_without_handles_do_not_pile_up() {
        let registry = WatchRegistry::default();
        let register =
            |name: String| registry.register(&secret(&name), "env", None, |_| ()).unwrap();
        let kept: Vec<_> = (0..100).map(|number| register(format!("kept/{number}"))).collect();
        for number in 0..10_000 {
            drop(register(format!("dropped/{number}")));
            assert!(registry.lock().states.len() <= 2 * kept.len() + 1);
        }
        let live = format!("{registry:?}");
        assert_eq!(live.matches("kept/").count(), kept.len());
        assert!(!live.contains("dropped/"), "{live}");
    }
}
