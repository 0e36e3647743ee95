//! The rules of one tenant: grants, tokens and requests for approval.

mod approvals;
mod narrow;
mod new;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;
use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use self::new::MAX_TOKEN_AGE;
pub use self::new::{NewApproval, NewGrant, NewToken};
use crate::access::{Inner, check_text};
use crate::actor::Actor;
use crate::audit::{AuditQuery, AuditRecord};
use crate::book::Book;
use crate::change::{Author, ProposedChange, RuleChange, needed_to_grant};
use crate::event::{Context, Event};
use crate::grant::{Grant, Token, to_millis};
use crate::job::Job;
use crate::published::TenantCell;
use crate::scope::RuleAccess;
use crate::token::TokenSecret;
use crate::{Action, GrantId, PathPattern, Scope, Subject, TenantName, TokenId};

/// The rules of one tenant, as far as their user may see and change them: from [`Actor::rules`] for a
/// principal, from [`Access::administrator`](crate::Access::administrator) for the host itself.
///
/// Each change is recorded in the same row that makes it, and holds in this process when its call returns.
#[derive(Clone)]
pub struct Rules {
    access: Arc<Inner>,
    author: Author,
    tenant: TenantName,
    context: Context,
    cell: Arc<TenantCell>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("author", &self.author.name())
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl Rules {
    pub(crate) fn of_actor(actor: &Actor) -> Self {
        Self {
            access: Arc::clone(&actor.access),
            author: Author::Principal(Arc::clone(&actor.identity)),
            tenant: actor.identity.tenant.clone(),
            context: (*actor.context).clone(),
            cell: Arc::clone(actor.cell()),
        }
    }

    pub(crate) fn of_administrator(access: Arc<Inner>, name: &str, tenant: &TenantName) -> Self {
        let cell = access.published.cell(tenant);
        let author = Author::Administrator(name.to_owned());
        Self { access, author, tenant: tenant.clone(), context: Context::default(), cell }
    }

    /// Creates a grant.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without `grants:write` on what it gives, [`ErrorKind::InvalidInput`].
    pub async fn create_grant(&self, grant: NewGrant) -> Result<Grant> {
        check_text("the reason", &grant.reason, 512)?;
        check_scopes(&grant.scopes)?;
        if let Subject::Person(person) = &grant.subject
            && *person.tenant() != self.tenant
        {
            return Err(Error::new(ErrorKind::InvalidInput, "name a person of the grant's tenant")
                .because("the subject of the grant belongs to another tenant"));
        }
        let grant = Grant {
            id: GrantId::random()?,
            tenant: self.tenant.clone(),
            subject: grant.subject,
            scopes: grant.scopes,
            expires_at: grant.expires_at.map(to_millis),
            created_at: self.now(),
            created_by: self.author.name(),
            created_with: self.context.token,
            reason: grant.reason,
        };
        self.change(RuleChange::CreateGrant(grant.clone())).await?;
        Ok(grant)
    }

    /// Deletes a grant, with the tokens that its holders have issued by it. No read that it alone allows ends well after this call has returned.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::NotFound`].
    pub async fn delete_grant(&self, id: GrantId) -> Result<()> {
        self.change(RuleChange::DeleteGrant(id)).await.map(drop)
    }

    /// The grants that apply now and that the caller may see, by their age: none without a right `grants:read`.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        let now = self.now();
        let rules = self.cell.rules();
        let grants = rules.grants.values().filter(|grant| {
            grant.applies_at(now) && rules.is_maker_living(grant.created_with, now)
        });
        let book = self.book(&rules, now);
        let needed = |grant: &Grant| grant.scopes.iter().map(read_scope).collect::<Vec<_>>();
        let mut visible: Vec<Grant> = grants
            .filter(|grant| has_all(book.as_ref(), &needed(grant), now))
            .map(|grant| Grant::clone(grant))
            .collect();
        visible.sort_by_key(|grant| (grant.created_at, grant.id));
        visible
    }

    /// Issues a token. Its text is returned this once; the log holds a hash. It ends with the token, or with the
    /// grants, by which the caller has the rights that it gives.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without `tokens:write`, if a scope is not within the caller's own rights, or if a principal
    /// issues a token for a person; [`ErrorKind::InvalidInput`].
    pub async fn issue_token(&self, token: NewToken) -> Result<(Token, SecretString)> {
        check_text("the reason", &token.reason, 512)?;
        check_scopes(&token.scopes)?;
        let latest = SystemTime::now().checked_add(MAX_TOKEN_AGE);
        if token.max_uses == Some(0) || latest.is_some_and(|latest| token.expires_at > latest) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "choose at least one use, and an end within 366 days",
            )
            .because("the limits of the token are not valid"));
        }
        self.check_person(&token)?;
        let secret = TokenSecret::generate()?;
        let token = Token {
            id: TokenId::random()?,
            tenant: self.tenant.clone(),
            scopes: token.scopes,
            expires_at: to_millis(token.expires_at),
            max_uses: token.max_uses,
            bound_to: token.bound_to,
            person: token.person,
            waives_sensitive: token.waives_sensitive,
            created_at: self.now(),
            created_by: self.author.name(),
            created_with: self.context.token,
            created_under: BTreeSet::new(),
            reason: token.reason,
            hash: secret.hash(self.access.keys.token()),
        };
        let events = self.change(RuleChange::IssueToken(token.clone())).await?;
        let issued = events.into_iter().find_map(|event| match event {
            Event::TokenIssued(token) => Some(token.to_token()),
            _ => None,
        });
        let token = issued.unwrap_or(token);
        Ok((token, SecretString::from(secret.expose_text())))
    }

    /// Revokes a token, with the grants and tokens that were made with it and the tokens that were issued under those grants: its issuer, its holder and who has
    /// `tokens:write` may.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::NotFound`].
    pub async fn revoke_token(&self, id: TokenId) -> Result<()> {
        self.change(RuleChange::RevokeToken(id)).await.map(drop)
    }

    /// The tokens that may be used now, without their secret parts.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without `tokens:read`.
    pub fn tokens(&self) -> Result<Vec<Token>> {
        let now = self.now();
        let rules = self.cell.rules();
        let read = Scope::Tokens { access: RuleAccess::Read };
        if !has_all(self.book(&rules, now).as_ref(), std::slice::from_ref(&read), now) {
            return Err(Error::new(ErrorKind::Denied, format!("ask for the right `{read}`"))
                .because("no rule allows to list tokens"));
        }
        let ids = rules.tokens.keys();
        let mut tokens: Vec<Token> = ids
            .filter_map(|id| rules.living_token(*id, now))
            .map(|token| Token::clone(token))
            .collect();
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }

    /// Reads the records of the tenant, oldest first: a page of at most 1,000. The read itself is recorded.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without `audit:read`.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>> {
        self.record_audit_read().await?;
        if query.excludes(&self.tenant) {
            return Ok(Vec::new());
        }
        Ok(self.access.read_audit(&query, Some(&self.tenant)).await?.records)
    }

    /// Records that the audit is read, for a host that shows it in another way than [`audit`](Self::audit).
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without `audit:read`.
    pub async fn record_audit_read(&self) -> Result<()> {
        self.change(RuleChange::ReadAudit).await.map(drop)
    }

    /// Deletes the grants on exactly this path and ends its approvals, before its secret is deleted.
    pub(crate) async fn delete_rules_on(&self, path: &SecretPath) -> Result<()> {
        self.change(RuleChange::DeleteRulesOn(path.to_string())).await.map(drop)
    }

    /// Whether a grant without an end gives a subject the right to read exactly this path, and lasts as long as one that the
    /// caller creates. A wider one may go for reasons of its own.
    pub(crate) fn has_grant(&self, subject: &Subject, path: &SecretPath) -> bool {
        let is_given = |scope: &Scope| {
            matches!(scope, Scope::Secrets { actions, pattern }
                if actions.contains(Action::Read) && *pattern == PathPattern::exact(path))
        };
        let (rules, now) = (self.cell.rules(), self.now());
        rules.grants_of(subject).iter().any(|grant| {
            grant.expires_at.is_none()
                && (grant.created_with.is_none() || grant.created_with == self.context.token)
                && rules.is_maker_living(grant.created_with, now)
                && grant.scopes.iter().any(is_given)
        })
    }

    /// Whether the caller may create a grant of these scopes now.
    pub(crate) fn may_grant(&self, scopes: &[Scope]) -> bool {
        let now = self.now();
        let book = self.book(&self.cell.rules(), now);
        has_all(book.as_ref(), &needed_to_grant(scopes), now)
    }

    /// Whether grants on exactly this path exist, or requests and approvals that have not ended.
    pub(crate) fn has_rules_on(&self, path: &SecretPath) -> bool {
        let is_on = |scope: &Scope| {
            matches!(scope, Scope::Secrets { pattern, .. }
                if pattern.is_exact() && pattern.to_string() == path.as_str())
        };
        let (rules, now) = (self.cell.rules(), self.now());
        rules.grants.values().any(|grant| grant.scopes.iter().any(is_on))
            || rules.approvals.values().any(|approval| {
                approval.request.path == path.as_str() && !approval.status(now).is_ended()
            })
    }

    fn now(&self) -> i64 {
        self.access.published.now()
    }

    async fn change(&self, change: RuleChange) -> Result<Vec<Event>> {
        let mut context = self.context.clone();
        context.request_id.get_or_insert_with(|| self.access.next_request().to_string());
        let change = ProposedChange {
            author: self.author.clone(),
            tenant: self.tenant.clone(),
            context,
            change,
        };
        self.access.ask(|reply| Job::Change(Box::new(change), reply)).await
    }

    /// Refuses a token for a person of another tenant, and one that only a workload could present.
    fn check_person(&self, token: &NewToken) -> Result<()> {
        let Some(person) = &token.person else { return Ok(()) };
        let cause = if *person.tenant() != self.tenant {
            "the person belongs to another tenant than the token"
        } else if token.bound_to.is_some() {
            "a token for a person cannot be bound to a workload"
        } else {
            return Ok(());
        };
        let advice = "name a person of the token's tenant, and no workload";
        Err(Error::new(ErrorKind::InvalidInput, advice).because(cause))
    }

    /// The rights of the caller; `None` for the administrator, whom none restrict.
    fn book(&self, rules: &crate::state::TenantRules, now: i64) -> Option<Book> {
        match &self.author {
            Author::Administrator(_) => None,
            Author::Principal(identity) => Some(Book::compile(identity, rules, now)),
        }
    }
}

fn has_all(book: Option<&Book>, needed: &[Scope], now: i64) -> bool {
    book.is_none_or(|book| needed.iter().all(|scope| book.covers(scope, now).is_some()))
}

/// The scope that a caller needs in order to see a grant with this one.
fn read_scope(scope: &Scope) -> Scope {
    let pattern = match scope {
        Scope::Secrets { pattern, .. }
        | Scope::Grants { pattern, .. }
        | Scope::Approvals { pattern } => pattern.clone(),
        _ => crate::PathPattern::everything(),
    };
    Scope::Grants { access: RuleAccess::Read, pattern }
}

fn check_scopes(scopes: &[Scope]) -> Result<()> {
    if scopes.is_empty() || scopes.len() > 64 {
        return Err(Error::new(ErrorKind::InvalidInput, "give 1 to 64 scopes")
            .because("the number of scopes is not valid"));
    }
    Ok(())
}
