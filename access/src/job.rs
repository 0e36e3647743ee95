//! What the appender is asked to do.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use strongroom_core::{Error, Result, SecretPath, Tier, Version};
use tokio::sync::oneshot;

use crate::appender::prune::Pruned;
use crate::approval::{Approval, ApprovalCommand, ApprovalRequest, ApprovalStatus, VersionPolicy};
use crate::book::Book;
use crate::change::{ProposedChange, denial_error};
use crate::event::{Context, Denial, DenialRecord, Draft, Event, Outcome, Rule};
use crate::expiry::Expiring;
use crate::identity::Identity;
use crate::log::Head;
use crate::log::checkpoint::{SignedCheckpoint, VerifyingKey};
use crate::log::verify::Verification;
use crate::policy::LoadedPolicy;
use crate::reader::PageRead;
use crate::state::TenantRules;
#[cfg(feature = "webhooks")]
use crate::webhook::Advance;
use crate::{Action, ApprovalId, TenantName};

/// One operation on a secret that is to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    // Each read makes one, and another thread drops it: it has no text of its own.
    pub(crate) identity: Arc<Identity>,
    pub(crate) context: Arc<Context>,
    /// The id of the request, unless the host has given one.
    pub(crate) request: Option<RequestNumber>,
    pub(crate) action: Action,
    pub(crate) path: Option<SecretPath>,
    pub(crate) version: Option<Version>,
    /// Whether a version was named, which need not be the active one.
    pub(crate) names_version: bool,
    /// The tier of the secret, if it is known.
    pub(crate) tier: Option<Tier>,
    /// The generation of the policy that has decided it.
    pub(crate) policy: u64,
    pub(crate) decision: AccessDecision,
}

/// An id of a request in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestNumber {
    /// Random, and one for each process.
    pub(crate) prefix: u64,
    pub(crate) number: usize,
}

impl fmt::Display for RequestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.prefix, self.number)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AccessDecision {
    Allowed { rule: Rule, approval: Option<ApprovalId>, outcome: Outcome, counts: bool },
    Denied(DenialRecord),
}

impl Access {
    /// Whether the appender has to decide before the operation may go on: a use is counted there.
    pub(crate) fn changes_rules(&self) -> bool {
        matches!(
            self.decision,
            AccessDecision::Allowed { approval: Some(_), .. }
                | AccessDecision::Allowed { counts: true, .. }
        )
    }

    /// Whether it is a read that was allowed, and that changes no rules.
    pub(crate) fn is_plain_read(&self) -> bool {
        let is_read = matches!(self.action, Action::Read | Action::Describe | Action::List);
        let is_allowed = matches!(self.decision, AccessDecision::Allowed { .. });
        is_read && is_allowed && !self.changes_rules()
    }

    /// The events to record, decided against the rules at the end of the log, and the answer.
    pub(crate) fn decide(&self, rules: &TenantRules, now: i64) -> (Vec<Event>, Result<()>) {
        let (rule, approval) = match &self.decision {
            AccessDecision::Allowed { rule, approval, .. } => (*rule, approval),
            AccessDecision::Denied(denied) => return self.deny(denied.clone(), rules, now),
        };
        let is_living = match rule {
            Rule::Grant(id) => rules.living_grant(id, now).is_some(),
            Rule::Token(id) => rules.living_token(id, now).is_some(),
            Rule::Administrator => true,
        };
        // Another rule may allow it, if this one has ended since.
        let rule = if is_living { Ok(rule) } else { self.decide_again(rules, now) };
        let rule = match rule {
            Ok(rule) => rule,
            Err(denial) => return self.deny(denial.into(), rules, now),
        };
        let mut events = Vec::with_capacity(2);
        if let Some(id) = approval {
            match self.use_approval(*id, rules, now) {
                Some(event) => events.push(event),
                None => return self.deny(Denial::NeedsApproval.into(), rules, now),
            }
        }
        let mut event = self.as_decided();
        if let Event::Accessed { rule: recorded, .. } = &mut event {
            *recorded = rule;
        }
        events.push(event);
        (events, Ok(()))
    }

    fn decide_again(&self, rules: &TenantRules, now: i64) -> Result<Rule, Denial> {
        let book = Book::compile(&self.identity, rules, now);
        match &self.path {
            Some(path) if self.action != Action::List => {
                book.decide(self.action, path.as_str(), now)
            }
            prefix => book.may_list_below(prefix.as_ref().map(SecretPath::as_str), now),
        }
    }

    /// The event of an access that was decided before, when it was not recorded yet.
    pub(crate) fn as_decided(&self) -> Event {
        match &self.decision {
            AccessDecision::Allowed { rule, approval, outcome, counts } => Event::Accessed {
                action: self.action,
                version: self.version_text(),
                rule: *rule,
                approval: *approval,
                tier: self.tier,
                outcome: *outcome,
                counts: *counts,
            },
            AccessDecision::Denied(denied) => self.denied(denied.clone()),
        }
    }

    fn use_approval(&self, id: ApprovalId, rules: &TenantRules, now: i64) -> Option<Event> {
        let approval = rules.approvals.get(&id)?;
        let version = match &approval.request.version {
            VersionPolicy::Active if !self.names_version => None,
            _ => self.version_text(),
        };
        let command = ApprovalCommand::Use {
            by: self.identity.name.clone(),
            action: self.action.to_string(),
            path: self.path.as_ref()?.to_string(),
            version,
        };
        approval.propose(&command, now).ok().map(Event::Approval)
    }

    /// The error of a denial. If an approval is missing, it names the request of the principal that waits for people.
    pub(crate) fn denial_error(&self, denial: Denial, rules: &TenantRules, now: i64) -> Error {
        let error = denial_error(denial, self.action, &self.identity);
        let is_needed = denial == Denial::NeedsApproval;
        match is_needed.then(|| self.open_request(rules, now)).flatten() {
            Some(id) => error.with_approval(id.to_string()).advise(format!(
                "wait until people have approved the request `{id}`, and try again"
            )),
            None => error,
        }
    }

    /// The newest request for exactly this access that waits for people.
    fn open_request(&self, rules: &TenantRules, now: i64) -> Option<ApprovalId> {
        let is_open = |approval: &&Arc<Approval>| {
            approval.request.requester == self.identity.name
                && self.is_requested_by(&approval.request)
                && approval.status(now) == ApprovalStatus::Open
        };
        let open = rules.approvals.values().filter(is_open);
        let newest =
            open.max_by_key(|approval| (approval.request.requested_at, approval.request.id));
        newest.map(|approval| approval.request.id)
    }

    /// Whether a request is for this action, path and version.
    pub(crate) fn is_requested_by(&self, request: &ApprovalRequest) -> bool {
        let is_of_version = match &request.version {
            VersionPolicy::Active => !self.names_version,
            VersionPolicy::Exact(exact) => {
                self.version.as_ref().is_some_and(|version| version.text() == **exact)
            }
        };
        is_of_version
            && request.action == self.action.as_str()
            && self.path.as_ref().is_some_and(|path| path.as_str() == request.path)
    }

    fn deny(
        &self,
        denied: DenialRecord,
        rules: &TenantRules,
        now: i64,
    ) -> (Vec<Event>, Result<()>) {
        let error = self.denial_error(denied.denial, rules, now);
        (vec![self.denied(denied)], Err(error))
    }

    fn denied(&self, DenialRecord { denial, reasons }: DenialRecord) -> Event {
        Event::Denied { action: self.action.to_string(), denial, reasons, tier: self.tier }
    }

    pub(crate) fn tenant(&self) -> &TenantName {
        &self.identity.tenant
    }

    pub(crate) fn draft(&self, event: Event) -> Draft {
        Draft {
            tenant: Some(self.identity.tenant.clone()),
            principal: self.identity.name.clone(),
            path: self.path.as_ref().map(ToString::to_string),
            context: Context {
                request_id: Some(self.request_id().into_owned()),
                ..(*self.context).clone()
            },
            event,
        }
    }

    pub(crate) fn request_id(&self) -> Cow<'_, str> {
        match self.request {
            Some(number) => Cow::Owned(number.to_string()),
            None => Cow::Borrowed(self.context.request_id.as_deref().unwrap_or_default()),
        }
    }

    fn version_text(&self) -> Option<String> {
        self.version.as_ref().map(|version| version.text().into_owned())
    }
}

/// A policy that is to be in force.
#[derive(Debug)]
pub(crate) struct PolicyChange {
    pub(crate) policy: Arc<LoadedPolicy>,
    /// Who loads it, as the log names them.
    pub(crate) by: String,
}

impl PolicyChange {
    pub(crate) fn draft(&self) -> Draft {
        Draft {
            tenant: None,
            principal: self.by.clone(),
            path: None,
            context: Context::default(),
            event: self.policy.event(),
        }
    }
}

/// What a process records about its deliveries.
#[cfg(feature = "webhooks")]
#[derive(Debug)]
pub(crate) struct WebhookChange {
    pub(crate) webhook: String,
    pub(crate) advance: Advance,
}

/// One answer for each access.
pub(crate) type AccessReply = oneshot::Sender<Result<Vec<Result<()>>>>;

/// What the appender is asked to do.
pub(crate) enum Job {
    /// Records accesses durably and then answers.
    Record(Vec<Access>, AccessReply),
    /// Accesses that no caller waits for are queued, and are to be recorded with the next batch.
    Queued,
    /// Records something with the next batch; no caller waits.
    Note(Box<Draft>),
    /// Records which secrets expire soon or have expired, unless it is recorded already, and answers how many.
    RecordExpiring(Vec<Expiring>, oneshot::Sender<Result<usize>>),
    /// Records a policy durably, decides by it from then on, and then answers.
    LoadPolicy(Box<PolicyChange>, oneshot::Sender<Result<()>>),
    /// Changes the rules.
    Change(Box<ProposedChange>, oneshot::Sender<Result<Vec<Event>>>),
    /// Moves the cursor of a webhook; answers whether it has, which it does not while another process delivers.
    #[cfg(feature = "webhooks")]
    AdvanceWebhook(Box<WebhookChange>, oneshot::Sender<Result<bool>>),
    /// Writes what waits, and says where the log begins and ends.
    Flush(oneshot::Sender<Result<Head>>),
    /// Reads a page of the log, which is in memory.
    Read(PageRead),
    /// Walks the whole log.
    Verify(Vec<SignedCheckpoint>, oneshot::Sender<Result<Verification>>),
    /// Signs the end of the log.
    Checkpoint(oneshot::Sender<Result<(SignedCheckpoint, VerifyingKey)>>),
    /// Removes the rows before a time, in milliseconds since 1970.
    Prune { before: i64, by: String, reply: oneshot::Sender<Result<Pruned>> },
    /// Writes what waits, and ends.
    Close,
}
