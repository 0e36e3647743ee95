//! The approval protocol: one access that other people allow beforehand. Without I/O and without a clock.
//!
//! A request binds one principal to one action on one path. Enough other people approve it, then the
//! requester uses it. [`Approval::propose`] judges a command against the state and gives the event to
//! append to the log; [`Approval::apply`] folds an appended event into the state. The caller keeps two
//! rules, and `explore.rs` shows what breaks without them:
//!
//! - It appends an event only if the log still ends where the state was read. Otherwise it applies the new
//!   rows and proposes again. It acts on an event only after the append.
//! - It passes `max(clock, time of the newest row in the log)` as `now`, so that a clock that goes back does not
//!   extend an approval.

#[cfg(test)]
mod explore;
mod request;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use strongroom_core::{Error, ErrorKind};

use crate::ApprovalId;

pub(crate) use self::request::ApprovalTerms;
pub use self::request::{ApprovalRequest, ApprovalUse, VersionPolicy};
pub use self::state::{Approval, ApprovalState, ApprovalStatus};

/// One row of the log about an approval. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
// The log's own tag is `type`, and two members of one name cannot be read again.
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalEvent {
    /// A principal asks for approval; the first event of each approval.
    Requested(Box<ApprovalRequest>),
    /// A person approves.
    Approved {
        /// The request.
        id: ApprovalId,
        /// The approver.
        by: String,
        /// When.
        at: i64,
    },
    /// A person denies the request, or ends its approval.
    Denied {
        /// The request.
        id: ApprovalId,
        /// The person.
        by: String,
        /// When.
        at: i64,
        /// Why, for the requester.
        reason: String,
    },
    /// The requester gives the request or its approval up.
    Withdrawn {
        /// The request.
        id: ApprovalId,
        /// The requester.
        by: String,
        /// When.
        at: i64,
    },
    /// The requester uses the approval once.
    Used {
        /// The request.
        id: ApprovalId,
        /// When.
        at: i64,
    },
    /// The time of the request or of its approval is over. It ends by the clock alone; this event tells people.
    Expired {
        /// The request.
        id: ApprovalId,
        /// When it was noticed.
        at: i64,
    },
}

impl ApprovalEvent {
    /// The request that the event belongs to.
    #[must_use]
    pub fn id(&self) -> ApprovalId {
        match self {
            Self::Requested(request) => request.id,
            Self::Approved { id, .. }
            | Self::Denied { id, .. }
            | Self::Withdrawn { id, .. }
            | Self::Used { id, .. }
            | Self::Expired { id, .. } => *id,
        }
    }

    /// When it happened, in milliseconds since 1970.
    #[must_use]
    pub fn at(&self) -> i64 {
        match self {
            Self::Requested(request) => request.requested_at,
            Self::Approved { at, .. }
            | Self::Denied { at, .. }
            | Self::Withdrawn { at, .. }
            | Self::Used { at, .. }
            | Self::Expired { at, .. } => *at,
        }
    }
}

/// What a principal wants to do with an approval. The caller has authenticated `by`, and has checked that it
/// holds the scope to decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApprovalCommand {
    /// Approve the request.
    Approve {
        /// The approver.
        by: String,
    },
    /// Deny an open request, or end an approval. It only takes access away, so it is open to excluded
    /// identities, too.
    Deny {
        /// The person.
        by: String,
        /// Why: 1 to 512 bytes without control characters.
        reason: String,
    },
    /// Give the request or its approval up.
    Withdraw {
        /// The requester.
        by: String,
    },
    /// Use the approval for one access.
    Use {
        /// The requester.
        by: String,
        /// The action of this access.
        action: String,
        /// The path of this access.
        path: String,
        /// The version that the access names; `None` for the active one.
        version: Option<String>,
    },
    /// Note that its time is over.
    Expire,
}

/// Why a command is refused. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The request has ended, in this way.
    Ended(ApprovalStatus),
    /// The requester, or an identity excluded with it, tries to approve.
    OwnRequest,
    /// The person, or enough people, have approved before.
    AlreadyApproved,
    /// Another principal than the requester tries to use or withdraw it.
    NotRequester,
    /// The access is to another path, or is another action.
    OtherRequest,
    /// The access is to another version.
    OtherVersion,
    /// Not enough people have approved yet.
    NotApproved,
    /// Its time is not over yet.
    NotExpired,
    /// The reason of a denial is empty, too long, or contains control characters.
    InvalidReason,
}

impl Refusal {
    /// The refusal as an error: [`Conflict`](ErrorKind::Conflict) if the person has approved before,
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an invalid reason, else [`Denied`](ErrorKind::Denied).
    #[must_use]
    pub fn into_error(self) -> Error {
        let kind = match self {
            Self::AlreadyApproved => ErrorKind::Conflict,
            Self::InvalidReason => ErrorKind::InvalidInput,
            _ => ErrorKind::Denied,
        };
        Error::new(kind, self.advice()).because(self.phrase())
    }

    const fn phrase(self) -> &'static str {
        match self {
            Self::Ended(ApprovalStatus::Denied) => "the approval request was denied",
            Self::Ended(ApprovalStatus::Withdrawn) => "the approval request was withdrawn",
            Self::Ended(ApprovalStatus::Used) => "the approval has been used",
            Self::Ended(ApprovalStatus::Expired) => "the approval request has expired",
            Self::Ended(ApprovalStatus::Open | ApprovalStatus::Approved) => {
                "the approval request has ended"
            }
            Self::OwnRequest => {
                "the requester, or an identity behind it, cannot approve the request"
            }
            Self::AlreadyApproved => {
                "the request is already approved, by this person or by enough others"
            }
            Self::NotRequester => "the approval belongs to another requester",
            Self::OtherRequest => "the approval is for another action or path",
            Self::OtherVersion => "the approval is for another version",
            Self::NotApproved => "not enough people have approved the request",
            Self::NotExpired => "the time of the approval request is not over",
            Self::InvalidReason => "the reason must have 1 to 512 bytes and no control characters",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Ended(_) => "make a new approval request",
            Self::OwnRequest => "ask another person to approve it",
            Self::AlreadyApproved => "nothing more to approve; deny the request to end it",
            Self::NotRequester => "make an approval request with this identity",
            Self::OtherRequest => "make an approval request for exactly this action and path",
            Self::OtherVersion => "make an approval request for exactly this version",
            Self::NotApproved => "wait for the approvals, then try again",
            Self::NotExpired => "wait, or withdraw it",
            Self::InvalidReason => "give a short reason in plain text",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.into_error()
    }
}
