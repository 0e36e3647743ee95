//! The open store, as the writer thread uses it: transactions, and what is done between them.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use strongroom_core::Result;

use super::anchor_updates::AnchorUpdates;
use super::{Job, SharedTransaction};
use crate::error::from_sqlite;
use crate::key_ring::{self, ActiveKeys, KeyRing};
use crate::room;
use crate::schema::{self, CHECKPOINT_WAIT, WRITE_WAIT};
use crate::secret_row;
use crate::state::{State, StoredState};
use crate::state_change::StateChange;
use crate::store::Store;

/// How many uses of the key-encryption key one row update reserves beyond those of its own
/// transaction, so that most writes need not update the key's row.
const RESERVED_USES: i64 = 256;

/// How long the idle thread waits before it tries again to truncate a log that a reader uses.
const RETRY_RELEASE: Duration = Duration::from_secs(1);
/// How long an update of the anchor waits for another process that does the same; that takes some milliseconds.
const ANCHOR_WAIT: Duration = Duration::from_millis(20);
/// How long a store that is closed waits for the lock of its anchor.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// What the thread does while no job waits.
pub(super) enum Idle {
    /// More can be done now.
    Continue,
    /// Something is left to do after this time.
    Retry(Duration),
    /// Nothing is left to do.
    Done,
}

/// The open store, as the writer thread uses it.
pub(super) struct OpenStore {
    store: Arc<Store>,
    connection: Connection,
    /// `None` makes the next transaction load it.
    key_ring: Option<KeyRing>,
    uses_left: i64,
    /// The keys of the last transaction.
    known_keys: Option<ActiveKeys>,
    /// The state as this thread last read or wrote it.
    known_state: Option<(StoredState, State)>,
    /// The write-ahead log still holds removed data, since a reader kept it from being truncated.
    truncation_pending: bool,
    /// Whether a transaction ran since the last time that room was released.
    has_written: bool,
    anchor: AnchorUpdates,
}

impl OpenStore {
    pub(super) fn new(store: Arc<Store>, connection: Connection) -> Self {
        Self {
            store,
            connection,
            key_ring: None,
            uses_left: 0,
            known_keys: None,
            known_state: None,
            truncation_pending: false,
            has_written: true,
            anchor: AnchorUpdates::new(),
        }
    }

    pub(super) fn run_jobs(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let truncate_log = Cell::new(false);
        let committed = self.run_transaction(&mut jobs, &truncate_log);
        self.has_written = true;
        if committed.is_err() {
            self.forget_key_ring();
        } else if truncate_log.get() {
            self.truncation_pending = !self.truncate_log(CHECKPOINT_WAIT);
        } else if self.truncation_pending {
            self.truncation_pending = !self.truncate_log(Duration::ZERO);
        }
        for job in jobs {
            job.reply(committed.clone());
        }
        if self.store.guard().has_anchor() {
            self.anchor.note_write();
            if self.anchor.wait().is_some_and(|wait| wait.is_zero()) {
                self.update_anchor(ANCHOR_WAIT);
            }
        }
    }

    /// Runs before the thread ends.
    pub(super) fn finish(&mut self) {
        if self.store.guard().has_anchor() {
            self.update_anchor(CLOSE_WAIT);
        }
        if self.truncation_pending {
            self.truncate_log(CHECKPOINT_WAIT);
        }
    }

    /// Takes one short step of what the thread does while no job waits.
    pub(super) fn rest(&mut self) -> Idle {
        match (self.release_room(), self.anchor.wait()) {
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
        let Self { store, connection, key_ring, .. } = self;
        let mut update = || {
            store.check_not_replaced()?;
            let keys = match key_ring {
                Some(loaded) => &loaded.rows,
                None => &key_ring.insert(store.load_key_ring(connection)?).rows,
            };
            store.guard().update_anchor(connection, keys, wait)
        };
        let updated = update();
        if updated.is_err() {
            // Another process may have replaced the keys.
            self.forget_key_ring();
        }
        self.anchor.note_update(&updated);
    }

    /// Takes one short step to give room back to the file system that a burst of writes, or removed
    /// secrets, have left.
    fn release_room(&mut self) -> Idle {
        if !self.has_written && !self.truncation_pending {
            return Idle::Done;
        }
        match room::release_pages(&self.connection) {
            Ok(true) => return Idle::Continue,
            Ok(false) => {}
            // Another process writes, or the disk is full. A later write tries again.
            Err(_) => tracing::debug!("no room of the store could be released"),
        }
        if !self.truncation_pending && self.store.log_len() <= room::LARGE_LOG {
            self.has_written = false;
            return Idle::Done;
        }
        self.truncation_pending = !self.truncate_log(Duration::ZERO);
        if self.truncation_pending { Idle::Retry(RETRY_RELEASE) } else { Idle::Continue }
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
        truncate_log: &Cell<bool>,
    ) -> Result<()> {
        let Self { store, connection, key_ring, uses_left, known_keys, known_state, .. } = self;
        let transaction = TransactionGuard::begin(connection)?;
        let now = secret_row::now();
        let uses = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let (mut current, reserved) =
            current_key_ring(store, connection, key_ring.take(), uses_left, uses, now)?;
        *uses_left -= uses;
        let load = || current_state(connection, &current, known_state);
        let state = store.guard().check(load)?;
        let active = current.active_keys()?;
        if known_keys.is_some_and(|known| known != active) {
            // The anchor knows the right keys. Others are those of an earlier copy of the file, which others may know.
            store.guard().check_health(connection, &current.rows)?;
        }
        *known_keys = Some(active);
        let state_change = StateChange::default();
        let key_ring_changed = Cell::new(false);
        let is_alone = jobs.len() == 1;
        for job in jobs {
            let context = SharedTransaction {
                connection,
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
                // The rollback undoes the job, and the transaction holds nothing else but the
                // reserved uses.
                drop(transaction);
                if reserved {
                    self.forget_key_ring();
                } else {
                    self.key_ring = Some(current);
                }
                return Ok(());
            }
            if key_ring_changed.take() {
                // An earlier key ring may open what the present one does not.
                state_change.touch();
                current = store.load_key_ring(connection)?;
                // The uses were reserved of the previous key.
                *uses_left = 0;
            }
        }
        let next = state.after(&state_change);
        if let Some(next) = next {
            // Without a commit, the file has another state, and the next transaction loads that.
            *known_state = Some((next.store(connection, &current.rows)?, next));
        }
        // Checked after the wait for the lock, and as late as possible.
        store.check_not_replaced()?;
        transaction.commit()?;
        if let Some(next) = next {
            store.guard().remember(&next);
        }
        *key_ring = Some(current);
        Ok(())
    }

    /// Moves everything from the write-ahead log into the store and truncates the log. Returns
    /// `false` if a reader kept the checkpoint from being complete.
    fn truncate_log(&mut self, wait: Duration) -> bool {
        // The checkpoint holds the write lock while it waits.
        let truncated = schema::set_lock_wait(&mut self.connection, wait).and_then(|()| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            self.connection.query_row(checkpoint, [], |row| row.get::<_, i64>(0))
        });
        let restored = schema::set_lock_wait(&mut self.connection, WRITE_WAIT);
        if truncated != Ok(0) || restored.is_err() {
            tracing::debug!("the write-ahead log is in use; a later write truncates it");
            return false;
        }
        true
    }
}

/// Returns the key ring as the file has it now, with `uses` of its active key reserved, and whether
/// this transaction reserved further uses.
fn current_key_ring(
    store: &Store,
    connection: &Connection,
    cached: Option<KeyRing>,
    uses_left: &mut i64,
    uses: i64,
    now: i64,
) -> Result<(KeyRing, bool)> {
    let mut current = match cached {
        Some(cached) if !cached.is_outdated(connection)? => cached,
        _ => {
            *uses_left = 0;
            store.load_key_ring(connection)?
        }
    };
    let reserve = *uses_left < uses;
    if reserve {
        let further = uses + RESERVED_USES;
        if key_ring::reserve_uses(connection, &current, further, now)? {
            current = store.load_key_ring(connection)?;
            key_ring::reserve_uses(connection, &current, further, now)?;
        }
        *uses_left += further;
    }
    Ok((current, reserve))
}

/// The state as the file has it now. Another process may have advanced it; the one that is known need not be opened.
fn current_state(
    connection: &Connection,
    key_ring: &KeyRing,
    known: &mut Option<(StoredState, State)>,
) -> Result<State> {
    let stored = StoredState::load(connection)?;
    if let Some((same, state)) = known
        && *same == stored
    {
        return Ok(*state);
    }
    let state = stored.open(&key_ring.rows)?;
    *known = Some((stored, state));
    Ok(state)
}

/// A transaction that holds the write lock from the start. Rolls back on drop, unless committed.
struct TransactionGuard<'a>(&'a Connection);

impl<'a> TransactionGuard<'a> {
    fn begin(connection: &'a Connection) -> Result<Self> {
        execute(connection, "BEGIN IMMEDIATE").map(|()| Self(connection))
    }

    fn commit(self) -> Result<()> {
        execute(self.0, "COMMIT")
    }
}

impl Drop for TransactionGuard<'_> {
    fn drop(&mut self) {
        // No transaction is open after a commit, nor where SQLite has rolled back by itself.
        if !self.0.is_autocommit() {
            let _ = execute(self.0, "ROLLBACK");
        }
    }
}

/// Runs a statement that each transaction uses, and keeps it prepared.
fn execute(connection: &Connection, sql: &str) -> Result<()> {
    let executed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    executed.map(drop).map_err(from_sqlite)
}

fn run_in_savepoint(job: &mut dyn Job, context: &SharedTransaction<'_>) -> Result<()> {
    let connection = context.connection;
    let change_before = context.state_change.save();
    execute(connection, "SAVEPOINT job")?;
    if let Err(error) = job.run(context) {
        // On a full disk, for example, SQLite rolls back the whole transaction.
        if connection.is_autocommit() {
            return Err(error);
        }
        execute(connection, "ROLLBACK TO job")?;
        context.state_change.restore(change_before);
    }
    execute(connection, "RELEASE job")
}
