//! A request that waits for people.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom_core::{Error, ErrorKind, Result};

use crate::ApprovalId;
use crate::access::closed_error;
use crate::approval::{Approval, ApprovalState, ApprovalStatus};
use crate::published::{Published, TenantCell};

/// A request for approval that was recorded. Dropping it changes nothing: the request stays open.
#[derive(Clone, Debug)]
pub struct PendingApproval {
    id: ApprovalId,
    published: Arc<Published>,
    cell: Arc<TenantCell>,
}

/// The longest time between two looks at the clock while it waits, which suspensions and changes of the clock disturb.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl PendingApproval {
    pub(crate) fn new(id: ApprovalId, published: Arc<Published>, cell: Arc<TenantCell>) -> Self {
        Self { id, published, cell }
    }

    /// The id, by which people decide and by which [`Rules::approval`](crate::Rules::approval) finds it again.
    #[must_use]
    pub fn id(&self) -> ApprovalId {
        self.id
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> ApprovalStatus {
        let rules = self.cell.rules();
        rules
            .approvals
            .get(&self.id)
            .map_or(ApprovalStatus::Expired, |it| it.status(self.published.now()))
    }

    /// The request with its state, and its status now; `None` a day after it has ended.
    #[must_use]
    pub fn approval(&self) -> Option<(Approval, ApprovalStatus)> {
        let rules = self.cell.rules();
        let approval = rules.approvals.get(&self.id)?;
        Some((Approval::clone(approval), approval.status(self.published.now())))
    }

    /// Waits while the request is open.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] once the access rules are closed.
    pub async fn wait_while_open(&self) -> Result<ApprovalStatus> {
        let mut changes = self.cell.subscribe();
        loop {
            changes.borrow_and_update();
            match self.status() {
                ApprovalStatus::Open if self.published.has_ended() => return Err(closed_error()),
                ApprovalStatus::Open => {}
                status => return Ok(status),
            }
            let expires_in = self.expires_in().min(CHECK_INTERVAL);
            // The status is asked again after each wake-up. The sender is the cell's own.
            let _ = tokio::time::timeout(expires_in, changes.changed()).await;
        }
    }

    /// Waits until enough people have approved. The principal can then use it once, or for a time, by the same
    /// call that it asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] once it is denied, withdrawn or expired, with the reason that was given;
    /// [`ErrorKind::Closed`] once the access rules are closed, which leaves the request open.
    pub async fn wait(&self) -> Result<()> {
        match self.wait_while_open().await? {
            ApprovalStatus::Approved => Ok(()),
            ended => Err(self.ended(ended)),
        }
    }

    fn expires_in(&self) -> Duration {
        let rules = self.cell.rules();
        let expires_at = rules.approvals.get(&self.id).map_or(0, |it| it.request.expires_at);
        let time = crate::grant::from_millis(expires_at);
        time.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_millis(1)
    }

    fn ended(&self, status: ApprovalStatus) -> Error {
        let rules = self.cell.rules();
        let cause = match (status, rules.approvals.get(&self.id).map(|approval| &approval.state)) {
            (_, Some(ApprovalState::Denied { by, reason, .. })) => {
                format!("{by} denied the request: {reason}")
            }
            (ApprovalStatus::Withdrawn, _) => "the request was withdrawn".to_owned(),
            (ApprovalStatus::Used, _) => "the approval was used already".to_owned(),
            _ => "the request expired before enough people approved it".to_owned(),
        };
        Error::new(ErrorKind::Denied, "ask again if it is still needed").because(cause)
    }
}
