//! Reads pages of the record, beside the thread that writes it.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use strongroom_core::Result;
use tokio::sync::{oneshot, watch};

use crate::access::{Inner, closed_error, spawn_thread, thread_ended_error};
use crate::job::Job;
use crate::log::location::LogLocation;
use crate::log::{LogStore, Record, RecordFilter};
use crate::{AuditPage, AuditQuery, AuditRecord, TenantName};

/// How many records one read searches, so that no query keeps the others waiting for long.
const MAX_SEARCHED: u64 = 20_000;

/// A page to read.
pub(crate) struct PageRead {
    after: u64,
    last: u64,
    limit: usize,
    filter: RecordFilter,
    reply: oneshot::Sender<Result<Vec<Record>>>,
}

impl PageRead {
    pub(crate) fn new(
        after: u64,
        last: u64,
        limit: usize,
        filter: RecordFilter,
        reply: oneshot::Sender<Result<Vec<Record>>>,
    ) -> Self {
        Self { after, last, limit, filter, reply }
    }

    /// Reads the page, and answers. Returns whether the log could be read.
    pub(crate) fn run(self, log: &mut dyn LogStore) -> bool {
        let Self { after, last, limit, filter, reply } = self;
        let records = log.records_between(after, last, limit, &filter);
        let is_read = records.is_ok();
        // Fails if the caller dropped the future.
        let _ = reply.send(records);
        is_read
    }
}

/// The thread that reads a log in a file or a database, with a connection of its own. It starts with the first query.
#[derive(Default)]
pub(crate) struct Reader {
    state: Mutex<State>,
    /// Whether the thread runs, which holds the log open.
    runs: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
enum State {
    #[default]
    NotStarted,
    Running(mpsc::Sender<PageRead>),
    Closed,
}

impl Reader {
    pub(crate) fn send(&self, log: &LogLocation, read: PageRead) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::NotStarted) {
            let (sender, reads) = mpsc::channel();
            let log = log.clone();
            let running = EndGuard::new(Arc::clone(&self.runs));
            spawn_thread("strongroom-reader", move || {
                let _running = running;
                run(&log, &reads);
            })?;
            *state = State::Running(sender);
        }
        match &*state {
            State::Running(reads) => reads.send(read).map_err(|_| thread_ended_error()),
            State::NotStarted | State::Closed => Err(closed_error()),
        }
    }

    /// Ends the thread after the reads that wait.
    pub(crate) fn close(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Closed;
    }

    /// Returns once the thread has ended and closed the log.
    pub(crate) async fn wait_for_end(&self) {
        // The sender is this value's own, so it is not dropped meanwhile.
        let _ = self.runs.subscribe().wait_for(|runs| !runs).await;
    }
}

/// Tells that the thread has ended, also by a panic.
struct EndGuard(Arc<watch::Sender<bool>>);

impl EndGuard {
    fn new(runs: Arc<watch::Sender<bool>>) -> Self {
        runs.send_replace(true);
        Self(runs)
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

fn run(location: &LogLocation, reads: &mpsc::Receiver<PageRead>) {
    let mut opened: Option<Box<dyn LogStore>> = None;
    for read in reads {
        let log = match opened.take() {
            Some(log) => Ok(log),
            None => location.open(),
        };
        match log {
            // After a failure, the next read opens the log again.
            Ok(mut log) => opened = read.run(&mut *log).then_some(log),
            // Fails if the caller dropped the future.
            Err(error) => drop(read.reply.send(Err(error))),
        }
    }
}

impl Inner {
    /// Writes what waits, and reads a page of the records of one tenant or of all.
    pub(crate) async fn read_audit(
        &self,
        query: &AuditQuery,
        tenant: Option<&TenantName>,
    ) -> Result<AuditPage> {
        let head = self.ask(Job::Flush).await?;
        let (first, last, limit) = (head.first, head.tail().0, query.limit());
        let mut searched = query.after.max(head.first.saturating_sub(1));
        let mut records = Vec::new();
        while records.len() < limit && searched < last {
            let end = last.min(searched.saturating_add(MAX_SEARCHED));
            let filter = query.filter(tenant);
            let mut found = self.read_page(searched, end, limit - records.len(), filter).await?;
            records.append(&mut found);
            searched = match records.last() {
                Some(record) if records.len() == limit => record.seq,
                _ => end,
            };
        }
        let records = records.into_iter().map(AuditRecord::from_log).collect::<Result<_>>()?;
        Ok(AuditPage { records, searched, first, last })
    }

    /// Writes what waits, and searches the records of all tenants once.
    pub(crate) async fn search_audit(&self, query: &AuditQuery) -> Result<AuditPage> {
        let head = self.ask(Job::Flush).await?;
        let (mut first, last, limit) = (head.first, head.tail().0, query.limit());
        let after = query.after.max(first.saturating_sub(1));
        if limit == 0 || after >= last {
            return Ok(AuditPage { records: Vec::new(), searched: after.min(last), first, last });
        }
        let end = last.min(after.saturating_add(MAX_SEARCHED));
        let mut records = self.read_page(after, end, limit, query.filter(None)).await?;
        let searched = match records.last() {
            Some(record) if records.len() == limit => record.seq,
            _ => end,
        };
        // What was pruned meanwhile may have been read in part.
        first = self.ask(Job::Flush).await?.first.max(first);
        records.retain(|record| record.seq >= first);
        let records = records.into_iter().map(AuditRecord::from_log).collect::<Result<_>>()?;
        Ok(AuditPage { records, searched: searched.max(first.saturating_sub(1)), first, last })
    }

    async fn read_page(
        &self,
        after: u64,
        last: u64,
        limit: usize,
        filter: RecordFilter,
    ) -> Result<Vec<Record>> {
        let Some((location, _)) = &self.config.log else {
            let read = |reply| Job::Read(PageRead::new(after, last, limit, filter, reply));
            return self.ask(read).await;
        };
        let (reply, records) = oneshot::channel();
        self.reader.send(location, PageRead::new(after, last, limit, filter, reply))?;
        records.await.map_err(|_| thread_ended_error())?
    }
}
