//! The record of a rotating key in the store.

use core::time::Duration;

use crate::Time;

/// The number of a key. Keys with the same bytes have the same number, which means nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef(pub u32);

/// The id of an attempt to get a key, a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u128);

/// The id of an instance, a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u128);

/// The secret of a rotating key, as it was read or written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The current key.
    pub key: KeyRef,
    /// How often the key was replaced.
    pub generation: u64,
    /// The number of the write that stored the current key. It distinguishes two writes of one key.
    pub stored_as: u64,
    /// The stage of the rotation.
    pub stage: Stage,
    /// Whether the issuer may have issued a key that the store does not hold.
    pub has_untracked_keys: bool,
    /// Whether the key that is being replaced is compromised.
    pub is_compromised: bool,
    /// No instance asks the issuer for a key before this time.
    pub not_before: Option<Time>,
    /// How many attempts have failed since the last rotation.
    pub failures: u32,
}

/// The stage of a rotation in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The store holds one key, and no rotation runs.
    Settled,
    /// An instance gets a new key, or stopped while it did.
    Attempt(Attempt),
    /// The store holds the new key, and the old one until it is revoked.
    Overlap {
        /// The old key.
        previous: KeyRef,
    },
}

/// An attempt to get a new key, written to the store before the issuer is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Its id. It stays the same when another instance takes the attempt over.
    pub id: AttemptId,
    /// The instance that makes the attempt.
    pub holder: InstanceId,
    /// The fencing token. It grows with each [`Change::Claim`].
    pub token: u64,
}

/// A change of the record. The store accepts it only if it still holds the version that the instance has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Start an attempt, take one over, or extend the lease of one.
    Claim {
        /// The id of the attempt.
        id: AttemptId,
        /// Whether the previous holder may have received a key that it did not store.
        untracked: bool,
        /// Whether the key to be replaced is compromised.
        compromised: bool,
    },
    /// Keep the attempt, but make no call to the issuer for some time.
    Postpone {
        /// How long.
        pause: Duration,
    },
    /// Remove the attempt.
    Withdraw {
        /// Whether the issuer may have issued a key that is not stored.
        untracked: bool,
        /// How long no instance starts another attempt.
        pause: Option<Duration>,
    },
    /// Make a new key the current one, and the current one the previous.
    Store {
        /// The new key.
        key: KeyRef,
        /// Whether the issuer may have issued another key for the attempt.
        untracked: bool,
        /// Whether the key that it replaces is compromised.
        compromised: bool,
    },
    /// Write the same record again, to confirm that the store still holds it.
    Confirm,
    /// Remove the previous key.
    Finish {
        /// Whether there may still be keys that the store does not hold.
        untracked: bool,
    },
}

impl Record {
    /// A key that was never replaced.
    #[must_use]
    pub const fn with_key(key: KeyRef) -> Self {
        Self {
            key,
            generation: 0,
            stored_as: 0,
            stage: Stage::Settled,
            has_untracked_keys: false,
            is_compromised: false,
            not_before: None,
            failures: 0,
        }
    }

    /// The attempt in the record, unless the record holds a previous key.
    #[must_use]
    pub const fn pending_attempt(&self) -> Option<&Attempt> {
        match &self.stage {
            Stage::Attempt(attempt) => Some(attempt),
            Stage::Settled | Stage::Overlap { .. } => None,
        }
    }

    /// Applies a change that `by` makes at `now`; `number` is the fencing token of an attempt that
    /// is claimed, or the number of a write that stores a key.
    #[must_use]
    pub fn apply(mut self, change: &Change, by: InstanceId, number: u64, now: Time) -> Self {
        match *change {
            Change::Confirm => {}
            Change::Claim { id, untracked, compromised } => {
                self.stage = Stage::Attempt(Attempt { id, holder: by, token: number });
                self.has_untracked_keys |= untracked;
                self.is_compromised |= compromised;
            }
            Change::Postpone { pause } => self.delay(pause, now),
            Change::Withdraw { untracked, pause } => {
                self.stage = Stage::Settled;
                self.has_untracked_keys |= untracked;
                if let Some(pause) = pause {
                    self.delay(pause, now);
                }
            }
            Change::Store { key, untracked, compromised } => {
                self.stage = Stage::Overlap { previous: self.key };
                self.key = key;
                self.generation = self.generation.saturating_add(1);
                self.stored_as = number;
                self.has_untracked_keys |= untracked;
                self.is_compromised |= compromised;
                (self.not_before, self.failures) = (None, 0);
            }
            Change::Finish { untracked } => {
                self.stage = Stage::Settled;
                self.has_untracked_keys = untracked;
                self.is_compromised = false;
            }
        }
        self
    }

    fn delay(&mut self, pause: Duration, now: Time) {
        self.not_before = Some(now.after(pause));
        self.failures = self.failures.saturating_add(1);
    }
}
