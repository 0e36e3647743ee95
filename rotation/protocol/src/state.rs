//! What one instance knows: the phase that it is in, and what it has seen of the store.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Attempt, AttemptId, InstanceId, KeyRef, Record, Rules, Time};

/// One instance of a service, as far as one key is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Its name in the store.
    pub id: InstanceId,
    /// How far it has come with a rotation.
    pub phase: Phase,
    /// The call that it has made and that has not been answered.
    pub pending: Pending,
    /// The record as the instance has last read or written it.
    pub record: Record,
    /// The key that requests carry.
    pub in_use: InUse,
    /// What it wants.
    pub goal: Goal,
    /// The lease of another instance's attempt.
    pub lease: Option<Lease>,
    /// Until when the instance does not believe reads that show an earlier key than the one in use.
    pub distrust_until: Option<Time>,
    /// How many writes in a row have found that another instance had written first.
    pub conflicts: u32,
    /// When it may act again after a failure.
    pub backoff: Backoff,
}

/// How far an instance has come with a rotation. Each phase holds what is known only in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The instance takes no part in a rotation.
    Idle,
    /// It writes its attempt to the store, and does not know yet whether that was done.
    Claiming {
        /// The attempt.
        attempt: AttemptId,
        /// Whether another instance may have asked the issuer under this name.
        takes_over: bool,
    },
    /// The store holds its attempt, and the issuer has given no key yet, as far as the instance knows.
    Attempting {
        /// The attempt.
        attempt: AttemptId,
        /// For how long others leave the attempt alone.
        reserved: Reserved,
        /// Whether the issuer may have given a key all the same: an answer was lost, or another instance
        /// has asked under this name before.
        may_have_issued: bool,
    },
    /// The issuer has given a key that is not known to be stored. The store shows the attempt.
    Issued(Issued),
    /// The issuer has given a key, and the store shows neither the key nor the attempt.
    Missing {
        /// The key.
        issued: Issued,
        /// When that is believed: reads may lag.
        believed_at: Time,
        /// When instances that may use the key have noticed that it is gone.
        until: Time,
    },
    /// The attempt has failed for good. It is to be removed from the store.
    Withdrawing {
        /// The attempt.
        attempt: AttemptId,
        /// Whether the attempt may have got a key that is not stored.
        untracked: bool,
    },
    /// The store holds a new key, and the old one is to be revoked.
    Overlap(Overlap),
    /// The store was asked to replace the secret by its own means.
    Requested {
        /// How long it may take.
        until: Time,
    },
}

/// A key that an attempt has got.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issued {
    /// The attempt.
    pub attempt: AttemptId,
    /// The key.
    pub key: KeyRef,
    /// For how long others leave the attempt alone.
    pub reserved: Reserved,
    /// Whether the attempt may have got another key before this one.
    pub untracked: bool,
    /// Whether the key works.
    pub trial: Trial,
    /// Whether the key may have been stored, so that other instances may use it.
    pub may_be_stored: bool,
    /// How often the issuer has declined to revoke it.
    pub reluctance: Reluctance,
}

/// Whether a new key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trial {
    /// It is not known yet. Some keys work only some seconds after they were issued.
    Running {
        /// When the key is verified next.
        next: Time,
        /// The pause before the verification after that.
        pause: Duration,
        /// When the key is given up.
        until: Time,
    },
    /// It can never work, because it is not text.
    Unusable {
        /// The error that says so.
        failure: Failure,
    },
}

/// For how long an attempt belongs to its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reserved {
    /// When the holder extends the lease before it makes another call.
    pub renew_at: Time,
    /// When a call to the issuer is to end, so that it ends before others take the attempt over.
    pub answer_by: Time,
}

/// A key and its predecessor, which is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Overlap {
    /// The generation of the new key.
    pub generation: u64,
    /// Whether this instance has stored the new key, and so is the first to revoke the old one.
    pub is_own: bool,
    /// Whether an event has told that no request carries the old key.
    pub is_drained: bool,
    /// Whether an event has told that the old key is revoked.
    pub is_revoked: bool,
    /// How often the issuer has declined to revoke it.
    pub reluctance: Reluctance,
}

/// How reluctant the issuer is to revoke a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reluctance {
    /// Temporary failures count one, refusals four.
    pub score: u32,
    /// When the issuer is asked again once the score is too high.
    pub ask_again_at: Option<Time>,
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
    /// How long requests of this instance may go on with the key before.
    pub drain_until: Time,
    /// How long other instances may need the key before: to notice the new one, and to let their requests
    /// end.
    pub others_until: Time,
    /// When an instance that has not stored the key revokes the one before it.
    pub takeover_at: Time,
}

impl InUse {
    /// The key of a record that comes into use now.
    #[must_use]
    pub fn since(now: Time, record: &Record, rules: &Rules) -> Self {
        let Record { key, generation, stored_as, .. } = *record;
        let others_until = now.after(rules.others());
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

/// What an instance wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Goal {
    /// The generation that is to be replaced.
    pub replace: Option<u64>,
    /// The key that is compromised: it is replaced and revoked without waiting for anything else.
    pub compromised: Option<KeyRef>,
    /// Whether a caller waits, so that back-off does not count.
    pub is_urgent: bool,
}

/// How long another instance's attempt is left to it, from when it was first seen here: clocks of two
/// machines differ.
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
    /// Nothing is done before this time, but the store is read.
    pub not_before: Option<Time>,
}

/// What the call that is under way is for. The call itself is a [`Call`](crate::Call).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pending {
    /// No call is under way.
    None,
    /// The record is read.
    Read,
    /// A read has shown an earlier key: the issuer is asked about the key in use.
    DistrustInUse(Record),
    /// A read has shown an earlier key, and the issuer refuses the key in use: it is asked about the key that was read.
    DistrustRead(Record),
    /// The attempt is claimed, or its lease extended.
    Claim(Reserved),
    /// The issuer is asked for a key.
    Issue,
    /// The new key is verified.
    VerifyNew,
    /// The new key is stored.
    Store,
    /// Before a key that does not work is revoked, the attempt is claimed once more.
    GiveUpClaim(Failure, Reserved),
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
    RetireVerify,
    /// Before the old key is revoked, the issuer lists its keys.
    RetireList,
    /// Before the old key is revoked, the record is written once more.
    RetireConfirm(Untracked),
    /// The old key is revoked.
    RetireRevoke(Untracked),
    /// Keys that the store does not hold are revoked.
    RetireUntracked {
        /// Those left; the last is the one under way.
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

/// Why a call did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What follows from it.
    pub kind: FailureKind,
    /// How long the other side asks to wait.
    pub retry_after: Option<Duration>,
    /// Which error it was, in the table of the program that makes the calls.
    pub error: u32,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The same call may succeed later. It is not known what the call did.
    Temporary,
    /// The other side has declined, and did nothing.
    Refused,
    /// The same call will fail again. It is not known what the call did.
    Permanent,
}

impl Failure {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.kind == FailureKind::Temporary
    }

    /// Whether it is certain that nothing was done.
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
            distrust_until: None,
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
            Pending::RetireConfirm(Untracked::Keys(keys))
            | Pending::RetireRevoke(Untracked::Keys(keys))
            | Pending::RetireUntracked { left: keys, .. } => keys.clone(),
            Pending::DistrustInUse(record) | Pending::DistrustRead(record) => {
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
