//! Which secrets need an approval.

use std::num::NonZeroU8;

use strongroom_core::{SecretPath, Tier};

use crate::{Action, PathPattern, TenantName};

/// The tiers of secrets, and which of them need an approval: `standard` never, `critical` always, and
/// `sensitive` where [`sensitive_needs_approval`](Self::sensitive_needs_approval) says so.
///
/// # Examples
/// ```
/// use strongroom_access::{PathPattern, Tiers};
/// use strongroom_core::Tier;
///
/// let tiers = Tiers::new()
///     .at_least(PathPattern::parse("wallet/**")?, Tier::Critical)
///     .sensitive_needs_approval(None, PathPattern::parse("production/**")?);
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    floors: Vec<(PathPattern, Tier)>,
    sensitive: Vec<(Option<TenantName>, PathPattern)>,
    quorums: Vec<(PathPattern, NonZeroU8)>,
}

impl Tiers {
    /// Tiers as the secrets' metadata has them; only critical secrets need an approval.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Treats secrets whose path, below the root of their tenant, matches `pattern` as of this tier if
    /// their metadata has a lower one: for stores that keep no metadata, and as a limit for those who may
    /// change it.
    #[must_use]
    pub fn at_least(mut self, pattern: PathPattern, tier: Tier) -> Self {
        self.floors.push((pattern, tier));
        self
    }

    /// Demands an approval for sensitive secrets whose path matches `pattern`, of one tenant or of all.
    #[must_use]
    pub fn sensitive_needs_approval(
        mut self,
        tenant: Option<TenantName>,
        pattern: PathPattern,
    ) -> Self {
        self.sensitive.push((tenant, pattern));
        self
    }

    /// Demands that at least so many people approve a request for a secret whose path matches `pattern`, also if the
    /// request asks for fewer.
    #[must_use]
    pub fn min_quorum(mut self, pattern: PathPattern, quorum: NonZeroU8) -> Self {
        self.quorums.push((pattern, quorum));
        self
    }

    /// How many people have to approve a request that asks for `asked`.
    pub(crate) fn quorum(&self, path: &SecretPath, asked: NonZeroU8) -> NonZeroU8 {
        let demanded = self.quorums.iter().filter(|(pattern, _)| pattern.matches(path.as_str()));
        demanded.map(|(_, quorum)| *quorum).fold(asked, NonZeroU8::max)
    }

    /// The tier of a secret whose metadata has `tier`.
    pub(crate) fn effective(&self, path: &SecretPath, tier: Tier) -> Tier {
        let floors = self.floors.iter().filter(|(pattern, _)| pattern.matches(path.as_str()));
        floors.map(|(_, floor)| *floor).fold(tier, Tier::max)
    }

    /// The tier of a secret, as far as it is known: without metadata, the tier that all secrets there have at least.
    pub(crate) fn known(&self, path: &str, tier: Option<Tier>) -> Option<Tier> {
        let floors = self.floors.iter().filter(|(pattern, _)| pattern.matches(path));
        floors.map(|(_, floor)| *floor).chain(tier).max()
    }

    /// Whether an action on a secret of this effective tier needs an approval.
    pub(crate) fn needs_approval(
        &self,
        tenant: &TenantName,
        path: &SecretPath,
        action: Action,
        tier: Tier,
        waives_sensitive: bool,
    ) -> bool {
        if matches!(action, Action::List | Action::Describe) {
            return false;
        }
        match tier {
            Tier::Standard => false,
            Tier::Sensitive => {
                let rules = self.sensitive.iter();
                let mut rules =
                    rules.filter(|(only, _)| only.as_ref().is_none_or(|only| only == tenant));
                !waives_sensitive && rules.any(|(_, pattern)| pattern.matches(path.as_str()))
            }
            // A tier of a later release is at least as strict.
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_always_needs_an_approval_and_sensitive_where_configured() {
        let acme = TenantName::parse("acme").unwrap();
        let other = TenantName::parse("other").unwrap();
        let path = SecretPath::parse("production/db").unwrap();
        let pattern = || PathPattern::parse("production/**").unwrap();
        let tiers = Tiers::new().sensitive_needs_approval(Some(acme.clone()), pattern());
        let needs =
            |tenant, tier, waives| tiers.needs_approval(tenant, &path, Action::Read, tier, waives);
        assert!(needs(&other, Tier::Critical, true));
        assert!(!needs(&acme, Tier::Standard, false));
        assert!(needs(&acme, Tier::Sensitive, false));
        assert!(!needs(&acme, Tier::Sensitive, true));
        assert!(!needs(&other, Tier::Sensitive, false));
        assert!(!tiers.needs_approval(&acme, &path, Action::Describe, Tier::Critical, false));
        let raised = tiers.at_least(pattern(), Tier::Critical);
        assert_eq!(raised.effective(&path, Tier::Standard), Tier::Critical);
        let two = NonZeroU8::new(2).unwrap();
        let by_two = Tiers::new().min_quorum(pattern(), two);
        assert_eq!(by_two.quorum(&path, NonZeroU8::MIN), two);
        let outside = SecretPath::parse("productions/db").unwrap();
        assert_eq!(by_two.quorum(&outside, NonZeroU8::MIN), NonZeroU8::MIN);
        assert_eq!(raised.effective(&outside, Tier::Standard), Tier::Standard);
    }
}
