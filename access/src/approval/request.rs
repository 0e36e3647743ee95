//! What is asked for: fixed once made, so that everybody approves the same.

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_core::{Error, ErrorKind, Result};

use crate::ApprovalId;

/// The longest purpose or reason, in bytes: approvers read them whole.
const MAX_TEXT: usize = 512;
/// The highest quorum.
const MAX_QUORUM: u8 = 16;
/// The longest time that an approval can be used for: 30 days.
const MAX_USE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Which version of the secret the approved access reads or changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VersionPolicy {
    /// The version that is active at the time of use; also for actions without a version.
    Active,
    /// Only this version.
    Exact(String),
}

/// How often an approval can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalUse {
    /// Once, before the request expires.
    Once,
    /// Any number of times, for this long after the last needed approval: whole milliseconds, at most 30 days.
    #[serde(rename = "for_ms", serialize_with = "to_millis", deserialize_with = "from_millis")]
    For(Duration),
}

fn to_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn from_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// What a requester asks for: [`ApprovalRequest::new`] checks it.
#[derive(Clone, Debug)]
pub struct ApprovalTerms {
    /// The tenant of the requester.
    pub tenant: String,
    /// The principal that will use the approval.
    pub requester: String,
    /// Identities that cannot approve, such as the person that issued the requester's token. The requester never can.
    pub excluded: BTreeSet<String>,
    /// The action.
    pub action: String,
    /// The path of the secret.
    pub path: String,
    /// The version.
    pub version: VersionPolicy,
    /// What the requester needs the access for: 1 to 512 bytes without control characters.
    pub purpose: String,
    /// Why now, such as a ticket: 1 to 512 bytes without control characters.
    pub reason: String,
    /// How many people must approve: at most 16.
    pub quorum: NonZeroU8,
    /// How often it can be used.
    pub usage: ApprovalUse,
    /// When an open request, and an approval for one use, expires: milliseconds since 1970.
    pub expires_at: i64,
}

/// A request for the approval of one access. It never changes.
///
/// Deserialization does not repeat the checks of [`new`](Self::new): it reads rows that the log authenticates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// Its id.
    pub id: ApprovalId,
    /// The tenant of the requester.
    pub tenant: String,
    /// The principal that will use the approval.
    pub requester: String,
    /// Identities that cannot approve; the requester cannot either.
    pub excluded: BTreeSet<String>,
    /// The action, in the caller's words.
    pub action: String,
    /// The path of the secret.
    pub path: String,
    /// The version.
    pub version: VersionPolicy,
    /// What the requester needs the access for.
    pub purpose: String,
    /// Why now.
    pub reason: String,
    /// How many people must approve.
    pub quorum: NonZeroU8,
    /// How often it can be used.
    pub usage: ApprovalUse,
    /// When it was made, in milliseconds since 1970.
    pub requested_at: i64,
    /// When an open request, and an approval for one use, expires: milliseconds since 1970.
    pub expires_at: i64,
}

impl ApprovalRequest {
    /// A request made at `requested_at`, in milliseconds since 1970. A duration of use is cut to whole
    /// milliseconds.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput): the purpose or the reason is empty, longer than 512 bytes or
    /// contains control characters; the quorum is over 16; the duration of use is under a millisecond or over
    /// 30 days; or the request would be expired when it is made.
    pub fn new(id: ApprovalId, terms: ApprovalTerms, requested_at: i64) -> Result<Self> {
        for (name, text) in [("purpose", &terms.purpose), ("reason", &terms.reason)] {
            if !is_valid_text(text) {
                return Err(Error::new(ErrorKind::InvalidInput, "describe the need in plain text")
                    .because(format!(
                        "the {name} must have 1 to {MAX_TEXT} bytes and no control characters"
                    )));
            }
        }
        if terms.quorum.get() > MAX_QUORUM {
            return Err(Error::new(ErrorKind::InvalidInput, "ask for fewer approvals")
                .because(format!("the quorum {} is over {MAX_QUORUM}", terms.quorum)));
        }
        let mut usage = terms.usage;
        if let ApprovalUse::For(duration) = &mut usage {
            if *duration > MAX_USE || duration.as_millis() == 0 {
                return Err(Error::new(ErrorKind::InvalidInput, "ask for another duration")
                    .because("an approval can be used for 1 millisecond to 30 days"));
            }
            *duration -= Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000_000));
        }
        if terms.expires_at <= requested_at {
            return Err(Error::new(ErrorKind::InvalidInput, "set a later expiry")
                .because("the approval request would expire at once"));
        }
        Ok(Self {
            id,
            tenant: terms.tenant,
            requester: terms.requester,
            excluded: terms.excluded,
            action: terms.action,
            path: terms.path,
            version: terms.version,
            purpose: terms.purpose,
            reason: terms.reason,
            quorum: terms.quorum,
            usage,
            requested_at,
            expires_at: terms.expires_at,
        })
    }

    /// Whether approval by `person` counts.
    #[must_use]
    pub fn accepts_approver(&self, person: &str) -> bool {
        person != self.requester && !self.excluded.contains(person)
    }
}

/// Whether a text is fit to be shown to an approver.
pub(super) fn is_valid_text(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && crate::text::is_plain(text)
}
