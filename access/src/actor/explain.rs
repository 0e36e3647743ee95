//! What decides an action.

use strongroom_core::{SecretPath, Tier};

use super::Actor;
use crate::Action;
use crate::event::{Denial, DenialRecord, Rule};

/// What decides an action, from [`Actor::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The grant or the token that allows it, if one does.
    pub rule: Option<Rule>,
    /// What denies it. It is [`NeedsApproval`](Denial::NeedsApproval) if only an approval is missing.
    pub denial: Option<Denial>,
    /// The SHA-256 of the modules of the policy, if the policy was asked: it is asked last.
    pub policy: Option<String>,
    /// The reasons that the policy gives.
    pub reasons: Vec<String>,
    /// The tier that was assumed: that of the call, or the least that the configuration gives to the path.
    pub tier: Option<Tier>,
    /// Whether the tier demands an approval.
    pub needs_approval: bool,
}

impl Explanation {
    fn deny(mut self, denied: impl Into<DenialRecord>) -> Self {
        let DenialRecord { denial, reasons } = denied.into();
        (self.denial, self.reasons) = (Some(denial), reasons);
        self
    }
}

impl Actor {
    /// What decides an action on a secret now: grants or the token, then the tier that the configuration gives to all
    /// secrets there, then the policy. It is not recorded, since nothing is accessed. It is for the host: the caller of
    /// an operation is told the same for each denial.
    ///
    /// For the tier that a secret has itself, use [`explain_at`](Self::explain_at).
    #[must_use]
    pub fn explain(&self, action: Action, path: &SecretPath) -> Explanation {
        self.explain_known(action, path, self.known_tier(path, None))
    }

    /// What decides an action on a secret of this tier, as [`explain`](Self::explain).
    #[must_use]
    pub fn explain_at(&self, action: Action, path: &SecretPath, tier: Tier) -> Explanation {
        self.explain_known(action, path, self.known_tier(path, Some(tier)))
    }

    fn explain_known(&self, action: Action, path: &SecretPath, tier: Option<Tier>) -> Explanation {
        let mut explanation = Explanation {
            rule: None,
            denial: None,
            policy: None,
            reasons: Vec::new(),
            tier,
            needs_approval: false,
        };
        match self.decide(action, path.as_str()) {
            Ok(rule) => explanation.rule = Some(rule),
            Err(denial) => return explanation.deny(denial),
        }
        explanation.needs_approval = self.needs_approval(action, path, tier);
        if explanation.needs_approval && !self.has_approval(action, path) {
            return explanation.deny(Denial::NeedsApproval);
        }
        let policy = self.access.published.policy.load();
        explanation.policy = policy.as_deref().map(|policy| policy.digest.clone());
        match self.decide_by(policy.as_deref(), action, path.as_str(), tier) {
            Ok(()) => explanation,
            Err(denied) => explanation.deny(denied),
        }
    }

    fn needs_approval(&self, action: Action, path: &SecretPath, tier: Option<Tier>) -> bool {
        let tier = tier.unwrap_or(Tier::Standard);
        let (tiers, tenant) = (&self.access.config.tiers, &self.identity.tenant);
        self.with_book(|book, _| {
            tiers.needs_approval(tenant, path, action, tier, book.waives_sensitive)
        })
    }

    /// Whether an approval of the active version is living.
    fn has_approval(&self, action: Action, path: &SecretPath) -> bool {
        let access = self.deny_access(action, Some(path), Denial::NeedsApproval);
        self.with_book(|book, now| book.approval_for(&access, now).is_some())
    }
}
