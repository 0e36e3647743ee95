//! The format of a secret that rotates, version 1.
//!
//! The secret is a JSON object. Each instance writes it whole, and only if the version that it has read is
//! still the active one. All members are text. Members that are not listed here belong to the user and
//! stay as they are.
//!
//! | member | meaning | written when |
//! |---|---|---|
//! | `key`, or the member that [`RotationPolicy::member`](super::RotationPolicy::member) names | the current key | a new key is stored |
//! | `rotation_version` | the version of this format: `1` | with each write |
//! | `rotation_previous` | the key before the current one | a new key is stored; removed when that key is revoked |
//! | `rotation_generation` | how often the key was replaced; without it, 0 | a new key is stored |
//! | `rotation_rotated_at` | when the current key was stored (RFC 3339, milliseconds) | a new key is stored |
//! | `rotation_expires_at` | when the current key stops working (RFC 3339), if the issuer said so | a new key is stored |
//! | `rotation_salt` | keys the fingerprints of this secret's keys | with the first write |
//! | `rotation_attempt` | the attempt to get a new key: its id, a UUID | an instance starts an attempt; removed when a key is stored or the attempt has failed |
//! | `rotation_attempt_by` | the instance that makes the attempt, a UUID | an instance starts an attempt or takes it over |
//! | `rotation_attempt_at` | when that instance wrote it last (RFC 3339), for operators | as above, and when it extends its lease |
//! | `rotation_attempt_token` | the fencing token of the last attempt, a whole number that only grows: at least the time in milliseconds since 1970 | as above; stays when the attempt is removed |
//! | `rotation_not_before` | no instance asks the issuer for a key before that time (RFC 3339) | an attempt has failed; removed when a key is stored |
//! | `rotation_failures` | how many attempts have failed since the last rotation | as above |
//! | `rotation_untracked_keys` | `true` if the issuer may have given a key that is not stored | an attempt may have lost a key; removed once the issuer's keys were looked through or the operator was told |
//! | `rotation_compromised` | the generation whose key is compromised, if it is the one that is to be replaced | `rotate_compromised`; removed when that key is revoked |
//! | `rotation_fixed_expiry` | the expiry of the secret itself that the store did not let the engine change with the key (RFC 3339): it belongs to an earlier key | a new key is stored |
//!
//! A text that is not a JSON object is a key that was never replaced: the first write makes it an object.
//! Records without `rotation_version` were written before version 1: `rotation_intent`,
//! `rotation_intent_by`, `rotation_intent_at`, `rotation_unsure` and `rotation_leaked` stand in them for
//! the attempt, the untracked keys and the compromised generation. They are read, and the next write makes
//! them version 1. A record of a later version is refused, and never written.

mod compose;
mod parse;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::fmt;
use std::time::{Duration, SystemTime};

use strongroom_core::{SecretValue, Version};
use strongroom_rotation_protocol::{self as protocol, AttemptId, InstanceId, Stage, Time};
use uuid::Uuid;

use super::fingerprint::Fingerprint;
use super::key_table::KeyTable;

pub(crate) use self::compose::Writer;

/// The version of the format that this code writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The member that holds the current key, unless the policy names another.
pub(crate) const KEY: &str = "key";
const VERSION: &str = "rotation_version";
const PREVIOUS: &str = "rotation_previous";
const GENERATION: &str = "rotation_generation";
const ROTATED_AT: &str = "rotation_rotated_at";
const EXPIRES_AT: &str = "rotation_expires_at";
const SALT: &str = "rotation_salt";
const ATTEMPT: &str = "rotation_attempt";
const ATTEMPT_AT: &str = "rotation_attempt_at";
const ATTEMPT_BY: &str = "rotation_attempt_by";
const ATTEMPT_TOKEN: &str = "rotation_attempt_token";
const NOT_BEFORE: &str = "rotation_not_before";
const FAILURES: &str = "rotation_failures";
const UNTRACKED: &str = "rotation_untracked_keys";
const COMPROMISED: &str = "rotation_compromised";
const FIXED_EXPIRY: &str = "rotation_fixed_expiry";

/// The members of records from before version 1, and the members that took their places.
const LEGACY: [(&str, &str); 5] = [
    ("rotation_intent", ATTEMPT),
    ("rotation_intent_at", ATTEMPT_AT),
    ("rotation_intent_by", ATTEMPT_BY),
    ("rotation_unsure", UNTRACKED),
    ("rotation_leaked", COMPROMISED),
];

/// How far ahead the clock of the instance that has postponed an attempt may be.
const LONGEST_POSTPONEMENT: Duration = Duration::from_secs(25 * 3600);

/// A secret that rotates, as it was read or written.
#[derive(Clone)]
pub(crate) struct StoredRecord {
    /// The version of the secret in its store.
    pub(crate) version: Version,
    pub(crate) key: SecretValue,
    pub(crate) previous: Option<SecretValue>,
    pub(crate) generation: u64,
    pub(crate) times: Times,
    attempt: Option<StoredAttempt>,
    /// The fencing token of the last attempt.
    token: u64,
    flags: Flags,
    salt: Salt,
    /// All that is stored.
    document: SecretValue,
    /// Whether that is the key alone, and no object.
    is_plain: bool,
}

/// The times in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) rotated_at: Option<SystemTime>,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) not_before: Option<SystemTime>,
    pub(crate) fixed_expiry: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StoredAttempt {
    id: Uuid,
    at: Option<SystemTime>,
    by: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags {
    has_untracked_keys: bool,
    is_compromised: bool,
    failures: u32,
}

/// What keys the fingerprints. A key that stays keeps its fingerprint, also before a salt is stored.
#[derive(Clone)]
struct Salt {
    value: String,
    is_stored: bool,
}

/// Neither keys nor the salt of their fingerprints.
impl fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRecord")
            .field("version", &self.version)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl StoredRecord {
    /// The record as the protocol sees it at `now`, when the calendar says `wall`.
    pub(crate) fn view(
        &self,
        keys: &mut KeyTable,
        (now, wall): (Time, SystemTime),
    ) -> protocol::Record {
        let stage = match (&self.previous, &self.attempt) {
            (Some(previous), _) => Stage::Overlap { previous: keys.number(previous) },
            (None, Some(attempt)) => Stage::Attempt(protocol::Attempt {
                id: AttemptId(attempt.id.as_u128()),
                holder: instance_id(&attempt.by),
                token: self.token,
            }),
            (None, None) => Stage::Settled,
        };
        let ahead = |at: SystemTime| at.duration_since(wall).ok();
        let not_before = self.times.not_before.and_then(ahead);
        protocol::Record {
            key: keys.number(&self.key),
            generation: self.generation,
            stored_as: self.times.rotated_at.map_or(0, milliseconds),
            stage,
            has_untracked_keys: self.flags.has_untracked_keys,
            is_compromised: self.flags.is_compromised,
            not_before: not_before.map(|left| now.after(left.min(LONGEST_POSTPONEMENT))),
            failures: self.flags.failures,
        }
    }

    /// The record with the salt of an earlier read, as long as the store holds none.
    pub(crate) fn keep_salt(mut self, earlier: Option<&Self>) -> Self {
        if let Some(earlier) = earlier
            && !self.salt.is_stored
        {
            self.salt.value.clone_from(&earlier.salt.value);
        }
        self
    }

    pub(crate) fn fingerprint(&self, key: &SecretValue) -> Fingerprint {
        Fingerprint::of(key, self.salt.value.as_bytes())
    }
}

/// The number of an instance that calls itself so. Instances call themselves by a UUID; other names are
/// told apart by a hash.
fn instance_id(name: &str) -> InstanceId {
    let id = Uuid::try_parse(name).map(|id| id.as_u128());
    InstanceId(id.unwrap_or_else(|_| {
        use sha2::{Digest as _, Sha256};
        let hash = Sha256::digest(name.as_bytes());
        hash.first_chunk().copied().map_or(0, u128::from_be_bytes)
    }))
}

/// Whether two times are the same, as precisely as a record holds them.
pub(crate) fn is_same_time(one: Option<SystemTime>, other: Option<SystemTime>) -> bool {
    one.map(milliseconds) == other.map(milliseconds)
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
