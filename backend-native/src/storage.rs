//! What a store keeps its rows in: tables with transactions. What is sealed and signed does not know which database has them.

use std::time::Duration;

use strongroom_core::{Result, SecretPath};

use crate::key_ring::{KeyRingRow, StoreRow};
use crate::record::Purpose;
use crate::secret_row::RawSecret;
use crate::slots::SlotRow;
use crate::state::StoredState;

/// A version of a secret as it is stored.
#[derive(Clone, Copy)]
pub(crate) struct VersionRow<'a> {
    pub(crate) number: u64,
    pub(crate) created_at: i64,
    pub(crate) wrap: &'a [u8],
    /// Empty where it was not asked for.
    pub(crate) body: &'a [u8],
}

/// A row of `secrets`, with its path as stored, which may have been edited and need not be text.
pub(crate) type VisitSecret<'a> = &'a mut dyn FnMut(&[u8], Result<RawSecret<'_>>) -> Result<()>;
/// A version. An error is that of a row that cannot be read.
pub(crate) type VisitVersion<'a> = &'a mut dyn FnMut(Result<VersionRow<'_>>) -> Result<()>;

/// Some of a store's secrets, in the order of the bytes of their paths.
#[derive(Clone, Copy)]
pub(crate) struct Range<'a> {
    /// Only those after this path.
    pub(crate) after: &'a [u8],
    /// Only those before this path.
    pub(crate) before: Option<&'a str>,
    pub(crate) limit: Option<usize>,
}

impl Range<'_> {
    pub(crate) const ALL: Self = Self { after: &[], before: None, limit: None };
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It sees the store as it was when it began.
    Read,
    /// No other transaction writes at the same time, and it sees all that was committed before.
    Write,
    /// The same, or one that assumes what is known of the store: if another process has written meanwhile, the transaction
    /// fails where that is found, at the latest when it commits, and [`Tables::was_overtaken`] tells.
    Optimistic,
}

/// The tables of a store, on one connection. They are changed within a [`WriteTransaction`] alone.
///
/// Writes may be deferred until a later read or the commit, and then fail there.
pub(crate) trait Tables {
    fn begin(&self, access: Access) -> Result<()>;
    fn commit(&self) -> Result<()>;
    /// Undoes the transaction that is open, if one is.
    fn rollback(&self);
    fn is_in_transaction(&self) -> bool;
    /// Makes sure that what the transaction has read is so, and stays so until its end.
    fn confirm_reads(&self) -> Result<()>;
    /// Whether the last transaction has failed, and had assumed what may not be so any more, as another process has written
    /// meanwhile: it wrote nothing and can run again.
    fn was_overtaken(&self) -> bool;

    /// Marks a place in the transaction to which [`undo_to_savepoint`](Self::undo_to_savepoint) returns.
    fn set_savepoint(&self) -> Result<()>;
    fn undo_to_savepoint(&self) -> Result<()>;
    fn release_savepoint(&self) -> Result<()>;

    /// Tells which rows the transaction is going to ask for.
    fn expect(&self, paths: &[&SecretPath]) -> Result<()>;

    fn store_row(&self) -> Result<Option<StoreRow>>;
    fn insert_store_row(&self, row: &StoreRow) -> Result<()>;
    fn set_root_check(&self, check: &[u8]) -> Result<()>;

    /// All keys, in the order of their ids.
    fn keys(&self) -> Result<Vec<KeyRingRow>>;
    fn key(&self, id: u32) -> Result<Option<KeyRingRow>>;
    /// The ids of all keys with their states, in the order of the ids.
    fn key_states(&self) -> Result<Vec<(u32, u8)>>;
    /// Writes a key, over the one that has its id.
    fn write_key(&self, row: &KeyRingRow) -> Result<()>;
    /// Removes the keys of a purpose that are not active.
    fn remove_inactive_keys(&self, purpose: Purpose) -> Result<()>;

    /// All slots, in the order of their ids.
    fn slots(&self) -> Result<Vec<SlotRow>>;
    /// Writes a slot, over the one that has its id.
    fn write_slot(&self, row: &SlotRow) -> Result<()>;
    /// Returns whether there was one.
    fn remove_slot(&self, id: u32) -> Result<bool>;

    fn state(&self) -> Result<Option<StoredState>>;
    /// Writes the state, over the one before.
    fn write_state(&self, state: &StoredState) -> Result<()>;

    /// Passes the row of a path on. Returns whether there is one.
    fn secret(
        &self,
        path: &SecretPath,
        visit: &mut dyn FnMut(RawSecret<'_>) -> Result<()>,
    ) -> Result<bool>;
    /// The id in the row of a path, also of a row that cannot be read.
    fn secret_id(&self, path: &SecretPath) -> Result<Option<Vec<u8>>>;
    /// Passes rows on, in the order of their paths, deleted secrets included.
    fn secrets(&self, range: Range<'_>, visit: VisitSecret<'_>) -> Result<()>;
    /// Writes a row, over the one that the path has.
    fn write_secret(&self, path: &SecretPath, row: &RawSecret<'_>) -> Result<()>;
    fn remove_secret(&self, path: &SecretPath) -> Result<()>;

    fn version(
        &self,
        secret_id: &[u8],
        number: u64,
        visit: &mut dyn FnMut(VersionRow<'_>) -> Result<()>,
    ) -> Result<bool>;
    /// Passes the versions of a secret on in the order of their numbers, with their bodies or without.
    fn versions(&self, secret_id: &[u8], with_bodies: bool, visit: VisitVersion<'_>) -> Result<()>;
    fn insert_version(&self, secret_id: &[u8], version: VersionRow<'_>) -> Result<()>;
    fn set_wrap(&self, secret_id: &[u8], number: u64, wrap: &[u8]) -> Result<()>;
    /// Removes the versions before a number.
    fn remove_versions_before(&self, secret_id: &[u8], number: u64) -> Result<()>;
    /// Removes all versions; with `if_unreferenced` only if no row of `secrets` has the id.
    fn remove_versions(&self, secret_id: &[u8], if_unreferenced: bool) -> Result<()>;
    /// The newest version that was written before a time.
    fn newest_version_before(&self, secret_id: &[u8], time: i64) -> Result<Option<u64>>;
    /// Whether the data key of a version is wrapped by another key than this one.
    fn has_wraps_of_others(&self, kek: u32) -> Result<bool>;
    /// How many secrets have versions, but no row.
    fn unreferenced_secrets(&self) -> Result<u64>;

    /// What is wrong with the structure of the database, if that is found without a look at the rows.
    fn structural_damage(&self) -> Result<Option<&'static str>>;
}

/// A transaction that is undone when it is dropped, unless it was committed.
pub(crate) struct WriteTransaction<'a>(&'a dyn Tables);

impl<'a> WriteTransaction<'a> {
    pub(crate) fn begin(tables: &'a dyn Tables) -> Result<Self> {
        Self::begin_with(tables, Access::Write)
    }

    pub(crate) fn begin_with(tables: &'a dyn Tables, access: Access) -> Result<Self> {
        // Before the beginning, which may fail midway.
        let transaction = Self(tables);
        tables.begin(access)?;
        Ok(transaction)
    }

    pub(crate) fn commit(self) -> Result<()> {
        self.0.commit()
    }
}

impl Drop for WriteTransaction<'_> {
    fn drop(&mut self) {
        self.0.rollback();
    }
}

/// A view of the store as it is at one moment, until it is dropped.
pub(crate) struct Snapshot<'a>(Option<&'a dyn Tables>);

impl<'a> Snapshot<'a> {
    /// Begins a snapshot, unless a transaction is open already.
    pub(crate) fn begin(tables: &'a dyn Tables) -> Result<Self> {
        if tables.is_in_transaction() {
            return Ok(Self(None));
        }
        let snapshot = Self(Some(tables));
        tables.begin(Access::Read)?;
        Ok(snapshot)
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Some(tables) = self.0 {
            tables.rollback();
        }
    }
}

/// What the thread that writes does while no job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// More can be done now.
    Continue,
    /// Something is left to do after this time.
    Retry(Duration),
    /// Nothing is left to do.
    Done,
}

/// The connection of the thread that writes to a store, and what it does between transactions.
pub(crate) trait WriterTables {
    fn tables(&self) -> &dyn Tables;
    /// Runs after a transaction; `has_removed` says that it has removed data, which must not stay in a log.
    fn note_commit(&mut self, has_removed: bool);
    /// Takes one short step of what is done while no job waits.
    fn rest(&mut self) -> Idle;
    /// Runs before the thread ends.
    fn finish(&mut self);
}
