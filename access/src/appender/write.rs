//! Evaluates jobs and appends their rows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use strongroom_core::{Error, Result};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::{Appender, FOLLOW_INTERVAL, block};
use crate::TenantName;
use crate::change::ProposedChange;
use crate::event::{Draft, Event};
use crate::expiry::Expiring;
use crate::grant::to_millis;
#[cfg(feature = "webhooks")]
use crate::job::WebhookChange;
use crate::job::{Access, AccessReply, PolicyChange};
use crate::log::{self, Appended};
use crate::state::{Change, State, TenantRules};
#[cfg(feature = "webhooks")]
use crate::webhook::WebhookAdvance;

type ChangeReply = oneshot::Sender<Result<Vec<Event>>>;

/// A job that writes rows.
pub(super) enum Write {
    Record(Vec<Access>, AccessReply),
    Change(Box<ProposedChange>, ChangeReply),
    LoadPolicy(Box<PolicyChange>, oneshot::Sender<Result<()>>),
    RecordExpiring(Vec<Expiring>, oneshot::Sender<Result<usize>>),
    #[cfg(feature = "webhooks")]
    AdvanceWebhook(Box<WebhookChange>, oneshot::Sender<Result<bool>>),
}

/// What a job answers once its rows are durable.
enum Answer {
    Record(Vec<Result<()>>),
    Change(Result<Vec<Event>>),
    PolicyLoaded,
    Expiring(usize),
    #[cfg(feature = "webhooks")]
    Webhook(bool),
}

impl Write {
    fn reply(self, answer: Result<Answer>) {
        // Fails if the caller dropped the future.
        match (self, answer) {
            (Self::Record(_, reply), Ok(Answer::Record(results))) => drop(reply.send(Ok(results))),
            (Self::Change(_, reply), Ok(Answer::Change(result))) => drop(reply.send(result)),
            (Self::Record(_, reply), Err(error)) => drop(reply.send(Err(error))),
            (Self::Change(_, reply), Err(error)) => drop(reply.send(Err(error))),
            (Self::LoadPolicy(_, reply), answer) => drop(reply.send(answer.map(drop))),
            (Self::RecordExpiring(_, reply), Ok(Answer::Expiring(count))) => {
                drop(reply.send(Ok(count)));
            }
            (Self::RecordExpiring(_, reply), Err(error)) => drop(reply.send(Err(error))),
            #[cfg(feature = "webhooks")]
            (Self::AdvanceWebhook(_, reply), Ok(Answer::Webhook(is_accepted))) => {
                drop(reply.send(Ok(is_accepted)));
            }
            #[cfg(feature = "webhooks")]
            (Self::AdvanceWebhook(_, reply), Err(error)) => drop(reply.send(Err(error))),
            // Each job gets the answer of its own kind.
            (_, Ok(_)) => {}
        }
    }
}

/// The rows that a batch is to append, with the rules as they are after them.
struct Evaluation<'a> {
    state: State,
    drafts: Vec<Draft>,
    /// The seq of the last record before them.
    after: u64,
    now: i64,
    no_rules: &'a Arc<TenantRules>,
}

impl Evaluation<'_> {
    fn rules(&self, tenant: &TenantName) -> Arc<TenantRules> {
        Arc::clone(self.state.tenant(tenant).unwrap_or(self.no_rules))
    }

    fn push(&mut self, draft: Draft) {
        self.drafts.push(draft);
        let added = u64::try_from(self.drafts.len()).unwrap_or(u64::MAX);
        if let Some(draft) = self.drafts.last() {
            self.state.apply(&Change {
                seq: self.after.saturating_add(added),
                tenant: draft.tenant.as_ref(),
                path: draft.path.as_deref(),
                token: draft.context.token,
                event: &draft.event,
            });
        }
    }

    fn record(&mut self, access: &Access) -> Result<()> {
        let rules = self.rules(access.tenant());
        let (events, result) = access.decide(&rules, self.now);
        // A shared reference would make the state copy the rules.
        drop(rules);
        for event in events {
            self.push(access.draft(event));
        }
        result
    }

    /// Returns how many of the secrets get a notice that is due and not recorded yet.
    fn record_expiring(&mut self, found: &[Expiring]) -> usize {
        let before = self.drafts.len();
        for secret in found {
            if let Some(notice) = self.state.notices.due(secret, self.now) {
                self.push(secret.draft(notice));
            }
        }
        self.drafts.len() - before
    }

    fn change(&mut self, change: &ProposedChange) -> Result<Vec<Event>> {
        let rules = self.rules(&change.tenant);
        let decision = change.decide(&rules, self.now);
        let events = decision.events.iter().cloned();
        let drafts: Vec<_> = events.map(|event| change.draft(event, &rules)).collect();
        // A shared reference would make the state copy the rules.
        drop(rules);
        for draft in drafts {
            self.push(draft);
        }
        decision.result.map(|()| decision.events)
    }

    /// Moves the cursor of a webhook; `false` while another process delivers.
    #[cfg(feature = "webhooks")]
    fn advance_webhook(&mut self, change: &WebhookChange) -> bool {
        let added = u64::try_from(self.drafts.len()).unwrap_or(u64::MAX);
        let last = self.after.saturating_add(added);
        let cursor = self.state.webhooks.get(&change.webhook);
        // It says when a prune forgets the webhook. Who holds the lease does not depend on it.
        let clock = to_millis(SystemTime::now());
        let Some((dead, cursor)) = change.advance.decide(cursor, last, clock) else { return false };
        let webhook = change.webhook.clone();
        let events = dead.into_iter().map(Event::WebhookFailed);
        let advance = Event::WebhookAdvanced(WebhookAdvance { webhook, cursor });
        for event in events.chain([advance]) {
            self.push(Draft {
                tenant: None,
                principal: format!("webhook:{}", change.webhook),
                path: None,
                context: crate::event::Context::default(),
                event,
            });
        }
        true
    }
}

impl Appender {
    /// Evaluates jobs, appends their rows and those that are queued, and then answers.
    pub(super) fn write(&mut self, writes: Vec<Write>) {
        match self.try_write(&writes) {
            Ok(answers) => {
                for (write, answer) in writes.into_iter().zip(answers) {
                    if let Write::LoadPolicy(change, _) = &write {
                        self.published.policy.store(Arc::clone(&change.policy));
                    }
                    write.reply(Ok(answer));
                }
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + FOLLOW_INTERVAL);
                for write in writes {
                    write.reply(Err(error.clone()));
                }
            }
        }
    }

    /// Writes the queued records, which no caller waits for. Does nothing shortly after a failure: several jobs would
    /// each wait for the same lock, and the rules would become stale meanwhile.
    pub(super) fn flush(&mut self) {
        self.published.take_waiting(&mut self.queued);
        if self.queued.is_empty() && self.notes.is_empty() {
            // Another batch had them already.
            self.queued_since = None;
            return;
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        // The records are kept and tried again; the failure stops reads and is logged.
        if self.try_write(&[]).is_err() {
            self.retry_at = Some(Instant::now() + FOLLOW_INTERVAL);
        }
    }

    fn try_write(&mut self, writes: &[Write]) -> Result<Vec<Answer>> {
        if self.follow_fails {
            // Nothing is decided against rules that cannot be read.
            self.refresh_for_write()?;
        }
        self.published.take_waiting(&mut self.queued);
        let no_rules = Arc::default();
        loop {
            let now = self.now();
            // They were decided before, and change no rules.
            let queued = block::to_rows(&self.queued, now)?;
            let added = u64::try_from(self.queued.len()).unwrap_or(u64::MAX);
            let mut evaluation = Evaluation {
                state: self.state.clone(),
                drafts: Vec::with_capacity(self.notes.len() + writes.len()),
                after: self.tail.0.saturating_add(added),
                now,
                no_rules: &no_rules,
            };
            for draft in &self.notes {
                evaluation.push(draft.clone());
            }
            let mut answers = Vec::with_capacity(writes.len());
            for write in writes {
                answers.push(match write {
                    Write::Record(accesses, _) => {
                        let results = accesses.iter().map(|access| evaluation.record(access));
                        Answer::Record(results.collect())
                    }
                    Write::Change(change, _) => Answer::Change(evaluation.change(change)),
                    Write::LoadPolicy(change, _) => {
                        evaluation.push(change.draft());
                        Answer::PolicyLoaded
                    }
                    Write::RecordExpiring(found, _) => {
                        Answer::Expiring(evaluation.record_expiring(found))
                    }
                    #[cfg(feature = "webhooks")]
                    Write::AdvanceWebhook(change, _) => {
                        Answer::Webhook(evaluation.advance_webhook(change))
                    }
                });
            }
            let Evaluation { state, mut drafts, .. } = evaluation;
            if !self.append(queued, &mut drafts, now, None)? {
                continue;
            }
            self.published.queued.fetch_sub(self.queued.len(), Ordering::AcqRel);
            self.queued.clear();
            self.published.notes.fetch_sub(self.notes.len(), Ordering::AcqRel);
            self.notes.clear();
            (self.queued_since, self.retry_at) = (None, None);
            self.state = state;
            self.publish();
            return Ok(answers);
        }
    }

    /// Appends rows: `rows`, and those of the drafts, of which the events are left. Returns `false`, with the rules of
    /// now, if the log has moved: evaluate again.
    pub(super) fn append(
        &mut self,
        mut rows: Vec<log::Draft>,
        drafts: &mut [Draft],
        now: i64,
        prune_before: Option<u64>,
    ) -> Result<bool> {
        for draft in drafts {
            rows.push(draft.take_row(now)?);
        }
        if rows.is_empty() {
            return Ok(true);
        }
        let rows = self.chain.extend(self.tail, rows);
        let appended = self.store.append(self.tail.0, &rows, prune_before);
        self.note_audit(appended.as_ref().err());
        match appended? {
            Appended::Done => {
                if let Some(row) = rows.last() {
                    self.tail = row.tail();
                }
                self.newest = now;
                Ok(true)
            }
            Appended::Moved => {
                self.refresh_for_write()?;
                Ok(false)
            }
        }
    }

    /// Folds the rows of others before a write. A failure counts as one of the write.
    fn refresh_for_write(&mut self) -> Result<()> {
        let refreshed = self.refresh();
        if let Err(error) = &refreshed {
            self.note_audit(Some(error));
        }
        refreshed
    }

    /// The time of the next rows, which is not before that of any row.
    pub(super) fn now(&self) -> i64 {
        to_millis(SystemTime::now()).max(self.newest)
    }

    /// Notes whether the log can be written, and says so when that changes.
    fn note_audit(&self, failure: Option<&Error>) {
        let fails = failure.is_some();
        if self.published.audit_fails.swap(fails, Ordering::AcqRel) == fails {
            return;
        }
        if let Some(error) = failure {
            error!(%error, waiting = self.queued.len(), "the audit log cannot be written");
        } else {
            info!("the audit log can be written again");
        }
    }
}
