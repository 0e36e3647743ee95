//! Records as they come.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use strongroom_core::Result;

use crate::{Access, AuditQuery, AuditRecord};

/// How often the log is asked for new records.
const INTERVAL: Duration = Duration::from_millis(200);

/// The records of all tenants as they come, from [`Access::follow`]. It never ends by itself, and it can be dropped
/// at any time: [`AuditQuery::after`] with the last [`seq`](AuditRecord::seq) goes on where it was.
pub struct AuditStream {
    access: Access,
    query: AuditQuery,
    page: VecDeque<AuditRecord>,
    /// Up to which record the log was searched for the page.
    searched: u64,
}

impl fmt::Debug for AuditStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditStream").field("query", &self.query).finish_non_exhaustive()
    }
}

impl AuditStream {
    /// Waits for the next record. Dropping the future loses none.
    ///
    /// # Errors
    /// Those of a log that cannot be read; a later call tries again. [`Closed`](strongroom_core::ErrorKind::Closed)
    /// once the rules are closed.
    pub async fn next(&mut self) -> Result<AuditRecord> {
        loop {
            if let Some(record) = self.page.pop_front() {
                self.query.after = record.seq;
                return Ok(record);
            }
            // Records that do not match are not searched again.
            self.query.after = self.query.after.max(self.searched);
            let page = self.access.0.read_audit(&self.query, None).await?;
            (self.page, self.searched) = (page.records.into(), page.searched);
            if self.page.is_empty() {
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }
}

impl Access {
    /// Follows the records that a query selects, those that exist first and then new ones within some 200 ms, also
    /// those of other processes.
    ///
    /// # Examples
    /// ```
    /// # async fn run(access: strongroom_access::Access, last_seen: u64) -> strongroom_core::Result<()> {
    /// use strongroom_access::AuditQuery;
    ///
    /// let query = AuditQuery::new().after(last_seen).event("approval.requested");
    /// let mut requests = access.follow(query);
    /// loop {
    ///     let request = requests.next().await?;
    ///     println!("{} asks for {:?}", request.principal, request.path);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn follow(&self, query: AuditQuery) -> AuditStream {
        AuditStream { access: self.clone(), query, page: VecDeque::new(), searched: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessConfig, NewGrant, Scope, Subject, TenantName};

    #[tokio::test]
    async fn records_that_do_not_match_are_not_searched_again() {
        let access = Access::open(AccessConfig::in_memory()).await.unwrap();
        let rules = access.administrator("host", &TenantName::parse("acme").unwrap()).unwrap();
        let subject = Subject::parse("agent:a").unwrap();
        let new = || NewGrant::new(subject.clone(), [Scope::parse("secrets:read").unwrap()], "a");
        let grant = rules.create_grant(new()).await.unwrap();
        rules.create_grant(new()).await.unwrap();
        let mut deletions = access.follow(AuditQuery::new().event("grant.deleted"));
        let waiting = tokio::time::timeout(INTERVAL / 2, deletions.next());
        assert!(waiting.await.is_err());
        assert_eq!(deletions.searched, 2);
        rules.delete_grant(grant.id).await.unwrap();
        assert_eq!(deletions.next().await.unwrap().seq, 3);
    }
}
