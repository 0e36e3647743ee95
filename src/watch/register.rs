//! Which paths have handles.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use strongroom_core::{Secret, SecretPath};

use super::{State, Watched};

/// The paths that have handles.
#[derive(Default)]
pub(crate) struct Watches {
    register: Mutex<Register>,
    /// How many there are, for those who need not look.
    count: AtomicUsize,
}

#[derive(Default)]
struct Register {
    watched: HashMap<SecretPath, Weak<Watched>>,
    /// How often a secret was written or forgotten.
    changes: u64,
    is_closed: bool,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Register> {
        // A panic cannot leave the register half-written.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what somebody has read.
    pub(crate) fn offer(&self, secret: &Secret) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let watched = self.lock().watched.get(secret.path()).and_then(Weak::upgrade);
        if let Some(watched) = watched {
            watched.take(secret);
        }
    }

    /// Has the handles of a path look for a new version at once.
    pub(crate) fn ring(&self, path: &SecretPath) {
        let mut register = self.lock();
        register.changes += 1;
        let watched = register.watched.get(path).and_then(Weak::upgrade);
        drop(register);
        if let Some(watched) = watched {
            watched.bell.notify_one();
        }
    }

    /// How often secrets were written or forgotten until now.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Tells all handles that nothing comes any more.
    pub(crate) fn close(&self) {
        let mut register = self.lock();
        register.is_closed = true;
        let all: Vec<_> = register.watched.drain().collect();
        drop(register);
        self.count.store(0, Ordering::Release);
        for watched in all.into_iter().filter_map(|(_, watched)| watched.upgrade()) {
            watched.state.send_modify(|state| state.is_unattended = true);
            watched.bell.notify_one();
        }
    }

    /// Enters a handle for `first`, which was read when there had been so many changes. The handles of
    /// a path share one task, which `attend` starts if there is none. `None` if a write may have
    /// overtaken the reading, or the manager is closed.
    pub(super) fn enter(
        &self,
        first: &Secret,
        backend: &'static str,
        changes: Option<u64>,
        attend: impl FnOnce(&Arc<Watched>),
    ) -> Option<Arc<Watched>> {
        let mut register = self.lock();
        let is_overtaken = changes.is_some_and(|changes| changes != register.changes);
        if is_overtaken || register.is_closed {
            return None;
        }
        let known = register.watched.get(first.path()).and_then(Weak::upgrade);
        let watched = known.unwrap_or_else(|| Arc::new(Watched::new(first, backend)));
        let is_unattended = |state: &mut State| std::mem::take(&mut state.is_unattended);
        if watched.state.send_if_modified(is_unattended) {
            attend(&watched);
        }
        register.watched.retain(|_, watched| watched.strong_count() > 0);
        register.watched.insert(first.path().clone(), Arc::downgrade(&watched));
        self.count.store(register.watched.len(), Ordering::Release);
        drop(register);
        watched.take(first);
        if changes.is_none() {
            watched.bell.notify_one();
        }
        Some(watched)
    }
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().watched.keys()).finish()
    }
}
