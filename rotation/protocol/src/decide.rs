//! From what an instance knows and hears to what it does next.

use alloc::vec::Vec;
use core::time::Duration;

use crate::rules::{
    CONFLICT_PAUSE, FAILURE_PAUSES, LONGEST_WAIT, MOST_CONFLICTS, MOST_DOUBLINGS, READ_AGAIN,
    SHORTEST_WAIT,
};
use crate::{
    Backoff, Call, Cause, Change, Effect, Event, Failure, Goal, InUse, Instance, Issuer, Lease,
    Next, Now, Pending, Phase, Record, Rules, Stage, Time,
};

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The instance as it is then.
    pub instance: Instance,
    /// What it tells and changes at once, in this order.
    pub effects: Vec<Effect>,
    /// What it does after that.
    pub next: Next,
}

/// Decides what an instance does about an event.
#[must_use]
pub fn decide(rules: &Rules, instance: Instance, now: &Now, event: Event) -> Decision {
    let in_flight = now.in_flight;
    let mut step = Step { rules, now, in_flight, me: instance, effects: Vec::new() };
    let mut next = step.handle(event);
    if let Next::Wait { until, .. } = &mut next {
        // Other instances count on it that each reads the store in this time.
        *until = (*until).min(now.at.after(rules.check_interval().max(SHORTEST_WAIT)));
    }
    Decision { instance: step.me, effects: step.effects, next }
}

/// One decision under way.
pub(crate) struct Step<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) now: &'a Now,
    /// Whether a request may carry an earlier key than the one in use.
    pub(crate) in_flight: bool,
    pub(crate) me: Instance,
    pub(crate) effects: Vec<Effect>,
}

impl Step<'_> {
    fn handle(&mut self, event: Event) -> Next {
        let pending = core::mem::replace(&mut self.me.pending, Pending::None);
        match event {
            Event::Wake => self.read(),
            Event::Due => {
                self.want(self.me.in_use.generation);
                self.read()
            }
            Event::Rotate { replace } => {
                self.want(replace);
                self.hurry();
                self.read()
            }
            Event::RotateCompromised => {
                self.want(self.me.in_use.generation);
                self.hurry();
                if self.rules.issuer != Issuer::Store {
                    self.me.goal.compromised = Some(self.me.in_use.key);
                }
                self.read()
            }
            Event::Read(record) => self.observe(record),
            Event::Written(record) => {
                self.me.conflicts = 0;
                self.me.record = record;
                self.continue_after_write(pending)
            }
            Event::Conflict => self.conflict(&pending),
            Event::Issued { key, unusable, is_repeated } => {
                self.keep_issued(key, unusable, is_repeated)
            }
            Event::Verified => self.continue_after_verification(pending),
            Event::Listed(keys) => self.confirm_retire(Some(keys)),
            Event::Revoked => self.continue_after_revocation(pending),
            Event::Requested => self.await_request(),
            Event::Failed(failure) => self.handle_failure(pending, failure),
        }
    }

    fn want(&mut self, generation: u64) {
        self.me.goal.replace = self.me.goal.replace.max(Some(generation));
    }

    /// Let a caller's wish override the back-off.
    fn hurry(&mut self) {
        self.me.goal.is_urgent = true;
        self.me.backoff.not_before = None;
    }

    pub(crate) fn read(&mut self) -> Next {
        self.me.pending = Pending::Read;
        Next::Call(Call::Read)
    }

    pub(crate) fn write(&mut self, change: Change, pending: Pending) -> Next {
        self.me.pending = pending;
        Next::Call(Call::Write(change))
    }

    pub(crate) fn verify(&mut self, key: crate::KeyRef, limit: Duration, pending: Pending) -> Next {
        self.me.pending = pending;
        Next::Call(Call::Verify { key, limit })
    }

    pub(crate) fn may_act(&self) -> bool {
        self.me.backoff.not_before.is_none_or(|time| time.has_come(self.now.at))
    }

    /// Wait for what another instance does, and read the store meanwhile.
    pub(crate) fn wait_for_others(&self, left: Duration) -> Next {
        let pause = left.min(LONGEST_WAIT).max(SHORTEST_WAIT);
        Next::wait(self.now.at.after(pause))
    }

    /// A share of a pause, so that instances do not act in step.
    pub(crate) fn jitter(&self, pause: Duration) -> Duration {
        pause * self.now.jitter.clamp(50, 100) / 100
    }

    /// Judges a read, and goes on with what it shows.
    fn observe(&mut self, record: Record) -> Next {
        if self.rules.issuer == Issuer::Store || !self.is_earlier(&record) {
            self.me.distrust_until = None;
            return self.accept(record);
        }
        let again = Next::wait(self.now.at.after(READ_AGAIN));
        match self.me.distrust_until {
            Some(until) if until.has_come(self.now.at) => self.accept(record),
            Some(_) => again,
            None => {
                self.me.distrust_until = Some(self.now.at.after(self.rules.believed_after));
                if !self.may_act() {
                    return again;
                }
                // An operator may have put back a key that works in place of one that does not.
                let key = self.me.in_use.key;
                let limit = self.rules.believed_after / 2;
                self.verify(key, limit, Pending::DistrustInUse(record))
            }
        }
    }

    /// Whether a record was stored before the one in use. After a rollback, generations come once more: two
    /// keys of one generation are told apart by the write that stored them, if it has a number.
    fn is_earlier(&self, record: &Record) -> bool {
        let InUse { key, generation, stored_as, .. } = self.me.in_use;
        let is_other = record.generation == generation && record.key != key;
        record.generation < generation
            || is_other && record.stored_as != 0 && record.stored_as < stored_as
    }

    /// Goes on with a record that shows the current state.
    pub(crate) fn accept(&mut self, record: Record) -> Next {
        self.me.record = record;
        self.use_current();
        if self.rules.issuer == Issuer::Store {
            return self.request();
        }
        if !self.may_act() {
            return Next::Rest;
        }
        self.sync_compromised();
        self.proceed()
    }

    /// Uses the key that the record shows.
    pub(crate) fn use_current(&mut self) {
        let InUse { key, generation, stored_as, .. } = self.me.in_use;
        let record = &self.me.record;
        if (key, stored_as) != (record.key, record.stored_as) {
            // Also if it is the same key: other instances have used another one meanwhile.
            self.me.in_use = InUse::since(self.now.at, record, self.rules);
        }
        self.me.in_use.generation = record.generation;
        if key == record.key && generation == record.generation {
            return;
        }
        if record.generation < generation {
            // An earlier state was put back. Its generations come once more, with other keys.
            let replace = self.me.goal.replace.map(|wanted| wanted.min(record.generation));
            self.me.goal.replace = replace;
            if matches!(self.me.phase, Phase::Overlap(_)) {
                self.me.phase = Phase::Idle;
            }
        }
        if self.rules.issuer == Issuer::Store && key != record.key {
            // The store has replaced the secret: what it was asked for is done.
            self.me.phase = Phase::Idle;
        }
        self.in_flight |= key != record.key;
        self.effects.push(Effect::Use { key: record.key, generation: record.generation });
    }

    /// Wants a compromised key replaced until that is done, also if another instance has reported it.
    fn sync_compromised(&mut self) {
        let record = &self.me.record;
        let previous = match record.stage {
            Stage::Overlap { previous } => Some(previous),
            _ => None,
        };
        if record.is_compromised && previous.is_none() {
            self.me.goal.compromised = Some(record.key);
        }
        if self.me.goal.compromised == Some(record.key) {
            self.want(self.me.record.generation);
        } else if self.me.goal.compromised != previous {
            self.me.goal.compromised = None;
        }
    }

    /// Does what the record and the goal call for.
    fn proceed(&mut self) -> Next {
        if let Some(next) = self.settle_issued() {
            return next;
        }
        if self.me.goal.replace.is_some_and(|wanted| self.me.record.generation > wanted) {
            self.me.goal = Goal { compromised: self.me.goal.compromised, ..Goal::default() };
        }
        if self.me.record.stage == Stage::Settled && matches!(self.me.phase, Phase::Overlap(_)) {
            self.me.phase = Phase::Idle;
        }
        match self.me.record.stage {
            Stage::Overlap { previous } => {
                self.effects.push(Effect::ReleasePermit);
                self.retire(previous)
            }
            Stage::Attempt(attempt) if attempt.holder == self.me.id => self.resume(attempt.id),
            Stage::Attempt(attempt) => {
                let left = self.lease(attempt).left(self.now.at);
                if left.is_zero() {
                    return self.claim(attempt.id);
                }
                self.effects.push(Effect::ReleasePermit);
                // Nothing is expected of a postponed attempt.
                match left.saturating_sub(self.rules.attempt_lease) {
                    Duration::ZERO => self.wait_for_others(left),
                    postponed => Next::wait(self.now.at.after(postponed)),
                }
            }
            Stage::Settled if self.me.goal.replace.is_none() => self.rest(),
            Stage::Settled => {
                let not_before = self.me.record.not_before.filter(|_| !self.me.goal.is_urgent);
                match not_before.map(|time| time.left(self.now.at)).filter(|left| !left.is_zero()) {
                    Some(left) => {
                        self.effects.push(Effect::ReleasePermit);
                        Next::wait(self.now.at.after(left))
                    }
                    None => self.claim(self.now.unused),
                }
            }
        }
    }

    pub(crate) fn rest(&mut self) -> Next {
        self.me.backoff = Backoff::default();
        self.effects.extend([Effect::ReleasePermit, Effect::Healthy]);
        Next::Rest
    }

    /// When another instance's attempt may be taken over.
    fn lease(&mut self, attempt: crate::Attempt) -> Time {
        let failures = self.me.record.failures;
        let is_known = |known: &Lease| known.attempt == attempt && known.failures == failures;
        let lease = self.me.lease.filter(is_known).unwrap_or_else(|| {
            let postponed = self.me.record.not_before.unwrap_or(self.now.at).max(self.now.at);
            let lease = self.rules.attempt_lease;
            let (until, urgent_until) = (postponed.after(lease), self.now.at.after(lease));
            Lease { attempt, failures, until, urgent_until }
        });
        self.me.lease = Some(lease);
        if self.me.goal.is_urgent { lease.urgent_until } else { lease.until }
    }

    /// Another instance has written first: read what it has written, after a pause.
    fn conflict(&mut self, pending: &Pending) -> Next {
        if let Pending::Withdraw(Some((failure, pause))) | Pending::Postpone { failure, pause } =
            pending
        {
            return self.back_off(Cause::Call(*failure), *pause);
        }
        if let Pending::MissingConfirm = pending
            && let Phase::Missing { believed_at, until, .. } = &mut self.me.phase
        {
            *believed_at = self.now.at.after(self.rules.believed_after);
            *until = (*until).max(*believed_at);
        }
        self.me.conflicts += 1;
        if self.me.conflicts > MOST_CONFLICTS {
            self.me.conflicts = 0;
            return self.back_off(Cause::Conflicts, self.next_pause(None));
        }
        let pause = CONFLICT_PAUSE * 2_u32.saturating_pow(self.me.conflicts - 1);
        Next::wait(self.now.at.after(self.jitter(pause.min(LONGEST_WAIT))))
    }

    fn continue_after_write(&mut self, pending: Pending) -> Next {
        match pending {
            Pending::Claim(reserved) => self.start_attempt(reserved),
            Pending::Store => self.switch_over(),
            Pending::GiveUpClaim(failure, reserved) => self.give_up_revoke(failure, reserved),
            Pending::Withdraw(failed) => {
                self.me.phase = Phase::Idle;
                match failed {
                    Some((failure, pause)) => self.back_off(Cause::Call(failure), pause),
                    None => self.read(),
                }
            }
            Pending::Postpone { failure, pause } => self.wait_out_pause(failure, pause),
            Pending::MissingConfirm => self.revoke_missing(),
            Pending::RetireConfirm(untracked) => self.retire_revoke(untracked),
            Pending::Finish => {
                self.me.phase = Phase::Idle;
                self.effects.push(Effect::Finished { generation: self.me.record.generation });
                self.read()
            }
            _ => self.read(),
        }
    }

    fn continue_after_verification(&mut self, pending: Pending) -> Next {
        match pending {
            Pending::DistrustRead(record) => {
                self.me.distrust_until = Some(self.now.at);
                self.accept(record)
            }
            Pending::DistrustInUse(_) => Next::wait(self.now.at.after(READ_AGAIN)),
            Pending::VerifyNew => self.store(),
            Pending::RetireVerify => self.retire_list(),
            _ => self.read(),
        }
    }

    fn handle_failure(&mut self, pending: Pending, failure: Failure) -> Next {
        match pending {
            Pending::DistrustInUse(record) if failure.is_refusal() => {
                let limit = self.rules.believed_after / 2;
                self.verify(record.key, limit, Pending::DistrustRead(record))
            }
            Pending::DistrustInUse(_) | Pending::DistrustRead(_) => {
                Next::wait(self.now.at.after(READ_AGAIN))
            }
            // The store was only read; what is retried has a time of its own.
            Pending::Read if !self.may_act() => Next::Rest,
            Pending::Issue => self.handle_issue_failure(failure),
            Pending::VerifyNew => self.handle_trial_failure(failure),
            Pending::GiveUpRevoke(rejection) => self.handle_give_up_failure(rejection, failure),
            Pending::MissingRevoke => self.handle_missing_failure(failure),
            Pending::RetireList if !failure.is_temporary() => self.confirm_retire(None),
            Pending::RetireRevoke(untracked) => self.handle_retire_failure(untracked, failure),
            Pending::RetireUntracked { left, revoked, .. } => {
                self.handle_untracked_failure(left, revoked, failure)
            }
            Pending::Request => {
                self.me.phase = Phase::Idle;
                self.fail(failure)
            }
            // Whether the attempt was postponed does not matter to the caller.
            Pending::Postpone { failure, pause } => self.back_off(Cause::Call(failure), pause),
            _ => self.fail(failure),
        }
    }

    /// The pause after one more failure.
    pub(crate) fn next_pause(&self, retry_after: Option<Duration>) -> Duration {
        let (first, longest) = FAILURE_PAUSES;
        let failures = self.me.backoff.failures.max(self.me.record.failures).min(MOST_DOUBLINGS);
        let pause = longest.min(first * 2_u32.saturating_pow(failures));
        self.jitter(pause).max(retry_after.unwrap_or_default())
    }

    /// Gives a rotation up for now. What has started is resumed later; what has not is wanted again while
    /// the key is due.
    pub(crate) fn fail(&mut self, failure: Failure) -> Next {
        self.back_off(Cause::Call(failure), self.next_pause(failure.retry_after))
    }

    pub(crate) fn back_off(&mut self, cause: Cause, pause: Duration) -> Next {
        self.me.goal = Goal { compromised: self.me.goal.compromised, ..Goal::default() };
        self.me.backoff.failures = (self.me.backoff.failures + 1).min(MOST_DOUBLINGS);
        self.me.backoff.not_before = Some(self.now.at.after(pause));
        self.effects.extend([Effect::ReleasePermit, Effect::Failed(cause)]);
        Next::Rest
    }
}
