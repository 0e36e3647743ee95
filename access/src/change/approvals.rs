//! Requests for approval, and the people who decide them.

use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use super::{Author, Decision, ProposedChange, denial_error, not_found};
use crate::approval::{Approval, ApprovalCommand, ApprovalEvent, ApprovalRequest, ApprovalStatus};
use crate::book::Book;
use crate::event::Event;
use crate::state::TenantRules;
use crate::{Action, ApprovalId, PathPattern, Scope};

/// How many requests of one principal wait for people at once: more would hide the others from them.
const MAX_OPEN_REQUESTS: usize = 100;

impl ProposedChange {
    pub(super) fn request_approval(
        &self,
        request: &ApprovalRequest,
        action: Action,
        rules: &TenantRules,
        now: i64,
    ) -> Decision {
        let Author::Principal(identity) = &self.author else {
            return Decision::refuse(
                Error::new(ErrorKind::InvalidInput, "let the principal that needs it ask for it")
                    .because("the administrator needs no approval"),
            );
        };
        let book = Book::compile(identity, rules, now);
        if let Err(denial) = book.decide(action, &request.path, now) {
            let event = Event::denied(action.to_string(), denial);
            let error = denial_error(denial, action, identity);
            return Decision { events: vec![event], result: Err(error) };
        }
        let open = rules.approvals.values().filter(|approval| {
            approval.request.requester == request.requester
                && approval.status(now) == ApprovalStatus::Open
        });
        if open.count() >= MAX_OPEN_REQUESTS {
            return Decision::refuse(
                Error::new(ErrorKind::Conflict, "withdraw requests that are not needed any more")
                    .because(format!(
                        "{MAX_OPEN_REQUESTS} requests of this principal wait already"
                    )),
            );
        }
        let mut request = request.clone();
        // A request waits from the time at which it is recorded.
        let waits = request.expires_at.saturating_sub(request.requested_at);
        request.requested_at = now;
        request.expires_at = now.saturating_add(waits);
        request.excluded.extend(self.makers(rules));
        request.excluded.extend(identity.presenter_name());
        Decision::done(vec![Event::Approval(ApprovalEvent::Requested(Box::new(request)))])
    }

    /// Who issued the tokens that the author uses, and whose they are: they know the token, so an approval of theirs would be
    /// one of their own request.
    fn makers(&self, rules: &TenantRules) -> Vec<String> {
        let mut makers = Vec::new();
        let mut token = self.token(rules);
        while let Some(issued) = token {
            makers.push(issued.created_by.clone());
            makers.extend(issued.person.as_ref().map(ToString::to_string));
            token = issued.created_with.and_then(|id| rules.tokens.get(&id));
        }
        makers
    }

    pub(super) fn decide_approval(
        &self,
        id: ApprovalId,
        command: &ApprovalCommand,
        rules: &TenantRules,
        now: i64,
    ) -> Decision {
        let approval = rules.approvals.get(&id);
        if let Err(decision) = self.check_approver(approval, command, rules, now) {
            return decision;
        }
        let Some(approval) = approval else { return Decision::refuse(not_found("request")) };
        match approval.propose(command, now) {
            Ok(event) => Decision::done(vec![Event::Approval(event)]),
            Err(refusal) => Decision::deny_as(&decide_scope(Some(approval)), refusal.into_error()),
        }
    }

    /// The events that end the requests and approvals on exactly this path, whose secret is being deleted.
    pub(super) fn end_approvals_on(&self, path: &str, rules: &TenantRules, now: i64) -> Vec<Event> {
        let command = ApprovalCommand::Deny {
            by: self.author.name(),
            reason: "the secret was deleted".to_owned(),
        };
        let on_path = rules.approvals.values().filter(|approval| approval.request.path == path);
        // One that has ended refuses the command.
        let mut events: Vec<_> =
            on_path.filter_map(|approval| approval.propose(&command, now).ok()).collect();
        events.sort_by_key(ApprovalEvent::id);
        events.into_iter().map(Event::Approval).collect()
    }

    fn check_approver(
        &self,
        approval: Option<&Arc<Approval>>,
        command: &ApprovalCommand,
        rules: &TenantRules,
        now: i64,
    ) -> Result<(), Decision> {
        if matches!(command, ApprovalCommand::Withdraw { .. }) {
            return Ok(());
        }
        let is_person =
            matches!(&self.author, Author::Principal(identity) if identity.person().is_some());
        if !is_person {
            let error =
                Error::new(ErrorKind::Denied, "let a person decide, who is authenticated as one")
                    .because("only people decide requests for approval");
            return Err(Decision::deny_as(&decide_scope(None), error));
        }
        let wanted = decide_scope(approval);
        match self.allow(&wanted, rules, now) {
            Some(_) => Ok(()),
            None => Err(Decision::deny(&decide_scope(None))),
        }
    }
}

/// The right to decide a request; of all requests, if it is not known.
fn decide_scope(approval: Option<&Arc<Approval>>) -> Scope {
    let path = approval.and_then(|approval| SecretPath::parse(&approval.request.path).ok());
    let pattern = path.map_or_else(PathPattern::everything, |path| PathPattern::exact(&path));
    Scope::Approvals { pattern }
}
