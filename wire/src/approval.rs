//! Requests for approval, and what became of them.

use serde::{Deserialize, Serialize};

/// The longest time that a request for the state of an approval may wait for a change, in seconds.
pub const MAX_APPROVAL_WAIT_SECONDS: u64 = 60;

/// What a caller asks people to approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[cfg_attr(feature = "openapi", schema(as = NewApproval))]
pub struct NewApprovalBody {
    /// The path of the secret.
    pub path: String,
    /// The action, such as `read`, which it is unless it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The only version that the approval is for; the active one unless it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the value is for, or where it goes.
    pub purpose: String,
    /// Why now.
    pub reason: String,
    /// How many people have to approve, 1 to 16: 1 unless it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u8>,
    /// For how long it may be used after the approval, in seconds, at most 30 days: for one use unless it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_for_seconds: Option<u64>,
    /// For how long it waits for people, in seconds, at most 30 days: 1 hour unless it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_for_seconds: Option<u64>,
}

impl NewApprovalBody {
    /// A request to read a secret once.
    #[must_use]
    pub fn read(
        path: impl Into<String>,
        purpose: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            action: None,
            version: None,
            purpose: purpose.into(),
            reason: reason.into(),
            quorum: None,
            usable_for_seconds: None,
            open_for_seconds: None,
        }
    }
}

/// A request for approval, with its state. Times are as in `2030-12-31T23:59:59.000Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
#[cfg_attr(feature = "openapi", schema(as = Approval))]
pub struct ApprovalBody {
    /// Its id.
    pub id: String,
    /// `open`, `approved`, `denied`, `withdrawn`, `used` or `expired`.
    pub status: String,
    /// Who asks.
    pub requester: String,
    /// The action.
    pub action: String,
    /// The path of the secret.
    pub path: String,
    /// The only version that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the value is for, or where it goes.
    pub purpose: String,
    /// Why now.
    pub reason: String,
    /// How many people have to approve.
    pub quorum: u8,
    /// Who has approved, until it is used, denied or withdrawn.
    #[serde(default)]
    pub approved_by: Vec<String>,
    /// For how long it may be used after the approval, in seconds; for one use if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_for_seconds: Option<u64>,
    /// When it was made.
    pub requested_at: String,
    /// When the request, or its approval, ends by itself.
    pub ends_at: String,
    /// The person that has denied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<String>,
    /// Why that person has denied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_because: Option<String>,
}

impl ApprovalBody {
    /// An open request, of which only these members are known yet.
    #[must_use]
    pub fn new(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            status: status.into(),
            requester: String::new(),
            action: String::new(),
            path: String::new(),
            version: None,
            purpose: String::new(),
            reason: String::new(),
            quorum: 1,
            approved_by: Vec::new(),
            usable_for_seconds: None,
            requested_at: String::new(),
            ends_at: String::new(),
            denied_by: None,
            denied_because: None,
        }
    }
}

/// The requests that the caller may decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalList {
    /// The open ones, by their age.
    pub approvals: Vec<ApprovalBody>,
}

/// Why a person denies a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", schema(as = Denial))]
pub struct DenialBody {
    /// The reason, which the requester reads.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_only_the_members_that_are_set() {
        let new = NewApprovalBody::read("a", "a demo", "ticket 1");
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(text, r#"{"path":"a","purpose":"a demo","reason":"ticket 1"}"#);
        assert_eq!(serde_json::from_str::<NewApprovalBody>(&text).unwrap(), new);
        let odd = text.replace("purpose", "purposes");
        assert!(serde_json::from_str::<NewApprovalBody>(&odd).is_err());
    }
}
