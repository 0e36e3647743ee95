//! Single flight: for each key, one request to the store is under way at a time, and callers share it.
//!
//! A flight runs inside the tasks that wait for it. If one of them is cancelled, another one carries the flight
//! on; a flight that no task waits for is dropped. A key has at most two flights:
//!
//! | flight | what it does | which callers join it |
//! |---|---|---|
//! | current | asks the store | those that accept what the store said when the flight asked, or asks after they came |
//! | next | waits for the current one to end, then asks | those that need a younger answer: `refresh`, `max_age` |
//!
//! | event | effect |
//! |---|---|
//! | `join` | the caller gets the current or the next flight, or starts one |
//! | `start` | a new flight becomes the current one, or the next one if it waits for the current one |
//! | `finish` | a flight has an outcome, or was dropped; it leaves, and the next one becomes the current one. The cache keeps the outcome of the current flight alone |
//! | `forget` | the flights of a secret leave the table, because it was written: they run on for those that wait |
//! | `supersede` | such a flight has ended, and may have seen the store later than the current one: no other caller joins that one, and the cache does not keep its outcome |
//! | `clear` | all flights leave |
//!
//! Because the next flight asks only after the current one has ended, outcomes reach the cache in the order in
//! which the store was asked. So no read gives an older answer than a read of the same manager that ended before
//! it began. `tests/interleavings` explores this.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashTable;
use strongroom_core::{Result, Secret, SecretPath};

use super::entry::{Freshness, Key};
use crate::clock::Tick;
use crate::shared_future::{SharedFuture, WeakSharedFuture};
use crate::sync::AtomicU64;

/// A read of the store that several callers wait for.
pub(crate) type Flight = SharedFuture<FlightOutcome>;

/// How a flight ended.
#[derive(Clone)]
pub(crate) struct FlightOutcome {
    pub(crate) result: Result<Secret>,
    /// Whether the flight ended because its own time did. A caller that has time left starts another one.
    pub(crate) timed_out: bool,
}

impl From<Result<Secret>> for FlightOutcome {
    fn from(result: Result<Secret>) -> Self {
        Self { result, timed_out: false }
    }
}

/// When a flight asked the store.
#[derive(Clone)]
pub(crate) struct AskedAt(Arc<AtomicU64>);

impl AskedAt {
    /// The flight has not asked yet.
    pub(crate) fn never() -> Self {
        Self(Arc::new(AtomicU64::new(Tick::NEVER.milliseconds())))
    }

    /// Marks that the flight asks the store after `now`.
    pub(crate) fn set(&self, now: Tick) {
        self.0.store(now.milliseconds(), Ordering::Release);
    }

    fn get(&self) -> Option<Tick> {
        let asked = Tick::at(self.0.load(Ordering::Acquire));
        (asked != Tick::NEVER).then_some(asked)
    }
}

/// A flight as the table knows it.
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) asked_at: AskedAt,
    /// When it has ended, if a runtime drives it.
    pub(super) deadline: Tick,
    /// Dropped with the last caller that waits.
    pub(super) flight: WeakSharedFuture<FlightOutcome>,
    /// Callers have got an answer that may be younger than this flight's.
    pub(super) is_superseded: bool,
}

/// The flights of one key.
struct KeyFlights {
    key: Key,
    current: Ticket,
    next: Option<Ticket>,
}

/// What a caller finds that has to wait for the store.
pub(super) enum Join {
    /// A flight that answers the caller.
    Existing(Flight),
    /// None: the caller starts one, which first waits for `after`.
    Start { after: Option<Flight> },
}

/// The flights whose outcome the cache may keep.
#[derive(Default)]
pub(super) struct InFlight(HashTable<KeyFlights>);

impl InFlight {
    /// The flight that answers a caller, if there is one.
    ///
    /// A flight that the caller does not get is not upgraded: to drop the last handle of a flight removes it from
    /// this table, which the caller has locked.
    pub(super) fn join(&self, key: &Key, freshness: Freshness, now: Tick) -> Join {
        let flights = self.0.find(key.hash, |flights| flights.key == *key);
        let Some(KeyFlights { current, next, .. }) = flights else {
            return Join::Start { after: None };
        };
        if now >= current.deadline {
            // It is stuck in a runtime that does not run.
            return Join::Start { after: None };
        }
        let is_too_old = |asked| freshness.is_too_old(now.since(asked));
        if !current.is_superseded && current.asked_at.get().is_none_or(|asked| !is_too_old(asked)) {
            return match current.flight.upgrade() {
                Some(current) => Join::Existing(current),
                None => Join::Start { after: None },
            };
        }
        match next.as_ref().and_then(|next| next.flight.upgrade()) {
            Some(next) => Join::Existing(next),
            None => Join::Start { after: current.flight.upgrade() },
        }
    }

    /// Enters a new flight: as the next one if it waits for the current one, otherwise as the current one.
    pub(super) fn start(&mut self, key: &Key, ticket: Ticket, is_next: bool) {
        match self.0.find_mut(key.hash, |flights| flights.key == *key) {
            Some(flights) if is_next => flights.next = Some(ticket),
            Some(flights) => (flights.current, flights.next) = (ticket, None),
            None => {
                let flights = KeyFlights { key: key.clone(), current: ticket, next: None };
                self.0.insert_unique(key.hash, flights, |flights| flights.key.hash);
            }
        }
    }

    /// Removes a flight that has ended, or was dropped; whether the cache may keep its outcome.
    pub(super) fn finish(&mut self, key: &Key, id: u64) -> bool {
        let Ok(mut entry) = self.0.find_entry(key.hash, |flights| flights.key == *key) else {
            return false;
        };
        let flights = entry.get_mut();
        if flights.current.id != id {
            flights.next.take_if(|next| next.id == id);
            return false;
        }
        let is_superseded = flights.current.is_superseded;
        match flights.next.take() {
            Some(next) => flights.current = next,
            None => drop(entry.remove()),
        }
        !is_superseded
    }

    /// Keeps callers from the answer of a flight that has asked already: they may know a younger one.
    pub(super) fn supersede(&mut self, key: &Key) {
        let flights = self.0.find_mut(key.hash, |flights| flights.key == *key);
        if let Some(KeyFlights { current, .. }) = flights {
            current.is_superseded |= current.asked_at.get().is_some();
        }
    }

    /// Removes all flights for a secret: the cache keeps none of their outcomes.
    pub(super) fn forget(&mut self, path: &SecretPath) {
        self.0.retain(|flights| flights.key.path != *path);
    }

    /// Removes all flights.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
