//! A check of a whole store: every record is authenticated, and every value opened.

use std::borrow::Cow;

use rusqlite::{Connection, Row};
use strongroom_core::{ErrorKind, Result, SecretPath};

use crate::error::from_sqlite;
use crate::key_ring::KeyRing;
use crate::record;
use crate::secret_row::{self, SecretRow, columns};
use crate::state::{RowSum, State};

/// How many findings a check describes; it counts all of them.
const MAX_DESCRIBED: usize = 100;

/// What a check of a whole store has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCheck {
    /// The secrets, deleted ones included.
    pub secrets: u64,
    /// Their versions.
    pub versions: u64,
    /// The number of the store's state, which each transaction advances; 0 if the state cannot be read.
    pub state: u64,
    /// How much is damaged: pages of the file, the state, secrets and versions.
    pub damaged: u64,
    /// The first 100 of them.
    pub damage: Vec<Damage>,
}

/// Something that is damaged, or was changed from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The secret; `None` if the damage is not in one, or its path cannot be read.
    pub path: Option<SecretPath>,
    /// The version; `None` if the secret as a whole is damaged.
    pub version: Option<u64>,
    /// What is wrong.
    pub what: Cow<'static, str>,
}

impl StoreCheck {
    pub(crate) fn add(
        &mut self,
        path: Option<&SecretPath>,
        version: Option<u64>,
        what: impl Into<Cow<'static, str>>,
    ) {
        self.damaged += 1;
        if self.damage.len() < MAX_DESCRIBED {
            self.damage.push(Damage { path: path.cloned(), version, what: what.into() });
        }
    }
}

/// Checks the store of a connection in one snapshot, from which `load` loads the key ring.
pub(crate) fn check(
    connection: &Connection,
    load: impl FnOnce(&Connection) -> Result<KeyRing>,
) -> Result<StoreCheck> {
    let snapshot = connection.unchecked_transaction().map_err(from_sqlite)?;
    let key_ring = &load(&snapshot)?;
    let mut check = StoreCheck::default();
    check_pages(&snapshot, &mut check)?;
    let mut statement = snapshot
        .prepare(concat!("SELECT ", columns!(), ", s.path FROM secrets s ORDER BY s.path"))
        .map_err(from_sqlite)?;
    let mut rows = statement.query([]).map_err(from_sqlite)?;
    let mut authentic = RowSum::default();
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        check.secrets += 1;
        let Some(path) = secret_row::valid_path(&secret_row::raw_path(row)?) else {
            check.add(None, None, "a secret has a path that is not valid");
            continue;
        };
        match SecretRow::from_row(row, &path, &key_ring.rows) {
            Ok(secret) => {
                if let Some(signature) = &secret.signature {
                    authentic.add(&key_ring.rows, signature)?;
                }
                check_versions(&snapshot, key_ring, &path, &secret, &mut check)?;
            }
            Err(_) => check.add(Some(&path), None, "the secret's row fails authentication"),
        }
    }
    check_unreferenced(&snapshot, &mut check)?;
    check_state(State::load(&snapshot, &key_ring.rows), &authentic, &mut check)?;
    Ok(check)
}

/// Compares the rows with what the last transaction has left. Of a secret that was removed with its versions nothing is
/// left that could name it.
fn check_state(state: Result<State>, authentic: &RowSum, check: &mut StoreCheck) -> Result<()> {
    let state = match state {
        Ok(state) => state,
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            check.add(None, None, error.cause().to_owned());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    check.state = state.number;
    let (found, expected) = (check.secrets, state.rows.secrets);
    let counts = format!("the store has {found} secrets, its last state had {expected}");
    if found < expected {
        check.add(None, None, format!("{counts}: secrets were removed, or damaged ones destroyed"));
    } else if found > expected {
        check.add(None, None, format!("{counts}: secrets that had been removed were put back"));
    } else if authentic.secrets == expected && authentic.sum != state.rows.sum {
        // A damaged row differs from the one that the sum has, so only authentic ones can be compared.
        let what = "the store's secrets are not those of its last state: some were replaced by earlier ones, or \
                    removed and others put back";
        check.add(None, None, what);
    }
    Ok(())
}

/// Checks the structure of the file. SQLite's description may quote content, so it is dropped.
fn check_pages(connection: &Connection, check: &mut StoreCheck) -> Result<()> {
    let found = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
    let found: String = found.map_err(from_sqlite)?;
    if found != "ok" {
        check.add(None, None, "the pages of the file, or an index, are damaged");
    }
    Ok(())
}

fn check_versions(
    connection: &Connection,
    key_ring: &KeyRing,
    path: &SecretPath,
    secret: &SecretRow,
    check: &mut StoreCheck,
) -> Result<()> {
    let mut statement = connection
        .prepare_cached(
            "SELECT version, created_at, wrap, body FROM versions WHERE secret_id = ? ORDER BY version",
        )
        .map_err(from_sqlite)?;
    let mut rows = statement.query([secret.secret_id]).map_err(from_sqlite)?;
    let mut expected = secret.first;
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        check.versions += 1;
        let Ok(version) = row.get::<_, u64>(0) else {
            check.add(Some(path), None, "a version has a number that cannot be read");
            continue;
        };
        while expected < version && expected <= secret.latest {
            check.add(Some(path), Some(expected), "the version is missing");
            expected += 1;
        }
        if !(secret.first..=secret.latest).contains(&version) {
            check.add(Some(path), Some(version), "the secret does not have this version");
            continue;
        }
        expected = version.saturating_add(1);
        if opens(row, key_ring, path, secret, version).is_err() {
            check.add(Some(path), Some(version), "the version fails authentication");
        }
    }
    for missing in expected..=secret.latest {
        check.add(Some(path), Some(missing), "the version is missing");
    }
    Ok(())
}

/// Opens a version, and drops its value.
fn opens(
    row: &Row<'_>,
    key_ring: &KeyRing,
    path: &SecretPath,
    secret: &SecretRow,
    version: u64,
) -> Result<()> {
    let created_at = row.get(1).map_err(from_sqlite)?;
    let blob = |column| row.get_ref(column).map_err(from_sqlite);
    let (wrap, body) = (blob(2)?, blob(3)?);
    let (Ok(wrap), Ok(body)) = (wrap.as_blob(), body.as_blob()) else {
        return Err(crate::crypto::NotAuthentic.into());
    };
    let context = secret.record_context(&key_ring.rows.store_id, path, version, created_at);
    let kek = key_ring.kek(record::kek_id(wrap)?).ok_or(crate::crypto::NotAuthentic)?;
    let data_key = record::unwrap(wrap, &context, kek)?;
    record::open_body(body, &context, &data_key)?;
    Ok(())
}

/// A version without a secret is what the removal of the secret's row leaves.
fn check_unreferenced(connection: &Connection, check: &mut StoreCheck) -> Result<()> {
    let unreferenced = connection.query_row(
        "SELECT count(DISTINCT secret_id) FROM versions \
         WHERE secret_id NOT IN (SELECT secret_id FROM secrets)",
        [],
        |row| row.get(0),
    );
    for _ in 0..unreferenced.map_err(from_sqlite)? {
        check.add(None, None, "versions belong to no secret: its row was removed");
    }
    Ok(())
}
