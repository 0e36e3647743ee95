//! Verifies a whole log.

use serde::Deserialize;
use strongroom_core::{Result, Rfc3339};

use super::block::Block;
use super::chain::Chain;
use super::checkpoint::{Checkpoint, SignedCheckpoint};
use super::error::corrupt;
use super::keys::Keys;
use super::{Head, LogStore, PRUNED, Row, RowMac, START, Tail};

/// How many rows one read returns; a block can have over 256 KiB.
const PAGE: usize = 128;
/// How often a verification begins again because another writer has pruned the log meanwhile.
const MAX_PRUNES: u32 = 8;

/// What a verification found: every record is authentic and in its place.
///
/// It cannot find that records are missing after the newest checkpoint: the end of the log may have been cut off
/// there, or the file replaced by an older copy of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The number of the first record that is kept; earlier ones were pruned.
    pub first: u64,
    /// The number of the last record; `first - 1` if the log is empty.
    pub last: u64,
    /// How many records there are.
    pub rows: u64,
    /// How many checkpoints the log agrees with. One of a pruned record counts as not checked.
    pub checkpoints_checked: usize,
    /// The newest record that a checkpoint vouches for.
    pub last_checkpointed: Option<u64>,
}

/// Walks all rows. Finds a row that was changed, removed, inserted or moved, a beginning that was cut off, and with
/// checkpoints an end that was cut off and a log that was replaced.
///
/// Rows that another writer appends meanwhile are not included.
///
/// # Errors
/// [`Corrupt`](strongroom_core::ErrorKind::Corrupt), which names the first seq that is wrong and in which way; those
/// of the store.
pub(crate) fn verify(
    store: &mut dyn LogStore,
    keys: &Keys,
    checkpoints: &[SignedCheckpoint],
) -> Result<Verification> {
    check_retry(store, |store| {
        let head = store.head()?;
        let checkpoints = open_checkpoints(keys, &head, checkpoints)?;
        verify_rows(store, keys, &head, &checkpoints)
    })
}

/// Runs `read`, again if another writer has pruned the log meanwhile, so that rows that it expected were gone.
pub(super) fn check_retry<T>(
    store: &mut dyn LogStore,
    mut read: impl FnMut(&mut dyn LogStore) -> Result<T>,
) -> Result<T> {
    let mut prunes = 0;
    loop {
        let first = store.head()?.first;
        let outcome = read(store);
        if prunes == MAX_PRUNES || store.head()?.first == first {
            return outcome;
        }
        prunes += 1;
    }
}

/// Checks the signatures, and that the checkpoints are of this log and not beyond its end. Returns them in the order
/// of their rows.
fn open_checkpoints(
    keys: &Keys,
    head: &Head,
    signed: &[SignedCheckpoint],
) -> Result<Vec<Checkpoint>> {
    let (last, ..) = head.tail();
    let mut checkpoints = Vec::with_capacity(signed.len());
    for signed in signed {
        // One root key may have several logs, so the signature says nothing about which log this is.
        let checkpoint = signed.verify(&keys.verifying_key(&signed.claim().log_id))?;
        if checkpoint.log_id != head.log_id {
            return Err(corrupt(format!(
                "the checkpoint of {} is of the audit log {}, but this is the log {}: the log was replaced",
                Rfc3339::seconds(checkpoint.time),
                hex::encode(checkpoint.log_id),
                hex::encode(head.log_id)
            )));
        }
        checkpoints.push(checkpoint);
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.seq);
    match checkpoints.last() {
        Some(newest) if newest.seq > last => Err(corrupt(format!(
            "the audit log ends with row {last}, but had row {} at {}: row {} and those after it were cut off, or \
             the log was replaced by an older copy",
            newest.seq,
            Rfc3339::seconds(newest.time),
            last.saturating_add(1)
        ))),
        _ => Ok(checkpoints),
    }
}

/// Checks that the log has the rows of checkpoints, without a walk over the log: so an older copy of the log, or another
/// one, is found when it is opened.
///
/// # Errors
/// [`Corrupt`](strongroom_core::ErrorKind::Corrupt), and those of the store.
pub(crate) fn check_continues(
    store: &mut dyn LogStore,
    keys: &Keys,
    checkpoints: &[SignedCheckpoint],
) -> Result<()> {
    check_retry(store, |store| {
        let head = store.head()?;
        let checkpoints = open_checkpoints(keys, &head, checkpoints)?;
        // Earlier rows were pruned.
        let first = head.first.saturating_sub(1);
        let mut newest = None;
        for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.seq >= first) {
            let mac = store.mac_of(checkpoint.seq)?.unwrap_or_default();
            check_checkpoint(checkpoint, checkpoint.seq, &mac)?;
            newest = Some(checkpoint);
        }
        newest.map_or(Ok(()), |newest| check_rows_after(store, keys, &head, newest))
    })
}

/// Checks that the row of a checkpoint is authentic, and each row after it. The MAC in a column proves nothing alone: a
/// writer of the file can copy it there, but cannot make rows that follow it.
fn check_rows_after(
    store: &mut dyn LogStore,
    keys: &Keys,
    head: &Head,
    checkpoint: &Checkpoint,
) -> Result<()> {
    let chain = Chain::new(keys, &head.log_id);
    let before_first = head.first.saturating_sub(1);
    let mut tail: Tail = (checkpoint.seq, checkpoint.mac, 0);
    if checkpoint.seq > before_first {
        let row = store.row_with(checkpoint.seq)?.ok_or_else(|| missing(checkpoint.seq))?;
        let before = store.mac_of(row.seq.saturating_sub(1))?.unwrap_or_default();
        chain.check_mac(&before, &row)?;
        tail = row.tail();
        check_checkpoint(checkpoint, tail.0, &tail.1)?;
    }
    walk(store, &chain, head, tail, |_| Ok(())).map(drop)
}

/// Checks the rows after `tail` up to the end of the log, and visits each. Returns the tail after them.
fn walk(
    store: &mut dyn LogStore,
    chain: &Chain,
    head: &Head,
    mut tail: Tail,
    mut visit: impl FnMut(&Row) -> Result<()>,
) -> Result<Tail> {
    let (last, ..) = head.tail();
    while tail.0 < last {
        let page = store.rows_after(tail.0, PAGE)?;
        for row in page.iter().take_while(|row| row.seq <= last) {
            // The first row that is kept may name a rule that was pruned.
            if row.seq == head.first && row.last_rule < head.first {
                tail.2 = row.last_rule;
            }
            tail = chain.check(&tail, row)?;
            visit(row)?;
        }
        if page.last().is_none_or(|row| row.seq > last) && tail.0 < last {
            return Err(missing(tail.0.saturating_add(1)));
        }
    }
    Ok(tail)
}

fn missing(seq: u64) -> strongroom_core::Error {
    corrupt(format!("row {seq} of the audit log is missing"))
}

fn verify_rows(
    store: &mut dyn LogStore,
    keys: &Keys,
    head: &Head,
    checkpoints: &[Checkpoint],
) -> Result<Verification> {
    let chain = Chain::new(keys, &head.log_id);
    let before_first = head.first.saturating_sub(1);
    let mut expected = checkpoints.iter().filter(|one| one.seq >= before_first).peekable();
    let checkpoints_checked = expected.clone().count();
    let mut prune = None;
    // A row ends with each record that was signed, so one within a row is of another log.
    let mut check_checkpoints = |last, mac: &RowMac| -> Result<()> {
        while let Some(checkpoint) = expected.next_if(|checkpoint| checkpoint.seq <= last) {
            check_checkpoint(checkpoint, last, mac)?;
        }
        Ok(())
    };
    check_checkpoints(before_first, &head.before_first)?;
    let start = (before_first, head.before_first, 0);
    let tail = walk(store, &chain, head, start, |row| {
        if row.records > 1 {
            Block::parse(row)?.check()?;
        }
        check_checkpoints(row.last(), &row.mac)?;
        if row.event == PRUNED {
            prune = Some(row.clone());
        }
        Ok(())
    })?;
    let (last, ..) = head.tail();
    if tail != head.tail() {
        return Err(corrupt(format!(
            "row {last} of the audit log changed during the verification"
        )));
    }
    check_first(head, prune.as_slice())?;
    store.check_indexes()?;
    Ok(Verification {
        first: head.first,
        last,
        rows: last.saturating_sub(before_first),
        checkpoints_checked,
        last_checkpointed: checkpoints
            .last()
            .map(|checkpoint| checkpoint.seq)
            .filter(|seq| *seq >= before_first),
    })
}

/// Checks a checkpoint against the row whose last record is `last`.
fn check_checkpoint(checkpoint: &Checkpoint, last: u64, mac: &RowMac) -> Result<()> {
    if checkpoint.seq == last && checkpoint.mac == *mac {
        return Ok(());
    }
    Err(corrupt(format!(
        "row {} of the audit log is not the one of the checkpoint of {}: the log was replaced from an earlier row on",
        checkpoint.seq,
        Rfc3339::seconds(checkpoint.time)
    )))
}

/// The body of the row that records a prune.
#[derive(Deserialize)]
struct PruneBody {
    before: u64,
}

/// The first row that was kept, from the row that records the prune; `None` if its body does not say.
pub(super) fn pruned_before(row: &Row) -> Option<u64> {
    serde_json::from_slice::<PruneBody>(&row.body).ok().map(|body| body.before)
}

/// Checks that the log begins where the newest prune among `rows`, which are authentic, says: a beginning that was
/// cut off has no such row.
pub(super) fn check_first(head: &Head, rows: &[Row]) -> Result<()> {
    let prune = rows.iter().rev().find(|row| row.event == PRUNED);
    let first = match prune {
        None => 1,
        Some(row) => pruned_before(row).ok_or_else(|| {
            corrupt(format!("row {} of the audit log does not say which rows it pruned", row.seq))
        })?,
    };
    if head.first == first && (first > 1 || head.before_first == START) {
        return Ok(());
    }
    Err(corrupt(format!(
        "the audit log begins with row {}, but must begin with row {first}: its beginning was cut off or altered",
        head.first
    )))
}
