//! Rows of the tables as the code of the store knows them.

use strongroom_core::Result;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::error::unreadable;
use crate::key_ring::KeyRingRow;
use crate::secret_row::RawSecret;
use crate::slots::SlotRow;
use crate::state::StoredState;
use crate::storage::VersionRow;

pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(unreadable)
}

pub(super) fn number(row: &Row, index: usize) -> Result<u64> {
    u64::try_from(column::<i64>(row, index)?).map_err(unreadable)
}

fn small<T: TryFrom<i64>>(row: &Row, index: usize) -> Result<T> {
    T::try_from(column::<i64>(row, index)?).map_err(unreadable)
}

/// Reads a row that begins with the columns of a secret.
pub(super) fn secret_of(row: &Row) -> Result<RawSecret<'_>> {
    Ok(RawSecret {
        secret_id: column(row, 0)?,
        active: number(row, 1)?,
        first: number(row, 2)?,
        latest: number(row, 3)?,
        created_at: column(row, 4)?,
        updated_at: column(row, 5)?,
        deleted_at: column(row, 6)?,
        expires_at: column(row, 7)?,
        rotation_ms: column(row, 8)?,
        kind: column(row, 9)?,
        tier: column(row, 10)?,
        description: column(row, 11)?,
        tags: column(row, 12)?,
        mac: column(row, 13)?,
    })
}

/// Reads a version, whose columns begin at an index.
pub(super) fn version_of(row: &Row, index: usize) -> Result<VersionRow<'_>> {
    Ok(VersionRow {
        number: number(row, index)?,
        created_at: column(row, index + 1)?,
        wrap: column(row, index + 2)?,
        body: column(row, index + 3)?,
    })
}

pub(super) fn state_of(row: &Row) -> Result<StoredState> {
    Ok(StoredState { number: number(row, 0)?, sealed: column(row, 1)? })
}

pub(super) fn key_states_of(rows: &[Row]) -> Result<Vec<(u32, u8)>> {
    let read = |row: &Row| {
        let state = u8::try_from(column::<i16>(row, 1)?).map_err(unreadable)?;
        Ok((small(row, 0)?, state))
    };
    rows.iter().map(read).collect()
}

pub(super) fn key_of(row: &Row) -> Result<KeyRingRow> {
    Ok(KeyRingRow {
        id: small(row, 0)?,
        purpose: u8::try_from(column::<i16>(row, 1)?).map_err(unreadable)?,
        state: u8::try_from(column::<i16>(row, 2)?).map_err(unreadable)?,
        uses: column(row, 3)?,
        created_at: column(row, 4)?,
        sealed: column(row, 5)?,
        mac: column(row, 6)?,
    })
}

pub(super) fn slot_of(row: &Row) -> Result<SlotRow> {
    Ok(SlotRow {
        id: small(row, 0)?,
        kind: column(row, 1)?,
        label: column(row, 2)?,
        created_at: column(row, 3)?,
        opened_at: column(row, 4)?,
        parameters: column(row, 5)?,
        private_key: column(row, 6)?,
        root_key: column(row, 7)?,
        public_key: column(row, 8)?,
        mac: column(row, 9)?,
    })
}
