//! The open store, as the writer thread uses it: transactions, and what is done between them.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::Result;

use super::anchor_thread::AnchorThread;
use super::anchor_updates::{AnchorUpdates, FILE_INTERVAL};
use super::{CLOSE_WAIT, Job, SharedTransaction};
use crate::key_ring::{self, ActiveKeys, KeyRing};
use crate::secret_row;
use crate::state::{State, StoredState};
use crate::state_change::StateChange;
use crate::storage::{Access, Idle, Tables, WriteTransaction, WriterTables};
use crate::store::Store;

/// For how many more transactions like its own one update of the row of the key-encryption key reserves uses, so that most
/// need not update it.
const RESERVED_TRANSACTIONS: i64 = 256;

/// How long an update of the anchor waits for another process that does the same; that takes some milliseconds.
const ANCHOR_WAIT: Duration = Duration::from_millis(20);

/// The open store, as the writer thread uses it.
pub(super) struct OpenStore {
    store: Arc<Store>,
    writer: Box<dyn WriterTables>,
    /// `None` makes the next transaction load it.
    key_ring: Option<KeyRing>,
    uses_left: i64,
    /// The keys of the last transaction.
    known_keys: Option<ActiveKeys>,
    /// The state as this thread last read or wrote it.
    known_state: Option<(StoredState, State)>,
    /// The updates of an anchor in a file.
    anchor: AnchorUpdates,
    /// Advances an anchor in another store.
    anchor_thread: Option<AnchorThread>,
}

impl OpenStore {
    pub(super) fn new(store: Arc<Store>, writer: Box<dyn WriterTables>) -> Result<Self> {
        let stored = store.guard().stored_anchor();
        let anchor_thread =
            stored.map(|stored| AnchorThread::start(&store, stored.interval())).transpose()?;
        Ok(Self {
            store,
            writer,
            key_ring: None,
            uses_left: 0,
            known_keys: None,
            known_state: None,
            anchor: AnchorUpdates::new(FILE_INTERVAL),
            anchor_thread,
        })
    }

    pub(super) fn run_jobs(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let truncate_log = Cell::new(false);
        let may_run_twice = jobs.iter().all(|job| job.path().is_some());
        let access = if may_run_twice { Access::Optimistic } else { Access::Write };
        let mut committed = self.run_transaction(&mut jobs, access, &truncate_log);
        if committed.is_err() && may_run_twice && self.writer.tables().was_overtaken() {
            truncate_log.set(false);
            committed = self.run_transaction(&mut jobs, Access::Write, &truncate_log);
        }
        if committed.is_err() {
            self.forget_key_ring();
        }
        self.writer.note_commit(committed.is_ok() && truncate_log.get());
        for job in jobs {
            job.reply(committed.clone());
        }
        if let Some(thread) = &self.anchor_thread {
            thread.note_write();
        } else if self.store.guard().has_anchor() {
            self.anchor.note_write();
            if self.anchor.wait().is_some_and(|wait| wait.is_zero()) {
                self.update_anchor(ANCHOR_WAIT);
            }
        }
    }

    /// Runs before the thread ends.
    pub(super) fn finish(&mut self) {
        if let Some(thread) = &self.anchor_thread {
            thread.finish(CLOSE_WAIT);
        } else if self.store.guard().has_anchor() {
            self.update_anchor(CLOSE_WAIT);
        }
        self.writer.finish();
    }

    /// Takes one short step of what the thread does while no job waits.
    pub(super) fn rest(&mut self) -> Idle {
        match (self.writer.rest(), self.anchor.wait()) {
            (Idle::Continue, _) => Idle::Continue,
            (_, Some(Duration::ZERO)) => {
                self.update_anchor(ANCHOR_WAIT);
                Idle::Continue
            }
            (Idle::Retry(room), Some(anchor)) => Idle::Retry(room.min(anchor)),
            (Idle::Done, Some(anchor)) => Idle::Retry(anchor),
            (idle, None) => idle,
        }
    }

    /// Advances the anchor to the state of the file.
    fn update_anchor(&mut self, wait: Duration) {
        let Self { store, writer, key_ring, .. } = self;
        let tables = writer.tables();
        let mut update = || {
            store.check_not_replaced()?;
            let keys = match key_ring {
                Some(loaded) => &loaded.rows,
                None => &key_ring.insert(store.load_key_ring(tables)?).rows,
            };
            store.guard().update_anchor(tables, keys, wait)
        };
        let updated = update();
        if updated.is_err() {
            // Another process may have replaced the keys.
            self.forget_key_ring();
        }
        self.anchor.note_update(&updated);
    }

    /// A rollback may have undone the reserved uses, or the key ring as it was loaded.
    fn forget_key_ring(&mut self) {
        self.key_ring = None;
        self.uses_left = 0;
    }

    /// Runs the jobs in one transaction and commits it. A job that fails is undone alone.
    fn run_transaction(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        access: Access,
        truncate_log: &Cell<bool>,
    ) -> Result<()> {
        let Self { store, writer, key_ring, uses_left, known_keys, known_state, .. } = self;
        let tables = writer.tables();
        let paths: Vec<_> = jobs.iter().filter_map(|job| job.path()).collect();
        tables.expect(&paths)?;
        let transaction = WriteTransaction::begin_with(tables, access)?;
        let now = secret_row::now();
        let uses = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let (mut current, reserved) =
            current_key_ring(store, tables, key_ring.take(), uses_left, uses, now)?;
        *uses_left -= uses;
        let load = || current_state(tables, &current, known_state);
        let state = store.guard().check(load)?;
        let active = current.active_keys()?;
        if known_keys.is_some_and(|known| known != active) {
            // The anchor knows the right keys. Others are those of an earlier copy of the file, which others may know.
            store.guard().check_new_keys(tables, &current.rows)?;
        }
        *known_keys = Some(active);
        let state_change = StateChange::default();
        if reserved == Reserved::OfNewKey {
            state_change.touch();
        }
        let key_ring_changed = Cell::new(false);
        let is_alone = jobs.len() == 1;
        for job in jobs {
            let context = SharedTransaction {
                tables,
                key_ring: &current,
                store,
                now,
                truncate_log,
                key_ring_changed: &key_ring_changed,
                state_change: &state_change,
            };
            if !is_alone {
                run_in_savepoint(job.as_mut(), &context)?;
            } else if job.run(&context).is_err() {
                // What it found may have changed meanwhile.
                tables.confirm_reads()?;
                // The rollback undoes the job, and the transaction holds nothing else but the
                // reserved uses.
                drop(transaction);
                if reserved == Reserved::Nothing {
                    self.key_ring = Some(current);
                } else {
                    self.forget_key_ring();
                }
                return Ok(());
            }
            if key_ring_changed.take() {
                // An earlier key ring may open what the present one does not.
                state_change.touch();
                current = store.load_key_ring(tables)?;
                // The uses were reserved of the previous key.
                *uses_left = 0;
            }
        }
        let next = state.after(&state_change);
        if let Some(next) = next {
            // Without a commit, the file has another state, and the next transaction loads that.
            *known_state = Some((next.store(tables, &current.rows)?, next));
        }
        // Checked after the wait for the lock, and as late as possible.
        store.check_not_replaced()?;
        if let Err(error) = transaction.commit() {
            if tables.was_overtaken() {
                // It has reserved no uses, and the keys are compared when it runs again.
                *key_ring = Some(current);
            } else {
                store.guard().note_unknown_outcome();
            }
            return Err(error);
        }
        if let Some(next) = next {
            store.guard().remember(&next);
        }
        *key_ring = Some(current);
        Ok(())
    }
}

/// Which uses a transaction has reserved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reserved {
    /// None: an earlier transaction did.
    Nothing,
    Uses,
    /// Those of a key that it has begun.
    OfNewKey,
}

/// Returns the key ring as the file has it now, with `uses` of its active key reserved, and what this transaction reserved.
fn current_key_ring(
    store: &Store,
    tables: &dyn Tables,
    cached: Option<KeyRing>,
    uses_left: &mut i64,
    uses: i64,
    now: i64,
) -> Result<(KeyRing, Reserved)> {
    let mut current = match cached {
        Some(cached) if !cached.is_outdated(tables)? => cached,
        _ => {
            *uses_left = 0;
            store.load_key_ring(tables)?
        }
    };
    let mut reserved = Reserved::Nothing;
    if *uses_left < uses {
        let further = uses * (1 + RESERVED_TRANSACTIONS);
        reserved = Reserved::Uses;
        if key_ring::reserve_uses(tables, &current, further, now)? {
            current = store.load_key_ring(tables)?;
            key_ring::reserve_uses(tables, &current, further, now)?;
            reserved = Reserved::OfNewKey;
        }
        *uses_left += further;
    }
    Ok((current, reserved))
}

/// The state as the file has it now. Another process may have advanced it; the one that is known need not be opened.
fn current_state(
    tables: &dyn Tables,
    key_ring: &KeyRing,
    known: &mut Option<(StoredState, State)>,
) -> Result<State> {
    let stored = StoredState::load(tables)?;
    if let Some((same, state)) = known
        && *same == stored
    {
        return Ok(*state);
    }
    let state = stored.open(&key_ring.rows)?;
    *known = Some((stored, state));
    Ok(state)
}

fn run_in_savepoint(job: &mut dyn Job, context: &SharedTransaction<'_>) -> Result<()> {
    let tables = context.tables;
    let change_before = context.state_change.save();
    tables.set_savepoint()?;
    if let Err(error) = job.run(context) {
        // On a full disk, for example, SQLite rolls back the whole transaction.
        if !tables.is_in_transaction() {
            return Err(error);
        }
        // What it found may have changed meanwhile.
        tables.confirm_reads()?;
        tables.undo_to_savepoint()?;
        context.state_change.restore(change_before);
    }
    tables.release_savepoint()
}
