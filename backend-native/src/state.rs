//! The state of a store: a number that each transaction advances, and the sum over all rows of secrets.

use strongroom_core::{Error, ErrorKind, Result};

use crate::crypto::{self, NONCE_LEN, NotAuthentic, TAG_LEN};
use crate::error::ACCEPT;
use crate::row_keys::{RowKeys, Signature};
use crate::secret_row::{self, SecretRow};
use crate::state_change::StateChange;
use crate::state_keys::StateKeys;
use crate::storage::{Range, Tables};
use crate::sum::Sum;

const MAGIC: [u8; 4] = *b"SRS\x01";
/// AES-256-GCM under a key that is derived for the number of the state.
const ALGORITHM: u8 = 1;
const HEADER: usize = 9;
/// The count of the secrets, the flags and the sum.
const CONTENT: usize = 8 + 1 + 32;
/// The flag of a store that has an anchor.
const HAS_ANCHOR: u8 = 1;

/// The state of a store after one of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) number: u64,
    /// Whether an anchor of the store exists outside.
    pub(crate) has_anchor: bool,
    pub(crate) rows: RowSum,
}

/// What a state says about the rows of secrets, deleted secrets included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowSum {
    /// How many rows there are.
    pub(crate) secrets: u64,
    /// The sum of their elements.
    pub(crate) sum: Sum,
}

impl RowSum {
    /// Sums the rows of a store up, and counts those that fail authentication and are left out.
    pub(crate) fn of_store(tables: &dyn Tables, keys: &RowKeys) -> Result<(Self, u64)> {
        let (mut all, mut damaged) = (Self::default(), 0);
        tables.secrets(Range::ALL, &mut |path, raw| {
            let path = secret_row::valid_path(path);
            let secret = path
                .zip(raw.ok())
                .and_then(|(path, raw)| SecretRow::authenticate(&raw, &path, keys).ok());
            match secret.and_then(|secret| secret.signature) {
                Some(signature) => all.add(keys, &signature)?,
                None => damaged += 1,
            }
            Ok(())
        })?;
        Ok((all, damaged))
    }

    pub(crate) fn add(&mut self, keys: &RowKeys, row: &Signature) -> Result<()> {
        self.secrets += 1;
        self.sum = self.sum.plus(keys.state_keys(row.key_id)?.element(row));
        Ok(())
    }
}

/// A state as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredState {
    pub(crate) number: u64,
    pub(crate) sealed: Vec<u8>,
}

impl StoredState {
    pub(crate) fn load(tables: &dyn Tables) -> Result<Self> {
        tables.state()?.ok_or_else(|| state_corrupt("the store's table `state` is empty"))
    }

    pub(crate) fn open(&self, keys: &RowKeys) -> Result<State> {
        let opened = self.open_with(keys);
        opened.map_err(|NotAuthentic| {
            state_corrupt("the store's state fails authentication: it was damaged or edited")
        })
    }

    fn open_with(&self, keys: &RowKeys) -> Result<State, NotAuthentic> {
        let (header, rest) = self.sealed.split_first_chunk::<HEADER>().ok_or(NotAuthentic)?;
        let [_, _, _, _, _, i0, i1, i2, i3] = *header;
        let key = keys.state_keys(u32::from_be_bytes([i0, i1, i2, i3]))?;
        if *header != header_of(key) {
            return Err(NotAuthentic);
        }
        let data = associated_data(header, &keys.store_id, self.number);
        let opened = key.seal_key(self.number).open(&data, rest)?;
        let (secrets, rest) = opened.split_first_chunk().ok_or(NotAuthentic)?;
        let ([flags], sum) = rest.split_first_chunk().ok_or(NotAuthentic)?;
        let sum = Sum::from_bytes(sum.try_into().map_err(|_| NotAuthentic)?);
        let rows = RowSum { secrets: u64::from_be_bytes(*secrets), sum };
        Ok(State { number: self.number, has_anchor: flags & HAS_ANCHOR != 0, rows })
    }
}

impl State {
    /// The first state of a store with these rows.
    pub(crate) fn first(rows: RowSum) -> Self {
        Self { number: 1, has_anchor: false, rows }
    }

    pub(crate) fn load(tables: &dyn Tables, keys: &RowKeys) -> Result<Self> {
        StoredState::load(tables)?.open(keys)
    }

    /// The state after a transaction, if it has changed anything.
    pub(crate) fn after(self, change: &StateChange) -> Option<Self> {
        let rows = change.apply_to(self.rows)?;
        Some(Self { number: self.number.saturating_add(1), rows, ..self })
    }

    /// Seals the state and writes it over the one before.
    pub(crate) fn store(&self, tables: &dyn Tables, keys: &RowKeys) -> Result<StoredState> {
        let key = keys.active_state_keys();
        let header = header_of(key);
        let mut content = [0; CONTENT];
        let (secrets, rest) = content.split_at_mut(8);
        secrets.copy_from_slice(&self.rows.secrets.to_be_bytes());
        if let Some((flags, sum)) = rest.split_first_mut() {
            *flags = if self.has_anchor { HAS_ANCHOR } else { 0 };
            sum.copy_from_slice(&self.rows.sum.to_bytes());
        }
        let mut sealed = Vec::with_capacity(HEADER + NONCE_LEN + CONTENT + TAG_LEN);
        sealed.extend_from_slice(&header);
        let data = associated_data(&header, &keys.store_id, self.number);
        key.seal_key(self.number).seal(crypto::random()?, &data, &content, &mut sealed)?;
        let stored = StoredState { number: self.number, sealed };
        tables.write_state(&stored)?;
        Ok(stored)
    }
}

fn header_of(key: &StateKeys) -> [u8; HEADER] {
    let [m0, m1, m2, m3] = MAGIC;
    let [i0, i1, i2, i3] = key.id().to_be_bytes();
    [m0, m1, m2, m3, ALGORITHM, i0, i1, i2, i3]
}

fn associated_data(header: &[u8], store_id: &[u8; 16], number: u64) -> Vec<u8> {
    [header, store_id, &number.to_be_bytes()].concat()
}

pub(crate) fn state_corrupt(cause: &'static str) -> Error {
    let advice = format!("restore the store from a backup, or, if you know why, {ACCEPT}");
    Error::new(ErrorKind::Corrupt, advice).because(cause)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::record::vectors::{row_keys, vectors};

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE state (id INTEGER PRIMARY KEY, number INTEGER, sealed BLOB)",
            )
            .unwrap();
        connection
    }

    #[test]
    fn a_state_opens_as_it_was_stored_and_under_no_other_number() {
        let (keys, connection) = (row_keys(&vectors()), connection());
        let rows = RowSum { secrets: 3, sum: Sum::from_bytes(&[7; 32]) };
        for has_anchor in [false, true] {
            let state = State { number: 41, has_anchor, rows };
            let stored = state.store(&connection, &keys).unwrap();
            assert_eq!(stored.sealed.len(), HEADER + NONCE_LEN + CONTENT + TAG_LEN);
            assert_eq!(StoredState::load(&connection).unwrap(), stored);
            assert_eq!(stored.open(&keys).unwrap(), state);
            let moved = StoredState { number: 42, ..stored };
            assert_eq!(moved.open(&keys).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_change_advances_the_number_and_an_unchanged_transaction_does_not() {
        let keys = row_keys(&vectors());
        let row = |byte| Signature { key_id: keys.active_state_keys().id(), mac: [byte; 32] };
        let first = State::first(RowSum::default());
        let change = StateChange::default();
        assert_eq!(first.after(&change), None);
        change.write_row(&keys, None, &row(1)).unwrap();
        let saved = change.save();
        change.write_row(&keys, Some(&row(1)), &row(2)).unwrap();
        change.write_row(&keys, None, &row(3)).unwrap();
        let mut expected = RowSum::default();
        for written in [row(2), row(3)] {
            expected.add(&keys, &written).unwrap();
        }
        assert_eq!(first.after(&change), Some(State { number: 2, rows: expected, ..first }));
        change.restore(saved);
        change.remove_row(&keys, &row(1)).unwrap();
        assert_eq!(first.after(&change), Some(State { number: 2, ..first }));
    }
}

/// Opens a forged state, with keys that have not sealed it. For `fuzz/`.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8], keys: &RowKeys) {
    let forged = StoredState { number: 1, sealed: bytes.to_vec() };
    assert!(forged.open(keys).is_err(), "a forged state opened");
}
