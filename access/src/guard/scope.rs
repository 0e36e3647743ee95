//! Writes that let a role of the writer's own agent read the secret.

use strongroom_core::{Error, ErrorKind, Result, SecretPath, Version};

use super::Guarded;
use crate::identity::IdentityKind;
use crate::{Action, Actions, NewGrant, PathPattern, Scope, SpiffePattern, Subject};

/// The reason of the grants.
const REASON: &str = "a write with this scope";

impl Guarded {
    /// The grant that a write with a scope needs; `None` if an equal one applies already. A principal that may not
    /// create it is denied before anything is written.
    pub(super) async fn prepare_scope(
        &self,
        path: &SecretPath,
        role: &str,
    ) -> Result<Option<NewGrant>> {
        let subject = Subject::Workloads(self.pattern_of(role)?);
        let actions = Actions::none().with(Action::Read);
        let scope = Scope::Secrets { actions, pattern: PathPattern::exact(path) };
        let rules = self.actor.rules();
        if rules.has_grant(&subject, path) {
            return Ok(None);
        }
        let may_create = rules.may_grant(std::slice::from_ref(&scope));
        let grant = NewGrant::new(subject, [scope], REASON);
        if may_create {
            return Ok(Some(grant));
        }
        // The denial is recorded where grants are decided.
        rules.create_grant(grant).await?;
        Ok(None)
    }

    /// Creates the grant of a write that has been made.
    pub(super) async fn create_scope(
        &self,
        grant: Option<NewGrant>,
        version: &Version,
    ) -> Result<()> {
        let Some(grant) = grant else { return Ok(()) };
        let created = self.actor.rules().create_grant(grant).await;
        created.map(drop).map_err(|error| {
            let cause = error.cause();
            Error::new(error.kind(), "create the grant, or repeat the write")
                .because(format!("version {version} is written, but has no grant: {cause}"))
                .temporary(false)
        })
    }

    /// The workloads of the principal's own agent with a role.
    fn pattern_of(&self, role: &str) -> Result<SpiffePattern> {
        let IdentityKind::Workload(workload) = &self.actor.identity.kind else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "create a grant in place of the scope",
            )
            .because("only a workload has an agent whose roles a scope can name"));
        };
        // The template that has read tenant and agent from the id: another one could read others.
        let template = self.actor.access.template_of(&workload.id);
        let pattern = template.and_then(|template| template.with_role(&workload.id, role));
        pattern.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::InvalidInput, "create a grant in place of the scope")
                .because("the SPIFFE ids of this agent have no role"))
        })
    }
}
