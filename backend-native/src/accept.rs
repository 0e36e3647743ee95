//! Acceptance of the state that a store has, by an operator who knows why it differs from the expected one.

use strongroom_core::{ErrorKind, Result};
use tracing::warn;

use crate::anchor::AnchorFile;
use crate::config::NativeConfig;
use crate::error::no_store;
use crate::guard::{self, LOCK_WAIT};
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
    let file = AnchorFile::of(config)?;
    let lock = match &file {
        Some(file) => Some(file.lock(LOCK_WAIT)?.ok_or_else(|| guard::lock_held(file.path()))?),
        None => None,
    };
    let transaction = WriteTransaction::begin(tables)?;
    // No other process replaces keys from here on.
    let key_ring = store.load_key_ring(tables)?;
    let keys = &key_ring.rows;
    let anchor = file.as_ref().map(|file| anchor_number(file, keys)).transpose()?.flatten();
    let before = unless_corrupt(State::load(tables, keys))?.map(|state| state.number);
    let (rows, damaged) = RowSum::of_store(tables, keys)?;
    let number = before.max(anchor).unwrap_or(0).saturating_add(1);
    let state = State { number, has_anchor: file.is_some(), rows };
    state.store(tables, keys)?;
    store.check_not_replaced()?;
    transaction.commit()?;
    if let (Some(file), Some(lock)) = (&file, &lock) {
        file.write(lock, &state, keys)?;
    }
    warn!(number, before, anchor, "an operator has accepted the state of the store");
    Ok(AcceptedState { before, anchor, number, secrets: rows.secrets, damaged })
}

/// The number of an authentic anchor. Fails for the anchor of another store, which must not be replaced.
fn anchor_number(file: &AnchorFile, keys: &RowKeys) -> Result<Option<u64>> {
    Ok(unless_corrupt(file.read(keys))?.flatten().map(|anchor| anchor.number))
}

fn unless_corrupt<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        other => other.map(Some),
    }
}
