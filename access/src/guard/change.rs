//! Changes of secrets, which are decided and recorded before they begin.

use strongroom_core::{
    Backend as _, Capability, Condition, Description, Error, ErrorKind, Metadata, MetadataPatch,
    PutOptions, Result, SecretPath, SecretValue, Tier, Version,
};

use super::{Decided, Guarded, outcome_of};
use crate::Action;
use crate::event::Outcome;
use crate::job::AccessDecision;

impl Guarded {
    /// The metadata of a secret that is to be changed; `None` if there is none or the store keeps none.
    async fn existing(&self, full: &SecretPath) -> Result<Option<(Version, Metadata)>> {
        if !self.info.capabilities.has(Capability::Metadata) {
            return Ok(None);
        }
        match self.inner.describe(full).await {
            Ok(Description { version, metadata, .. }) => Ok(Some((version, metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Decides and records a change of a secret before it begins. Returns whether a secret is there.
    pub(super) async fn authorize_change(
        &self,
        action: Action,
        path: &SecretPath,
        full: &SecretPath,
        patch: Option<&MetadataPatch>,
    ) -> Result<bool> {
        let rule = self.decide(action, path).await?;
        let existing = match self.existing(full).await {
            Ok(existing) => existing,
            Err(error) => {
                let failed = self.actor.allow_access(action, Some(path), rule, outcome_of(&error));
                self.actor.record_one(self.finish_without_tier(failed, path)).await?;
                return Err(error);
            }
        };
        let is_lowered = matches!((&existing, patch),
            (Some((_, metadata)), Some(patch)) if lowers(metadata, patch));
        let (action, rule, also) = if is_lowered {
            (Action::LowerTier, self.decide(Action::LowerTier, path).await?, Some(action))
        } else {
            (action, rule, None)
        };
        let access = self.actor.allow_access(action, Some(path), rule, Outcome::Allowed);
        // A store without metadata has secrets of the default tier; a new secret has no tier yet.
        let (version, tier) = match &existing {
            Some((version, metadata)) => (Some(version), Some(metadata.tier)),
            None if self.info.capabilities.has(Capability::Metadata) => (None, None),
            None => (None, Some(Tier::default())),
        };
        let mut access = self.finish(access, path, version, tier);
        let generation = access.policy;
        if let Some(action) = also {
            // The policy has to allow the write, too.
            access.action = action;
            access = self.actor.narrow(access, path);
            access.action = Action::LowerTier;
            // A policy in between is not the one that has decided both.
            access.policy = access.policy.min(generation);
        }
        if matches!(access.decision, AccessDecision::Denied(_)) {
            return Err(self.actor.refuse_access(access).await);
        }
        let decided = Decided::of(&access);
        self.actor.record_one(access).await?;
        if let Some(action) = also {
            self.check_again(Decided { action, ..decided }, path)?;
        }
        self.check_again(decided, path)?;
        Ok(existing.is_some())
    }

    /// Writes where no secret is live. A deleted one may be there, which keeps its tier and its versions and which no
    /// store describes: a write that could lower its tier is made only where there is none.
    pub(super) async fn put_new(
        &self,
        full: &SecretPath,
        value: SecretValue,
        mut options: PutOptions,
    ) -> Result<Version> {
        let has = |capability| self.info.capabilities.has(capability);
        let mut critical = Metadata::default();
        critical.tier = Tier::Critical;
        if !lowers(&critical, &options.metadata)
            || !has(Capability::Undelete)
            || !has(Capability::Conditions)
        {
            return self.inner.put(full, value, options).await;
        }
        let is_plain = options.condition == Condition::None;
        options.condition = Condition::MustNotExist;
        let result = self.inner.put(full, value, options).await;
        result.map_err(|error| match error.kind() {
            ErrorKind::Conflict if is_plain => Error::new(
                ErrorKind::Conflict,
                "restore the deleted secret before you change its tier, or leave the tier out",
            )
            .because("the path holds a deleted secret, whose tier a write must not lower"),
            _ => error,
        })
    }
}

/// Whether a patch lowers the tier of a secret. One that is not valid changes nothing; the store refuses it.
fn lowers(metadata: &Metadata, patch: &MetadataPatch) -> bool {
    let mut changed = metadata.clone();
    patch.apply(&mut changed).is_ok() && changed.tier < metadata.tier
}
