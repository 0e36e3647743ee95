//! A store behind the access rules.

mod backend;
mod batch;
mod change;
mod list;
mod scope;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_core::{
    Backend, BackendInfo, Capability, Error, ErrorKind, Operation, Result, Secret, SecretPath,
    Tier, Version, VersionSelector,
};

use crate::access::closed_error;
use crate::event::{Denial, DenialRecord, Outcome, Rule};
use crate::job::{Access, AccessDecision};
use crate::{Action, Actor};

/// A store as one principal sees it: each call is decided and recorded before it reaches the store, or before
/// its answer is handed out.
///
/// Paths are relative to the root of the principal's tenant; errors and [`Secret::path`] name them in full. A path that
/// no rule allows is `Denied`, whether or not a secret is there.
#[derive(Debug)]
pub struct Guarded {
    inner: Arc<dyn Backend>,
    actor: Actor,
    root: Option<SecretPath>,
    info: BackendInfo,
    is_closed: AtomicBool,
}

impl Guarded {
    /// Puts the rules in front of a store, for one principal.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the store gives several paths the same secret, so that it cannot separate
    /// tenants.
    pub fn new(inner: Arc<dyn Backend>, actor: Actor) -> Result<Self> {
        let root = actor.access.root(&actor.identity.tenant)?;
        let mut info = inner.info().clone();
        if root.is_some() && !info.distinct_paths {
            return Err(Error::new(
                ErrorKind::Config,
                "use another store, or `AccessConfig::single_tenant`",
            )
            .because("this store reads several paths from one name, so it cannot separate tenants")
            .from_backend(info.kind));
        }
        // Each read is decided, and a cache of the store itself is behind the guard.
        info.default_cache_ttl = None;
        info.retries = true;
        if info.capabilities.has(Capability::Put) {
            info.capabilities = info.capabilities.with(Capability::Scopes);
        }
        Ok(Self { inner, actor, root, info, is_closed: AtomicBool::new(false) })
    }

    /// Where a secret of the principal's tenant is in the store.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the whole is too long for a path, [`ErrorKind::Closed`].
    pub fn full(&self, path: &SecretPath) -> Result<SecretPath> {
        self.check_open()?;
        match &self.root {
            Some(root) => root.join(path.as_str()),
            None => Ok(path.clone()),
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) { Err(Error::backend_closed()) } else { Ok(()) }
    }

    /// Whether the rules and the policy allow to read a secret now, for what holds a value that was handed out before,
    /// with its tier. Nothing is recorded, since nothing is handed out.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unauthenticated`] if the token has ended, [`ErrorKind::Closed`],
    /// [`ErrorKind::Unavailable`] while the rules cannot be read.
    pub fn check_read(&self, path: &SecretPath, tier: Tier) -> Result<()> {
        let decided = self.decide_held(path, tier);
        let result = match (self.check_open(), decided) {
            (Err(closed), _) => Err(closed),
            (Ok(()), Ok(())) => Ok(()),
            (Ok(()), Err(denied)) => Err(self.unrecorded_denial(denied.denial, Action::Read)),
        };
        self.context(result, Operation::Get, Some(path))
    }

    /// Records that a handle ended, because [`check_read`](Self::check_read) denied its secret.
    pub async fn record_denied_read(&self, path: &SecretPath, tier: Tier) {
        if let Err(denied) = self.decide_held(path, tier) {
            self.actor.refuse(Action::Read, Some(path), denied).await;
        }
    }

    fn decide_held(&self, path: &SecretPath, tier: Tier) -> Result<(), DenialRecord> {
        self.actor.decide(Action::Read, path.as_str())?;
        let tier = self.actor.known_tier(path, Some(tier));
        self.actor.decide_policy(Action::Read, path.as_str(), tier).1
    }

    /// Decides and records that a secret, which the host has read from the store itself, is handed out.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], also if its tier needs an approval; [`ErrorKind::Unauthenticated`].
    pub async fn hand_out_read(&self, path: &SecretPath, secret: Secret) -> Result<Secret> {
        let read = async {
            self.check_open()?;
            let rule = self.decide(Action::Read, path).await?;
            let result = Ok(secret);
            let access = self.read_access(path, &VersionSelector::Active, rule, &result);
            self.hand_out(access, path, result).await
        };
        let result = read.await;
        self.context(result, Operation::Get, Some(path))
    }

    /// The rule that allows an action; a denial is recorded.
    async fn decide(&self, action: Action, path: &SecretPath) -> Result<Rule> {
        match self.actor.decide(action, path.as_str()) {
            Ok(rule) => Ok(rule),
            Err(denial) => Err(self.actor.refuse(action, Some(path), denial).await),
        }
    }

    /// Lets the tier of a secret decide, and then the policy, and completes the record of an access that they let
    /// through. A new secret has no tier yet.
    fn finish(
        &self,
        mut access: Access,
        path: &SecretPath,
        version: Option<&Version>,
        tier: Option<Tier>,
    ) -> Access {
        access.version = version.cloned();
        access.tier = self.actor.known_tier(path, tier);
        match self.actor.decide_tier(&access, path, tier.unwrap_or(Tier::Standard)) {
            Ok(used) => {
                if let AccessDecision::Allowed { approval, .. } = &mut access.decision {
                    *approval = used;
                }
            }
            Err(denial) => access.decision = AccessDecision::Denied(denial.into()),
        }
        self.actor.narrow(access, path)
    }

    /// Lets the policy decide an access that found no secret, or none whose tier is known.
    fn finish_without_tier(&self, mut access: Access, path: &SecretPath) -> Access {
        access.tier = self.actor.known_tier(path, None);
        self.actor.narrow(access, path)
    }

    /// The record of a read that was answered.
    fn read_access(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
        rule: Rule,
        result: &Result<Secret>,
    ) -> Access {
        let allowed = |outcome| self.actor.allow_access(Action::Read, Some(path), rule, outcome);
        match result {
            Ok(secret) => {
                let mut access = allowed(Outcome::Allowed);
                access.names_version = *selector != VersionSelector::Active;
                self.finish(access, path, Some(secret.version()), Some(secret.metadata().tier))
            }
            Err(error) => self.finish_without_tier(allowed(outcome_of(error)), path),
        }
    }

    /// Records a read, and hands its result out only if that is still allowed.
    async fn hand_out<T>(&self, access: Access, path: &SecretPath, result: Result<T>) -> Result<T> {
        let decided = Decided::of(&access);
        self.actor.record_one(access).await?;
        let answer = result?;
        self.check_again(decided, path)?;
        Ok(answer)
    }

    /// Whether what was decided is still allowed after it was recorded. What changes rules was decided together with
    /// its record: the last use of a token ends it. The policy may be another one since.
    fn check_again(&self, decided: Decided, path: &SecretPath) -> Result<()> {
        let Decided { action, is_plain, tier, policy } = decided;
        let error = |denial| self.unrecorded_denial(denial, action);
        if is_plain {
            self.actor.decide(action, path.as_str()).map_err(error)?;
        }
        if self.actor.access.published.policy.generation() == policy {
            return Ok(());
        }
        let (_, still) = self.actor.decide_policy(action, path.as_str(), tier);
        still.map_err(|denied| error(denied.denial))
    }

    /// The error of a denial that is not recorded, so that no record shows that the rules are closed.
    fn unrecorded_denial(&self, denial: Denial, action: Action) -> Error {
        match denial {
            Denial::StaleRules if self.actor.access.published.is_closed() => closed_error(),
            _ => self.actor.denial_error(denial, action),
        }
    }

    fn context<T>(
        &self,
        result: Result<T>,
        operation: Operation,
        path: Option<&SecretPath>,
    ) -> Result<T> {
        result.map_err(|error| {
            let error = error.during(operation).from_backend(self.info.kind);
            match path.and_then(|path| self.full(path).ok()) {
                Some(full) => error.at(&full),
                None => error,
            }
        })
    }

    async fn get_one(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let full = self.full(path)?;
        let rule = self.decide(Action::Read, path).await?;
        let result = self.inner.get(&full, version).await;
        let access = self.read_access(path, version, rule, &result);
        self.hand_out(access, path, result).await
    }

    /// Reads what a store tells about a secret without its value.
    async fn inspect<T, F: Future<Output = Result<T>>>(
        &self,
        path: &SecretPath,
        read: impl FnOnce(SecretPath) -> F,
        tier: impl FnOnce(&T) -> Option<Tier>,
    ) -> Result<T> {
        let full = self.full(path)?;
        let rule = self.decide(Action::Describe, path).await?;
        let result = read(full).await;
        let outcome = result.as_ref().err().map_or(Outcome::Allowed, outcome_of);
        let mut access = self.actor.allow_access(Action::Describe, Some(path), rule, outcome);
        access.tier = self.actor.known_tier(path, result.as_ref().ok().and_then(tier));
        let access = self.actor.narrow(access, path);
        self.hand_out(access, path, result).await
    }
}

/// What was decided before a record was written.
#[derive(Clone, Copy)]
struct Decided {
    action: Action,
    is_plain: bool,
    tier: Option<Tier>,
    policy: u64,
}

impl Decided {
    fn of(access: &Access) -> Self {
        Self {
            action: access.action,
            is_plain: access.is_plain_read(),
            tier: access.tier,
            policy: access.policy,
        }
    }
}

fn outcome_of(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::NotFound => Outcome::NotFound,
        ErrorKind::Expired => Outcome::Expired,
        _ => Outcome::Failed,
    }
}
