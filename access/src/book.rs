//! What one principal may do, compiled from the rules of its tenant.

use std::sync::Arc;

use crate::approval::{Approval, ApprovalStatus};
use crate::event::{Denial, Rule};
use crate::grant::Grant;
use crate::identity::Identity;
use crate::job::Access;
use crate::right_index::{Right, RightIndex};
use crate::state::TenantRules;
use crate::{Action, ApprovalId, Scope};

/// The rights of one principal at one state of the rules.
#[derive(Debug)]
pub(crate) struct Book {
    /// The state of the rules it was compiled from.
    pub(crate) serial: u64,
    on_secrets: RightIndex,
    /// All scopes, with the time at which each ends.
    scopes: Vec<(Scope, i64, Rule)>,
    /// The approvals that this principal has asked for.
    approvals: Vec<Arc<Approval>>,
    /// Why nothing is allowed by the rule that is missing.
    denial: Denial,
    /// When the token ends; the latest time there is for other principals.
    ends_at: i64,
    pub(crate) waives_sensitive: bool,
}

impl Book {
    pub(crate) fn compile(identity: &Identity, rules: &TenantRules, now: i64) -> Self {
        let mut book = Self {
            serial: rules.serial,
            on_secrets: RightIndex::default(),
            scopes: Vec::new(),
            approvals: Vec::new(),
            denial: Denial::NoGrant,
            ends_at: i64::MAX,
            waives_sensitive: false,
        };
        match &identity.token {
            Some(token) => book.add_token(token.id, rules, now),
            None => book.add_grants(identity, rules),
        }
        let own = rules.approvals.values().filter(|it| it.request.requester == identity.name);
        book.approvals.extend(own.cloned());
        book
    }

    fn add_token(&mut self, id: crate::TokenId, rules: &TenantRules, now: i64) {
        let Some(token) = rules.living_token(id, now) else {
            self.denial = Denial::TokenEnded;
            return;
        };
        self.denial = Denial::NoScope;
        self.waives_sensitive = token.waives_sensitive;
        let ends_at = rules.maker_ends_at(Some(id)).unwrap_or(token.expires_at);
        self.ends_at = ends_at;
        self.add_scopes(&token.scopes, ends_at, Rule::Token(id));
        if token.max_uses.is_some() {
            self.keep_secrets_alone();
        }
    }

    fn add_grants(&mut self, identity: &Identity, rules: &TenantRules) {
        let mut add = |grants: &[Arc<Grant>]| {
            for grant in grants {
                let made_until = rules.maker_ends_at(grant.created_with).unwrap_or(i64::MAX);
                let ends_at = grant.expires_at.unwrap_or(i64::MAX).min(made_until);
                self.add_scopes(&grant.scopes, ends_at, Rule::Grant(grant.id));
            }
        };
        for subject in identity.subjects() {
            add(rules.grants_of(&subject));
        }
        for (subject, grants) in rules.grants_of_workloads() {
            if identity.matches(subject) {
                add(grants);
            }
        }
    }

    /// The scopes of a token whose uses are counted: only accesses to secrets count, so it gives nothing else.
    fn keep_secrets_alone(&mut self) {
        self.scopes.retain(|(scope, ..)| matches!(scope, Scope::Secrets { .. }));
    }

    fn add_scopes(&mut self, scopes: &[Scope], ends_at: i64, rule: Rule) {
        for scope in scopes {
            if let Scope::Secrets { actions, pattern } = scope {
                self.on_secrets.insert(pattern, Right { actions: *actions, ends_at, rule });
            }
            self.scopes.push((scope.clone(), ends_at, rule));
        }
    }

    /// Whether a rule allows an action on a secret. Allocates nothing.
    pub(crate) fn decide(&self, action: Action, path: &str, now: i64) -> Result<Rule, Denial> {
        self.on_secrets.find(path, action, now).ok_or_else(|| self.denial_at(now))
    }

    fn denial_at(&self, now: i64) -> Denial {
        if now < self.ends_at { self.denial } else { Denial::TokenEnded }
    }

    /// The rule that covers a scope, such as that of a change of rules.
    pub(crate) fn covers(&self, wanted: &Scope, now: i64) -> Option<Rule> {
        let mut living = self.scopes.iter().filter(|(_, ends_at, _)| now < *ends_at);
        living.find(|(scope, _, _)| scope.covers(wanted)).map(|(_, _, rule)| *rule)
    }

    /// Whether some right to list could apply to a path below a prefix.
    pub(crate) fn may_list_below(&self, prefix: Option<&str>, now: i64) -> Result<Rule, Denial> {
        let could_list = |scope: &Scope| match scope {
            Scope::Secrets { actions, pattern } => {
                actions.contains(Action::List) && pattern.could_match_below(prefix)
            }
            _ => false,
        };
        let mut living = self.scopes.iter().filter(|(_, ends_at, _)| now < *ends_at);
        let found = living.find(|(scope, _, _)| could_list(scope));
        found.map(|(_, _, rule)| *rule).ok_or_else(|| self.denial_at(now))
    }

    /// A living approval of exactly this use.
    pub(crate) fn approval_for(&self, access: &Access, now: i64) -> Option<ApprovalId> {
        let is_usable = |approval: &&Arc<Approval>| {
            access.is_requested_by(&approval.request)
                && approval.status(now) == ApprovalStatus::Approved
        };
        self.approvals.iter().find(is_usable).map(|approval| approval.request.id)
    }
}
