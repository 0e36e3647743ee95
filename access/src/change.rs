//! Changes of rules: who may make which, decided against the rules at the end of the log.

mod approvals;

use std::collections::BTreeSet;
use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result};

use crate::approval::{ApprovalCommand, ApprovalEvent, ApprovalRequest};
use crate::book::Book;
use crate::event::{Context, Denial, Draft, Event, Rule, denied_scope};
use crate::grant::{Grant, Token};
use crate::identity::Identity;
use crate::scope::RuleAccess;
use crate::state::TenantRules;
use crate::{Action, ApprovalId, GrantId, PathPattern, Scope, TenantName, TokenId};

/// Who makes a change.
#[derive(Clone, Debug)]
pub(crate) enum Author {
    /// The host's own code, whom no rule restricts.
    Administrator(String),
    /// A principal, with its rights.
    Principal(Arc<Identity>),
}

impl Author {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Administrator(name) => format!("administrator:{name}"),
            Self::Principal(identity) => identity.name.clone(),
        }
    }
}

/// A change of the rules of one tenant.
#[derive(Clone, Debug)]
pub(crate) enum RuleChange {
    CreateGrant(Grant),
    DeleteGrant(GrantId),
    /// Deletes the grants on exactly this path and ends its approvals, before its secret is deleted.
    DeleteRulesOn(String),
    IssueToken(Token),
    RevokeToken(TokenId),
    RequestApproval {
        request: Box<ApprovalRequest>,
        action: Action,
    },
    DecideApproval(ApprovalId, ApprovalCommand),
    ReadAudit,
}

/// What becomes of a change: the events that the log gets, and the answer.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) events: Vec<Event>,
    pub(crate) result: Result<()>,
}

impl Decision {
    fn done(events: Vec<Event>) -> Self {
        Self { events, result: Ok(()) }
    }

    fn refuse(error: Error) -> Self {
        Self { events: Vec::new(), result: Err(error) }
    }

    fn deny(wanted: &Scope) -> Self {
        let error = Error::new(ErrorKind::Denied, format!("ask for the right `{wanted}`"))
            .because("no rule allows this change");
        Self::deny_as(wanted, error)
    }

    /// Fails with `error`, and records a denial if it is one.
    fn deny_as(wanted: &Scope, error: Error) -> Self {
        let is_denial = error.kind() == ErrorKind::Denied;
        let events = if is_denial { vec![denied_scope(wanted)] } else { Vec::new() };
        Self { events, result: Err(error) }
    }
}

/// A change with its author, as it waits for its turn.
#[derive(Clone, Debug)]
pub(crate) struct ProposedChange {
    pub(crate) author: Author,
    pub(crate) tenant: TenantName,
    pub(crate) context: Context,
    pub(crate) change: RuleChange,
}

impl ProposedChange {
    /// Decides the change against the rules at the end of the log. `now` is not before any recorded time.
    pub(crate) fn decide(&self, rules: &TenantRules, now: i64) -> Decision {
        match &self.change {
            RuleChange::CreateGrant(grant) => self.create_grant(grant, rules, now),
            RuleChange::DeleteGrant(id) => self.delete_grant(*id, rules, now),
            RuleChange::DeleteRulesOn(path) => self.delete_rules_on(path, rules, now),
            RuleChange::IssueToken(token) => self.issue_token(token, rules, now),
            RuleChange::RevokeToken(id) => self.revoke_token(*id, rules, now),
            RuleChange::RequestApproval { request, action } => {
                self.request_approval(request, *action, rules, now)
            }
            RuleChange::DecideApproval(id, command) => {
                self.decide_approval(*id, command, rules, now)
            }
            RuleChange::ReadAudit => match self.allow(&Scope::Audit, rules, now) {
                Some(rule) => Decision::done(vec![Event::AuditRead { rule }]),
                None => Decision::deny(&Scope::Audit),
            },
        }
    }

    /// The row for an event of this change, before which the rules were these.
    pub(crate) fn draft(&self, event: Event, rules: &TenantRules) -> Draft {
        let path = match &event {
            Event::Approval(ApprovalEvent::Requested(request)) => Some(request.path.clone()),
            Event::Approval(event) => {
                rules.approvals.get(&event.id()).map(|approval| approval.request.path.clone())
            }
            _ => None,
        };
        Draft {
            tenant: Some(self.tenant.clone()),
            principal: self.author.name(),
            path,
            context: self.context.clone(),
            event,
        }
    }

    /// The rule that lets the author have a scope.
    fn allow(&self, wanted: &Scope, rules: &TenantRules, now: i64) -> Option<Rule> {
        match &self.author {
            Author::Administrator(_) => Some(Rule::Administrator),
            Author::Principal(identity) => Book::compile(identity, rules, now).covers(wanted, now),
        }
    }

    /// The first of these scopes that the author lacks.
    fn lacks(&self, wanted: &[Scope], rules: &TenantRules, now: i64) -> Option<Scope> {
        let Author::Principal(identity) = &self.author else { return None };
        let book = Book::compile(identity, rules, now);
        wanted.iter().find(|scope| book.covers(scope, now).is_none()).cloned()
    }

    /// The grants by which the author has these scopes until a time.
    fn grants_behind(&self, scopes: &[Scope], rules: &TenantRules, at: i64) -> BTreeSet<GrantId> {
        let Author::Principal(identity) = &self.author else { return BTreeSet::new() };
        let book = Book::compile(identity, rules, at);
        let rules = scopes.iter().filter_map(|scope| book.covers(scope, at));
        let grants = rules.filter_map(|rule| match rule {
            Rule::Grant(id) => Some(id),
            _ => None,
        });
        grants.collect()
    }

    /// The token of the author, as the rules have it now.
    fn token<'a>(&self, rules: &'a TenantRules) -> Option<&'a Arc<Token>> {
        match &self.author {
            Author::Administrator(_) => None,
            Author::Principal(identity) => rules.tokens.get(&identity.token_id()?),
        }
    }

    fn create_grant(&self, grant: &Grant, rules: &TenantRules, now: i64) -> Decision {
        if let Some(lacking) = self.lacks(&needed_to_grant(&grant.scopes), rules, now) {
            return Decision::deny(&lacking);
        }
        if let Err(error) = check_time(grant.expires_at, now) {
            return Decision::refuse(error);
        }
        Decision::done(vec![Event::GrantCreated(grant.clone())])
    }

    fn delete_grant(&self, id: GrantId, rules: &TenantRules, now: i64) -> Decision {
        let write = Scope::Grants { access: RuleAccess::Write, pattern: PathPattern::everything() };
        let Some(grant) = rules.grants.get(&id) else {
            // Only those who may see grants are told that there is none.
            let read =
                Scope::Grants { access: RuleAccess::Read, pattern: PathPattern::everything() };
            return match self.lacks(std::slice::from_ref(&read), rules, now) {
                None => Decision::refuse(not_found("grant")),
                Some(_) => Decision::deny(&write),
            };
        };
        if self.lacks(&needed_to_grant(&grant.scopes), rules, now).is_some() {
            return Decision::deny(&write);
        }
        Decision::done(vec![Event::GrantDeleted { id }])
    }

    /// The author may delete the secret, which was decided before.
    fn delete_rules_on(&self, path: &str, rules: &TenantRules, now: i64) -> Decision {
        let grants = rules.grants.values().filter(|grant| is_on(grant, path));
        let mut ids: Vec<_> = grants.map(|grant| grant.id).collect();
        ids.sort_unstable();
        let mut events: Vec<_> = ids.into_iter().map(|id| Event::GrantDeleted { id }).collect();
        events.extend(self.end_approvals_on(path, rules, now));
        Decision::done(events)
    }

    fn issue_token(&self, token: &Token, rules: &TenantRules, now: i64) -> Decision {
        let issue = Scope::Tokens { access: RuleAccess::Write };
        let needed: Vec<_> = std::iter::once(issue).chain(token.scopes.iter().cloned()).collect();
        if let Some(lacking) = self.lacks(&needed, rules, now) {
            return Decision::deny(&lacking);
        }
        let is_principal = matches!(self.author, Author::Principal(_));
        let own = self.token(rules);
        let checked = check_time(Some(token.expires_at), now);
        // A token ends with the one by which it was issued; grants have to last as long as what is issued by them.
        let last = token.expires_at.saturating_sub(1).max(now);
        if checked.is_ok()
            && own.is_none()
            && let Some(lacking) = self.lacks(&needed, rules, last)
        {
            let error = Error::new(ErrorKind::Denied, "let the token end with your own rights")
                .because(format!("the right `{lacking}` ends before the token"));
            return Decision::deny_as(&lacking, error);
        }
        let checked = checked.and_then(|()| match own {
            Some(own) if own.bound_to.is_some() && own.bound_to != token.bound_to => {
                Err(Error::new(ErrorKind::Denied, "bind the new token to the same identity")
                    .because("the token with which it is issued is bound to an identity"))
            }
            _ if token.person.is_some() && is_principal => {
                Err(Error::new(ErrorKind::Denied, "let the host's administrator issue it")
                    .because("no principal can issue a token for a person"))
            }
            _ if token.waives_sensitive
                && is_principal
                && !own.is_some_and(|own| own.waives_sensitive) =>
            {
                Err(Error::new(ErrorKind::Denied, "let the host's administrator issue it").because(
                    "only a token that waives approvals of sensitive secrets can issue another such token",
                ))
            }
            _ => Ok(()),
        });
        match checked {
            Ok(()) => {
                let created_under = self.grants_behind(&token.scopes, rules, last);
                Decision::done(vec![Event::TokenIssued(
                    Token { created_under, ..token.clone() }.into(),
                )])
            }
            Err(error) => Decision::deny_as(&Scope::Tokens { access: RuleAccess::Write }, error),
        }
    }

    fn revoke_token(&self, id: TokenId, rules: &TenantRules, now: i64) -> Decision {
        let own = match &self.author {
            Author::Administrator(_) => None,
            Author::Principal(identity) => Some(identity),
        };
        let token = rules.tokens.get(&id);
        let is_own = own.is_some_and(|own| {
            own.token_id() == Some(id) || token.is_some_and(|token| token.created_by == own.name)
        });
        let write = Scope::Tokens { access: RuleAccess::Write };
        if !is_own && self.allow(&write, rules, now).is_none() {
            return Decision::deny(&write);
        }
        match token {
            Some(_) => Decision::done(vec![Event::TokenRevoked { id }]),
            None => Decision::refuse(not_found("token")),
        }
    }
}

/// Whether all scopes of a grant are on exactly this path.
fn is_on(grant: &Grant, path: &str) -> bool {
    !grant.scopes.is_empty()
        && grant.scopes.iter().all(|scope| match scope {
            Scope::Secrets { pattern, .. } => pattern.is_exact() && pattern.to_string() == path,
            _ => false,
        })
}

/// The scopes that a caller needs in order to hand out these.
pub(crate) fn needed_to_grant(scopes: &[Scope]) -> Vec<Scope> {
    let needed = |scope: &Scope| match scope {
        Scope::Secrets { pattern, .. } => {
            Scope::Grants { access: RuleAccess::Write, pattern: pattern.clone() }
        }
        other => other.clone(),
    };
    let of_rules = |scope: &&Scope| !matches!(scope, Scope::Secrets { .. });
    // A right on rules is handed out only by those who may also make grants.
    let grants = scopes.iter().filter(of_rules).map(|scope| Scope::Grants {
        access: RuleAccess::Write,
        pattern: match scope {
            Scope::Grants { pattern, .. } | Scope::Approvals { pattern } => pattern.clone(),
            _ => PathPattern::everything(),
        },
    });
    scopes.iter().map(needed).chain(grants).collect()
}

fn check_time(expires_at: Option<i64>, now: i64) -> Result<()> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Error::new(ErrorKind::InvalidInput, "choose a later time")
            .because("it would end before it begins"));
    }
    Ok(())
}

fn not_found(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, "list what exists").because(format!("no such {what}"))
}

/// The error of an operation that is denied: the same whether or not the secret exists, and whether it is a rule or the
/// policy that denies it.
pub(crate) fn denial_error(denial: Denial, action: Action, identity: &Identity) -> Error {
    let denial = match denial {
        Denial::Policy | Denial::PolicyFailed => identity.missing_rule(),
        other => other,
    };
    let (kind, cause, advice) = match denial {
        Denial::NoGrant | Denial::Policy | Denial::PolicyFailed => (
            ErrorKind::Denied,
            format!("no grant allows `{action}` here"),
            "ask for a grant, or check the path".to_owned(),
        ),
        Denial::NoScope => (
            ErrorKind::Denied,
            format!("no scope of the token allows `{action}` here"),
            "use a token with that scope, or check the path".to_owned(),
        ),
        Denial::TokenEnded | Denial::NotAuthenticated => (
            ErrorKind::Unauthenticated,
            "the token was revoked, has expired or is used up".to_owned(),
            "get a new token".to_owned(),
        ),
        Denial::NeedsApproval => (
            ErrorKind::ApprovalRequired,
            format!("`{action}` needs an approval"),
            "ask for one with `request_approval`, and try again once it is given".to_owned(),
        ),
        Denial::StaleRules => (
            ErrorKind::Unavailable,
            "the access rules could not be read for too long".to_owned(),
            "check the file or the database of the access rules".to_owned(),
        ),
    };
    Error::new(kind, advice).because(cause)
}
