//! What the log records.

use serde::{Deserialize, Serialize};
use strongroom_core::{Error, ErrorKind, Result, Tier};

use crate::approval::ApprovalEvent;
use crate::expiry::ExpiryNotice;
use crate::grant::{Grant, StoredToken};
use crate::log;
use crate::rotation::RotationRecord;
use crate::webhook::{DeadLetter, WebhookAdvance};
use crate::{Action, ApprovalId, GrantId, Scope, TenantName, TokenId};

/// The rule by which something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// A grant.
    Grant(GrantId),
    /// A scope of the token that is used.
    Token(TokenId),
    /// The host's own administrator, whom no rule restricts.
    Administrator,
}

/// Why something is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Denial {
    /// No grant of the principal allows it.
    NoGrant,
    /// No scope of the token allows it.
    NoScope,
    /// The token was revoked, has expired, or has been used as often as it may.
    TokenEnded,
    /// The secret needs an approval, and none is living.
    NeedsApproval,
    /// The token or the identity was refused, so no principal acts.
    NotAuthenticated,
    /// The rules could not be read for longer than they may be used.
    StaleRules,
    /// The policy denies it.
    Policy,
    /// The policy could not be evaluated.
    PolicyFailed,
}

/// A denial as the log records it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DenialRecord {
    pub(crate) denial: Denial,
    /// What the policy says.
    pub(crate) reasons: Vec<String>,
}

impl From<Denial> for DenialRecord {
    fn from(denial: Denial) -> Self {
        Self { denial, reasons: Vec::new() }
    }
}

/// How an operation that was allowed ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The value or the answer was given. For a write: it was allowed, and recorded before it began.
    #[default]
    Allowed,
    /// The secret does not exist.
    NotFound,
    /// The secret has expired.
    Expired,
    /// The store answered with another error.
    Failed,
}

/// One event. Rows with rule events are what the state is folded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    Accessed {
        action: Action,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        rule: Rule,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
        /// The tier of the secret, if it was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<Tier>,
        outcome: Outcome,
        /// Whether it counts as one of a limited number of uses of a token.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counts: bool,
    },
    Denied {
        /// The action on a secret, or the scope that a change of rules needs.
        action: String,
        denial: Denial,
        /// What the policy says.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<Tier>,
    },
    GrantCreated(Grant),
    GrantDeleted {
        id: GrantId,
    },
    TokenIssued(StoredToken),
    TokenRevoked {
        id: TokenId,
    },
    Approval(ApprovalEvent),
    /// All rules that are living, in one or several rows of one transaction, before older rows are removed.
    RulesCarried(CarriedRules),
    AuditPruned {
        before: u64,
    },
    AuditRead {
        rule: Rule,
    },
    /// A secret expires soon, or has expired.
    Expiry(ExpiryNotice),
    /// A step of the rotation of a secret.
    Rotation(RotationRecord),
    /// This process decides by another policy from now on.
    PolicyLoaded {
        sha256: String,
        modules: Vec<String>,
    },
    /// The deliveries of a webhook are claimed by a process, or have made progress.
    WebhookAdvanced(WebhookAdvance),
    /// A webhook has given a record up.
    WebhookFailed(DeadLetter),
}

/// The names of all events.
pub(crate) const EVENT_NAMES: &[&str] = &[
    "vault.accessed",
    "vault.denied",
    "grant.created",
    "grant.deleted",
    "token.issued",
    "token.revoked",
    "approval.requested",
    "approval.approved",
    "approval.denied",
    "approval.withdrawn",
    "approval.used",
    "approval.expired",
    "rules.carried",
    "audit.pruned",
    "audit.read",
    "policy.loaded",
    "secret.expiring",
    "secret.expired",
    "rotation.expiring",
    "rotation.due",
    "rotation.started",
    "rotation.issued",
    "rotation.stored",
    "rotation.switched",
    "rotation.drained",
    "rotation.revoked",
    "rotation.revocation_failed",
    "rotation.orphaned",
    "rotation.finished",
    "rotation.failed",
    "webhook.advanced",
    "webhook.failed",
];

impl Event {
    /// The denial of an action, or of a scope that a change of rules needs.
    pub(crate) fn denied(action: String, denial: Denial) -> Self {
        Self::Denied { action, denial, reasons: Vec::new(), tier: None }
    }
}

/// A part of the rules that are carried forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CarriedRules {
    pub(crate) is_first: bool,
    pub(crate) grants: Vec<Grant>,
    pub(crate) tokens: Vec<(StoredToken, u32)>,
    pub(crate) approvals: Vec<crate::approval::Approval>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notices: Vec<(TenantName, String, ExpiryNotice)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhooks: Vec<WebhookAdvance>,
}

impl Event {
    /// The name in the log, by which events are selected.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Accessed { .. } => "vault.accessed",
            Self::Denied { .. } => "vault.denied",
            Self::GrantCreated(_) => "grant.created",
            Self::GrantDeleted { .. } => "grant.deleted",
            Self::TokenIssued(_) => "token.issued",
            Self::TokenRevoked { .. } => "token.revoked",
            Self::Approval(event) => match event {
                ApprovalEvent::Requested(_) => "approval.requested",
                ApprovalEvent::Approved { .. } => "approval.approved",
                ApprovalEvent::Denied { .. } => "approval.denied",
                ApprovalEvent::Withdrawn { .. } => "approval.withdrawn",
                ApprovalEvent::Used { .. } => "approval.used",
                ApprovalEvent::Expired { .. } => "approval.expired",
            },
            Self::RulesCarried(_) => "rules.carried",
            Self::AuditPruned { .. } => "audit.pruned",
            Self::AuditRead { .. } => "audit.read",
            Self::PolicyLoaded { .. } => "policy.loaded",
            Self::Expiry(notice) => notice.event(),
            Self::Rotation(record) => record.stage.event(),
            Self::WebhookAdvanced(_) => "webhook.advanced",
            Self::WebhookFailed(_) => "webhook.failed",
        }
    }

    /// Whether the state follows from it.
    pub(crate) fn is_rule(&self) -> bool {
        match self {
            Self::Accessed { counts, .. } => *counts,
            Self::Denied { .. }
            | Self::AuditRead { .. }
            | Self::PolicyLoaded { .. }
            | Self::Rotation(_)
            | Self::WebhookFailed(_) => false,
            _ => true,
        }
    }
}

/// Everything that a row records beside its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) tenant: Option<TenantName>,
    pub(crate) principal: String,
    pub(crate) path: Option<String>,
    pub(crate) context: Context,
    pub(crate) event: Event,
}

/// What the host knows about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The token that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<TokenId>,
    /// The person that presented it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) presented_by: Option<String>,
}

#[derive(Serialize)]
struct BodyRef<'a> {
    /// Of a prune: the first row that is kept, where the log itself looks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    // The members of the context: `flatten` takes longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presented_by: Option<&'a str>,
    event: &'a Event,
}

/// The body of a row.
#[derive(Deserialize)]
pub(crate) struct Body {
    #[serde(flatten)]
    pub(crate) context: Context,
    pub(crate) event: Event,
}

impl Draft {
    /// The row that records it, which takes its texts but leaves the event.
    pub(crate) fn take_row(&mut self, time: i64) -> Result<log::Draft> {
        debug_assert!(EVENT_NAMES.contains(&self.event.name()), "list {}", self.event.name());
        Ok(log::Draft {
            records: 1,
            time,
            event: self.event.name().to_owned(),
            tenant: self.tenant.as_ref().map(ToString::to_string),
            principal: std::mem::take(&mut self.principal),
            path: self.path.take(),
            body: body(&self.context, &self.event)?,
            is_rule: self.event.is_rule(),
        })
    }
}

fn body(context: &Context, event: &Event) -> Result<Vec<u8>> {
    let before = match event {
        Event::AuditPruned { before } => Some(*before),
        _ => None,
    };
    let Context { request_id, reason, token, presented_by } = context;
    let body = BodyRef {
        before,
        request_id: request_id.as_deref(),
        reason: reason.as_deref(),
        token: *token,
        presented_by: presented_by.as_deref(),
        event,
    };
    serde_json::to_vec(&body).map_err(|_| {
        Error::new(ErrorKind::Internal, "report this").because("an event has no JSON form")
    })
}

/// What the body of an event other than a prune has before the id of the request, and what it has after it.
pub(crate) fn body_around_request_id(
    context: &Context,
    event: &Event,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let context = Context { request_id: Some(String::new()), ..context.clone() };
    let mut before_id = body(&context, event)?;
    let after_id = before_id.split_off(r#"{"request_id":""#.len());
    Ok((before_id, after_id))
}

impl Body {
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "use the release that wrote the log, or a later one")
                .because("a row of the log cannot be parsed")
        })
    }
}

/// The scopes as they are recorded when a change of rules is denied.
pub(crate) fn denied_scope(scope: &Scope) -> Event {
    Event::denied(scope.to_string(), Denial::NoGrant)
}
