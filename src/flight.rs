//! Single flight: whoever asks for what is being read already waits for that reading.
//!
//! A flight runs inside those who wait for it. If one of them goes away, another carries it on; when
//! nobody waits any more, it is given up.

use std::sync::{Arc, OnceLock};

use futures_util::future::{BoxFuture, Shared, WeakShared};
use hashbrown::HashTable;
use strongroom_core::{Result, Secret, SecretPath};

use crate::cache::Key;
use crate::clock::Tick;

/// A reading that several wait for.
pub(crate) type Flight = Shared<BoxFuture<'static, Result<Secret>>>;

/// When a flight asked the store, once it has.
pub(crate) type Asked = Arc<OnceLock<Tick>>;

/// What is known of a flight when it is entered.
pub(crate) struct Entered {
    pub(crate) number: u64,
    pub(crate) asked: Asked,
    /// When it is over, if somebody drives it.
    pub(crate) over: Tick,
}

/// The readings under way whose outcome may be kept, one per key.
#[derive(Default)]
pub(crate) struct Flights(HashTable<Slot>);

struct Slot {
    key: Key,
    entered: Entered,
    /// Gone with the last one who waits.
    flight: WeakShared<BoxFuture<'static, Result<Secret>>>,
}

impl Flights {
    /// The flight for `key`, and when it asked the store. One that should be over is stuck in a
    /// runtime that nobody drives.
    pub(crate) fn find(&self, key: &Key, now: Tick) -> Option<(Flight, Option<Tick>)> {
        let slot = self.0.find(key.hash(), |slot| slot.key == *key)?;
        if now >= slot.entered.over {
            return None;
        }
        Some((slot.flight.upgrade()?, slot.entered.asked.get().copied()))
    }

    /// Enters a flight, in the place of an earlier one, whose outcome will not be kept.
    pub(crate) fn enter(&mut self, key: &Key, entered: Entered, flight: &Flight) {
        // A flight that has ended needs no place.
        let Some(flight) = flight.downgrade() else { return };
        let slot = Slot { key: key.clone(), entered, flight };
        match self.0.find_mut(key.hash(), |slot| slot.key == *key) {
            Some(earlier) => *earlier = slot,
            None => drop(self.0.insert_unique(key.hash(), slot, |slot| slot.key.hash())),
        }
    }

    /// Strikes a flight out; whether it was still there.
    pub(crate) fn leave(&mut self, key: &Key, number: u64) -> bool {
        let is_it = |slot: &Slot| slot.entered.number == number && slot.key == *key;
        self.0.find_entry(key.hash(), is_it).is_ok_and(|slot| {
            slot.remove();
            true
        })
    }

    /// Strikes out all flights for a secret: what they bring may be outdated.
    pub(crate) fn forget(&mut self, path: &SecretPath) {
        self.0.retain(|slot| slot.key.path != *path);
    }

    /// Strikes out all flights.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
