//! Queries over the record.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::TenantName;
use crate::event::Body;
use crate::grant::{from_millis, to_millis};
use crate::log::{PathFilter, Record, RecordFilter};

/// The most records of one page.
const MAX_PAGE: usize = 1000;

/// Which records to read: all unless it is limited.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    pub(crate) after: u64,
    limit: Option<usize>,
    tenant: Option<TenantName>,
    principal: Option<String>,
    path: Option<PathFilter>,
    events: Vec<String>,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
}

impl AuditQuery {
    /// All records, from the first one on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only records after this one: the [`seq`](AuditRecord::seq) of the last one of the page before.
    #[must_use]
    pub fn after(mut self, seq: u64) -> Self {
        self.after = seq;
        self
    }

    /// At most so many records, and never more than 1,000.
    #[must_use]
    pub fn at_most(mut self, records: usize) -> Self {
        self.limit = Some(records);
        self
    }

    /// Only records about this tenant. [`Rules::audit`](crate::Rules::audit) reads none of a tenant that is not its own.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantName) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Only records of this principal, as [`Actor::principal`](crate::Actor::principal) names it.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Only records about the secret at this path.
    #[must_use]
    pub fn path(mut self, path: &SecretPath) -> Self {
        self.path = Some(PathFilter::Exact(path.to_string()));
        self
    }

    /// Only records about secrets below this path.
    #[must_use]
    pub fn below(mut self, prefix: &SecretPath) -> Self {
        self.path = Some(PathFilter::Below(prefix.to_string()));
        self
    }

    /// Only records of events with this name, such as `vault.denied`; several names may be given.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.events.push(name.into());
        self
    }

    /// Only records from this time on.
    #[must_use]
    pub fn since(mut self, time: SystemTime) -> Self {
        self.from = Some(time);
        self
    }

    /// Only records before this time.
    #[must_use]
    pub fn until(mut self, time: SystemTime) -> Self {
        self.to = Some(time);
        self
    }

    /// Whether a record is one that the query selects, wherever it is in the log. For a host that gets the records otherwise,
    /// such as from [`Access::follow`](crate::Access::follow).
    #[must_use]
    pub fn matches(&self, record: &AuditRecord) -> bool {
        let is_tenant = |tenant: &TenantName| record.tenant.as_deref() == Some(tenant.as_str());
        let time = to_millis(record.time);
        self.tenant.as_ref().is_none_or(is_tenant)
            && self.principal.as_ref().is_none_or(|principal| *principal == record.principal)
            && self.path.as_ref().is_none_or(|path| path.matches(record.path.as_deref()))
            && (self.events.is_empty() || self.events.contains(&record.event))
            && self.from.is_none_or(|from| time >= to_millis(from))
            && self.to.is_none_or(|to| time < to_millis(to))
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE)
    }

    /// Whether no record of a tenant can match.
    pub(crate) fn excludes(&self, tenant: &TenantName) -> bool {
        self.tenant.as_ref().is_some_and(|wanted| wanted != tenant)
    }

    /// What the log searches for. `within` is the tenant to which the reader is limited.
    pub(crate) fn filter(&self, within: Option<&TenantName>) -> RecordFilter {
        RecordFilter {
            tenant: within.or(self.tenant.as_ref()).map(ToString::to_string),
            principal: self.principal.clone(),
            path: self.path.clone(),
            events: self.events.clone(),
            from: self.from.map(to_millis),
            to: self.to.map(to_millis),
        }
    }
}

/// A part of the audit, from [`Access::audit_page`](crate::Access::audit_page).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AuditPage {
    /// The records that the query selects, oldest first.
    pub records: Vec<AuditRecord>,
    /// The number of the last record that was searched: [`AuditQuery::after`] continues there.
    pub searched: u64,
    /// The number of the first record of the log: those before it were pruned.
    pub first: u64,
    /// The number of the last record of the log when the search began.
    pub last: u64,
}

/// One record of the audit. It never holds a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AuditRecord {
    /// Its number, without gaps from 1 on.
    pub seq: u64,
    /// When, as RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// What happened, such as `vault.accessed`.
    pub event: String,
    /// Whose secrets it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Who did it.
    pub principal: String,
    /// The path below the root of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The host's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The reason that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the token that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The person that presented the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_by: Option<String>,
    /// What else the event holds: the action, the version, the rule, the outcome, or the grant, token or request
    /// that it is about, without the hash of a token.
    pub details: Value,
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&strongroom_core::Rfc3339::millis(*time))
}

impl AuditRecord {
    pub(crate) fn from_log(record: Record) -> Result<Self> {
        let Record { seq, time, event, tenant, principal, path, body } = record;
        let Body { context, event: details } = Body::parse(&body)?;
        let mut details = serde_json::to_value(&details).map_err(|_| {
            Error::new(ErrorKind::Internal, "report this").because("an event has no JSON form")
        })?;
        remove_hashes(&mut details);
        Ok(Self {
            seq,
            time: from_millis(time),
            event,
            tenant,
            principal,
            path,
            request_id: context.request_id,
            reason: context.reason,
            token: context.token.map(|id| id.to_string()),
            presented_by: context.presented_by,
            details,
        })
    }
}

/// Removes the hashes of tokens, at any depth: rules that are carried hold several.
fn remove_hashes(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("hash");
            members.values_mut().for_each(remove_hashes);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_hashes),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, AccessConfig, NewGrant, Scope, Subject};

    async fn grants(access: &Access, tenant: &str, by: &str, count: usize) {
        let tenant = TenantName::parse(tenant).unwrap();
        let rules = access.administrator(by, &tenant).unwrap();
        for _ in 0..count {
            let scope = Scope::parse("secrets:read").unwrap();
            let new = NewGrant::new(Subject::parse("agent:a").unwrap(), [scope], "a test");
            let grant = rules.create_grant(new).await.unwrap();
            rules.delete_grant(grant.id).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_record_matches_the_queries_that_find_it() {
        let access = Access::open(AccessConfig::in_memory()).await.unwrap();
        grants(&access, "acme", "ann", 2).await;
        grants(&access, "other", "bob", 1).await;
        let all = access.audit(AuditQuery::new()).await.unwrap();
        let path = SecretPath::parse("a").unwrap();
        let (first, last) = (all[0].time, all[5].time);
        let queries = [
            AuditQuery::new(),
            AuditQuery::new().tenant(TenantName::parse("acme").unwrap()),
            AuditQuery::new().principal("administrator:bob"),
            AuditQuery::new().event("grant.created").event("vault.denied"),
            AuditQuery::new().path(&path),
            AuditQuery::new().below(&path),
            AuditQuery::new().since(last),
            AuditQuery::new().until(last).since(first),
        ];
        for query in queries {
            let found = access.audit(query.clone()).await.unwrap();
            let matching: Vec<_> = all.iter().filter(|it| query.matches(it)).cloned().collect();
            assert_eq!(found, matching, "{query:?}");
        }
    }

    #[tokio::test]
    async fn a_page_says_where_the_log_begins_and_ends() {
        let access = Access::open(AccessConfig::in_memory()).await.unwrap();
        grants(&access, "acme", "ann", 3).await;
        let end = access.audit_page(AuditQuery::new().at_most(0)).await.unwrap();
        assert_eq!((end.records.len(), end.first, end.last), (0, 1, 6));
        let page = access.audit_page(AuditQuery::new().after(1).at_most(2)).await.unwrap();
        assert_eq!((page.records.len(), page.searched), (2, 3));
        let none = AuditQuery::new().event("vault.denied");
        let page = access.audit_page(none).await.unwrap();
        assert_eq!((page.records.len(), page.searched), (0, 6));
        let beyond = access.audit_page(AuditQuery::new().after(9)).await.unwrap();
        assert_eq!((beyond.records.len(), beyond.last), (0, 6));
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        let removed = access.prune_audit(later, "ann").await.unwrap();
        let page = access.audit_page(AuditQuery::new().after(1)).await.unwrap();
        assert_eq!(page.first, removed + 1);
        assert!(page.records.iter().all(|record| record.seq > removed));
    }
}
