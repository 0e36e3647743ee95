//! Requests for approval of what the policy denies.

use std::sync::Arc;

use strongroom_core::{ErrorKind, Result, SecretPath, Tier};

use super::Rules;
use crate::Action;
use crate::book::Book;
use crate::change::{Author, denial_error};
use crate::event::DenialRecord;
use crate::identity::Identity;
use crate::job::{Access, AccessDecision, Job};
use crate::policy::PolicyInput;

impl Rules {
    /// Fails, with a record, if the policy denies an action that the rules allow. What they do not allow is denied
    /// where the request is decided.
    pub(super) async fn narrow(&self, action: Action, path: &SecretPath) -> Result<()> {
        let Author::Principal(identity) = &self.author else { return Ok(()) };
        let tier = self.access.config.tiers.known(path.as_str(), None);
        let Err(denied) = self.decide_policy(identity, action, path, tier) else { return Ok(()) };
        let error = denial_error(denied.denial, action, identity);
        let has_id = self.context.request_id.is_some();
        let access = Access {
            identity: Arc::clone(identity),
            context: Arc::new(self.context.clone()),
            request: (!has_id).then(|| self.access.next_request()),
            action,
            path: Some(path.clone()),
            version: None,
            names_version: false,
            tier,
            policy: 0,
            decision: AccessDecision::Denied(denied),
        };
        match self.access.ask(|reply| Job::Record(vec![access], reply)).await {
            Err(closed) if closed.kind() == ErrorKind::Closed => Err(closed),
            // It stays a denial if the record fails, too.
            _ => Err(error),
        }
    }

    fn decide_policy(
        &self,
        identity: &Identity,
        action: Action,
        path: &SecretPath,
        tier: Option<Tier>,
    ) -> Result<(), DenialRecord> {
        let policy = self.access.published.policy.load();
        let Some(policy) = policy.as_deref() else { return Ok(()) };
        let now = self.now();
        if Book::compile(identity, &self.cell.rules(), now)
            .decide(action, path.as_str(), now)
            .is_err()
        {
            return Ok(());
        }
        let input = PolicyInput::new(identity, &self.context, action, path.as_str(), tier, now);
        policy.decide(&input, now)
    }
}
