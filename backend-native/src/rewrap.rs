//! Replacing the key-encryption key: data keys are wrapped anew in small transactions, values are
//! not touched.

use rusqlite::Row;
use strongroom_core::{Result, SecretPath};
use tracing::{info, warn};

use crate::error::from_sqlite;
use crate::record;
use crate::ring::{self, State};
use crate::row::{self, SecretRow, columns};
use crate::writer::{Transaction, Writer};

/// How many secrets one transaction re-wraps: a few milliseconds, so that other writes get through.
const BATCH: usize = 200;

/// What a rotation of the key-encryption key did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KekRotation {
    /// The id of the key that wraps data keys from now on.
    pub key_id: u32,
    /// How many data keys were wrapped anew.
    pub rewrapped: u64,
    /// How many damaged records were left as they are.
    pub damaged: u64,
    /// Whether the old keys were removed. They are kept while damaged records, or records that no
    /// secret lays claim to any more, may need them.
    pub old_keys_removed: bool,
    /// Whether this finished a rotation that had been interrupted, instead of beginning a new one.
    pub resumed: bool,
}

pub(crate) async fn rotate(writer: &Writer) -> Result<KekRotation> {
    let resumed = writer.submit(begin).await?;
    let (mut rewrapped, mut damaged, mut after) = (0, 0, Some(Vec::new()));
    while let Some(from) = after {
        let batch = writer.submit(move |transaction| rewrap_batch(transaction, &from)).await?;
        rewrapped += batch.rewrapped;
        damaged += batch.damaged;
        after = batch.last;
    }
    let keep_old = damaged > 0;
    let finished = writer.submit(move |transaction| finish(transaction, keep_old)).await?;
    let (key_id, old_keys_removed) = finished;
    let rotation = KekRotation { key_id, rewrapped, damaged, old_keys_removed, resumed };
    info!(
        key_id = rotation.key_id,
        rewrapped = rotation.rewrapped,
        damaged = rotation.damaged,
        old_keys_removed,
        resumed,
        "rotated the key-encryption key"
    );
    Ok(rotation)
}

/// Makes a new key the active one, unless an interrupted rotation already has. Reads the ring anew:
/// the transaction's tells the active key, but not whether another process, or a write before this
/// one in the same transaction, has begun or finished a rotation.
fn begin(transaction: &Transaction<'_>) -> Result<bool> {
    let Transaction { connection, store, now, .. } = transaction;
    let ring = store.load_ring(connection)?;
    if ring.is_rotating() {
        return Ok(true);
    }
    ring::replace_active(connection, &ring, store.root(), State::Retiring, *now)?;
    transaction.ring_changed.set(true);
    Ok(false)
}

struct Batch {
    rewrapped: u64,
    damaged: u64,
    /// The last path of the batch as it stands in the file, if there may be more after it.
    last: Option<Vec<u8>>,
}

fn rewrap_batch(transaction: &Transaction<'_>, after: &[u8]) -> Result<Batch> {
    let Transaction { connection, ring, .. } = transaction;
    let mut statement = connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", s.path FROM secrets s WHERE s.path > CAST(?1 AS TEXT) ORDER BY s.path LIMIT ?2"
        ))
        .map_err(from_sqlite)?;
    let mut rows = statement.query((after, BATCH)).map_err(from_sqlite)?;
    let mut batch = Batch { rewrapped: 0, damaged: 0, last: None };
    let (mut seen, mut last) = (0, Vec::new());
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        seen += 1;
        last = row::raw_path(row)?;
        let secret = row::valid_path(&last).and_then(|path| {
            let row = SecretRow::from_row(row, &path, &ring.mac, &ring.store_id).ok()?;
            Some((path, row))
        });
        if let Some((path, secret)) = secret {
            rewrap_secret(transaction, &path, &secret, &mut batch)?;
        } else {
            warn!("a record fails authentication; its data keys stay as they are");
            batch.damaged += 1;
        }
    }
    let uses = i64::try_from(batch.rewrapped).unwrap_or(i64::MAX);
    ring::count_uses(connection, ring, transaction.store.root(), uses, transaction.now)?;
    // What does not come after the path before it was edited, and would be met for ever.
    batch.last = (seen == BATCH && last.as_slice() > after).then_some(last);
    Ok(batch)
}

fn rewrap_secret(
    transaction: &Transaction<'_>,
    path: &SecretPath,
    secret: &SecretRow,
    batch: &mut Batch,
) -> Result<()> {
    let Transaction { connection, ring, .. } = transaction;
    let (active_id, active) = ring.active()?;
    let version = |row: &Row<'_>| -> rusqlite::Result<(u64, i64, Vec<u8>)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    };
    let versions: Vec<_> = connection
        .prepare_cached("SELECT version, created_at, wrap FROM versions WHERE secret_id = ?")
        .and_then(|mut query| {
            query.query_map([secret.secret_id], |row| Ok(version(row).ok()))?.collect()
        })
        .map_err(from_sqlite)?;
    for version in versions {
        let Some((number, created_at, wrap)) = version else {
            batch.damaged += 1;
            continue;
        };
        let place = secret.place(&ring.store_id, path, number, created_at);
        let old_id = record::kek_id(&wrap).ok();
        let data_key = old_id
            .and_then(|id| ring.kek(id))
            .and_then(|old| record::unwrap(&wrap, &place, old).ok());
        let Some(data_key) = data_key else {
            warn!(%path, version = number, "a record fails authentication; its data key stays");
            batch.damaged += 1;
            continue;
        };
        if old_id == Some(active_id) {
            continue;
        }
        let new = record::wrap(&data_key, &place, active_id, active)?;
        connection
            .prepare_cached("UPDATE versions SET wrap = ? WHERE secret_id = ? AND version = ?")
            .and_then(|mut update| update.execute((new, secret.secret_id, number)))
            .map_err(from_sqlite)?;
        batch.rewrapped += 1;
    }
    Ok(())
}

/// Removes the old keys, or keeps them: a damaged record may be mended from a backup that names one.
/// Gives the active key's id and whether the old ones are gone.
fn finish(transaction: &Transaction<'_>, keep_old: bool) -> Result<(u32, bool)> {
    let connection = transaction.connection;
    let ring = transaction.store.load_ring(connection)?;
    let removed = !keep_old && ring::remove_inactive(connection, &ring)?;
    if keep_old {
        ring::settle_inactive(connection, &ring)?;
    }
    if removed {
        transaction.empty_log.set(true);
    }
    transaction.ring_changed.set(true);
    Ok((ring.active()?.0, removed))
}
