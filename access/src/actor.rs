//! One principal that acts.

mod explain;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use strongroom_core::{Error, ErrorKind, Result, SecretPath, Tier};
use tracing::error;

use crate::ApprovalId;
use crate::access::{Inner, check_text, closed_error};
use crate::book::Book;
use crate::change::denial_error;
use crate::config::{AuditFailure, AuditMode};
use crate::event::{Context, Denial, DenialRecord, Outcome, Rule};
use crate::identity::Identity;
use crate::job::{Access, AccessDecision, Job};
use crate::policy::{LoadedPolicy, PolicyInput};
use crate::published::TenantCell;
use crate::rules::Rules;
use crate::{Action, Scope, TenantName};

pub use self::explain::Explanation;

/// A principal that acts, with its rights as they are at each call. Cloning is cheap.
#[derive(Clone)]
pub struct Actor {
    pub(crate) access: Arc<Inner>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) context: Arc<Context>,
    cell: Arc<TenantCell>,
    book: Arc<ArcSwap<Book>>,
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor")
            .field("principal", &self.identity.name)
            .field("tenant", &self.identity.tenant)
            .finish_non_exhaustive()
    }
}

impl Actor {
    pub(crate) fn new(access: Arc<Inner>, identity: Identity) -> Self {
        let cell = access.published.cell(&identity.tenant);
        let context = Arc::new(Context {
            token: identity.token_id(),
            presented_by: identity.presenter_name(),
            ..Context::default()
        });
        let book = Book::compile(&identity, &cell.rules(), access.published.now());
        let book = Arc::new(ArcSwap::from_pointee(book));
        Self { access, identity: Arc::new(identity), context, cell, book }
    }

    /// The same principal, with the reason that the record gives for what it does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is empty, over 512 bytes or has control characters.
    pub fn because(mut self, reason: &str) -> Result<Self> {
        check_text("the reason", reason, 512)?;
        Arc::make_mut(&mut self.context).reason = Some(reason.to_owned());
        Ok(self)
    }

    /// The same principal, with an id of the host's request for the record. Without one, each operation gets
    /// an id of its own.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is empty, over 128 bytes or has control characters.
    pub fn with_request_id(mut self, id: &str) -> Result<Self> {
        check_text("the id of a request", id, 128)?;
        Arc::make_mut(&mut self.context).request_id = Some(id.to_owned());
        Ok(self)
    }

    /// The principal, as the log names it.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.identity.name
    }

    /// The tenant of the principal.
    #[must_use]
    pub fn tenant(&self) -> &TenantName {
        &self.identity.tenant
    }

    /// Whether the principal can act: its token is neither revoked nor over, and the rules can be read.
    #[must_use]
    pub fn is_living(&self) -> bool {
        let ended = [Denial::TokenEnded, Denial::StaleRules];
        !self.decide_list(None).is_err_and(|denial| ended.contains(&denial))
    }

    /// Whether the principal has the right to read the audit now. Nothing is recorded, since nothing is read.
    #[must_use]
    pub fn may_read_audit(&self) -> bool {
        self.access.published.is_fresh()
            && self.with_book(|book, now| book.covers(&Scope::Audit, now).is_some())
    }

    /// The rules of the tenant, as far as this principal may see and change them.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules::of_actor(self)
    }

    /// Runs `f` on the rights as they are now.
    pub(crate) fn with_book<T>(&self, f: impl FnOnce(&Book, i64) -> T) -> T {
        let now = self.access.published.now();
        let rules = self.cell.rules();
        let book = self.book.load();
        if book.serial == rules.serial {
            return f(&book, now);
        }
        let book = Arc::new(Book::compile(&self.identity, &rules, now));
        self.book.store(Arc::clone(&book));
        f(&book, now)
    }

    /// Decides an action on a secret, without the secret's tier. Allocates nothing unless the rules have changed.
    pub(crate) fn decide(&self, action: Action, path: &str) -> Result<Rule, Denial> {
        if !self.access.published.is_fresh() {
            return Err(Denial::StaleRules);
        }
        self.with_book(|book, now| book.decide(action, path, now))
    }

    pub(crate) fn decide_list(&self, prefix: Option<&str>) -> Result<Rule, Denial> {
        if !self.access.published.is_fresh() {
            return Err(Denial::StaleRules);
        }
        self.with_book(|book, now| book.may_list_below(prefix, now))
    }

    /// Decides whether the tier of a secret lets an access through, perhaps by an approval.
    pub(crate) fn decide_tier(
        &self,
        access: &Access,
        path: &SecretPath,
        tier: Tier,
    ) -> Result<Option<ApprovalId>, Denial> {
        let action = access.action;
        let tiers = &self.access.config.tiers;
        let tier = tiers.effective(path, tier);
        self.with_book(|book, now| {
            let tenant = &self.identity.tenant;
            if !tiers.needs_approval(tenant, path, action, tier, book.waives_sensitive) {
                return Ok(None);
            }
            let approval = book.approval_for(access, now);
            approval.map(Some).ok_or(Denial::NeedsApproval)
        })
    }

    /// Lets the policy decide an action that grants and the tier allow. Returns its generation, too.
    pub(crate) fn decide_policy(
        &self,
        action: Action,
        path: &str,
        tier: Option<Tier>,
    ) -> (u64, Result<(), DenialRecord>) {
        let cell = &self.access.published.policy;
        let generation = cell.generation();
        (generation, self.decide_by(cell.load().as_deref(), action, path, tier))
    }

    /// Lets this policy decide an action.
    fn decide_by(
        &self,
        policy: Option<&LoadedPolicy>,
        action: Action,
        path: &str,
        tier: Option<Tier>,
    ) -> Result<(), DenialRecord> {
        let Some(policy) = policy else { return Ok(()) };
        let now = self.access.published.now();
        let input = PolicyInput::new(&self.identity, &self.context, action, path, tier, now);
        policy.decide(&input, now)
    }

    /// Lets the policy decide an access that is allowed otherwise.
    pub(crate) fn narrow(&self, mut access: Access, path: &SecretPath) -> Access {
        if matches!(access.decision, AccessDecision::Allowed { .. }) {
            let (generation, decided) =
                self.decide_policy(access.action, path.as_str(), access.tier);
            access.policy = generation;
            if let Err(denied) = decided {
                access.decision = AccessDecision::Denied(denied);
            }
        }
        access
    }

    /// The tier of a secret, as far as it is known.
    pub(crate) fn known_tier(&self, path: &SecretPath, tier: Option<Tier>) -> Option<Tier> {
        self.access.config.tiers.known(path.as_str(), tier)
    }

    pub(crate) fn cell(&self) -> &Arc<TenantCell> {
        &self.cell
    }

    /// An access of this principal that was allowed.
    pub(crate) fn allow_access(
        &self,
        action: Action,
        path: Option<&SecretPath>,
        rule: Rule,
        outcome: Outcome,
    ) -> Access {
        let counts = self.identity.counts_uses();
        let decision = AccessDecision::Allowed { rule, approval: None, outcome, counts };
        self.access(action, path, decision)
    }

    pub(crate) fn deny_access(
        &self,
        action: Action,
        path: Option<&SecretPath>,
        denied: impl Into<DenialRecord>,
    ) -> Access {
        self.access(action, path, AccessDecision::Denied(denied.into()))
    }

    fn access(
        &self,
        action: Action,
        path: Option<&SecretPath>,
        decision: AccessDecision,
    ) -> Access {
        let has_id = self.context.request_id.is_some();
        Access {
            identity: Arc::clone(&self.identity),
            context: Arc::clone(&self.context),
            request: (!has_id).then(|| self.access.next_request()),
            action,
            path: path.cloned(),
            version: None,
            names_version: false,
            tier: None,
            policy: 0,
            decision,
        }
    }

    /// Records accesses as the configuration demands, before their results are handed out. One result for each.
    pub(crate) async fn record(&self, accesses: Vec<Access>) -> Vec<Result<()>> {
        let config = &self.access.config;
        let mut results = vec![Ok(()); accesses.len()];
        let (mut waiting, queued): (Vec<_>, Vec<_>) =
            accesses.into_iter().enumerate().partition(|(_, access)| self.waits_for(access));
        if !queued.is_empty() && config.audit_mode != AuditMode::WritesAndDenials {
            let (places, queued): (Vec<_>, Vec<Access>) = queued.into_iter().unzip();
            match self.access.queue(queued) {
                Ok(None) => {}
                Ok(Some(queued)) => waiting.extend(places.into_iter().zip(queued)),
                Err(error) => set(&mut results, &places, |_| Err(error.clone())),
            }
        }
        if waiting.is_empty() {
            return results;
        }
        let may_continue: Vec<_> = waiting
            .iter()
            .map(|(_, access)| {
                access.is_plain_read() && config.audit_failure == AuditFailure::ContinueReads
            })
            .collect();
        let (places, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        match self.access.ask(|reply| Job::Record(waiting, reply)).await {
            Ok(recorded) => {
                let mut recorded = recorded.into_iter();
                set(&mut results, &places, |_| {
                    recorded.next().unwrap_or_else(|| Err(closed_error()))
                });
            }
            Err(failure) if failure.kind() == ErrorKind::Closed => {
                set(&mut results, &places, |_| Err(failure.clone()));
            }
            Err(failure) => set(&mut results, &places, |index| {
                if may_continue.get(index) == Some(&true) {
                    error!(error = %failure, "a read is not recorded");
                    return Ok(());
                }
                Err(audit_error(&failure))
            }),
        }
        results
    }

    /// Whether an operation waits until its record is durable.
    fn waits_for(&self, access: &Access) -> bool {
        match self.access.config.audit_mode {
            _ if !access.is_plain_read() => true,
            AuditMode::WritesAndDenials => false,
            AuditMode::Batched(_) => self.access.published.audit_fails.load(Ordering::Acquire),
            AuditMode::Durable => true,
        }
    }

    /// Records one access.
    pub(crate) async fn record_one(&self, access: Access) -> Result<()> {
        if self.waits_for(&access) {
            return self.record(vec![access]).await.pop().unwrap_or(Ok(()));
        }
        if self.access.config.audit_mode == AuditMode::WritesAndDenials {
            return Ok(());
        }
        match self.access.queue([access])? {
            None => Ok(()),
            Some(access) => self.record(access.into()).await.pop().unwrap_or(Ok(())),
        }
    }

    /// Records a denial, and returns its error.
    pub(crate) async fn refuse(
        &self,
        action: Action,
        path: Option<&SecretPath>,
        denied: impl Into<DenialRecord>,
    ) -> Error {
        self.refuse_access(self.deny_access(action, path, denied)).await
    }

    /// Records an access that is denied, and returns its error.
    pub(crate) async fn refuse_access(&self, access: Access) -> Error {
        let denial = match &access.decision {
            AccessDecision::Denied(denied) => denied.denial,
            AccessDecision::Allowed { .. } => Denial::NoGrant,
        };
        let denied = access.denial_error(denial, &self.cell.rules(), self.access.published.now());
        match self.record_one(access).await {
            Err(error) if error.kind() == ErrorKind::Closed => error,
            // It stays a denial if the record fails, too: the failure is in the log of the host.
            _ => denied,
        }
    }

    pub(crate) fn denial_error(&self, denial: Denial, action: Action) -> Error {
        denial_error(denial, action, &self.identity)
    }
}

/// Sets the results at some places; `result` gets the index among them.
fn set(results: &mut [Result<()>], places: &[usize], mut result: impl FnMut(usize) -> Result<()>) {
    for (index, place) in places.iter().enumerate() {
        if let Some(slot) = results.get_mut(*place) {
            *slot = result(index);
        }
    }
}

fn audit_error(failure: &Error) -> Error {
    Error::new(failure.kind(), failure.advice().to_owned())
        .because(format!("the access cannot be recorded: {}", failure.cause()))
        .temporary(failure.is_temporary())
}
