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
            self.page = self.access.audit(self.query.clone()).await?.into();
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
        AuditStream { access: self.clone(), query, page: VecDeque::new() }
    }
}
