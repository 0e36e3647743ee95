//! The appender: the one thread that writes to the log, and that follows what others write to it.
//!
//! It evaluates the waiting jobs against the rules at the end of the log, one after the other, and appends their
//! rows in one transaction, on the condition that the log still ends there. If another process was first, it folds
//! the new rows and evaluates again. So a change of rules and its record are one row, nothing is decided against
//! rules that have changed, and many jobs share one sync to disk.

mod block;
mod checkpoints;
mod expire;
mod follow;
pub(crate) mod prune;
mod write;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::Result;

use crate::appender::write::Write;
use crate::event::Draft;
use crate::job::{Access, Job};
use crate::log::chain::Chain;
use crate::log::checkpoint::{SignedCheckpoint, VerifyingKey, sign_checkpoint};
use crate::log::checkpoint_file::CheckpointFile;
use crate::log::keys::Keys;
use crate::log::verify::verify;
use crate::log::{LogId, LogStore, Tail, rules};
use crate::published::Published;
use crate::state::State;

/// How often the log is asked for rows of other processes.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// How many jobs share one transaction.
const MAX_JOBS: usize = 1024;

/// How long records that no caller waits for may stay in memory, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) max_delay: Duration,
    pub(crate) max_records: usize,
}

/// The state of the appender's thread.
pub(crate) struct Appender {
    store: Box<dyn LogStore>,
    keys: Arc<Keys>,
    chain: Chain,
    log_id: LogId,
    tail: Tail,
    state: State,
    /// The latest time of any row that was seen: recorded times do not go back.
    newest: i64,
    published: Arc<Published>,
    max_age: Duration,
    limits: BatchLimits,
    /// Accesses whose record no caller waits for.
    queued: Vec<Access>,
    /// Other records that no caller waits for.
    notes: Vec<Draft>,
    queued_since: Option<Instant>,
    /// When a flush that failed is tried again.
    retry_at: Option<Instant>,
    /// Whether the last look at the log failed.
    follow_fails: bool,
    checkpoint_file: Option<CheckpointFile>,
}

impl Appender {
    pub(crate) fn open(
        mut store: Box<dyn LogStore>,
        keys: Arc<Keys>,
        published: Arc<Published>,
        max_age: Duration,
        limits: BatchLimits,
    ) -> Result<Self> {
        let (head, rows) = rules::read_rules(&mut *store, &keys)?;
        let mut appender = Self {
            chain: Chain::new(&keys, &head.log_id),
            log_id: head.log_id,
            tail: head.tail(),
            state: State::default(),
            newest: 0,
            store,
            keys,
            published,
            max_age,
            limits,
            queued: Vec::new(),
            notes: Vec::new(),
            queued_since: None,
            retry_at: None,
            follow_fails: false,
            checkpoint_file: None,
        };
        follow::fold(&mut appender.state, &rows)?;
        appender.note_last_time()?;
        appender.publish();
        Ok(appender)
    }

    #[cfg(feature = "webhooks")]
    pub(crate) fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Runs until the queue is closed or a job says so.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut next_follow = Instant::now() + FOLLOW_INTERVAL;
        let mut next_expiry = Instant::now() + expire::INTERVAL;
        loop {
            let now = Instant::now();
            let wake_at = self.flush_at().map_or(next_follow, |at| at.min(next_follow));
            let first = match jobs.recv_timeout(wake_at.saturating_duration_since(now)) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let jobs = first.into_iter().chain(jobs.try_iter()).take(MAX_JOBS);
            if self.run_jobs(jobs.collect()) {
                break;
            }
            if Instant::now() >= next_follow {
                self.follow();
                next_follow = Instant::now() + FOLLOW_INTERVAL;
                self.write_checkpoint_if_due();
            }
            if Instant::now() >= next_expiry {
                self.record_expiries();
                next_expiry = Instant::now() + expire::INTERVAL;
            }
            if self.flush_at().is_some_and(|at| at <= Instant::now()) {
                self.flush();
            }
        }
        // The last chance, also shortly after a failure.
        self.retry_at = None;
        self.flush();
        self.write_last_checkpoint();
    }

    /// When what is queued is to be written.
    fn flush_at(&self) -> Option<Instant> {
        let since = self.queued_since?;
        let queued = self.published.queued.load(Ordering::Acquire);
        let is_full = queued >= self.limits.max_records / 2;
        let at = if is_full { since } else { since + self.limits.max_delay };
        Some(self.retry_at.map_or(at, |retry_at| at.max(retry_at)))
    }

    /// Returns whether a job asks for the log to be closed: no job is sent after it.
    fn run_jobs(&mut self, jobs: Vec<Job>) -> bool {
        let mut writes = Vec::new();
        let mut others = Vec::new();
        for job in jobs {
            match job {
                Job::Record(accesses, reply) => writes.push(Write::Record(accesses, reply)),
                Job::Change(change, reply) => writes.push(Write::Change(change, reply)),
                Job::LoadPolicy(change, reply) => writes.push(Write::LoadPolicy(change, reply)),
                Job::RecordExpiring(found, reply) => {
                    writes.push(Write::RecordExpiring(found, reply));
                }
                #[cfg(feature = "webhooks")]
                Job::AdvanceWebhook(change, reply) => {
                    writes.push(Write::AdvanceWebhook(change, reply));
                }
                Job::Queued => {
                    self.queued_since.get_or_insert_with(Instant::now);
                }
                Job::Note(draft) => {
                    self.queued_since.get_or_insert_with(Instant::now);
                    self.notes.push(*draft);
                }
                other => others.push(other),
            }
        }
        if !writes.is_empty() {
            self.write(writes);
        }
        let mut closes = false;
        // An answer is lost only if the caller dropped the future.
        for job in others {
            match job {
                Job::Flush(reply) => {
                    self.flush();
                    let _ = reply.send(self.store.head());
                }
                Job::Read(read) => {
                    read.run(&mut *self.store);
                }
                Job::Verify(checkpoints, reply) => {
                    self.flush();
                    let _ = reply.send(verify(&mut *self.store, &self.keys, &checkpoints));
                }
                Job::Checkpoint(reply) => {
                    let _ = reply.send(self.sign());
                }
                Job::Prune { before, by, reply } => {
                    let _ = reply.send(self.prune(before, &by));
                }
                Job::Close => closes = true,
                Job::Record(..)
                | Job::Queued
                | Job::Note(_)
                | Job::Change(..)
                | Job::LoadPolicy(..)
                | Job::RecordExpiring(..) => {}
                #[cfg(feature = "webhooks")]
                Job::AdvanceWebhook(..) => {}
            }
        }
        closes
    }

    /// Signs the end of the log.
    fn sign(&mut self) -> Result<(SignedCheckpoint, VerifyingKey)> {
        self.flush();
        self.refresh()?;
        let (seq, mac, _) = self.tail;
        let text = sign_checkpoint(&self.keys, &self.log_id, seq, &mac, SystemTime::now());
        Ok((SignedCheckpoint::parse(&text)?, self.keys.verifying_key(&self.log_id)))
    }
}
