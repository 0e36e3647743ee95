//! The secret of a rotating key, as the store holds it: [the record](crate#the-record).

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
pub(crate) use self::parse::mark_compromised;

/// The version of the format that this code writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The member that holds the current key, unless the policy names another.
pub(crate) const KEY: &str = "key";
/// The prefix of the names of all other members.
pub(crate) const RECORD_PREFIX: &str = "rotation_";
const VERSION: &str = "rotation_version";
const PREVIOUS: &str = "rotation_previous";
const GENERATION: &str = "rotation_generation";
const ROTATED_AT: &str = "rotation_rotated_at";
const EXPIRES_AT: &str = "rotation_expires_at";
const SALT: &str = "rotation_salt";
const ATTEMPT: &str = "rotation_attempt";
const ATTEMPT_AT: &str = "rotation_attempt_at";
const ATTEMPT_BY: &str = "rotation_attempt_by";
const ATTEMPT_TOKEN: &str = "rotation_fencing_token";
const NOT_BEFORE: &str = "rotation_not_before";
const FAILURES: &str = "rotation_failures";
const UNTRACKED: &str = "rotation_untracked_keys";
const COMPROMISED: &str = "rotation_compromised";
const FIXED_EXPIRY: &str = "rotation_fixed_expiry";

/// The members of records before version 1, and the members that replaced them.
const LEGACY: [(&str, &str); 5] = [
    ("rotation_intent", ATTEMPT),
    ("rotation_intent_at", ATTEMPT_AT),
    ("rotation_intent_by", ATTEMPT_BY),
    ("rotation_unsure", UNTRACKED),
    ("rotation_leaked", COMPROMISED),
];

/// The longest postponement that counts: the clock of the instance that wrote it may be ahead.
const MAX_POSTPONEMENT: Duration = Duration::from_secs(25 * 3600);

/// The record of a rotating key, as it was read or written.
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
    /// The whole secret.
    document: SecretValue,
    /// Whether the secret is the key alone, not an object.
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

/// The salt of the fingerprints. Before one is stored, the instance keeps its own, so that fingerprints stay.
#[derive(Clone)]
struct Salt {
    value: String,
    is_stored: bool,
}

/// Shows neither keys nor the salt of their fingerprints.
impl fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRecord")
            .field("version", &self.version)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl StoredRecord {
    /// Converts the record for the protocol, whose clock shows `now` while the wall clock shows `wall`.
    pub(crate) fn view(
        &self,
        keys: &mut KeyTable,
        (now, wall): (Time, SystemTime),
    ) -> protocol::Record {
        let stage = match (&self.previous, &self.attempt) {
            (Some(previous), _) => Stage::Overlap { previous: keys.intern(previous) },
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
            key: keys.intern(&self.key),
            generation: self.generation,
            stored_as: self.times.rotated_at.map_or(0, milliseconds),
            stage,
            has_untracked_keys: self.flags.has_untracked_keys,
            is_compromised: self.flags.is_compromised,
            not_before: not_before.map(|left| now.after(left.min(MAX_POSTPONEMENT))),
            failures: self.flags.failures,
        }
    }

    /// Keeps the salt of an earlier read while the store holds none.
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

/// The id of the instance that a record names. Instances write a UUID; another name is hashed.
fn instance_id(name: &str) -> InstanceId {
    let id = Uuid::try_parse(name).map(|id| id.as_u128());
    InstanceId(id.unwrap_or_else(|_| {
        use sha2::{Digest as _, Sha256};
        let hash = Sha256::digest(name.as_bytes());
        hash.first_chunk().copied().map_or(0, u128::from_be_bytes)
    }))
}

/// Whether two times are the same to the millisecond, the precision of a record.
pub(crate) fn is_same_time(one: Option<SystemTime>, other: Option<SystemTime>) -> bool {
    one.map(milliseconds) == other.map(milliseconds)
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
