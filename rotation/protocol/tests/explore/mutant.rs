//! Mutants of the protocol: the exploration must find each of these defects.

use strongroom_rotation_protocol::{
    AttemptId, Call, Change, Decision, Event, Instance, LocalEffect, Next, Now, Pending, Phase,
    Rules, Stage, Time, Verification, decide,
};

use crate::world::Setup;

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A new key is stored without being verified.
    StoreUnverified,
    /// The old key is revoked without writing the record once more.
    RetireUnconfirmed,
    /// A missing key is revoked after a single read.
    RevokeMissingAtOnce,
    /// The attempt is written without a condition.
    ClaimUnconditionally,
    /// The new key is written without a condition.
    StoreUnconditionally,
    /// The issuer is asked before the attempt is written.
    IssueUnclaimed,
    /// An attempt that is taken over gets another id.
    RenameOnTakeover,
    /// An instance that takes an attempt over does not note that there may be untracked keys.
    ForgetUntrackedOnTakeover,
    /// A lost response of the issuer counts as a refusal.
    TakeLossForRefusal,
    /// Other instances' attempts are taken over at once.
    IgnoreLease,
    /// A read of an earlier generation is accepted immediately.
    BelieveAnyRead,
    /// Other instances get no time to notice a new key.
    IgnoreOthers,
    /// Requests in flight get no time to end.
    IgnoreRequests,
    /// A new key that does not work at once is given up at once.
    GiveUpAtOnce,
    /// A key that does not work is forgotten and not revoked.
    ForgetRejectedKey,
    /// Keys that the store does not hold are not looked for.
    IgnoreUntracked,
    /// The previous key is dropped from the record without being revoked.
    FinishUnrevoked,
    /// The report of a compromised key is not stored for other instances.
    KeepCompromiseToOneself,
    /// An attempt that an operator put back is repeated.
    RepeatEndedAttempt,
    /// The issuer ignores fencing tokens.
    IgnoreFencing,
    /// A failed step is never tried again.
    NeverResume,
}

impl Mutant {
    pub(crate) const ALL: [Self; 21] = [
        Self::StoreUnverified,
        Self::RetireUnconfirmed,
        Self::RevokeMissingAtOnce,
        Self::ClaimUnconditionally,
        Self::StoreUnconditionally,
        Self::IssueUnclaimed,
        Self::RenameOnTakeover,
        Self::ForgetUntrackedOnTakeover,
        Self::TakeLossForRefusal,
        Self::IgnoreLease,
        Self::BelieveAnyRead,
        Self::IgnoreOthers,
        Self::IgnoreRequests,
        Self::GiveUpAtOnce,
        Self::ForgetRejectedKey,
        Self::IgnoreUntracked,
        Self::FinishUnrevoked,
        Self::KeepCompromiseToOneself,
        Self::RepeatEndedAttempt,
        Self::IgnoreFencing,
        Self::NeverResume,
    ];

    /// The setup that finds the defect.
    pub(crate) fn setup(self) -> &'static str {
        match self {
            Self::StoreUnverified
            | Self::IssueUnclaimed
            | Self::RenameOnTakeover
            | Self::TakeLossForRefusal
            | Self::NeverResume
            | Self::FinishUnrevoked
            | Self::BelieveAnyRead => "one instance, idempotent",
            Self::RetireUnconfirmed | Self::RepeatEndedAttempt => "one instance, rolled back",
            Self::ClaimUnconditionally | Self::RevokeMissingAtOnce => "one instance, two rotations",
            Self::StoreUnconditionally | Self::ForgetUntrackedOnTakeover => {
                "two instances, listing"
            }
            Self::IgnoreUntracked | Self::ForgetRejectedKey => "one instance, listing",
            Self::IgnoreLease => "two instances, opaque",
            Self::IgnoreOthers => "three instances, idempotent",
            Self::IgnoreRequests => "one instance, long requests",
            Self::GiveUpAtOnce => "one instance, slow keys",
            Self::KeepCompromiseToOneself => "one instance, compromised",
            Self::IgnoreFencing => "two instances, two roles",
        }
    }

    pub(crate) fn is(setup: &Setup, mutant: Self) -> bool {
        setup.mutant == Some(mutant)
    }

    /// Whether the defect makes this change without its condition.
    pub(crate) fn writes_without_condition(setup: &Setup, change: &Change) -> bool {
        match setup.mutant {
            Some(Self::ClaimUnconditionally) => matches!(change, Change::Claim { .. }),
            Some(Self::StoreUnconditionally) => matches!(change, Change::Store { .. }),
            _ => false,
        }
    }

    /// Decides with the planted defect, if there is one.
    pub(crate) fn decide(setup: &Setup, instance: Instance, now: &Now, event: Event) -> Decision {
        let Some(mutant) = setup.mutant else {
            return decide(&setup.rules, instance, now, event);
        };
        let (rules, now) = (mutant.rules(&setup.rules), mutant.now(*now));
        let (instance, event) = mutant.before(instance, event);
        let mut decision = decide(&rules, instance, &now, event);
        mutant.change(&mut decision, &now);
        while let Some(answer) = mutant.skip(&decision) {
            let Decision { instance, mut effects, .. } = decision;
            decision = decide(&rules, instance, &now, answer);
            effects.append(&mut decision.effects);
            decision.effects = effects;
            mutant.change(&mut decision, &now);
        }
        decision
    }

    fn rules(self, rules: &Rules) -> Rules {
        let mut rules = rules.clone();
        let zero = std::time::Duration::ZERO;
        match self {
            Self::IgnoreLease => rules.attempt_lease = zero,
            Self::BelieveAnyRead | Self::RevokeMissingAtOnce => rules.max_read_lag = zero,
            Self::IgnoreOthers => rules.propagation_timeout = zero,
            Self::IgnoreRequests => rules.drain_timeout = zero,
            _ => {}
        }
        rules
    }

    fn now(self, now: Now) -> Now {
        Now { in_flight: now.in_flight && self != Self::IgnoreRequests, ..now }
    }

    /// The event and the receiving instance, changed by the defect.
    fn before(self, mut instance: Instance, event: Event) -> (Instance, Event) {
        match (self, &event, &instance.pending) {
            (Self::TakeLossForRefusal, Event::Failed(failure), Pending::Issue) => {
                let mut failure = *failure;
                failure.kind = strongroom_rotation_protocol::FailureKind::Refused;
                return (instance, Event::Failed(failure));
            }
            (Self::RepeatEndedAttempt, Event::Read(record), _) => {
                if let Stage::Attempt(attempt) = record.stage
                    && attempt.holder == instance.id
                    && !matches!(instance.phase, Phase::Attempting { .. } | Phase::Issued(_))
                {
                    instance.phase = Phase::Claiming { attempt: attempt.id, takes_over: false };
                }
            }
            (Self::GiveUpAtOnce, Event::Failed(_), Pending::VerifyNew) => {
                if let Phase::Issued(issued) = &mut instance.phase
                    && let Verification::Running { until, .. } = &mut issued.verification
                {
                    *until = Time::START;
                }
            }
            _ => {}
        }
        (instance, event)
    }

    /// Applies the defect to a decision.
    fn change(self, decision: &mut Decision, now: &Now) {
        match (self, &mut decision.next) {
            (Self::RenameOnTakeover, Next::Call(Call::Write(Change::Claim { id, .. }))) => {
                let attempt = decision.instance.record.pending_attempt();
                if attempt.is_some_and(|attempt| attempt.holder != decision.instance.id) {
                    *id = AttemptId(now.next_attempt.0 + 50);
                    let (attempt, takes_over) = (*id, false);
                    decision.instance.phase = Phase::Claiming { attempt, takes_over };
                }
            }
            (
                Self::ForgetUntrackedOnTakeover,
                Next::Call(Call::Write(Change::Claim { untracked, .. })),
            ) => *untracked = false,
            (
                Self::KeepCompromiseToOneself,
                Next::Call(Call::Write(
                    Change::Claim { compromised, .. } | Change::Store { compromised, .. },
                )),
            ) => *compromised = false,
            (Self::NeverResume, Next::Rest | Next::Wait { .. })
                if decision
                    .effects
                    .iter()
                    .any(|effect| matches!(effect, LocalEffect::Failed(_))) =>
            {
                let never = Time::START.after(std::time::Duration::from_secs(u64::from(u32::MAX)));
                decision.instance.backoff.not_before = Some(never);
            }
            _ => {}
        }
    }

    /// The response to a call that the defect skips.
    fn skip(self, decision: &Decision) -> Option<Event> {
        let Next::Call(call) = &decision.next else { return None };
        let written = || Some(Event::Written(decision.instance.record.clone()));
        match (self, &decision.instance.pending, call) {
            (Self::StoreUnverified, Pending::VerifyNew, _) => Some(Event::Verified),
            (Self::RetireUnconfirmed, Pending::OverlapConfirm(_), _)
            | (Self::RevokeMissingAtOnce, Pending::MissingConfirm, _) => written(),
            (Self::ForgetRejectedKey, Pending::GiveUpRevoke(_), _)
            | (Self::FinishUnrevoked, Pending::OverlapRevoke(_), _) => Some(Event::Revoked),
            (Self::IgnoreUntracked, Pending::OverlapList, _) => {
                Some(Event::Listed(vec![decision.instance.record.key]))
            }
            (Self::IssueUnclaimed, Pending::Claim(_), Call::Write(change)) => {
                let Instance { id, record, .. } = &decision.instance;
                Some(Event::Written(record.clone().apply(change, *id, 0, Time::START)))
            }
            _ => None,
        }
    }
}
