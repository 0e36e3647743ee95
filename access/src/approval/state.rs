//! The state of one approval: commands in, events out, events folded.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::request::is_valid_text;
use super::{ApprovalCommand, ApprovalEvent, ApprovalRequest, ApprovalUse, Refusal, VersionPolicy};

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Approval {
    /// The request.
    pub request: ApprovalRequest,
    /// The state that the events led to. Expiry is not part of it: see [`status`](Self::status).
    pub state: ApprovalState,
    /// The time of its newest event: it does not go back.
    newest: i64,
}

/// The state that the events of a request led to. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalState {
    /// It waits for approvals.
    Open {
        /// Who has approved.
        approved_by: BTreeSet<String>,
    },
    /// Enough people have approved.
    Approved {
        /// When the last of them did.
        at: i64,
        /// Who has approved.
        by: BTreeSet<String>,
    },
    /// A person has denied the request or ended the approval.
    Denied {
        /// The person.
        by: String,
        /// When.
        at: i64,
        /// Why.
        reason: String,
    },
    /// The requester has given it up.
    Withdrawn,
    /// The only use has taken place.
    Used {
        /// When.
        at: i64,
    },
    /// Its time was over, and that was noted.
    Expired {
        /// When it was noted.
        at: i64,
    },
}

/// The status of an approval as of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalStatus {
    /// It waits for approvals.
    Open,
    /// The requester can use it.
    Approved,
    /// A person has denied the request or ended the approval.
    Denied,
    /// The requester has given it up.
    Withdrawn,
    /// The only use has taken place.
    Used,
    /// Its time is over.
    Expired,
}

impl ApprovalStatus {
    /// Whether it is final: no command changes it any more.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Open | Self::Approved)
    }
}

impl Approval {
    /// The approval after its event `Requested`.
    #[must_use]
    pub fn new(request: ApprovalRequest) -> Self {
        let newest = request.requested_at;
        Self { request, state: ApprovalState::Open { approved_by: BTreeSet::new() }, newest }
    }

    /// The status at `now`, in milliseconds since 1970. A time before its newest event counts as that event's.
    #[must_use]
    pub fn status(&self, now: i64) -> ApprovalStatus {
        let is_expired = now.max(self.newest) >= self.ends_at();
        match self.state {
            ApprovalState::Denied { .. } => ApprovalStatus::Denied,
            ApprovalState::Withdrawn => ApprovalStatus::Withdrawn,
            ApprovalState::Used { .. } => ApprovalStatus::Used,
            ApprovalState::Expired { .. } => ApprovalStatus::Expired,
            ApprovalState::Open { .. } | ApprovalState::Approved { .. } if is_expired => {
                ApprovalStatus::Expired
            }
            ApprovalState::Open { .. } => ApprovalStatus::Open,
            ApprovalState::Approved { .. } => ApprovalStatus::Approved,
        }
    }

    /// When it ended, in milliseconds since 1970; `None` while no event has ended it, also if its time is over.
    pub(crate) fn ended_at(&self) -> Option<i64> {
        let is_ended =
            !matches!(self.state, ApprovalState::Open { .. } | ApprovalState::Approved { .. });
        is_ended.then_some(self.newest)
    }

    /// When the request or its approval expires if nothing ends it before: milliseconds since 1970.
    #[must_use]
    pub fn ends_at(&self) -> i64 {
        match (&self.state, self.request.usage) {
            (ApprovalState::Approved { at, .. }, ApprovalUse::For(duration)) => {
                at.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
            }
            _ => self.request.expires_at,
        }
    }

    /// The event that carries `command` out, for the caller to append to the log.
    ///
    /// `now` is the later of the clock and the newest row of the log, in milliseconds since 1970. Nothing has
    /// happened until the event is appended behind the rows that this state contains.
    ///
    /// # Errors
    /// Why the command is refused. Whether an access is the requested one is checked first, so that others do not learn
    /// the status of a request by trying to use it.
    pub fn propose(&self, command: &ApprovalCommand, now: i64) -> Result<ApprovalEvent, Refusal> {
        let at = now.max(self.newest);
        let id = self.request.id;
        match command {
            ApprovalCommand::Approve { by } => {
                self.check_open(at)?;
                if !self.request.accepts_approver(by) {
                    return Err(Refusal::OwnRequest);
                }
                match &self.state {
                    ApprovalState::Open { approved_by } if !approved_by.contains(by) => {
                        Ok(ApprovalEvent::Approved { id, by: by.clone(), at })
                    }
                    _ => Err(Refusal::AlreadyApproved),
                }
            }
            ApprovalCommand::Deny { by, reason } => {
                self.check_open(at)?;
                if !is_valid_text(reason) {
                    return Err(Refusal::InvalidReason);
                }
                Ok(ApprovalEvent::Denied { id, by: by.clone(), at, reason: reason.clone() })
            }
            ApprovalCommand::Withdraw { by } => {
                self.check_requester(by)?;
                self.check_open(at)?;
                Ok(ApprovalEvent::Withdrawn { id, by: by.clone(), at })
            }
            ApprovalCommand::Expire => match (self.status(at), self.ended_at()) {
                (ApprovalStatus::Expired, None) => Ok(ApprovalEvent::Expired { id, at }),
                (ended, _) if ended.is_ended() => Err(Refusal::Ended(ended)),
                _ => Err(Refusal::NotExpired),
            },
            ApprovalCommand::Use { by, action, path, version } => {
                self.check_requester(by)?;
                if *action != self.request.action || *path != self.request.path {
                    return Err(Refusal::OtherRequest);
                }
                let is_version = match &self.request.version {
                    VersionPolicy::Active => version.is_none(),
                    VersionPolicy::Exact(exact) => version.as_ref() == Some(exact),
                };
                if !is_version {
                    return Err(Refusal::OtherVersion);
                }
                match self.status(at) {
                    ApprovalStatus::Approved => Ok(ApprovalEvent::Used { id, at }),
                    ApprovalStatus::Open => Err(Refusal::NotApproved),
                    ended => Err(Refusal::Ended(ended)),
                }
            }
        }
    }

    /// Folds an event of the log into the state.
    ///
    /// An event that the rules do not permit changes nothing but the newest time: a damaged history
    /// never gives more access. So do events of other requests, which change nothing at all.
    pub fn apply(&mut self, event: &ApprovalEvent) {
        if event.id() != self.request.id {
            return;
        }
        let at = event.at().max(self.newest);
        let status = self.status(at);
        let is_noted = self.ended_at().is_some();
        self.newest = at;
        if status == ApprovalStatus::Expired
            && !is_noted
            && matches!(event, ApprovalEvent::Expired { .. })
        {
            self.state = ApprovalState::Expired { at };
        }
        if status.is_ended() {
            return;
        }
        match (event, &mut self.state) {
            (ApprovalEvent::Approved { by, .. }, ApprovalState::Open { approved_by })
                if self.request.accepts_approver(by) =>
            {
                approved_by.insert(by.clone());
                if approved_by.len() >= usize::from(self.request.quorum.get()) {
                    let by = std::mem::take(approved_by);
                    self.state = ApprovalState::Approved { at, by };
                }
            }
            (ApprovalEvent::Denied { by, reason, .. }, _) => {
                self.state = ApprovalState::Denied { by: by.clone(), at, reason: reason.clone() };
            }
            (ApprovalEvent::Withdrawn { .. }, _) => self.state = ApprovalState::Withdrawn,
            (ApprovalEvent::Used { .. }, ApprovalState::Approved { .. })
                if self.request.usage == ApprovalUse::Once =>
            {
                self.state = ApprovalState::Used { at };
            }
            _ => {}
        }
    }

    fn check_open(&self, at: i64) -> Result<(), Refusal> {
        match self.status(at) {
            ended if ended.is_ended() => Err(Refusal::Ended(ended)),
            _ => Ok(()),
        }
    }

    fn check_requester(&self, by: &str) -> Result<(), Refusal> {
        if by == self.request.requester { Ok(()) } else { Err(Refusal::NotRequester) }
    }
}
