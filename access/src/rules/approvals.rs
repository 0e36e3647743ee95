//! Requests for approval, as principals make and people decide them.

use std::collections::BTreeSet;
use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use super::new::MAX_WAIT;
use super::{NewApproval, Rules, has_all};
use crate::access::check_text;
use crate::approval::{
    Approval, ApprovalCommand, ApprovalRequest, ApprovalStatus, ApprovalTerms, VersionPolicy,
};
use crate::book::Book;
use crate::change::RuleChange;
use crate::pending::PendingApproval;
use crate::{ApprovalId, PathPattern, Scope};

impl Rules {
    /// Asks people to approve one action. The answer can be dropped and found again by
    /// [`approval`](Self::approval): the request is in the log.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if no grant allows the action in the first place, or if the policy denies it;
    /// [`ErrorKind::InvalidInput`];
    /// [`ErrorKind::Conflict`] while 100 requests of the caller wait already.
    pub async fn request_approval(&self, new: NewApproval) -> Result<PendingApproval> {
        if let VersionPolicy::Exact(version) = &new.version {
            check_text("the version", version, 512)?;
        }
        if new.wait > MAX_WAIT {
            return Err(Error::new(ErrorKind::InvalidInput, "let it wait for a shorter time")
                .because("a request for approval can wait for at most 30 days"));
        }
        self.narrow(new.action, &new.path).await?;
        let now = self.now();
        let terms = ApprovalTerms {
            tenant: self.tenant.to_string(),
            requester: self.author.name(),
            excluded: BTreeSet::new(),
            action: new.action.to_string(),
            path: new.path.to_string(),
            version: new.version,
            purpose: new.purpose,
            reason: new.reason,
            quorum: self.access.config.tiers.quorum(&new.path, new.quorum),
            usage: new.usage,
            expires_at: now.saturating_add(i64::try_from(new.wait.as_millis()).unwrap_or(i64::MAX)),
        };
        let request = ApprovalRequest::new(ApprovalId::random()?, terms, now)?;
        let id = request.id;
        let change = RuleChange::RequestApproval { request: Box::new(request), action: new.action };
        self.change(change).await?;
        Ok(self.pending(id))
    }

    /// The requests that wait for people and that the caller may decide, by their age.
    #[must_use]
    pub fn open_approvals(&self) -> Vec<Approval> {
        let now = self.now();
        let rules = self.cell.rules();
        let book = self.book(&rules, now);
        let open = rules.approvals.values().filter(|approval| {
            approval.status(now) == ApprovalStatus::Open && may_decide(book.as_ref(), approval, now)
        });
        let mut open: Vec<Approval> = open.map(|approval| Approval::clone(approval)).collect();
        open.sort_by_key(|approval| (approval.request.requested_at, approval.request.id));
        open
    }

    /// A request of the caller's own, to wait for it again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn approval(&self, id: ApprovalId) -> Result<PendingApproval> {
        self.pending_if(id, |approval| approval.request.requester == self.author.name())
    }

    /// A request of the caller's own, or one that it has the right to decide.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], also for a request that is there and is neither.
    pub fn visible_approval(&self, id: ApprovalId) -> Result<PendingApproval> {
        let now = self.now();
        let book = self.book(&self.cell.rules(), now);
        let name = self.author.name();
        self.pending_if(id, |approval| {
            approval.request.requester == name || may_decide(book.as_ref(), approval, now)
        })
    }

    /// Approves a request.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] unless the caller is a person with `approvals:decide` on the path, and not the requester,
    /// or if the request has ended; [`ErrorKind::Conflict`] if it is approved already.
    pub async fn approve(&self, id: ApprovalId) -> Result<()> {
        self.decide(id, ApprovalCommand::Approve { by: self.author.name() }).await
    }

    /// Denies a request, or ends its approval.
    ///
    /// # Errors
    /// As [`approve`](Self::approve).
    pub async fn deny(&self, id: ApprovalId, reason: &str) -> Result<()> {
        check_text("the reason", reason, 512)?;
        let command = ApprovalCommand::Deny { by: self.author.name(), reason: reason.to_owned() };
        self.decide(id, command).await
    }

    /// Gives a request of the caller's own up, or its approval.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if it is another's or has ended.
    pub async fn withdraw(&self, id: ApprovalId) -> Result<()> {
        self.decide(id, ApprovalCommand::Withdraw { by: self.author.name() }).await
    }

    fn pending_if(
        &self,
        id: ApprovalId,
        is_visible: impl FnOnce(&Approval) -> bool,
    ) -> Result<PendingApproval> {
        let rules = self.cell.rules();
        match rules.approvals.get(&id).filter(|approval| is_visible(approval)) {
            Some(_) => Ok(self.pending(id)),
            None => Err(Error::new(ErrorKind::NotFound, "ask again").because("no such request")),
        }
    }

    fn pending(&self, id: ApprovalId) -> PendingApproval {
        PendingApproval::new(id, Arc::clone(&self.access.published), Arc::clone(&self.cell))
    }

    async fn decide(&self, id: ApprovalId, command: ApprovalCommand) -> Result<()> {
        self.change(RuleChange::DecideApproval(id, command)).await.map(drop)
    }
}

/// Whether the rights cover the decision about a request.
fn may_decide(book: Option<&Book>, approval: &Approval, now: i64) -> bool {
    SecretPath::parse(&approval.request.path).is_ok_and(|path| {
        let decide = Scope::Approvals { pattern: PathPattern::exact(&path) };
        has_all(book, std::slice::from_ref(&decide), now)
    })
}
