//! A store behind the access rules.

mod backend;
mod batch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_core::{
    Backend, BackendInfo, Capability, Condition, Description, Error, ErrorKind, ListOptions,
    ListPage, Metadata, MetadataPatch, Operation, PutOptions, Result, Secret, SecretPath,
    SecretValue, Tier, Version, VersionSelector,
};

use crate::access::closed_error;
use crate::change::denial_error;
use crate::event::{Denial, Outcome, Rule};
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

    /// Whether a rule allows to read a secret now, for what holds a value that was handed out before. Nothing is
    /// recorded, since nothing is handed out.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unauthenticated`] if the token has ended, [`ErrorKind::Closed`],
    /// [`ErrorKind::Unavailable`] while the rules cannot be read.
    pub fn check_read(&self, path: &SecretPath) -> Result<()> {
        let decided = self.actor.decide(Action::Read, path.as_str());
        let result = match (self.check_open(), decided) {
            (Err(closed), _) => Err(closed),
            (Ok(()), Ok(_)) => Ok(()),
            (Ok(()), Err(denial)) => Err(self.unrecorded_denial(denial, Action::Read)),
        };
        self.context(result, Operation::Get, Some(path))
    }

    /// Records that a handle ended, because [`check_read`](Self::check_read) denied its secret.
    pub async fn record_denied_read(&self, path: &SecretPath) {
        if let Err(denial) = self.actor.decide(Action::Read, path.as_str()) {
            self.actor.refuse(Action::Read, Some(path), denial).await;
        }
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

    /// Lets the tier of a secret decide, and completes the record of an access that it lets through.
    fn finish(
        &self,
        mut access: Access,
        path: &SecretPath,
        version: Option<&Version>,
        tier: Tier,
    ) -> Access {
        access.version = version.cloned();
        match self.actor.decide_tier(&access, path, tier) {
            Ok(used) => {
                if let AccessDecision::Allowed { approval, .. } = &mut access.decision {
                    *approval = used;
                }
            }
            Err(denial) => access.decision = AccessDecision::Denied(denial),
        }
        access
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
                self.finish(access, path, Some(secret.version()), secret.metadata().tier)
            }
            Err(error) => allowed(outcome_of(error)),
        }
    }

    /// Records a read, and hands its result out only if that is still allowed.
    async fn hand_out<T>(&self, access: Access, path: &SecretPath, result: Result<T>) -> Result<T> {
        let (action, is_plain) = (access.action, access.is_plain_read());
        self.actor.record_one(access).await?;
        let answer = result?;
        self.check_again(is_plain, action, path)?;
        Ok(answer)
    }

    /// Whether a read is still allowed after it was recorded. What changes rules was decided together with its record:
    /// the last use of a token ends it.
    fn check_again(&self, is_plain: bool, action: Action, path: &SecretPath) -> Result<()> {
        if !is_plain {
            return Ok(());
        }
        let still = self.actor.decide(action, path.as_str());
        still.map(drop).map_err(|denial| self.unrecorded_denial(denial, action))
    }

    /// The error of a denial that is not recorded, so that no record shows that the rules are closed.
    fn unrecorded_denial(&self, denial: Denial, action: Action) -> Error {
        match denial {
            Denial::StaleRules if self.actor.access.published.is_closed() => closed_error(),
            _ => denial_error(denial, action),
        }
    }

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
    async fn authorize_change(
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
                self.actor.record_one(failed).await?;
                return Err(error);
            }
        };
        let is_lowered = matches!((&existing, patch),
            (Some((_, metadata)), Some(patch)) if lowers(metadata, patch));
        let (action, rule) = if is_lowered {
            (Action::LowerTier, self.decide(Action::LowerTier, path).await?)
        } else {
            (action, rule)
        };
        let access = self.actor.allow_access(action, Some(path), rule, Outcome::Allowed);
        // A store without metadata has secrets of the default tier; a new secret has no tier yet.
        let (version, tier) = match &existing {
            Some((version, metadata)) => (Some(version), metadata.tier),
            None if self.info.capabilities.has(Capability::Metadata) => (None, Tier::Standard),
            None => (None, Tier::default()),
        };
        let access = self.finish(access, path, version, tier);
        if let AccessDecision::Denied(denial) = access.decision {
            return Err(self.actor.refuse(action, Some(path), denial).await);
        }
        self.actor.record_one(access).await?;
        Ok(existing.is_some())
    }

    /// Writes where no secret is live. A deleted one may be there, which keeps its tier and its versions and which no
    /// store describes: a write that could lower its tier is made only where there is none.
    async fn put_new(
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

    async fn list_all(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        self.check_open()?;
        let full = match prefix {
            Some(prefix) => Some(self.full(prefix)?),
            None => self.root.clone(),
        };
        let rule = match self.actor.decide_list(prefix.map(SecretPath::as_str)) {
            Ok(rule) => rule,
            Err(denial) => return Err(self.actor.refuse(Action::List, prefix, denial).await),
        };
        let result = self.list_visible(full.as_ref(), options).await;
        let outcome = result.as_ref().err().map_or(Outcome::Allowed, outcome_of);
        let access = self.actor.allow_access(Action::List, prefix, rule, outcome);
        self.actor.record_one(access).await?;
        result
    }

    /// The paths that may be listed, in full. The store's own pages could tell how many names are hidden, so they are
    /// joined.
    async fn list_visible(
        &self,
        full: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let mut paths = Vec::new();
        let mut options = options.clone().page(None);
        loop {
            let page = self.inner.list(full, &options).await?;
            for path in page.paths {
                let relative = match &self.root {
                    Some(root) => path.below(root),
                    None => Some(path.as_str()),
                };
                if relative.is_some_and(|path| self.actor.decide(Action::List, path).is_ok()) {
                    paths.push(path);
                }
            }
            options.page = page.next;
            if options.page.is_none() {
                break;
            }
        }
        Ok(ListPage::new(paths, None))
    }

    /// Reads what a store tells about a secret without its value.
    async fn inspect<T, F: Future<Output = Result<T>>>(
        &self,
        path: &SecretPath,
        read: impl FnOnce(SecretPath) -> F,
    ) -> Result<T> {
        let full = self.full(path)?;
        let rule = self.decide(Action::Describe, path).await?;
        let result = read(full).await;
        let outcome = result.as_ref().err().map_or(Outcome::Allowed, outcome_of);
        let access = self.actor.allow_access(Action::Describe, Some(path), rule, outcome);
        self.hand_out(access, path, result).await
    }
}

/// Whether a patch lowers the tier of a secret. One that is not valid changes nothing; the store refuses it.
fn lowers(metadata: &Metadata, patch: &MetadataPatch) -> bool {
    let mut changed = metadata.clone();
    patch.apply(&mut changed).is_ok() && changed.tier < metadata.tier
}

fn outcome_of(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::NotFound => Outcome::NotFound,
        ErrorKind::Expired => Outcome::Expired,
        _ => Outcome::Failed,
    }
}
