//! Reads pages of the record, beside the thread that writes it.

use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};

use strongroom_core::Result;
use tokio::sync::oneshot;

use crate::access::{Inner, closed_error, spawn_thread, thread_ended_error};
use crate::job::Job;
use crate::log::sqlite::SqliteLog;
use crate::log::{LogStore as _, Row, RowFilter};
use crate::{AuditQuery, AuditRecord, TenantName};

/// How many rows one read searches, so that no query keeps the others waiting for long.
const MAX_SEARCHED: u64 = 20_000;

/// A page of records, and the number of the last record that was searched for it.
pub(crate) struct AuditPage {
    pub(crate) records: Vec<AuditRecord>,
    pub(crate) searched: u64,
}

struct PageRead {
    after: u64,
    limit: usize,
    filter: RowFilter,
    reply: oneshot::Sender<Result<Vec<Row>>>,
}

/// The thread that reads a log in a file, with a connection of its own. It starts with the first query.
#[derive(Default)]
pub(crate) struct Reader(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    NotStarted,
    Running(mpsc::Sender<PageRead>),
    Closed,
}

impl Reader {
    fn send(&self, path: &Path, read: PageRead) -> Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::NotStarted) {
            let (sender, reads) = mpsc::channel();
            let path = path.to_owned();
            spawn_thread("strongroom-reader", move || run(&path, &reads))?;
            *state = State::Running(sender);
        }
        match &*state {
            State::Running(reads) => reads.send(read).map_err(|_| thread_ended_error()),
            State::NotStarted | State::Closed => Err(closed_error()),
        }
    }

    /// Ends the thread after the reads that wait.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Closed;
    }
}

fn run(path: &Path, reads: &mpsc::Receiver<PageRead>) {
    let mut opened: Option<SqliteLog> = None;
    for PageRead { after, limit, filter, reply } in reads {
        let log = match opened.take() {
            Some(log) => Ok(log),
            None => SqliteLog::open(path, false),
        };
        let rows = log.and_then(|mut log| {
            let rows = log.read_after(after, limit, &filter)?;
            // After a failure, the next read opens the log again.
            opened = Some(log);
            Ok(rows)
        });
        // Fails if the caller dropped the future.
        let _ = reply.send(rows);
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
        let (last, limit) = (head.tail().0, query.limit());
        let mut searched = query.after.max(head.first.saturating_sub(1));
        let mut rows = Vec::new();
        while rows.len() < limit && searched < last {
            let end = last.min(searched.saturating_add(MAX_SEARCHED));
            let filter = RowFilter { last_seq: Some(end), ..query.filter(tenant) };
            let mut found = self.read_rows(searched, limit - rows.len(), filter).await?;
            rows.append(&mut found);
            searched = match rows.last() {
                Some(row) if rows.len() == limit => row.seq,
                _ => end,
            };
        }
        let records = rows.iter().map(AuditRecord::from_row).collect::<Result<_>>()?;
        Ok(AuditPage { records, searched })
    }

    async fn read_rows(&self, after: u64, limit: usize, filter: RowFilter) -> Result<Vec<Row>> {
        let Some((path, _)) = &self.config.file else {
            return self.ask(|reply| Job::Read { after, limit, filter, reply }).await;
        };
        let (reply, rows) = oneshot::channel();
        self.reader.send(path, PageRead { after, limit, filter, reply })?;
        rows.await.map_err(|_| thread_ended_error())?
    }
}
