//! The writer thread: one per open store. It runs all writes that wait in one transaction.

mod anchor_thread;
mod anchor_updates;
mod open_store;

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, ForkGuard, Result, SecretPath};
use tokio::sync::{oneshot, watch};
use tracing::warn;

use crate::config::NativeConfig;
use crate::error::no_store;
use crate::key_ring::KeyRing;
use crate::place::Place;
use crate::state_change::StateChange;
use crate::storage::{Idle, Tables};
use crate::store::{IfMissing, Store};
use crate::store_cell::StoreCell;
use crate::writer::open_store::OpenStore;

/// How many waiting writes share one transaction, and so one sync to disk.
const MAX_BATCH: usize = 128;

/// How long a store that is closed waits for its anchor.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Hands writes to the writer thread.
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<QueuedJob>>>,
    /// Closed once the thread has ended.
    stopped: watch::Receiver<()>,
    fork_guard: ForkGuard,
}

/// A transaction that several writes may share.
pub(crate) struct SharedTransaction<'a> {
    pub(crate) tables: &'a dyn Tables,
    pub(crate) key_ring: &'a KeyRing,
    pub(crate) store: &'a Store,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    /// Set by a write that removed data, so that the writer truncates the write-ahead log.
    pub(crate) truncate_log: &'a Cell<bool>,
    /// Set by a write that changed the key ring, so that the next write of this transaction uses
    /// the changed one.
    pub(crate) key_ring_changed: &'a Cell<bool>,
    /// What the transaction changes about the state of the store.
    pub(crate) state_change: &'a StateChange,
}

impl Writer {
    /// Opens the store on a new thread, which then runs the writes.
    pub(crate) async fn start(config: NativeConfig) -> Result<(Self, Arc<StoreCell>)> {
        let (queue, jobs) = mpsc::channel();
        let (opened, result) = oneshot::channel();
        let (running, stopped) = watch::channel(());
        thread::Builder::new()
            .name("strongroom-native".into())
            .spawn(move || {
                match WriterThread::open(config) {
                    Ok(writer) => {
                        // Fails if the caller dropped the future; then the queue is closed, too.
                        let _ = opened.send(Ok(Arc::clone(&writer.cell)));
                        writer.run(&jobs);
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
                drop(running);
            })
            .map_err(|_| no_thread())?;
        let cell = result.await.map_err(|_| writer_stopped())??;
        let queue = Mutex::new(Some(queue));
        let writer = Self { queue, stopped, fork_guard: ForkGuard::new() };
        Ok((writer, cell))
    }

    /// Runs `write` in a transaction and returns once its outcome is on disk. If the caller drops
    /// the future earlier, the write still happens whole or not at all.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        if_missing: IfMissing,
        write: impl FnOnce(&SharedTransaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut write = Some(write);
        let once = move |transaction: &SharedTransaction<'_>| {
            write.take().ok_or_else(writer_stopped)?(transaction)
        };
        self.send(None, if_missing, once).await
    }

    /// The same for a write of one secret. It runs again if another process has written meanwhile.
    pub(crate) async fn submit_for<T: Send + 'static>(
        &self,
        path: SecretPath,
        if_missing: IfMissing,
        write: impl FnMut(&SharedTransaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.send(Some(path), if_missing, write).await
    }

    async fn send<T: Send + 'static>(
        &self,
        path: Option<SecretPath>,
        if_missing: IfMissing,
        write: impl FnMut(&SharedTransaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.check_process()?;
        let (reply, result) = oneshot::channel();
        let job = Box::new(PendingWrite { path, write, outcome: None, reply });
        let sent = match &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(queue) => queue.send(QueuedJob { if_missing, job }).map_err(|_| writer_stopped()),
            None => Err(Error::backend_closed()),
        };
        sent?;
        result.await.map_err(|_| writer_stopped())?
    }

    /// Fails in a forked child: it has no writer thread, and SQLite's connections must not be used there; see
    /// <https://www.sqlite.org/howtocorrupt.html>.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.fork_guard.check()
    }

    /// Lets the thread finish the submitted writes, and waits until it has ended. Idempotent.
    pub(crate) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread never sends a value; an error says that it has ended.
        while self.stopped.clone().changed().await.is_ok() {}
    }
}

/// Runs a call that blocks on a thread of its own. If the caller drops the future, it still runs to its end.
pub(crate) async fn run_on_thread<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (reply, result) = oneshot::channel();
    let run = move || {
        // Fails if the caller dropped the future.
        let _ = reply.send(call());
    };
    thread::Builder::new().name(name.into()).spawn(run).map_err(|_| no_thread())?;
    result.await.map_err(|_| {
        Error::new(ErrorKind::Internal, "report this").because("the thread has stopped")
    })?
}

fn no_thread() -> Error {
    Error::new(ErrorKind::Unavailable, "raise the limit on threads")
        .because("no thread could be started")
}

fn writer_stopped() -> Error {
    Error::new(ErrorKind::Internal, "open the store again and report this")
        .because("the writer thread has stopped")
}

struct QueuedJob {
    if_missing: IfMissing,
    job: Box<dyn Job>,
}

trait Job: Send {
    /// The secret that it writes, if that is one. Then it may run more than once.
    fn path(&self) -> Option<&SecretPath>;
    /// Runs the write. If it fails, the caller must undo what it wrote.
    fn run(&mut self, transaction: &SharedTransaction<'_>) -> Result<()>;
    /// Sends the outcome to the caller.
    fn reply(self: Box<Self>, committed: Result<()>);
}

struct PendingWrite<T, F> {
    path: Option<SecretPath>,
    write: F,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for PendingWrite<T, F>
where
    T: Send,
    F: FnMut(&SharedTransaction<'_>) -> Result<T> + Send,
{
    fn path(&self) -> Option<&SecretPath> {
        self.path.as_ref()
    }

    fn run(&mut self, transaction: &SharedTransaction<'_>) -> Result<()> {
        let outcome = (self.write)(transaction);
        let result = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        result
    }

    fn reply(self: Box<Self>, committed: Result<()>) {
        let Self { write, outcome, reply, .. } = *self;
        // The value that it holds is wiped before the caller knows of the outcome.
        drop(write);
        let result = match (outcome, committed) {
            // Also of a write that has failed: its conflict may be with a write that was rolled back.
            (_, Err(error)) => Err(error),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(writer_stopped()),
        };
        // Fails if the caller dropped the future.
        let _ = reply.send(result);
    }
}

struct WriterThread {
    config: NativeConfig,
    cell: Arc<StoreCell>,
    /// `None` while the store is missing.
    open: Option<OpenStore>,
}

impl WriterThread {
    fn open(config: NativeConfig) -> Result<Self> {
        config.validate()?;
        let cell = Arc::new(StoreCell::new(Place::of(&config)?));
        let if_missing = if config.create { IfMissing::Create } else { IfMissing::Leave };
        let mut writer = Self { config, cell, open: None };
        if !writer.open_store(if_missing)? {
            warn!(
                store = %writer.cell.place().name(),
                "there is no store yet; the first write creates it"
            );
        }
        Ok(writer)
    }

    /// Opens the store, unless it is open. Returns whether it is.
    fn open_store(&mut self, if_missing: IfMissing) -> Result<bool> {
        if self.open.is_none()
            && let Some((store, writer)) = Store::open(&self.config, self.cell.place(), if_missing)?
        {
            let store = Arc::new(store);
            self.cell.set(Arc::clone(&store));
            // The store holds what was derived from it.
            self.config.keys.clear();
            self.open = Some(OpenStore::new(store, writer)?);
        }
        Ok(self.open.is_some())
    }

    fn run(mut self, queue: &mpsc::Receiver<QueuedJob>) {
        while let Some(first) = self.next_job(queue) {
            let mut jobs = vec![first];
            jobs.extend(queue.try_iter().take(MAX_BATCH - 1));
            let creates = jobs.iter().any(|queued| queued.if_missing == IfMissing::Create);
            let if_missing = if creates { IfMissing::Create } else { IfMissing::Leave };
            let opened = self.open_store(if_missing);
            let jobs: Vec<_> = jobs.into_iter().map(|queued| queued.job).collect();
            match (&mut self.open, opened) {
                (Some(open), _) => open.run_jobs(jobs),
                (None, opened) => {
                    let error = opened.err().unwrap_or_else(|| no_store(&self.cell.place().name()));
                    for job in jobs {
                        job.reply(Err(error.clone()));
                    }
                }
            }
        }
        if let Some(open) = &mut self.open {
            open.finish();
        }
    }

    /// Waits for a job; while none comes, advances the anchor and releases room that the store no longer needs. Returns `None`
    /// once the queue is closed.
    fn next_job(&mut self, queue: &mpsc::Receiver<QueuedJob>) -> Option<QueuedJob> {
        loop {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) => {}
            }
            match self.open.as_mut().map_or(Idle::Done, OpenStore::rest) {
                Idle::Continue => {}
                Idle::Done => return queue.recv().ok(),
                Idle::Retry(after) => match queue.recv_timeout(after) {
                    Ok(job) => return Some(job),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                },
            }
        }
    }
}
