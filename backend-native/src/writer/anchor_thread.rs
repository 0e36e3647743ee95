//! The thread that advances an anchor in another store, so that writes do not wait for that store.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use strongroom_core::Result;

use super::anchor_updates::AnchorUpdates;
use super::no_thread;
use crate::guard::LOCK_WAIT;
use crate::store::Store;

/// Tells the thread what to do.
pub(super) struct AnchorThread {
    signal: Arc<Signal>,
    /// Closed once the thread has ended.
    ended: mpsc::Receiver<()>,
}

#[derive(Default)]
struct Signal {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Wanted {
    /// Whether there was a write since the last update began.
    has_written: bool,
    is_closed: bool,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a write, unless the anchor is behind already, and then until an update is due or the store is closed.
    fn wait(&self, updates: &AnchorUpdates) -> Wanted {
        let is_idle = |wanted: &mut Wanted| {
            !wanted.has_written && !wanted.is_closed && updates.wait().is_none()
        };
        let wanted = self.changed.wait_while(self.lock(), is_idle);
        let wanted = wanted.unwrap_or_else(PoisonError::into_inner);
        let is_open = |wanted: &mut Wanted| !wanted.is_closed;
        let (mut wanted, _) = self
            .changed
            .wait_timeout_while(wanted, updates.pause(), is_open)
            .unwrap_or_else(PoisonError::into_inner);
        let now = *wanted;
        wanted.has_written = false;
        now
    }
}

impl AnchorThread {
    /// Starts the thread of a store that was opened, which has advanced the anchor.
    pub(super) fn start(store: &Arc<Store>, interval: Duration) -> Result<Self> {
        let signal = Arc::new(Signal::default());
        let (running, ended) = mpsc::channel();
        let (store, shared) = (Arc::clone(store), Arc::clone(&signal));
        thread::Builder::new()
            .name("strongroom-anchor".into())
            .spawn(move || {
                run(&store, AnchorUpdates::new(interval), &shared);
                drop(running);
            })
            .map_err(|_| no_thread())?;
        Ok(Self { signal, ended })
    }

    pub(super) fn note_write(&self) {
        let had_written = std::mem::replace(&mut self.signal.lock().has_written, true);
        if !had_written {
            self.signal.changed.notify_one();
        }
    }

    /// Lets the thread advance the anchor a last time, and waits for that up to `wait`.
    pub(super) fn finish(&self, wait: Duration) {
        self.close();
        // The thread never sends a value; an error says that it has ended, or that it takes too long.
        let _ = self.ended.recv_timeout(wait);
    }

    fn close(&self) {
        self.signal.lock().is_closed = true;
        self.signal.changed.notify_one();
    }
}

impl Drop for AnchorThread {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(store: &Store, mut updates: AnchorUpdates, signal: &Signal) {
    loop {
        let wanted = signal.wait(&updates);
        if wanted.has_written {
            updates.note_write();
        }
        if updates.wait().is_some() {
            let limit = if wanted.is_closed { super::CLOSE_WAIT } else { LOCK_WAIT };
            let updated = update(store, limit);
            updates.note_update(&updated);
        }
        if wanted.is_closed {
            return;
        }
    }
}

/// Advances the anchor over a connection of its own.
fn update(store: &Store, limit: Duration) -> Result<bool> {
    store.check_not_replaced()?;
    let tables = &*store.connect()?;
    store.with_current_keys(tables, |key_ring| {
        store.guard().update_anchor(tables, &key_ring.rows, limit)
    })
}
