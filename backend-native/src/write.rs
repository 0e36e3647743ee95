//! The writes. Each runs in a transaction that other writes may share.

use strongroom_core::{
    Condition, Error, ErrorKind, MetadataPatch, PutOptions, Result, SecretPath, SecretValue,
    Version,
};

use crate::crypto;
use crate::error::{no_such_version, not_found, record_corrupt};
use crate::record;
use crate::secret_row::{self, SecretRow, to_i64};
use crate::storage::VersionRow;
use crate::writer::SharedTransaction;

/// The largest value, in bytes: 16 MiB.
pub(crate) const MAX_VALUE: usize = 16 * 1024 * 1024;

const READ_AGAIN: &str = "read the secret again and retry";

const MILLIS_PER_DAY: u64 = 86_400_000;

/// Which versions a write keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) versions: Option<u64>,
    pub(crate) days: Option<u64>,
}

pub(crate) fn put(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    value: &SecretValue,
    options: &PutOptions,
    retention: Retention,
) -> Result<Version> {
    if value.len() > MAX_VALUE {
        return Err(Error::new(ErrorKind::InvalidInput, "split it, or store a reference to it")
            .because("the value is larger than 16 MiB"));
    }
    options.refuse_scope()?;
    let now = transaction.now;
    let existing = load(transaction, path)?;
    check_condition(&options.condition, existing.as_ref())?;
    let mut secret = match existing {
        Some(mut secret) => {
            options.metadata.apply(&mut secret.metadata)?;
            secret
        }
        None => SecretRow::new(crypto::random()?, now, options.metadata.for_new_secret()?),
    };
    let replaced = secret.active;
    secret.latest += 1;
    secret.active = secret.latest;
    secret.deleted_at = None;
    let key_ring = transaction.key_ring;
    let (kek_id, kek) = key_ring.active()?;
    let context = secret.record_context(&key_ring.rows.store_id, path, secret.latest, now);
    let sealed = record::seal(value, &context, kek_id, kek)?;
    let version = VersionRow {
        number: secret.latest,
        created_at: now,
        wrap: &sealed.wrap,
        body: &sealed.body,
    };
    transaction.tables.insert_version(&secret.secret_id, version)?;
    prune(transaction, &mut secret, replaced, retention)?;
    store(transaction, path, &mut secret)?;
    Ok(secret.latest.into())
}

fn check_condition(condition: &Condition, existing: Option<&SecretRow>) -> Result<()> {
    let (cause, advice) = match (condition, existing) {
        (Condition::None, _) | (Condition::MustNotExist, None) => return Ok(()),
        (Condition::MustNotExist, Some(secret)) if secret.deleted_at.is_some() => (
            "the path holds a deleted secret",
            "undelete it to read it, write without the condition to replace it, or destroy it first",
        ),
        (Condition::MustNotExist, Some(_)) => ("the path already holds a secret", READ_AGAIN),
        (Condition::MustBeVersion(version), Some(secret))
            if version.number() == Some(secret.active) =>
        {
            return Ok(());
        }
        (Condition::MustBeVersion(_), Some(secret)) if secret.deleted_at.is_some() => (
            "the path holds a deleted secret, of which another version is active",
            "undelete it and read it again, or write without the condition to replace it",
        ),
        (Condition::MustBeVersion(_), Some(_)) => ("another version is active", READ_AGAIN),
        (Condition::MustBeVersion(_), None) => return Err(no_such_secret()),
        _ => ("this backend does not support the condition", "write without it"),
    };
    Err(Error::new(ErrorKind::Conflict, advice).because(cause))
}

/// The conflict of a write under the condition that a version is active.
pub(crate) fn no_such_secret() -> Error {
    Error::new(ErrorKind::Conflict, "check the path, or write without the condition")
        .because("the path holds no secret")
}

/// Removes the oldest versions that the retention does not keep, and none from `kept` on by their age: the one that a
/// write has just replaced, whose age starts now. The active one stays.
fn prune(
    transaction: &SharedTransaction<'_>,
    secret: &mut SecretRow,
    kept: u64,
    retention: Retention,
) -> Result<()> {
    let by_count = retention.versions.map_or(0, |keep| (secret.latest + 1).saturating_sub(keep));
    let by_age = match retention.days {
        Some(days) => first_since(transaction, secret, days)?,
        None => 0,
    };
    let first = by_count.max(by_age.min(kept)).min(secret.active);
    if first <= secret.first {
        return Ok(());
    }
    transaction.tables.remove_versions_before(&secret.secret_id, first)?;
    secret.first = first;
    Ok(())
}

/// Removes the versions that the retention does not keep, without a write of the secret: never the active one, nor those
/// after it. Returns how many it removed.
///
/// A rollback may have replaced an old version a moment ago, and no version says so: none is removed by its age until the
/// secret was left as it is for that long.
pub(crate) fn sweep(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    mut secret: SecretRow,
    retention: Retention,
) -> Result<u64> {
    let before = secret.first;
    let active = secret.active;
    let changed_at = secret.metadata.updated_at.map_or(0, secret_row::to_millis);
    let age = transaction.now.saturating_sub(changed_at);
    let is_recent = |days: &u64| age < to_i64(days.saturating_mul(MILLIS_PER_DAY));
    let retention = Retention { days: retention.days.filter(|days| !is_recent(days)), ..retention };
    prune(transaction, &mut secret, active, retention)?;
    if secret.first > before {
        secret.store(transaction, path)?;
    }
    Ok(secret.first - before)
}

/// Returns the newest version that was written before the limit, which was active at that time. All
/// older ones had been replaced by then.
fn first_since(transaction: &SharedTransaction<'_>, secret: &SecretRow, days: u64) -> Result<u64> {
    let limit = transaction.now.saturating_sub(to_i64(days.saturating_mul(MILLIS_PER_DAY)));
    let newest = transaction.tables.newest_version_before(&secret.secret_id, limit)?;
    Ok(newest.unwrap_or(0))
}

pub(crate) fn delete(transaction: &SharedTransaction<'_>, path: &SecretPath) -> Result<()> {
    match load(transaction, path)? {
        Some(mut secret) if secret.deleted_at.is_none() => {
            secret.deleted_at = Some(transaction.now);
            store(transaction, path, &mut secret)
        }
        _ => Ok(()),
    }
}

pub(crate) fn undelete(transaction: &SharedTransaction<'_>, path: &SecretPath) -> Result<()> {
    let mut secret = load(transaction, path)?.ok_or_else(|| not_found(transaction.store.name()))?;
    if secret.deleted_at.take().is_some() {
        store(transaction, path, &mut secret)?;
    }
    Ok(())
}

/// Removes the row and its versions; SQLite overwrites their pages (`secure_delete`). A corrupt row
/// is removed as well, together with its versions unless another row refers to them.
pub(crate) fn destroy(transaction: &SharedTransaction<'_>, path: &SecretPath) -> Result<()> {
    let tables = transaction.tables;
    let loaded = load(transaction, path);
    let Some(secret_id) = tables.secret_id(path)? else { return Ok(()) };
    let is_authentic = loaded.is_ok();
    let signature = loaded.ok().flatten().and_then(|secret| secret.signature);
    secret_row::remove(transaction, path, signature.as_ref())?;
    tables.remove_versions(&secret_id, !is_authentic)?;
    transaction.truncate_log.set(true);
    Ok(())
}

/// Moves the active version, after verifying that the target version opens.
pub(crate) fn rollback(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    version: &Version,
) -> Result<Version> {
    let mut secret = load_live(transaction, path)?;
    let number = version.number().ok_or_else(no_such_version)?;
    if !(secret.first..=secret.latest).contains(&number) {
        return Err(no_such_version());
    }
    verify_version(transaction, path, &secret, number)?;
    secret.active = number;
    store(transaction, path, &mut secret)?;
    Ok(number.into())
}

fn verify_version(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    secret: &SecretRow,
    number: u64,
) -> Result<()> {
    let key_ring = transaction.key_ring;
    let exists = transaction.tables.version(&secret.secret_id, number, &mut |row| {
        let VersionRow { created_at, wrap, body, .. } = row;
        let context = secret.record_context(&key_ring.rows.store_id, path, number, created_at);
        let kek = key_ring
            .kek(record::kek_id(wrap)?)
            .ok_or_else(|| record_corrupt("the record names a key that does not exist"))?;
        record::open_body(body, &context, &record::unwrap(wrap, &context, kek)?)?;
        Ok(())
    })?;
    if exists { Ok(()) } else { Err(record_corrupt("a version of the secret is missing")) }
}

pub(crate) fn annotate(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    patch: &MetadataPatch,
) -> Result<()> {
    let mut secret = load_live(transaction, path)?;
    patch.apply(&mut secret.metadata)?;
    store(transaction, path, &mut secret)
}

fn load(transaction: &SharedTransaction<'_>, path: &SecretPath) -> Result<Option<SecretRow>> {
    let key_ring = transaction.key_ring;
    SecretRow::load(transaction.tables, path, &key_ring.rows)
}

/// Loads a secret that exists and is not deleted.
fn load_live(transaction: &SharedTransaction<'_>, path: &SecretPath) -> Result<SecretRow> {
    let store = transaction.store.name();
    load(transaction, path)?.ok_or_else(|| not_found(store))?.ensure_not_deleted(store)
}

fn store(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    secret: &mut SecretRow,
) -> Result<()> {
    secret.metadata.updated_at = Some(secret_row::to_time(transaction.now));
    secret.store(transaction, path)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::config::{KeySource, NativeConfig};
    use crate::place::Place;
    use crate::state_change::StateChange;
    use crate::store::{IfMissing, Store};

    const DAY: i64 = 86_400_000;
    const MONTH: Retention = Retention { versions: None, days: Some(30) };

    /// Writes one version on each of these days with a retention of 30 days, and returns the
    /// versions that remain.
    fn remaining_after(days: &[i64]) -> Vec<u64> {
        remaining_with(MONTH, days, None)
    }

    /// The same with another retention, and with a rollback before the last write.
    fn remaining_with(retention: Retention, days: &[i64], to: Option<u64>) -> Vec<u64> {
        let write = |transaction: &SharedTransaction<'_>, path: &SecretPath| {
            let is_last = Some(transaction.now) == days.last().map(|day| day * DAY);
            if let Some(version) = to.filter(|_| is_last) {
                rollback(transaction, path, &version.into()).unwrap();
            }
            put(transaction, path, &"x".into(), &PutOptions::new(), retention).unwrap();
        };
        let writes: Vec<(i64, &Step<'_>)> = days.iter().map(|day| (*day, &write as _)).collect();
        remaining_after_steps(&writes)
    }

    /// Something that happens to a secret.
    type Step<'a> = dyn Fn(&SharedTransaction<'_>, &SecretPath) + 'a;

    /// Does something with one secret on each of these days, and returns the versions that remain.
    fn remaining_after_steps(steps: &[(i64, &Step<'_>)]) -> Vec<u64> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = NativeConfig::new(KeySource::KeyFile(folder.path().join("key")));
        config.path = Some(folder.path().join("secrets.db"));
        let opened = Store::open(&config, &Place::of(&config).unwrap(), IfMissing::Create);
        let (store, writer) = opened.unwrap().unwrap();
        let tables = writer.tables();
        let key_ring = store.load_key_ring(tables).unwrap();
        let (truncate_log, key_ring_changed) = (Cell::new(false), Cell::new(false));
        let path = SecretPath::parse("a").unwrap();
        for (day, step) in steps {
            let transaction = SharedTransaction {
                tables,
                key_ring: &key_ring,
                store: &store,
                now: day * DAY,
                truncate_log: &truncate_log,
                key_ring_changed: &key_ring_changed,
                state_change: &StateChange::default(),
            };
            step(&transaction, &path);
        }
        let secret_id = tables.secret_id(&path).unwrap().unwrap();
        let mut versions = Vec::new();
        let visit = &mut |row: Result<VersionRow<'_>>| {
            versions.push(row?.number);
            Ok(())
        };
        tables.versions(&secret_id, false, visit).unwrap();
        versions
    }

    #[test]
    fn a_sweep_keeps_what_a_rollback_has_just_replaced() {
        let keep_all = Retention { versions: None, days: None };
        let write = |transaction: &SharedTransaction<'_>, path: &SecretPath| {
            put(transaction, path, &"x".into(), &PutOptions::new(), keep_all).unwrap();
        };
        let roll_to = |version: u64| {
            move |transaction: &SharedTransaction<'_>, path: &SecretPath| {
                rollback(transaction, path, &version.into()).unwrap();
            }
        };
        let (back, forward) = (roll_to(1), roll_to(3));
        let swept = |transaction: &SharedTransaction<'_>, path: &SecretPath| {
            let secret = load(transaction, path).unwrap().unwrap();
            sweep(transaction, path, secret, MONTH).unwrap();
        };
        let until: [(i64, &Step<'_>); 5] =
            [(1000, &write), (1001, &write), (1002, &write), (1003, &back), (1300, &forward)];
        for (day, expected) in [(1300, vec![1, 2, 3]), (1329, vec![1, 2, 3]), (1331, vec![3])] {
            let steps: Vec<_> = until.iter().copied().chain([(day, &swept as _)]).collect();
            assert_eq!(remaining_after_steps(&steps), expected, "swept on day {day}");
        }
    }

    #[test]
    fn a_version_is_kept_for_days_after_it_was_replaced_not_after_it_was_written() {
        assert_eq!(remaining_after(&[1000, 1090]), [1, 2], "replaced at this write");
        assert_eq!(remaining_after(&[1000, 1090, 1119]), [1, 2, 3], "replaced 29 days ago");
        assert_eq!(remaining_after(&[1000, 1090, 1121]), [2, 3], "replaced 31 days ago");
        assert_eq!(remaining_after(&[1000, 1001, 1002, 1300]), [3, 4]);
        assert_eq!(remaining_after(&[1000, 1100, 1200, 1300]), [3, 4], "3 was just replaced");
        let rolled_back = remaining_with(MONTH, &[1000, 1001, 1002, 1300], Some(1));
        assert_eq!(rolled_back, [1, 2, 3, 4], "1 was active until this write");
    }

    #[test]
    fn the_stricter_of_two_limits_counts() {
        let keeping = |versions| Retention { versions: Some(versions), ..MONTH };
        assert_eq!(remaining_with(keeping(2), &[1000, 1001, 1002], None), [2, 3]);
        assert_eq!(remaining_with(keeping(3), &[1000, 1001, 1002, 1300], None), [3, 4]);
    }
}
