//! The rules, folded from the events of the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::approval::{Approval, ApprovalCommand, ApprovalEvent};
use crate::event::{CarriedRules, Event};
use crate::expiry::ExpiryNotices;
use crate::grant::{Grant, Token};
use crate::token::TokenHash;
use crate::webhook::{Cursor, KEPT_AFTER_LEASE, WebhookAdvance};
use crate::{ApprovalId, GrantId, Subject, TenantName, TokenId};

/// How long an approval that has ended is kept, in milliseconds, so that its requester learns of it: a day. It stays in
/// the log.
const KEPT_AFTER_END: i64 = 86_400_000;

/// The rules of all tenants.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) tenants: HashMap<TenantName, Arc<TenantRules>>,
    pub(crate) notices: ExpiryNotices,
    /// How far the deliveries of each webhook are.
    pub(crate) webhooks: Arc<BTreeMap<String, Cursor>>,
}

/// The rules of one tenant. Cloning shares the rules themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct TenantRules {
    /// The seq of the last row that changed them.
    pub(crate) serial: u64,
    pub(crate) grants: HashMap<GrantId, Arc<Grant>>,
    /// The same grants by subject, so that the rights of a principal are found without a look at those of all others.
    by_subject: HashMap<Subject, Vec<Arc<Grant>>>,
    pub(crate) tokens: HashMap<TokenId, Arc<Token>>,
    by_hash: HashMap<TokenHash, TokenId>,
    /// How often tokens were used that may be used a limited number of times.
    uses: HashMap<TokenId, u32>,
    pub(crate) approvals: HashMap<ApprovalId, Arc<Approval>>,
}

/// A row as the state needs it.
pub(crate) struct Change<'a> {
    pub(crate) seq: u64,
    pub(crate) tenant: Option<&'a TenantName>,
    /// The secret that it is about, if that matters for the state.
    pub(crate) path: Option<&'a str>,
    /// The token that was used.
    pub(crate) token: Option<TokenId>,
    pub(crate) event: &'a Event,
}

impl State {
    pub(crate) fn tenant(&self, name: &TenantName) -> Option<&Arc<TenantRules>> {
        self.tenants.get(name)
    }

    /// Applies one row. Returns whether the rules of its tenant may have changed.
    pub(crate) fn apply(&mut self, change: &Change<'_>) -> bool {
        if let Event::RulesCarried(carried) = change.event {
            self.carry(change.seq, carried);
            return true;
        }
        if let Event::Expiry(notice) = change.event {
            if let (Some(tenant), Some(path)) = (change.tenant, change.path) {
                self.notices.apply(tenant, path, *notice);
            }
            return false;
        }
        if let Event::WebhookAdvanced(advance) = change.event {
            self.advance(advance);
            return false;
        }
        let (Some(tenant), true) = (change.tenant, change.event.is_rule()) else { return false };
        let rules = Arc::make_mut(self.tenants.entry(tenant.clone()).or_default());
        rules.serial = change.seq;
        rules.apply(change);
        true
    }

    fn advance(&mut self, advance: &WebhookAdvance) {
        Arc::make_mut(&mut self.webhooks).insert(advance.webhook.clone(), advance.cursor.clone());
    }

    fn carry(&mut self, seq: u64, carried: &CarriedRules) {
        if carried.is_first {
            for rules in self.tenants.values_mut() {
                *rules = Arc::new(TenantRules { serial: seq, ..TenantRules::default() });
            }
            self.notices = ExpiryNotices::default();
            self.webhooks = Arc::default();
        }
        for (tenant, path, notice) in &carried.notices {
            self.notices.apply(tenant, path, *notice);
        }
        let rules_of = |state: &mut Self, tenant: &TenantName, add: &dyn Fn(&mut TenantRules)| {
            let rules = Arc::make_mut(state.tenants.entry(tenant.clone()).or_default());
            rules.serial = seq;
            add(rules);
        };
        carried.webhooks.iter().for_each(|advance| self.advance(advance));
        for grant in &carried.grants {
            rules_of(self, &grant.tenant, &|rules| rules.insert_grant(grant.clone()));
        }
        for (token, uses) in &carried.tokens {
            let token = token.to_token();
            rules_of(self, &token.tenant, &|rules| {
                rules.insert_token(token.clone());
                rules.uses.insert(token.id, *uses);
            });
        }
        for approval in &carried.approvals {
            let Ok(tenant) = TenantName::parse(&approval.request.tenant) else { continue };
            rules_of(self, &tenant, &|rules| {
                rules.approvals.insert(approval.request.id, Arc::new(approval.clone()));
            });
        }
    }

    /// The rules that are living at a time, for rows at the head of the log.
    pub(crate) fn living(&self, now: i64) -> CarriedRules {
        let mut carried = CarriedRules { is_first: true, ..CarriedRules::default() };
        for rules in self.tenants.values() {
            let grants = rules.grants.values().filter(|grant| grant.applies_at(now));
            carried.grants.extend(grants.map(|grant| Grant::clone(grant)));
            let tokens = rules.tokens.values().filter(|token| token.applies_at(now));
            carried
                .tokens
                .extend(tokens.map(|token| (Token::clone(token).into(), rules.uses_of(token.id))));
            let approvals =
                rules.approvals.values().filter(|approval| !approval.status(now).is_ended());
            carried.approvals.extend(approvals.map(|approval| Approval::clone(approval)));
        }
        carried.notices = self.notices.since(now);
        let webhooks = self
            .webhooks
            .iter()
            .filter(|(_, cursor)| cursor.lease_until.saturating_add(KEPT_AFTER_LEASE) > now);
        carried.webhooks.extend(webhooks.map(|(webhook, cursor)| WebhookAdvance {
            webhook: webhook.clone(),
            cursor: cursor.clone(),
        }));
        // The order does not depend on the seeds of the maps.
        carried.grants.sort_by_key(|grant| grant.id);
        carried.tokens.sort_by_key(|(token, _)| token.token().id);
        carried.approvals.sort_by_key(|approval| approval.request.id);
        carried
    }
}

impl TenantRules {
    /// The events for requests and approvals whose time is over, each with its approval.
    pub(crate) fn expiries(&self, now: i64) -> impl Iterator<Item = (&Approval, ApprovalEvent)> {
        let expire = move |approval: &Approval| approval.propose(&ApprovalCommand::Expire, now);
        self.approvals.values().filter_map(move |it| Some((&**it, expire(it).ok()?)))
    }

    fn apply(&mut self, change: &Change<'_>) {
        match change.event {
            Event::GrantCreated(grant) => self.insert_grant(grant.clone()),
            Event::GrantDeleted { id } => self.remove(Vec::new(), vec![*id]),
            Event::TokenIssued(token) => self.insert_token(token.to_token()),
            Event::TokenRevoked { id } => self.remove(vec![*id], Vec::new()),
            Event::Approval(event) => self.apply_approval(event),
            Event::Accessed { counts: true, .. } => {
                if let Some(token) = change.token {
                    *self.uses.entry(token).or_default() += 1;
                }
            }
            Event::Accessed { .. }
            | Event::Denied { .. }
            | Event::Expiry(_)
            | Event::Rotation(_)
            | Event::RulesCarried(_)
            | Event::AuditPruned { .. }
            | Event::AuditRead { .. }
            | Event::PolicyLoaded { .. }
            | Event::WebhookAdvanced(_)
            | Event::WebhookFailed(_) => {}
        }
    }

    fn apply_approval(&mut self, event: &ApprovalEvent) {
        if let ApprovalEvent::Requested(request) = event {
            let approval = Approval::new((**request).clone());
            self.approvals.insert(request.id, Arc::new(approval));
        } else if let Some(approval) = self.approvals.get_mut(&event.id()) {
            Arc::make_mut(approval).apply(event);
        }
        let oldest = event.at().saturating_sub(KEPT_AFTER_END);
        self.approvals.retain(|_, it| it.ended_at().is_none_or(|at| at > oldest));
    }

    fn insert_grant(&mut self, grant: Grant) {
        let grant = Arc::new(grant);
        if self.grants.insert(grant.id, Arc::clone(&grant)).is_none() {
            self.by_subject.entry(grant.subject.clone()).or_default().push(grant);
        }
    }

    /// Removes a grant. Returns whether there was one.
    fn remove_grant(&mut self, id: GrantId) -> bool {
        let Some(grant) = self.grants.remove(&id) else { return false };
        if let Some(same_subject) = self.by_subject.get_mut(&grant.subject) {
            same_subject.retain(|grant| grant.id != id);
            if same_subject.is_empty() {
                self.by_subject.remove(&grant.subject);
            }
        }
        true
    }

    fn insert_token(&mut self, token: Token) {
        self.by_hash.insert(token.hash, token.id);
        self.tokens.insert(token.id, Arc::new(token));
    }

    /// Removes tokens and grants with all that was made with them: the grants and tokens of a token, and the tokens
    /// that were issued under a grant.
    fn remove(&mut self, mut tokens: Vec<TokenId>, mut grants: Vec<GrantId>) {
        loop {
            if let Some(id) = grants.pop() {
                if self.remove_grant(id) {
                    let issued = self.tokens.values().filter(|it| it.created_under.contains(&id));
                    tokens.extend(issued.map(|token| token.id));
                }
            } else if let Some(id) = tokens.pop() {
                let Some(token) = self.tokens.remove(&id) else { continue };
                self.by_hash.remove(&token.hash);
                self.uses.remove(&id);
                let issued = self.tokens.values().filter(|it| it.created_with == Some(id));
                tokens.extend(issued.map(|token| token.id));
                let made = self.grants.values().filter(|grant| grant.created_with == Some(id));
                grants.extend(made.map(|grant| grant.id));
            } else {
                return;
            }
        }
    }

    /// The grants of exactly this subject.
    pub(crate) fn grants_of(&self, subject: &Subject) -> &[Arc<Grant>] {
        self.by_subject.get(subject).map_or(&[], Vec::as_slice)
    }

    /// The grants of workloads, by pattern.
    pub(crate) fn grants_of_workloads(&self) -> impl Iterator<Item = (&Subject, &[Arc<Grant>])> {
        self.by_subject.iter().map(|(subject, grants)| (subject, grants.as_slice()))
    }

    /// The token with this hash, whether or not it may still be used.
    pub(crate) fn token_by_hash(&self, hash: &TokenHash) -> Option<&Arc<Token>> {
        self.tokens.get(self.by_hash.get(hash)?)
    }

    pub(crate) fn uses_of(&self, id: TokenId) -> u32 {
        self.uses.get(&id).copied().unwrap_or(0)
    }

    /// The token, if it may be used at this time. The chain of tokens with which it was issued is living, too:
    /// an expired one ends what was made with it.
    pub(crate) fn living_token(&self, id: TokenId, now: i64) -> Option<&Arc<Token>> {
        let token = self.tokens.get(&id)?;
        let is_used_up = token.max_uses.is_some_and(|max| self.uses_of(id) >= max);
        (!is_used_up && self.is_maker_living(Some(id), now)).then_some(token)
    }

    /// Whether the tokens with which a rule was made have neither been revoked nor expired.
    pub(crate) fn is_maker_living(&self, mut made_with: Option<TokenId>, now: i64) -> bool {
        while let Some(id) = made_with {
            let Some(token) = self.tokens.get(&id).filter(|token| token.applies_at(now)) else {
                return false;
            };
            made_with = token.created_with;
        }
        true
    }

    /// When the chain of tokens with which a rule was made ends; `None` if it was made without one.
    pub(crate) fn maker_ends_at(&self, mut made_with: Option<TokenId>) -> Option<i64> {
        let mut ends_at = None;
        while let Some(id) = made_with {
            let Some(token) = self.tokens.get(&id) else { return Some(i64::MIN) };
            ends_at = Some(ends_at.map_or(token.expires_at, |end: i64| end.min(token.expires_at)));
            made_with = token.created_with;
        }
        ends_at
    }

    /// A grant that applies at this time.
    pub(crate) fn living_grant(&self, id: GrantId, now: i64) -> Option<&Arc<Grant>> {
        let grant = self.grants.get(&id).filter(|grant| grant.applies_at(now))?;
        self.is_maker_living(grant.created_with, now).then_some(grant)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU8;

    use super::*;
    use crate::approval::{ApprovalRequest, ApprovalTerms, ApprovalUse, VersionPolicy};

    fn request(id: u8, at: i64) -> ApprovalEvent {
        let terms = ApprovalTerms {
            tenant: "acme".into(),
            requester: "person:acme/eve".into(),
            excluded: BTreeSet::new(),
            action: "read".into(),
            path: "key".into(),
            version: VersionPolicy::Active,
            purpose: "a test".into(),
            reason: "a test".into(),
            quorum: NonZeroU8::MIN,
            usage: ApprovalUse::Once,
            expires_at: at + 1_000,
        };
        ApprovalEvent::Requested(Box::new(
            ApprovalRequest::new(ApprovalId([id; 16]), terms, at).unwrap(),
        ))
    }

    #[test]
    fn an_approval_is_forgotten_a_day_after_an_event_has_ended_it() {
        let tenant = TenantName::parse("acme").unwrap();
        let (mut state, mut seq) = (State::default(), 0);
        let mut apply = |event: ApprovalEvent| {
            seq += 1;
            let event = Event::Approval(event);
            state.apply(&Change {
                seq,
                tenant: Some(&tenant),
                path: None,
                token: None,
                event: &event,
            });
            let mut left: Vec<_> =
                state.tenant(&tenant).unwrap().approvals.keys().map(|id| id.0[0]).collect();
            left.sort_unstable();
            left
        };
        apply(request(1, 0));
        apply(request(2, 0));
        apply(ApprovalEvent::Expired { id: ApprovalId([1; 16]), at: 1_000 });
        assert_eq!(apply(request(3, KEPT_AFTER_END + 999)), [1, 2, 3]);
        // The second has expired as well, but no event says so.
        assert_eq!(apply(request(4, KEPT_AFTER_END + 1_000)), [2, 3, 4]);
    }

    #[test]
    fn the_cursor_of_a_webhook_is_carried_for_30_days_after_its_lease() {
        let mut state = State::default();
        let advance = |webhook: &str, settled_to, lease_until| WebhookAdvance {
            webhook: webhook.to_owned(),
            cursor: Cursor {
                settled_to,
                holder: crate::webhook::HolderId(1),
                lease_until,
                version: 1,
                is_released: false,
            },
        };
        for (seq, advance) in [(5, advance("a", 4, 1_000)), (6, advance("b", 5, 1_001))] {
            let event = Event::WebhookAdvanced(advance);
            state.apply(&Change { seq, tenant: None, path: None, token: None, event: &event });
        }
        let carried = state.living(1_000 + KEPT_AFTER_LEASE);
        assert_eq!(carried.webhooks, [advance("b", 5, 1_001)]);
        assert_eq!(state.living(999 + KEPT_AFTER_LEASE).webhooks.len(), 2);
        let event = Event::RulesCarried(carried);
        state.apply(&Change { seq: 7, tenant: None, path: None, token: None, event: &event });
        assert_eq!(state.webhooks.len(), 1);
        assert_eq!(state.webhooks["b"].settled_to, 5);
    }
}
