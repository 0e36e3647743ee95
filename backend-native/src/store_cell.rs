//! The store of a backend: missing until the first write or another process creates it, then open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_core::{Error, Result};

use crate::error::no_store;
use crate::place::Place;
use crate::store::Store;

/// Shared by readers and the writer thread.
pub(crate) struct StoreCell {
    place: Place,
    state: Mutex<State>,
    /// Whether the state is `Missing`, so that a read need not lock it.
    is_missing: AtomicBool,
}

enum State {
    Missing,
    Open(Arc<Store>),
    Closed,
}

impl StoreCell {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, state: Mutex::new(State::Missing), is_missing: AtomicBool::new(true) }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.is_missing.load(Ordering::Acquire)
    }

    /// Whether a store may have appeared where there was none.
    pub(crate) fn has_appeared(&self) -> bool {
        self.is_missing() && self.place.may_hold_store()
    }

    /// The open store.
    pub(crate) fn get(&self) -> Result<Arc<Store>> {
        match &*self.lock() {
            State::Missing => Err(no_store(&self.place.name())),
            State::Open(store) => Ok(Arc::clone(store)),
            State::Closed => Err(Error::backend_closed()),
        }
    }

    /// Makes an opened store available to readers, unless the backend was closed meanwhile.
    pub(crate) fn set(&self, store: Arc<Store>) {
        let mut state = self.lock();
        if matches!(*state, State::Missing) {
            *state = State::Open(store);
            self.is_missing.store(false, Ordering::Release);
        }
    }

    pub(crate) fn close(&self) {
        *self.lock() = State::Closed;
        self.is_missing.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
