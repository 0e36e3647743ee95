//! The entries that a thread read last, so that a repeated read neither hashes its path nor loads a shard's table.
//!
//! A slot holds no secret, only a weak reference: what the cache drops is wiped at once. It counts only while the
//! shard has the table that the slot was filled from, which each table's number tells.

use std::cell::RefCell;
use std::time::SystemTime;

use strongroom_core::{Secret, SecretPath, WeakSecret};

use crate::clock::{self, Tick};

/// A power of two.
const SLOTS: usize = 32;

/// A secret in the cache.
pub(super) struct Recent {
    /// The shard of the entry, and the number of the table that has it.
    pub(super) shard: usize,
    pub(super) table: u64,
    pub(super) path: SecretPath,
    pub(super) secret: WeakSecret,
    /// Until when the slot counts: the entry is due for a refresh then, or its time is over.
    pub(super) until: Tick,
    pub(super) expires_at: Option<SystemTime>,
}

struct Slots {
    entries: [Option<Recent>; SLOTS],
    /// The hash of the last path that was not found in each slot.
    candidates: [u64; SLOTS],
}

impl Slots {
    const EMPTY: Self = Self { entries: [const { None }; SLOTS], candidates: [0; SLOTS] };
}

#[cfg(not(shuttle))]
thread_local! {
    static RECENT: RefCell<Slots> = const { RefCell::new(Slots::EMPTY) };
}

#[cfg(shuttle)]
shuttle::thread_local! {
    static RECENT: RefCell<Slots> = RefCell::new(Slots::EMPTY);
}

/// The secret at `path`, if this thread has read it from a table that still is its shard's, as `is_current` tells.
#[inline]
pub(super) fn find(
    path: &str,
    now: Tick,
    is_current: impl FnOnce(&Recent) -> bool,
) -> Option<Secret> {
    let find = |slots: &RefCell<Slots>| {
        let slots = slots.try_borrow().ok()?;
        let recent = slots.entries.get(slot_of(path))?.as_ref()?;
        let is_it = recent.path.as_str() == path && now < recent.until && is_current(recent);
        if !is_it || recent.expires_at.is_some_and(clock::has_come) {
            return None;
        }
        recent.secret.upgrade()
    };
    RECENT.try_with(find).ok()?
}

/// Fills the slot of a path that was not found, if it is the second time in a row that the slot was asked for it: a
/// thread that reads many secrets in turn fills no slots that it will not use.
#[inline]
pub(super) fn record(path: &str, hash: u64, recent: impl FnOnce() -> Recent) {
    let record = |slots: &RefCell<Slots>| {
        let mut slots = slots.try_borrow_mut().ok()?;
        let slot = slot_of(path);
        let candidate = slots.candidates.get_mut(slot)?;
        if std::mem::replace(candidate, hash) == hash {
            *slots.entries.get_mut(slot)? = Some(recent());
        }
        Some(())
    };
    let _ = RECENT.try_with(record);
}

/// A slot for a path: its length and its ends, where paths differ.
#[inline]
fn slot_of(path: &str) -> usize {
    let bytes = path.as_bytes();
    let head = bytes.first_chunk::<4>().copied().map_or(0, u32::from_le_bytes);
    let tail = bytes.last_chunk::<8>().copied().map_or(0, u64::from_le_bytes);
    let mixed =
        (tail ^ (u64::from(head) << 16) ^ bytes.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 59) as usize % SLOTS
}
