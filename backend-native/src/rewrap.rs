//! Rotation of the key-encryption key and of the root key: small transactions rewrap the data keys and sign the rows
//! again; values stay as they are.

use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};
use tracing::{info, warn};

use crate::crypto;
use crate::key_ring::{self, ActiveKeys, KeyState};
use crate::record;
use crate::root_key::RootKey;
use crate::secret_page::SecretPage;
use crate::secret_row::SecretRow;
use crate::slots;
use crate::store::IfMissing;
use crate::writer::{SharedTransaction, Writer};

/// How many secrets one transaction rewraps: a few milliseconds, so that other writes do not wait
/// long.
const BATCH: usize = 200;
/// How many rotations of other processes one of the root key finishes first.
const MAX_EARLIER: usize = 4;
/// How long a transaction waits for the lock of the anchor. Another process holds it for milliseconds, unless it is
/// waiting for this transaction.
const ANCHOR_WAIT: Duration = Duration::from_secs(1);

/// The outcome of a rotation of the key-encryption key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KekRotation {
    /// The id of the key that wraps data keys from now on.
    pub key_id: u32,
    /// How many data keys were rewrapped.
    pub rewrapped: u64,
    /// How many corrupt records were left as they are.
    pub damaged: u64,
    /// Whether the old keys were removed. They stay while corrupt records, or records that no
    /// secret refers to, may need them.
    pub old_keys_removed: bool,
    /// Whether this finished an interrupted rotation instead of starting a new one.
    pub resumed: bool,
}

/// The outcome of a rotation of the root key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootKeyRotation {
    /// How many slots open the store with the new root key.
    pub slots: usize,
    /// The rotation of the key-encryption key that belongs to it.
    pub kek: KekRotation,
}

/// Starts a new key-encryption key, and replaces the old ones by it.
pub(crate) async fn rotate_kek(writer: &Writer) -> Result<KekRotation> {
    let resumed = writer.submit(IfMissing::Leave, begin_kek).await?;
    finish(writer, resumed).await
}

/// Starts a new root key with new keys of the ring, and replaces the old ones by them.
pub(crate) async fn rotate_root_key(writer: &Writer) -> Result<RootKeyRotation> {
    for _ in 0..MAX_EARLIER {
        if let Some(slots) = writer.submit(IfMissing::Leave, begin_root_key).await? {
            let kek = finish(writer, false).await?;
            info!(slots, "rotated the root key");
            return Ok(RootKeyRotation { slots, kek });
        }
        // The root key of an earlier rotation may be sealed to slots that were removed since then.
        finish(writer, true).await?;
    }
    Err(Error::new(ErrorKind::Conflict, "try again once they are finished")
        .because("other processes rotate keys of the store"))
}

/// Replaces the old keys everywhere, and removes them.
async fn finish(writer: &Writer, resumed: bool) -> Result<KekRotation> {
    let mut rewrapped = 0;
    let (finished, damaged) = loop {
        let Some(pass) = replace_old_keys(writer, &mut rewrapped).await? else { continue };
        writer.submit(IfMissing::Leave, sign_anchor).await?;
        let Pass { active, damaged } = pass;
        let finished = writer
            .submit(IfMissing::Leave, move |transaction| {
                remove_old_keys(transaction, active, damaged > 0)
            })
            .await?;
        if let Some(finished) = finished {
            break (finished, damaged);
        }
    };
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

/// What a pass over all secrets has replaced old keys by.
struct Pass {
    active: ActiveKeys,
    damaged: u64,
}

/// Replaces the old keys in all secrets. Returns `None` if another process has started new keys meanwhile.
async fn replace_old_keys(writer: &Writer, rewrapped: &mut u64) -> Result<Option<Pass>> {
    let (mut pass, mut after) = (None, Some(Vec::new()));
    while let Some(from) = after {
        let batch = writer
            .submit(IfMissing::Leave, move |transaction| rewrap_batch(transaction, &from))
            .await?;
        *rewrapped += batch.rewrapped;
        let pass = pass.get_or_insert(Pass { active: batch.active, damaged: 0 });
        if pass.active != batch.active {
            return Ok(None);
        }
        pass.damaged += batch.damaged;
        after = batch.last;
    }
    Ok(pass)
}

/// Adds a new active key, unless an interrupted rotation has already done so. Loads the key ring
/// again: the transaction's copy has the right active key, but may be older than the start or end
/// of a rotation by another process, or by an earlier write of this transaction.
fn begin_kek(transaction: &SharedTransaction<'_>) -> Result<bool> {
    let SharedTransaction { tables, store, now, .. } = transaction;
    let key_ring = store.load_key_ring(*tables)?;
    if key_ring.is_rotating() {
        return Ok(true);
    }
    key_ring::replace_active(*tables, &key_ring, KeyState::Retiring, *now)?;
    transaction.key_ring_changed.set(true);
    Ok(false)
}

/// Seals a new root key to all slots and the ring under it, in one transaction. From then on, no earlier copy of the slots
/// or the ring belongs to the store. Returns how many slots there are; `None` if an earlier rotation is unfinished.
fn begin_root_key(transaction: &SharedTransaction<'_>) -> Result<Option<usize>> {
    let SharedTransaction { tables, store, now, .. } = transaction;
    let key_ring = store.load_key_ring(*tables)?;
    if key_ring.is_rotating() {
        return Ok(None);
    }
    let root = crypto::random_key()?;
    let keys = key_ring::replace_root(*tables, &key_ring, &RootKey::new(&root), *now)?;
    let old = (key_ring.root(), &key_ring.rows);
    let slots = slots::reseal(*tables, old, (&root, &keys))?;
    transaction.key_ring_changed.set(true);
    Ok(Some(slots))
}

struct Batch {
    /// The keys by which the old ones were replaced.
    active: ActiveKeys,
    rewrapped: u64,
    damaged: u64,
    /// The last path of the batch as stored in the file, if more may follow.
    last: Option<Vec<u8>>,
}

fn rewrap_batch(transaction: &SharedTransaction<'_>, after: &[u8]) -> Result<Batch> {
    let SharedTransaction { tables, key_ring, .. } = transaction;
    let page = SecretPage::load(*tables, after, BATCH, &key_ring.rows)?;
    let active = key_ring.active_keys()?;
    let mut batch = Batch { active, rewrapped: 0, damaged: 0, last: page.last };
    for secret in page.secrets {
        if let Some((path, mut secret)) = secret {
            rewrap_secret(transaction, &path, &secret, &mut batch)?;
            if secret.signature.is_none_or(|by| by.key_id != key_ring.rows.active_id()) {
                secret.store(transaction, &path)?;
            }
        } else {
            warn!("a record fails authentication and is not rewrapped");
            batch.damaged += 1;
        }
    }
    let uses = i64::try_from(batch.rewrapped).unwrap_or(i64::MAX);
    if key_ring::reserve_uses(*tables, key_ring, uses, transaction.now)? {
        transaction.key_ring_changed.set(true);
    }
    Ok(batch)
}

fn rewrap_secret(
    transaction: &SharedTransaction<'_>,
    path: &SecretPath,
    secret: &SecretRow,
    batch: &mut Batch,
) -> Result<()> {
    let SharedTransaction { tables, key_ring, .. } = transaction;
    let (active_id, active) = key_ring.active()?;
    let mut versions = Vec::new();
    tables.versions(&secret.secret_id, false, &mut |row| {
        versions.push(row.ok().map(|row| (row.number, row.created_at, row.wrap.to_vec())));
        Ok(())
    })?;
    for version in versions {
        let Some((number, created_at, wrap)) = version else {
            batch.damaged += 1;
            continue;
        };
        let context = secret.record_context(&key_ring.rows.store_id, path, number, created_at);
        let old_id = record::kek_id(&wrap).ok();
        let data_key = old_id
            .and_then(|id| key_ring.kek(id))
            .and_then(|old| record::unwrap(&wrap, &context, old).ok());
        let Some(data_key) = data_key else {
            warn!(%path, version = number, "a record fails authentication and is not rewrapped");
            batch.damaged += 1;
            continue;
        };
        if old_id == Some(active_id) {
            continue;
        }
        let new = record::wrap(&data_key, &context, active_id, active)?;
        tables.set_wrap(&secret.secret_id, number, &new)?;
        batch.rewrapped += 1;
    }
    Ok(())
}

/// Lets the active key sign the anchor, before the one that has signed it is removed.
fn sign_anchor(transaction: &SharedTransaction<'_>) -> Result<()> {
    let SharedTransaction { tables, key_ring, store, .. } = transaction;
    if !key_ring.rows.has_retiring() {
        return Ok(());
    }
    store.guard().advance_anchor(*tables, &key_ring.rows, ANCHOR_WAIT)
}

/// Removes the old keys, or keeps them, since a corrupt record may be restored from a backup that
/// names one. Returns the active key's id and whether the old keys were removed; `None` if other keys are active than those
/// that have replaced the old ones.
fn remove_old_keys(
    transaction: &SharedTransaction<'_>,
    active: ActiveKeys,
    keep_old: bool,
) -> Result<Option<(u32, bool)>> {
    let tables = transaction.tables;
    let key_ring = transaction.store.load_key_ring(tables)?;
    if key_ring.active_keys()? != active {
        return Ok(None);
    }
    let removed = !keep_old && key_ring::remove_inactive(tables, &key_ring)?;
    if keep_old {
        key_ring::mark_decrypt_only(tables, &key_ring)?;
    }
    if key_ring.rows.has_retiring() {
        // All rows that it has signed are signed again, or are damaged.
        key_ring::remove_retiring_row_key(tables)?;
    }
    if removed || key_ring.rows.has_retiring() {
        transaction.truncate_log.set(true);
    }
    transaction.key_ring_changed.set(true);
    Ok(Some((key_ring.active()?.0, removed)))
}
