//! A check of a whole store: every record is authenticated, and every value opened.

use std::borrow::Cow;

use strongroom_core::{ErrorKind, Result, SecretPath};

use crate::key_ring::KeyRing;
use crate::record;
use crate::secret_row::{self, SecretRow};
use crate::state::{RowSum, State};
use crate::storage::{Range, Snapshot, Tables, VersionRow};

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
    tables: &dyn Tables,
    load: impl FnOnce(&dyn Tables) -> Result<KeyRing>,
) -> Result<StoreCheck> {
    let _snapshot = Snapshot::begin(tables)?;
    let key_ring = &load(tables)?;
    let mut check = StoreCheck::default();
    if let Some(damage) = tables.structural_damage()? {
        check.add(None, None, damage);
    }
    let mut authentic = RowSum::default();
    tables.secrets(Range::ALL, &mut |path, raw| {
        check.secrets += 1;
        let Some(path) = secret_row::valid_path(path) else {
            check.add(None, None, "a secret has a path that is not valid");
            return Ok(());
        };
        match raw.and_then(|raw| SecretRow::authenticate(&raw, &path, &key_ring.rows)) {
            Ok(secret) => {
                if let Some(signature) = &secret.signature {
                    authentic.add(&key_ring.rows, signature)?;
                }
                check_versions(tables, key_ring, &path, &secret, &mut check)?;
            }
            Err(_) => check.add(Some(&path), None, "the secret's row fails authentication"),
        }
        Ok(())
    })?;
    for _ in 0..tables.unreferenced_secrets()? {
        check.add(None, None, "versions belong to no secret: its row was removed");
    }
    check_state(State::load(tables, &key_ring.rows), &authentic, &mut check)?;
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

fn check_versions(
    tables: &dyn Tables,
    key_ring: &KeyRing,
    path: &SecretPath,
    secret: &SecretRow,
    check: &mut StoreCheck,
) -> Result<()> {
    let mut expected = secret.first;
    tables.versions(&secret.secret_id, true, &mut |row| {
        check.versions += 1;
        let Ok(row) = row else {
            check.add(Some(path), None, "a version cannot be read");
            return Ok(());
        };
        let version = row.number;
        while expected < version && expected <= secret.latest {
            check.add(Some(path), Some(expected), "the version is missing");
            expected += 1;
        }
        if !(secret.first..=secret.latest).contains(&version) {
            check.add(Some(path), Some(version), "the secret does not have this version");
            return Ok(());
        }
        expected = version.saturating_add(1);
        if opens(&row, key_ring, path, secret).is_err() {
            check.add(Some(path), Some(version), "the version fails authentication");
        }
        Ok(())
    })?;
    for missing in expected..=secret.latest {
        check.add(Some(path), Some(missing), "the version is missing");
    }
    Ok(())
}

/// Opens a version, and drops its value.
fn opens(
    row: &VersionRow<'_>,
    key_ring: &KeyRing,
    path: &SecretPath,
    secret: &SecretRow,
) -> Result<()> {
    let context = secret.record_context(&key_ring.rows.store_id, path, row.number, row.created_at);
    let kek = key_ring.kek(record::kek_id(row.wrap)?).ok_or(crate::crypto::NotAuthentic)?;
    let data_key = record::unwrap(row.wrap, &context, kek)?;
    record::open_body(row.body, &context, &data_key)?;
    Ok(())
}
