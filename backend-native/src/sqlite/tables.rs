//! The tables of a store in SQLite.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use strongroom_core::{Result, SecretPath};

use crate::error::{from_sqlite, record_corrupt};
use crate::key_ring::{KeyRingRow, StoreRow};
use crate::record::Purpose;
use crate::secret_row::{RawSecret, to_i64};
use crate::slots::SlotRow;
use crate::state::{StoredState, state_corrupt};
use crate::storage::{Access, Range, Tables, VersionRow, VisitSecret, VisitVersion};

/// The columns that [`secret_of`] reads, in order, for use in `concat!`: a statement formatted at run time would be
/// formatted for every read.
macro_rules! columns {
    () => {
        "s.secret_id, s.active, s.first, s.latest, s.created_at, s.updated_at, s.deleted_at, \
         s.expires_at, s.rotation_ms, s.kind, s.tier, s.description, s.tags, s.mac"
    };
}
pub(crate) use columns;

/// How many columns those are.
pub(crate) const COLUMN_COUNT: usize = 14;

macro_rules! key_columns {
    () => {
        "SELECT id, purpose, state, uses, created_at, sealed, mac FROM keyring "
    };
}

/// Reads a row that begins with `columns!()`.
pub(crate) fn secret_of<'a>(row: &'a Row<'_>) -> rusqlite::Result<RawSecret<'a>> {
    Ok(RawSecret {
        secret_id: row.get_ref(0)?.as_blob()?,
        active: row.get(1)?,
        first: row.get(2)?,
        latest: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
        deleted_at: row.get(6)?,
        expires_at: row.get(7)?,
        rotation_ms: row.get(8)?,
        kind: row.get_ref(9)?.as_str()?,
        tier: row.get_ref(10)?.as_str()?,
        description: row.get_ref(11)?.as_str_or_null()?,
        tags: row.get_ref(12)?.as_str_or_null()?,
        mac: row.get_ref(13)?.as_blob()?,
    })
}

/// Reads the number, the time, the wrap and the body of a version, which begin at a column.
pub(super) fn version_of<'a>(row: &'a Row<'_>, column: usize) -> Result<VersionRow<'a>> {
    let blob = |column| {
        let value = row.get_ref(column).map_err(from_sqlite)?;
        value.as_blob().map_err(|_| record_corrupt("the record is no longer binary"))
    };
    Ok(VersionRow {
        number: row.get(column).map_err(from_sqlite)?,
        created_at: row.get(column + 1).map_err(from_sqlite)?,
        wrap: blob(column + 2)?,
        body: blob(column + 3)?,
    })
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<KeyRingRow> {
    Ok(KeyRingRow {
        id: row.get(0)?,
        purpose: row.get(1)?,
        state: row.get(2)?,
        uses: row.get(3)?,
        created_at: row.get(4)?,
        sealed: row.get(5)?,
        mac: row.get(6)?,
    })
}

fn slot_of(row: &Row<'_>) -> rusqlite::Result<SlotRow> {
    Ok(SlotRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        label: row.get(2)?,
        created_at: row.get(3)?,
        opened_at: row.get(4)?,
        parameters: row.get(5)?,
        private_key: row.get(6)?,
        root_key: row.get(7)?,
        public_key: row.get(8)?,
        mac: row.get(9)?,
    })
}

/// Runs a statement, which stays prepared, and returns how many rows it has changed.
fn execute(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    let executed = connection.prepare_cached(sql).and_then(|mut it| it.execute(params));
    executed.map_err(from_sqlite)
}

/// Runs a statement that returns one row, or none.
fn query<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    let found = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params, read).optional());
    found.map_err(from_sqlite)
}

fn query_all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_map([], read)?.collect())
        .map_err(from_sqlite)
}

impl Tables for Connection {
    fn begin(&self, access: Access) -> Result<()> {
        let sql = match access {
            Access::Read => "BEGIN",
            Access::Write | Access::Optimistic => "BEGIN IMMEDIATE",
        };
        execute(self, sql, []).map(drop)
    }

    fn commit(&self) -> Result<()> {
        execute(self, "COMMIT", []).map(drop)
    }

    fn rollback(&self) {
        // No transaction is open after a commit, nor where SQLite has rolled back by itself.
        if !self.is_autocommit() {
            let _ = execute(self, "ROLLBACK", []);
        }
    }

    fn is_in_transaction(&self) -> bool {
        !self.is_autocommit()
    }

    fn confirm_reads(&self) -> Result<()> {
        Ok(())
    }

    fn was_overtaken(&self) -> bool {
        false
    }

    fn set_savepoint(&self) -> Result<()> {
        execute(self, "SAVEPOINT job", []).map(drop)
    }

    fn undo_to_savepoint(&self) -> Result<()> {
        execute(self, "ROLLBACK TO job", []).map(drop)
    }

    fn release_savepoint(&self) -> Result<()> {
        execute(self, "RELEASE job", []).map(drop)
    }

    fn expect(&self, _paths: &[&SecretPath]) -> Result<()> {
        Ok(())
    }

    fn store_row(&self) -> Result<Option<StoreRow>> {
        query(self, "SELECT store_id, created_at, root_check FROM store", [], |row| {
            Ok(StoreRow { store_id: row.get(0)?, created_at: row.get(1)?, root_check: row.get(2)? })
        })
    }

    fn insert_store_row(&self, row: &StoreRow) -> Result<()> {
        let values = (row.store_id, row.created_at, &row.root_check);
        execute(self, "INSERT INTO store VALUES (1, ?, ?, ?)", values).map(drop)
    }

    fn set_root_check(&self, check: &[u8]) -> Result<()> {
        execute(self, "UPDATE store SET root_check = ?", [check]).map(drop)
    }

    fn keys(&self) -> Result<Vec<KeyRingRow>> {
        query_all(self, concat!(key_columns!(), "ORDER BY id"), key_of)
    }

    fn key(&self, id: u32) -> Result<Option<KeyRingRow>> {
        query(self, concat!(key_columns!(), "WHERE id = ?"), [id], key_of)
    }

    fn key_states(&self) -> Result<Vec<(u32, u8)>> {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        query_all(self, "SELECT id, state FROM keyring ORDER BY id", read)
    }

    fn write_key(&self, row: &KeyRingRow) -> Result<()> {
        let KeyRingRow { id, purpose, state, uses, created_at, sealed, mac } = row;
        let values = (id, purpose, state, uses, created_at, sealed, mac);
        let sql = "INSERT OR REPLACE INTO keyring VALUES (?, ?, ?, ?, ?, ?, ?)";
        execute(self, sql, values).map(drop)
    }

    fn remove_inactive_keys(&self, purpose: Purpose) -> Result<()> {
        let sql = "DELETE FROM keyring WHERE purpose = ? AND state <> 1";
        execute(self, sql, [purpose as u8]).map(drop)
    }

    fn slots(&self) -> Result<Vec<SlotRow>> {
        let sql = "SELECT id, kind, label, created_at, opened_at, parameters, private_key, root_key, \
                   public_key, mac FROM slots ORDER BY id";
        query_all(self, sql, slot_of)
    }

    fn write_slot(&self, row: &SlotRow) -> Result<()> {
        let values = params![
            row.id,
            row.kind,
            row.label,
            row.created_at,
            row.opened_at,
            row.parameters,
            row.private_key,
            row.root_key,
            row.public_key,
            row.mac,
        ];
        let sql = "INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        execute(self, sql, values).map(drop)
    }

    fn remove_slot(&self, id: u32) -> Result<bool> {
        execute(self, "DELETE FROM slots WHERE id = ?", [id]).map(|removed| removed > 0)
    }

    fn state(&self) -> Result<Option<StoredState>> {
        self.prepare_cached("SELECT number, sealed FROM state")
            .and_then(|mut query| {
                let read =
                    |row: &Row<'_>| Ok(StoredState { number: row.get(0)?, sealed: row.get(1)? });
                query.query_row([], read).optional()
            })
            .map_err(|error| match error.sqlite_error_code() {
                // A table that was dropped is a general error.
                Some(rusqlite::ErrorCode::Unknown) => {
                    state_corrupt("the store's table `state` is missing")
                }
                None => state_corrupt("the store's state cannot be read"),
                _ => from_sqlite(error),
            })
    }

    fn write_state(&self, state: &StoredState) -> Result<()> {
        let values = (to_i64(state.number), &state.sealed);
        execute(self, "INSERT OR REPLACE INTO state VALUES (1, ?, ?)", values).map(drop)
    }

    fn secret(
        &self,
        path: &SecretPath,
        visit: &mut dyn FnMut(RawSecret<'_>) -> Result<()>,
    ) -> Result<bool> {
        let sql = concat!("SELECT ", columns!(), " FROM secrets s WHERE s.path = ?");
        let found = query(self, sql, [path.as_str()], |row| Ok(visit(secret_of(row)?)))?;
        found.map_or(Ok(false), |visited| visited.map(|()| true))
    }

    fn secret_id(&self, path: &SecretPath) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT secret_id FROM secrets WHERE path = ?";
        query(self, sql, [path.as_str()], |row| row.get(0))
    }

    fn secrets(&self, range: Range<'_>, visit: VisitSecret<'_>) -> Result<()> {
        // `0x7f` is above all characters that a path may have, but an edited path need not be one.
        let bounded = concat!(
            "SELECT ",
            columns!(),
            ", s.path FROM secrets s WHERE s.path > CAST(?1 AS TEXT) AND s.path < ?2 \
             ORDER BY s.path LIMIT ?3"
        );
        let open = concat!(
            "SELECT ",
            columns!(),
            ", s.path FROM secrets s WHERE s.path > CAST(?1 AS TEXT) ORDER BY s.path LIMIT ?2"
        );
        let all = concat!("SELECT ", columns!(), ", s.path FROM secrets s ORDER BY s.path");
        let limit = range.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let sql = match range {
            Range { before: Some(_), .. } => bounded,
            Range { after: [], limit: None, .. } => all,
            _ => open,
        };
        let mut statement = self.prepare_cached(sql).map_err(from_sqlite)?;
        let rows = match range {
            Range { after, before: Some(before), .. } => statement.query((after, before, limit)),
            Range { after: [], limit: None, .. } => statement.query([]),
            Range { after, .. } => statement.query((after, limit)),
        };
        let mut rows = rows.map_err(from_sqlite)?;
        while let Some(row) = rows.next().map_err(from_sqlite)? {
            let path = row.get_ref(COLUMN_COUNT).map_err(from_sqlite)?;
            let path = path.as_bytes();
            let path = path.map_err(|_| record_corrupt("a row of the store cannot be read"))?;
            visit(path, secret_of(row).map_err(from_sqlite))?;
        }
        Ok(())
    }

    fn write_secret(&self, path: &SecretPath, row: &RawSecret<'_>) -> Result<()> {
        // By position, in the order of the table's columns: names would be looked up at each write.
        let sql =
            "INSERT OR REPLACE INTO secrets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let values = params![
            path.as_str(),
            row.secret_id,
            row.active,
            row.first,
            row.latest,
            row.created_at,
            row.updated_at,
            row.deleted_at,
            row.expires_at,
            row.rotation_ms,
            row.kind,
            row.tier,
            row.description,
            row.tags,
            row.mac,
        ];
        execute(self, sql, values).map(drop)
    }

    fn remove_secret(&self, path: &SecretPath) -> Result<()> {
        execute(self, "DELETE FROM secrets WHERE path = ?", [path.as_str()]).map(drop)
    }

    fn version(
        &self,
        secret_id: &[u8],
        number: u64,
        visit: &mut dyn FnMut(VersionRow<'_>) -> Result<()>,
    ) -> Result<bool> {
        let sql = "SELECT version, created_at, wrap, body FROM versions WHERE secret_id = ? AND version = ?";
        let read = |row: &Row<'_>| Ok(version_of(row, 0).and_then(&mut *visit));
        let found = query(self, sql, (secret_id, to_i64(number)), read)?;
        found.map_or(Ok(false), |visited| visited.map(|()| true))
    }

    fn versions(&self, secret_id: &[u8], with_bodies: bool, visit: VisitVersion<'_>) -> Result<()> {
        let sql = if with_bodies {
            "SELECT version, created_at, wrap, body FROM versions WHERE secret_id = ? ORDER BY version"
        } else {
            "SELECT version, created_at, wrap, x'' FROM versions WHERE secret_id = ? ORDER BY version"
        };
        let mut statement = self.prepare_cached(sql).map_err(from_sqlite)?;
        let mut rows = statement.query([secret_id]).map_err(from_sqlite)?;
        while let Some(row) = rows.next().map_err(from_sqlite)? {
            visit(version_of(row, 0))?;
        }
        Ok(())
    }

    fn insert_version(&self, secret_id: &[u8], version: VersionRow<'_>) -> Result<()> {
        let VersionRow { number, created_at, wrap, body } = version;
        let values = (secret_id, number, created_at, wrap, body);
        execute(self, "INSERT INTO versions VALUES (?, ?, ?, ?, ?)", values).map(drop)
    }

    fn set_wrap(&self, secret_id: &[u8], number: u64, wrap: &[u8]) -> Result<()> {
        let sql = "UPDATE versions SET wrap = ? WHERE secret_id = ? AND version = ?";
        execute(self, sql, (wrap, secret_id, number)).map(drop)
    }

    fn remove_versions_before(&self, secret_id: &[u8], number: u64) -> Result<()> {
        let sql = "DELETE FROM versions WHERE secret_id = ? AND version < ?";
        execute(self, sql, (secret_id, number)).map(drop)
    }

    fn remove_versions(&self, secret_id: &[u8], if_unreferenced: bool) -> Result<()> {
        let sql = if if_unreferenced {
            "DELETE FROM versions WHERE secret_id = ?1 \
             AND NOT EXISTS (SELECT 1 FROM secrets WHERE secret_id = ?1)"
        } else {
            "DELETE FROM versions WHERE secret_id = ?"
        };
        execute(self, sql, [secret_id]).map(drop)
    }

    fn newest_version_before(&self, secret_id: &[u8], time: i64) -> Result<Option<u64>> {
        let sql = "SELECT max(version) FROM versions WHERE secret_id = ? AND created_at < ?";
        query(self, sql, (secret_id, time), |row| row.get(0)).map(Option::flatten)
    }

    fn has_wraps_of_others(&self, kek: u32) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM versions WHERE substr(wrap, 6, 4) <> ?)";
        query(self, sql, [kek.to_be_bytes()], |row| row.get(0)).map(Option::unwrap_or_default)
    }

    fn unreferenced_secrets(&self) -> Result<u64> {
        let sql = "SELECT count(DISTINCT secret_id) FROM versions \
                   WHERE secret_id NOT IN (SELECT secret_id FROM secrets)";
        query(self, sql, [], |row| row.get(0)).map(Option::unwrap_or_default)
    }

    /// SQLite's description may quote content, so it is dropped.
    fn structural_damage(&self) -> Result<Option<&'static str>> {
        let found: Option<String> = query(self, "PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        let is_damaged = found.as_deref() != Some("ok");
        Ok(is_damaged.then_some("the pages of the file, or an index, are damaged"))
    }
}
