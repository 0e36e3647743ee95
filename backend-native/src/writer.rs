//! The writer thread: one per open store. It runs all writes that wait in one transaction.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::sync::{oneshot, watch};

use crate::config::NativeConfig;
use crate::error::from_sqlite;
use crate::key_ring::{self, KeyRing};
use crate::schema::{self, WRITE_WAIT};
use crate::secret_row;
use crate::store::Store;

/// How many waiting writes share one transaction, and so one sync to disk.
const MAX_BATCH: usize = 128;

/// How many uses of the key-encryption key one row update reserves beyond those of its own
/// transaction, so that most writes need not update the key's row.
const RESERVED_USES: i64 = 256;

/// How long a checkpoint that truncates the write-ahead log waits for readers.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(20);

/// Hands writes to the writer thread.
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    /// Closed once the thread has ended.
    stopped: watch::Receiver<()>,
}

/// A transaction that several writes may share.
pub(crate) struct SharedTransaction<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) key_ring: &'a KeyRing,
    pub(crate) store: &'a Store,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    /// Set by a write that removed data, so that the writer truncates the write-ahead log.
    pub(crate) truncate_log: &'a Cell<bool>,
    /// Set by a write that changed the key ring, so that the next write of this transaction uses
    /// the changed one.
    pub(crate) key_ring_changed: &'a Cell<bool>,
}

impl Writer {
    /// Opens the store on a new thread, which then runs the writes.
    pub(crate) async fn start(config: NativeConfig) -> Result<(Self, Arc<Store>)> {
        let (queue, jobs) = mpsc::channel();
        let (opened, result) = oneshot::channel();
        let (running, stopped) = watch::channel(());
        thread::Builder::new()
            .name("strongroom-native".into())
            .spawn(move || {
                match Store::open(&config) {
                    Ok((store, connection)) => {
                        let store = Arc::new(store);
                        // Fails if the caller dropped the future; then the queue is closed, too.
                        let _ = opened.send(Ok(Arc::clone(&store)));
                        WriterThread::new(store, connection).run(&jobs);
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
                drop(running);
            })
            .map_err(|_| {
                Error::new(ErrorKind::Unavailable, "raise the limit on threads")
                    .because("no thread could be started")
            })?;
        let store = result.await.map_err(|_| writer_stopped())??;
        let writer = Self { queue: Mutex::new(Some(queue)), stopped };
        Ok((writer, store))
    }

    /// Runs `write` in a transaction and returns once its outcome is on disk. If the caller drops
    /// the future earlier, the write still happens whole or not at all.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        write: impl FnOnce(&SharedTransaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, result) = oneshot::channel();
        let job = Box::new(PendingWrite { write: Some(write), outcome: None, reply });
        let sent = match &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(queue) => queue.send(job).map_err(|_| writer_stopped()),
            None => Err(Error::backend_closed()),
        };
        sent?;
        result.await.map_err(|_| writer_stopped())?
    }

    /// Lets the thread finish the submitted writes, and waits until it has ended. Idempotent.
    pub(crate) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread never sends a value; an error says that it has ended.
        while self.stopped.clone().changed().await.is_ok() {}
    }
}

fn writer_stopped() -> Error {
    Error::new(ErrorKind::Internal, "open the store again and report this")
        .because("the writer thread has stopped")
}

trait Job: Send {
    /// Runs the write. If it fails, the caller must undo what it wrote.
    fn run(&mut self, transaction: &SharedTransaction<'_>) -> Result<()>;
    /// Sends the outcome to the caller.
    fn reply(self: Box<Self>, committed: Result<()>);
}

struct PendingWrite<T, F> {
    write: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for PendingWrite<T, F>
where
    T: Send,
    F: FnOnce(&SharedTransaction<'_>) -> Result<T> + Send,
{
    fn run(&mut self, transaction: &SharedTransaction<'_>) -> Result<()> {
        let write = self.write.take().ok_or_else(writer_stopped)?;
        let outcome = write(transaction);
        let result = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        result
    }

    fn reply(self: Box<Self>, committed: Result<()>) {
        let result = match (self.outcome, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(writer_stopped()),
        };
        // Fails if the caller dropped the future.
        let _ = self.reply.send(result);
    }
}

struct WriterThread {
    store: Arc<Store>,
    connection: Connection,
    /// `None` makes the next transaction load it.
    key_ring: Option<KeyRing>,
    uses_left: i64,
    /// The write-ahead log still holds removed data, since a reader kept it from being truncated.
    truncation_pending: bool,
}

impl WriterThread {
    fn new(store: Arc<Store>, connection: Connection) -> Self {
        Self { store, connection, key_ring: None, uses_left: 0, truncation_pending: false }
    }

    fn run(mut self, queue: &mpsc::Receiver<Box<dyn Job>>) {
        while let Ok(first) = queue.recv() {
            let mut jobs = vec![first];
            jobs.extend(queue.try_iter().take(MAX_BATCH - 1));
            let truncate_log = Cell::new(false);
            let committed = self.run_transaction(&mut jobs, &truncate_log);
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
        }
        if self.truncation_pending {
            self.truncate_log(CHECKPOINT_WAIT);
        }
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
        let Self { store, connection, key_ring, uses_left, .. } = self;
        let transaction = TransactionGuard::begin(connection)?;
        let now = secret_row::now();
        let uses = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let (mut current, reserved) =
            current_key_ring(store, connection, key_ring.take(), uses_left, uses, now)?;
        *uses_left -= uses;
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
                current = store.load_key_ring(connection)?;
                // The uses were reserved of the previous key.
                *uses_left = 0;
            }
        }
        // Checked after the wait for the lock, and as late as possible.
        store.check_not_replaced()?;
        transaction.commit()?;
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
    let active = key_ring::active_id(connection)?;
    let mut current = match cached {
        Some(cached) if cached.active()?.0 == active => cached,
        _ => {
            *uses_left = 0;
            store.load_key_ring(connection)?
        }
    };
    let reserve = *uses_left < uses;
    if reserve {
        let further = uses + RESERVED_USES;
        if key_ring::reserve_uses(connection, &current, store.root(), further, now)? {
            current = store.load_key_ring(connection)?;
            key_ring::reserve_uses(connection, &current, store.root(), further, now)?;
        }
        *uses_left += further;
    }
    Ok((current, reserve))
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
    execute(connection, "SAVEPOINT job")?;
    if let Err(error) = job.run(context) {
        // On a full disk, for example, SQLite rolls back the whole transaction.
        if connection.is_autocommit() {
            return Err(error);
        }
        execute(connection, "ROLLBACK TO job")?;
    }
    execute(connection, "RELEASE job")
}
