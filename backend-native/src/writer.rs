//! Writes, on one thread per open store, several to a transaction when several wait.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::sync::{oneshot, watch};

use crate::config::NativeConfig;
use crate::crypto;
use crate::error::{closed, from_sqlite};
use crate::ring::{self, Ring};
use crate::row;
use crate::schema::{self, WRITE_WAIT};
use crate::store::Store;

/// How many waiting writes share one transaction, and so one sync to disk.
const GROUP: usize = 128;

/// How many uses of the key-encryption key are counted ahead, so that not every write has to.
const USES_AHEAD: i64 = 256;

/// How long emptying the write-ahead log waits for readers.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(20);

/// Where writes are handed in.
pub(crate) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    /// Closed once the thread has ended.
    stopped: watch::Receiver<()>,
}

/// What a write works on: a transaction that others may share.
pub(crate) struct Transaction<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) ring: &'a Ring,
    pub(crate) store: &'a Store,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    /// Set by a write after which the log should be emptied into the store.
    pub(crate) empty_log: &'a Cell<bool>,
    /// Set by a write that changed the ring, so that the next in this transaction sees it.
    pub(crate) ring_changed: &'a Cell<bool>,
}

impl Writer {
    /// Opens the store on a new thread, which then runs the writes.
    pub(crate) async fn start(config: NativeConfig) -> Result<(Self, Arc<Store>)> {
        let (jobs, queue) = mpsc::channel();
        let (opened, result) = oneshot::channel();
        let (running, stopped) = watch::channel(());
        thread::Builder::new()
            .name("strongroom-native".into())
            .spawn(move || {
                match Store::open(&config) {
                    Ok((store, connection)) => {
                        let store = Arc::new(store);
                        // Whoever opened may have gone; then the queue is closed, too.
                        let _ = opened.send(Ok(Arc::clone(&store)));
                        WriterThread::new(store, connection).run(&queue);
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
        let store = result.await.map_err(|_| thread_is_gone())??;
        let writer = Self { jobs: Mutex::new(Some(jobs)), stopped };
        Ok((writer, store))
    }

    /// Runs `act` in a transaction and returns once its outcome is on disk. If the future is
    /// dropped before that, the write is done whole or not at all.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, result) = oneshot::channel();
        let job = Box::new(Task { act: Some(act), outcome: None, reply });
        let sent = match &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(jobs) => jobs.send(job).map_err(|_| thread_is_gone()),
            None => Err(closed()),
        };
        sent?;
        result.await.map_err(|_| thread_is_gone())?
    }

    /// Lets the thread finish what was handed in, and waits until it has ended, however often this
    /// is called.
    pub(crate) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nothing is ever sent; an error says that the other end is gone.
        while self.stopped.clone().changed().await.is_ok() {}
    }
}

fn thread_is_gone() -> Error {
    Error::new(ErrorKind::Internal, "open the store again and report this")
        .because("the writing thread has stopped")
}

trait Job: Send {
    /// Does the work. If it fails, what it wrote must be taken back.
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<()>;
    fn finish(self: Box<Self>, committed: Result<()>);
}

struct Task<T, F> {
    act: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<()> {
        let act = self.act.take().ok_or_else(thread_is_gone)?;
        let outcome = act(transaction);
        let result = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        result
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let result = match (self.outcome, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(thread_is_gone()),
        };
        // Nobody waits any more if the future was dropped.
        let _ = self.reply.send(result);
    }
}

struct WriterThread {
    store: Arc<Store>,
    connection: Connection,
    /// `None` when it has to be read again.
    ring: Option<Ring>,
    uses_left: i64,
    /// What was destroyed still stands in the write-ahead log.
    log_to_empty: bool,
}

impl WriterThread {
    fn new(store: Arc<Store>, connection: Connection) -> Self {
        Self { store, connection, ring: None, uses_left: 0, log_to_empty: false }
    }

    fn run(mut self, queue: &mpsc::Receiver<Box<dyn Job>>) {
        // Seeding the generator takes tens of milliseconds; now, not while holding the write lock. A
        // write that finds it broken says so.
        let _ = crypto::random::<1>();
        while let Ok(first) = queue.recv() {
            let mut jobs = vec![first];
            jobs.extend(queue.try_iter().take(GROUP - 1));
            let empty_log = Cell::new(false);
            let committed = self.transact(&mut jobs, &empty_log);
            if committed.is_err() {
                // What was counted ahead or read from the ring may have been taken back.
                self.ring = None;
                self.uses_left = 0;
            } else if empty_log.get() {
                self.log_to_empty = !self.empty_log(CHECKPOINT_WAIT);
            } else if self.log_to_empty {
                self.log_to_empty = !self.empty_log(Duration::ZERO);
            }
            for job in jobs {
                job.finish(committed.clone());
            }
        }
        if self.log_to_empty {
            self.empty_log(CHECKPOINT_WAIT);
        }
    }

    /// Runs the jobs in one transaction, each undone by itself if it fails.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>], empty_log: &Cell<bool>) -> Result<()> {
        // Rolls back when dropped, unless committed.
        let transaction = rusqlite::Transaction::new_unchecked(
            &self.connection,
            rusqlite::TransactionBehavior::Immediate,
        )
        .map_err(from_sqlite)?;
        let now = row::now();
        let uses = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let known = self.ring.take();
        let store = &*self.store;
        let mut ring = prepare_ring(store, &transaction, known, &mut self.uses_left, uses, now)?;
        self.uses_left -= uses;
        let ring_changed = Cell::new(false);
        for job in jobs {
            let connection = &*transaction;
            let ring_changed = &ring_changed;
            let context =
                Transaction { connection, ring: &ring, store, now, empty_log, ring_changed };
            run_in_savepoint(job.as_mut(), &context)?;
            if ring_changed.take() {
                ring = store.load_ring(connection)?;
                // Those were counted for the key before.
                self.uses_left = 0;
            }
        }
        // After the wait for the lock, and as late as can be.
        store.check_not_replaced()?;
        transaction.commit().map_err(from_sqlite)?;
        self.ring = Some(ring);
        Ok(())
    }

    /// Moves everything from the write-ahead log into the store and truncates the log. Says whether
    /// that was done: somebody who reads may keep it from being complete.
    fn empty_log(&mut self, wait: Duration) -> bool {
        // While it waits it holds the write lock.
        let emptied = schema::set_lock_wait(&mut self.connection, wait).and_then(|()| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            self.connection.query_row(checkpoint, [], |row| row.get::<_, i64>(0))
        });
        let restored = schema::set_lock_wait(&mut self.connection, WRITE_WAIT);
        if emptied != Ok(0) || restored.is_err() {
            tracing::debug!("the write-ahead log is in use; it is emptied after a later write");
            return false;
        }
        true
    }
}

/// The ring as the file has it now, with `uses` of its active key counted.
fn prepare_ring(
    store: &Store,
    connection: &Connection,
    known: Option<Ring>,
    uses_left: &mut i64,
    uses: i64,
    now: i64,
) -> Result<Ring> {
    let active = ring::active_id(connection)?;
    let mut ring = match known {
        Some(ring) if ring.active()?.0 == active => ring,
        _ => {
            *uses_left = 0;
            store.load_ring(connection)?
        }
    };
    if *uses_left < uses {
        let ahead = uses + USES_AHEAD;
        if ring::count_uses(connection, &ring, store.root(), ahead, now)? {
            ring = store.load_ring(connection)?;
            ring::count_uses(connection, &ring, store.root(), ahead, now)?;
        }
        *uses_left += ahead;
    }
    Ok(ring)
}

fn run_in_savepoint(job: &mut dyn Job, context: &Transaction<'_>) -> Result<()> {
    let execute = |sql| {
        let executed = context.connection.prepare_cached(sql).and_then(|mut sql| sql.execute([]));
        executed.map(drop).map_err(from_sqlite)
    };
    execute("SAVEPOINT job")?;
    if let Err(error) = job.run(context) {
        // Where there is no room, for one, SQLite takes back the whole transaction.
        if context.connection.is_autocommit() {
            return Err(error);
        }
        execute("ROLLBACK TO job")?;
    }
    execute("RELEASE job")
}
