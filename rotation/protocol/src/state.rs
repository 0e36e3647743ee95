//! The state of one instance: its phase, and what it has read from the store.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Attempt, AttemptId, InstanceId, KeyRef, Record, Rules, Time};

/// One instance of a service, as far as one key is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Its name in the store.
    pub id: InstanceId,
    /// The phase of its rotation.
    pub phase: Phase,
    /// The call in progress.
    pub pending: Pending,
    /// The record as the instance has last read or written it.
    pub record: Record,
    /// The key that requests carry.
    pub in_use: InUse,
    /// The rotation that it is asked for.
    pub goal: Goal,
    /// The lease of another instance's attempt.
    pub lease: Option<Lease>,
    /// Until when the instance ignores reads that show an earlier key than the one in use: they may lag.
    pub ignore_stale_until: Option<Time>,
    /// How many writes in a row have failed because another instance had written first.
    pub conflicts: u32,
    /// When it may act again after a failure.
    pub backoff: Backoff,
}

/// The phase of an instance's rotation, with the state that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The instance takes no part in a rotation.
    Idle,
    /// The instance writes its attempt to the store; the outcome is unknown so far.
    Claiming {
        /// The attempt.
        attempt: AttemptId,
        /// Whether another instance may have asked the issuer with this attempt's id.
        takes_over: bool,
    },
    /// The store holds the attempt, and the instance has received no key yet.
    Attempting {
        /// The attempt.
        attempt: AttemptId,
        /// How long the attempt belongs to this instance.
        own_lease: OwnLease,
        /// Whether the issuer may still have issued a key: a response was lost, or another instance has asked
        /// with this attempt's id before.
        may_have_issued: bool,
    },
    /// The issuer has issued a key that is not known to be stored. The store shows the attempt.
    Issued(Issued),
    /// The issuer has issued a key, and the store shows neither the key nor the attempt.
    Missing {
        /// The key.
        issued: Issued,
        /// When the instance accepts that: reads may lag.
        accepted_at: Time,
        /// When all instances that may use the key have noticed that it is gone.
        until: Time,
    },
    /// The attempt has failed permanently; the instance removes it from the store.
    Withdrawing {
        /// The attempt.
        attempt: AttemptId,
        /// Whether the issuer may have issued a key that is not stored.
        untracked: bool,
    },
    /// The store holds a new key, and the old one until it is revoked.
    Overlap(Overlap),
    /// The store was asked to replace the secret itself.
    Requested {
        /// How long it may take.
        until: Time,
    },
}

/// A key that the issuer has issued for an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issued {
    /// The attempt.
    pub attempt: AttemptId,
    /// The key.
    pub key: KeyRef,
    /// How long the attempt belongs to this instance.
    pub own_lease: OwnLease,
    /// Whether the issuer may have issued another key for this attempt before.
    pub untracked: bool,
    /// Whether the key works.
    pub verification: Verification,
    /// Whether the key may have been stored, so that other instances may use it.
    pub may_be_stored: bool,
    /// The failed attempts to revoke it.
    pub revocation_failures: RevocationFailures,
}

/// Whether a new key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verification {
    /// The key is being verified. Some keys work only some seconds after they were issued.
    Running {
        /// When the key is verified next.
        next: Time,
        /// The pause before the verification after that.
        pause: Duration,
        /// When the instance gives the key up.
        until: Time,
    },
    /// The key can never be stored, because it is not text.
    Unusable {
        /// The error.
        failure: Failure,
    },
}

/// The lease of this instance's own attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnLease {
    /// When the holder extends the lease before it makes another call.
    pub renew_at: Time,
    /// The deadline of calls to the issuer: they end before others take the attempt over.
    pub call_deadline: Time,
}

/// The overlap of a new key and its predecessor, until that is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Overlap {
    /// The generation of the new key.
    pub generation: u64,
    /// Whether this instance has stored the new key, and so is the first to revoke the old one.
    pub is_own: bool,
    /// Whether an event has reported that no request carries the old key.
    pub is_drained: bool,
    /// Whether an event has reported that the old key is revoked.
    pub is_revoked: bool,
    /// The failed attempts to revoke it.
    pub revocation_failures: RevocationFailures,
}

/// The failed attempts to revoke a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RevocationFailures {
    /// Temporary failures count one, refusals four.
    pub score: u32,
    /// When to ask the issuer again once the score has reached its limit.
    pub retry_at: Option<Time>,
}

/// The key that requests of this instance carry, and who may still use the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InUse {
    /// The key.
    pub key: KeyRef,
    /// Its generation.
    pub generation: u64,
    /// The number of the write that stored it.
    pub stored_as: u64,
    /// How long requests of this instance may go on with the previous key.
    pub drain_until: Time,
    /// How long other instances may need the previous key: to notice the new one, and to let their requests
    /// end.
    pub others_until: Time,
    /// When an instance that has not stored the key revokes the previous one.
    pub takeover_at: Time,
}

impl InUse {
    /// The key of a record that comes into use now.
    #[must_use]
    pub fn since(now: Time, record: &Record, rules: &Rules) -> Self {
        let Record { key, generation, stored_as, .. } = *record;
        let others_until = now.after(rules.grace_for_others());
        Self {
            key,
            generation,
            stored_as,
            drain_until: now.after(rules.drain_timeout),
            others_until,
            takeover_at: others_until.after(rules.attempt_lease),
        }
    }
}

/// The rotation that an instance is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Goal {
    /// The generation to replace.
    pub replace: Option<u64>,
    /// The compromised key: it is replaced and revoked without any delay.
    pub compromised: Option<KeyRef>,
    /// Whether a caller waits, which skips the back-off.
    pub is_urgent: bool,
}

/// The lease of another instance's attempt, counted from when this instance first read it, because clocks of
/// two machines differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The attempt.
    pub attempt: Attempt,
    /// How often it had failed.
    pub failures: u32,
    /// When it may be taken over.
    pub until: Time,
    /// When it may be taken over if a caller waits.
    pub urgent_until: Time,
}

/// Failures in a row, and when the instance may act again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// How many.
    pub failures: u32,
    /// Until this time, the instance only reads the store.
    pub not_before: Option<Time>,
}

/// The purpose of the [`Call`](crate::Call) in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pending {
    /// No call is in progress.
    None,
    /// The record is read.
    Read,
    /// A read has shown an earlier key: the issuer is asked about the key in use.
    VerifyInUse(Record),
    /// A read has shown an earlier key, and the issuer refuses the key in use: it is asked about the key that was read.
    VerifyRead(Record),
    /// The attempt is claimed, or its lease extended.
    Claim(OwnLease),
    /// The issuer is asked for a key.
    Issue,
    /// The new key is verified.
    VerifyNew,
    /// The new key is stored.
    Store,
    /// Before a key that does not work is revoked, the attempt is claimed once more.
    GiveUpClaim(Failure, OwnLease),
    /// A key that does not work is revoked.
    GiveUpRevoke(Failure),
    /// The attempt is removed: because it has failed, with the pause after that, or because it is over.
    Withdraw(Option<(Failure, Duration)>),
    /// The attempt is postponed.
    Postpone {
        /// Why.
        failure: Failure,
        /// How long.
        pause: Duration,
    },
    /// Before a missing key is revoked, the record is written once more.
    MissingConfirm,
    /// A missing key is revoked.
    MissingRevoke,
    /// Before the old key is revoked, the new one is verified.
    OverlapVerify,
    /// Before the old key is revoked, the issuer lists its keys.
    OverlapList,
    /// Before the old key is revoked, the record is written once more.
    OverlapConfirm(Untracked),
    /// The old key is revoked.
    OverlapRevoke(Untracked),
    /// Keys that the store does not hold are revoked.
    OverlapRevokeUntracked {
        /// The remaining keys; the last one is being revoked.
        left: Vec<KeyRef>,
        /// How many have been revoked.
        revoked: usize,
        /// Whether the issuer keeps one of them.
        some_stay: bool,
    },
    /// The old key is removed from the store.
    Finish,
    /// The store is asked to replace the secret.
    Request,
}

/// Keys that the store does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Untracked {
    /// There can be none.
    None,
    /// The issuer cannot list them.
    Unknown,
    /// These.
    Keys(Vec<KeyRef>),
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The consequence for the protocol.
    pub kind: FailureKind,
    /// How long the other side asks to wait.
    pub retry_after: Option<Duration>,
    /// The number of the error in the caller's table.
    pub error: u32,
}

/// What the protocol needs to know about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The same call may succeed later. Its effect is unknown.
    Temporary,
    /// The other side refused the call, and did nothing.
    Refused,
    /// The same call will fail again. Its effect is unknown.
    Permanent,
}

impl Failure {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.kind == FailureKind::Temporary
    }

    /// Whether the call certainly had no effect.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.kind == FailureKind::Refused
    }
}

impl Instance {
    /// An instance that has just read the record, and uses the record's key.
    #[must_use]
    pub fn new(id: InstanceId, record: Record, now: Time, rules: &Rules) -> Self {
        Self {
            id,
            phase: Phase::Idle,
            pending: Pending::None,
            in_use: InUse::since(now, &record, rules),
            record,
            goal: Goal::default(),
            lease: None,
            ignore_stale_until: None,
            conflicts: 0,
            backoff: Backoff::default(),
        }
    }

    /// The keys that the instance refers to.
    pub fn keys(&self) -> impl Iterator<Item = KeyRef> {
        let issued = match &self.phase {
            Phase::Issued(issued) | Phase::Missing { issued, .. } => Some(issued.key),
            _ => None,
        };
        let listed = match &self.pending {
            Pending::OverlapConfirm(Untracked::Keys(keys))
            | Pending::OverlapRevoke(Untracked::Keys(keys))
            | Pending::OverlapRevokeUntracked { left: keys, .. } => keys.clone(),
            Pending::VerifyInUse(record) | Pending::VerifyRead(record) => {
                vec![record.key]
            }
            _ => Vec::new(),
        };
        let previous = match self.record.stage {
            crate::Stage::Overlap { previous } => Some(previous),
            _ => None,
        };
        let one = [Some(self.record.key), Some(self.in_use.key), previous, issued];
        one.into_iter().flatten().chain(self.goal.compromised).chain(listed)
    }
}
