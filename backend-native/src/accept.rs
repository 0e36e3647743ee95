//! Acceptance of the state that a store has, by an operator who knows why it differs from the expected one.

use strongroom_core::{ErrorKind, Result};
use tracing::warn;

use crate::anchor::{AnchorLocation, AnchorLock};
use crate::config::NativeConfig;
use crate::error::no_store;
use crate::guard::{LOCK_WAIT, MAX_RACES};
use crate::place::Place;
use crate::row_keys::RowKeys;
use crate::state::{RowSum, State};
use crate::storage::WriteTransaction;
use crate::store::{IfMissing, Store};

/// The state of a store that was accepted, and what it differed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedState {
    /// The number of the state that the file had; `None` if it could not be authenticated.
    pub before: Option<u64>,
    /// The number of the state that the anchor had; `None` if there was no authentic anchor.
    pub anchor: Option<u64>,
    /// The number of the state from now on, which is higher than both.
    pub number: u64,
    /// The secrets of the state, deleted ones included.
    pub secrets: u64,
    /// The secrets that fail authentication and are not part of the state.
    pub damaged: u64,
}

/// Makes the secrets that a store has its state, and advances the state and the anchor beyond every earlier number.
pub(crate) fn accept(config: &NativeConfig) -> Result<AcceptedState> {
    let place = Place::of(config)?;
    let opened = Store::open_unguarded(config, &place, IfMissing::Leave)?;
    let (store, connection) = opened.ok_or_else(|| no_store(&place.name()))?;
    let tables = connection.tables();
    let location = AnchorLocation::of(config)?;
    let mut lock = location.as_ref().map(lock).transpose()?;
    let transaction = WriteTransaction::begin(tables)?;
    // No other process replaces keys from here on.
    let key_ring = store.load_key_ring(tables)?;
    let keys = &key_ring.rows;
    let anchor = match (&location, &lock) {
        (Some(location), Some(lock)) => anchor_number(location, lock, keys)?,
        _ => None,
    };
    let before = unless_corrupt(State::load(tables, keys))?.map(|state| state.number);
    let (rows, damaged) = RowSum::of_store(tables, keys)?;
    let number = before.max(anchor).unwrap_or(0).saturating_add(1);
    let state = State { number, has_anchor: location.is_some(), rows };
    state.store(tables, keys)?;
    store.check_not_replaced()?;
    transaction.commit()?;
    if let (Some(location), Some(lock)) = (&location, &mut lock) {
        write_anchor(location, lock, &state, keys)?;
    }
    warn!(number, before, anchor, "an operator has accepted the state of the store");
    Ok(AcceptedState { before, anchor, number, secrets: rows.secrets, damaged })
}

fn lock(location: &AnchorLocation) -> Result<AnchorLock> {
    location.lock(LOCK_WAIT)?.ok_or_else(|| location.held())
}

/// Writes the anchor of the accepted state, unless another process has written a later one meanwhile.
fn write_anchor(
    location: &AnchorLocation,
    locked: &mut AnchorLock,
    state: &State,
    keys: &RowKeys,
) -> Result<()> {
    for _ in 0..MAX_RACES {
        if location.write(locked, state, keys)? {
            return Ok(());
        }
        *locked = lock(location)?;
        let anchor = anchor_number(location, locked, keys)?;
        if anchor.is_some_and(|number| number >= state.number) {
            return Ok(());
        }
    }
    Err(location.held())
}

/// The number of an authentic anchor. Fails for the anchor of another store, which must not be replaced.
fn anchor_number(
    location: &AnchorLocation,
    lock: &AnchorLock,
    keys: &RowKeys,
) -> Result<Option<u64>> {
    Ok(unless_corrupt(location.read(lock, keys))?.flatten().map(|anchor| anchor.number))
}

fn unless_corrupt<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        other => other.map(Some),
    }
}
