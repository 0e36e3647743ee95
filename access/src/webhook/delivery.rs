//! Delivers the events of one webhook: carries out what the dispatcher decides.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::{Error, Result};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::cursor::{Advance, HolderId};
use super::dispatcher::{Attempt, Dispatcher, Limits, Message, Now, Step};
use super::endpoint::{Endpoint, OutgoingMessage};
use crate::AuditRecord;
use crate::access::thread_ended_error;
use crate::grant::to_millis;
use crate::job::{Job, WebhookChange};
use crate::log::location::LogLocation;
use crate::log::{LogId, Record, RecordFilter};
use crate::published::Published;
use crate::reader::{PageRead, Reader};

/// How often the log is looked at, which costs nothing while it has not changed.
const POLL: Duration = Duration::from_millis(200);
/// How long nothing is tried after the log could not be read or written.
const LOG_RETRY: Duration = Duration::from_secs(1);
/// How long a request may still take when the deliveries are to stop: if its answer is lost, it is sent once more.
const GRACE: Duration = Duration::from_secs(2);
/// How many records one search covers, and how many messages it finds.
const MAX_SEARCHED: u64 = 20_000;
const MAX_FOUND: usize = 100;

/// A webhook that was checked, with its secrets.
pub(crate) struct LoadedWebhook {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) filter: RecordFilter,
    pub(super) limits: Limits,
}

/// What the deliveries of all webhooks share.
pub(super) struct Shared {
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) published: Arc<Published>,
    /// Where the log is; `None` if it is in memory.
    pub(super) location: Option<LogLocation>,
    /// A connection of its own, so that no query of the host waits for a delivery.
    pub(super) reader: Reader,
    pub(super) log_id: LogId,
    pub(super) holder: HolderId,
    pub(super) started: Instant,
}

impl Shared {
    fn now(&self) -> Now {
        let ticks = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Now { clock: to_millis(SystemTime::now()), ticks }
    }

    /// Appends to the log; `false` if another process holds the lease.
    pub(super) async fn record(&self, webhook: &str, advance: Advance) -> Result<bool> {
        let (reply, answer) = oneshot::channel();
        let change = Box::new(WebhookChange { webhook: webhook.to_owned(), advance });
        let job = Job::AdvanceWebhook(change, reply);
        self.jobs.send(job).map_err(|_| thread_ended_error())?;
        answer.await.map_err(|_| thread_ended_error())?
    }
}

/// The deliveries of one webhook.
pub(super) struct Delivery {
    pub(super) shared: Arc<Shared>,
    pub(super) webhook: LoadedWebhook,
}

impl Delivery {
    pub(super) fn name(&self) -> &str {
        &self.webhook.name
    }

    /// Delivers until `stopped` says so; then gives the lease up.
    pub(super) async fn run(&self, mut stopped: watch::Receiver<Stop>) {
        let LoadedWebhook { name, limits, .. } = &self.webhook;
        let mut dispatcher = Dispatcher::new(name, self.shared.holder, *limits);
        self.deliver(&mut dispatcher, &mut stopped).await;
        let cursor = self.shared.published.webhook_cursor(name);
        let is_crash = !matches!(*stopped.borrow(), Stop::No | Stop::Now);
        if !is_crash && let Some(advance) = dispatcher.release(cursor.as_ref()) {
            // Without it, another process observes the cursor for a lease, and repeats the last deliveries.
            let _ = self.shared.record(name, advance).await;
        }
    }

    async fn deliver(&self, dispatcher: &mut Dispatcher, stopped: &mut watch::Receiver<Stop>) {
        let mut health = Health::default();
        while *stopped.borrow() == Stop::No {
            let cursor = self.shared.published.webhook_cursor(self.name());
            let last = self.shared.published.last_record();
            let now = self.shared.now();
            let pause = match dispatcher.step(cursor.as_ref(), last, now) {
                Step::Search { after } => {
                    match unless_stopped(stopped, self.search(after, last)).await {
                        Some(Ok((found, searched_to))) => {
                            health.note_read(self.name(), None);
                            dispatcher.found(found, searched_to);
                            continue;
                        }
                        Some(Err(error)) => {
                            health.note_read(self.name(), Some(&error));
                            LOG_RETRY
                        }
                        None => return,
                    }
                }
                Step::Record(advance) => match self.shared.record(self.name(), advance).await {
                    Ok(true) => {
                        dispatcher.recorded(now);
                        continue;
                    }
                    // The cursor says who holds the lease.
                    Ok(false) => POLL,
                    // The thread that writes the log reports it.
                    Err(_) => LOG_RETRY,
                },
                Step::Send { seq } => match unless_stopped(stopped, self.message(seq)).await {
                    Some(Ok(message)) => {
                        health.note_read(self.name(), None);
                        let Some(attempt) = self.send(stopped, message).await else { return };
                        health.note(&self.webhook, &attempt);
                        dispatcher.sent(attempt, self.shared.now(), fastrand::u32(..));
                        continue;
                    }
                    Some(Err(error)) => {
                        health.note_read(self.name(), Some(&error));
                        LOG_RETRY
                    }
                    None => return,
                },
                Step::Wait { until } => {
                    let rest = until.saturating_sub(self.shared.now().ticks);
                    let rest = Duration::from_millis(u64::try_from(rest).unwrap_or(0));
                    rest.clamp(Duration::from_millis(1), POLL)
                }
            };
            // A timeout says that it is not to stop.
            let _ = timeout(pause, stopped.wait_for(|stop| *stop != Stop::No)).await;
        }
    }

    /// Sends a message; `None` if the request has not ended shortly after the deliveries are to stop.
    async fn send(
        &self,
        stopped: &mut watch::Receiver<Stop>,
        message: std::result::Result<OutgoingMessage, String>,
    ) -> Option<Attempt> {
        let message = match message {
            Ok(message) => message,
            Err(reason) => return Some(Attempt::Undeliverable { reason }),
        };
        let is_over = async {
            let stop = stopped.wait_for(|stop| *stop != Stop::No).await.map(|stop| *stop);
            if stop.is_ok_and(|stop| stop == Stop::Now) {
                tokio::time::sleep(GRACE).await;
            }
        };
        tokio::select! {
            attempt = self.webhook.endpoint.send(&message) => Some(attempt),
            () = is_over => None,
        }
    }

    /// Searches a part of the log for messages.
    async fn search(&self, after: u64, last: u64) -> Result<(Vec<Message>, u64)> {
        let end = last.min(after.saturating_add(MAX_SEARCHED));
        let records = self.read(after, end, MAX_FOUND).await?;
        let searched_to = match records.last() {
            Some(record) if records.len() >= MAX_FOUND => record.seq,
            _ => end,
        };
        let messages = records.into_iter().map(|it| Message::new(it.seq, it.time, it.event));
        Ok((messages.collect(), searched_to))
    }

    /// The message of a record, or why there is none. Fails if the log cannot be read; a record that was read and
    /// cannot be parsed does not block the following ones.
    async fn message(&self, seq: u64) -> Result<std::result::Result<OutgoingMessage, String>> {
        let Some(record) = self.read_one(seq).await? else {
            return Ok(Err("the record was removed before it was delivered".to_owned()));
        };
        let message = AuditRecord::from_log(record)
            .and_then(|record| OutgoingMessage::new(&self.shared.log_id, &record));
        Ok(message.map_err(|error| error.cause().to_owned()))
    }

    /// Sends a record without a look at the lease, and leaves the progress as it is. `None` if there is no such record
    /// for this webhook.
    pub(super) async fn send_again(&self, seq: u64) -> Result<Option<Attempt>> {
        let Some(record) = self.read_one(seq).await? else { return Ok(None) };
        let record = AuditRecord::from_log(record)?;
        let message = OutgoingMessage::new(&self.shared.log_id, &record)?;
        Ok(Some(self.webhook.endpoint.send(&message).await))
    }

    async fn read_one(&self, seq: u64) -> Result<Option<Record>> {
        let Some(before) = seq.checked_sub(1) else { return Ok(None) };
        Ok(self.read(before, seq, 1).await?.pop())
    }

    async fn read(&self, after: u64, last: u64, limit: usize) -> Result<Vec<Record>> {
        let (reply, records) = oneshot::channel();
        let read = PageRead::new(after, last, limit, self.webhook.filter.clone(), reply);
        match &self.shared.location {
            Some(location) => self.shared.reader.send(location, read)?,
            None => self.shared.jobs.send(Job::Read(read)).map_err(|_| thread_ended_error())?,
        }
        records.await.map_err(|_| thread_ended_error())?
    }
}

/// Waits for a read; `None` if the deliveries are to stop before it ends.
async fn unless_stopped<T>(
    stopped: &mut watch::Receiver<Stop>,
    read: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        result = read => Some(result),
        _ = stopped.wait_for(|stop| *stop != Stop::No) => None,
    }
}

/// Whether and how the deliveries end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    Now,
    /// As a crash would end them.
    #[cfg(test)]
    Crash,
}

/// What was logged about an endpoint and about reads of the log: once when they begin to fail, and once when they work
/// again.
#[derive(Default)]
struct Health {
    reads_fail: bool,
    is_failing: bool,
    is_gone: bool,
}

impl Health {
    /// Notes how a read of the log for a webhook has ended.
    fn note_read(&mut self, webhook: &str, error: Option<&Error>) {
        match error {
            Some(error) if !self.reads_fail => {
                let reason = error.cause();
                warn!(webhook, reason, "the log cannot be read for a webhook");
            }
            None if self.reads_fail => info!(webhook, "the log can be read for a webhook again"),
            _ => {}
        }
        self.reads_fail = error.is_some();
    }

    fn note(&mut self, webhook: &LoadedWebhook, attempt: &Attempt) {
        let (name, endpoint) = (webhook.name.as_str(), webhook.endpoint.origin());
        match attempt {
            Attempt::Delivered => {
                if self.is_failing || self.is_gone {
                    info!(webhook = name, endpoint, "the endpoint of a webhook works again");
                }
                (self.is_failing, self.is_gone) = (false, false);
            }
            Attempt::Gone if !self.is_gone => {
                self.is_gone = true;
                error!(
                    webhook = name,
                    endpoint, "the endpoint of a webhook is gone; remove the webhook"
                );
            }
            Attempt::Failed { reason, .. } | Attempt::Refused { reason } if !self.is_failing => {
                self.is_failing = true;
                warn!(webhook = name, endpoint, reason, "the endpoint of a webhook fails");
            }
            Attempt::Undeliverable { reason } => {
                warn!(webhook = name, reason, "an event of a webhook cannot be delivered");
            }
            Attempt::Gone | Attempt::Failed { .. } | Attempt::Refused { .. } => {}
        }
    }
}
