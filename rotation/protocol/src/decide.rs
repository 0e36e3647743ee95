//! Decides what an instance does about an event.

use alloc::vec::Vec;
use core::time::Duration;

use crate::rules::{
    CONFLICT_PAUSE, FAILURE_PAUSES, MAX_CONFLICTS, MAX_DOUBLINGS, MAX_WAIT, MIN_WAIT, REREAD_PAUSE,
};
use crate::{
    Backoff, Call, Cause, Change, Event, Failure, Goal, InUse, Instance, Issuer, Lease,
    LocalEffect, Next, Now, Pending, Phase, Record, Rules, Stage, Time,
};

/// The decision about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The new state of the instance.
    pub instance: Instance,
    /// The effects to carry out first, in this order.
    pub effects: Vec<LocalEffect>,
    /// What to do after the effects.
    pub next: Next,
}

/// Decides what an instance does about an event.
#[must_use]
pub fn decide(rules: &Rules, instance: Instance, now: &Now, event: Event) -> Decision {
    let in_flight = now.in_flight;
    let mut step = Step { rules, now, in_flight, instance, effects: Vec::new() };
    let mut next = step.handle(event);
    if let Next::Wait { until, .. } = &mut next {
        // Other instances rely on each instance reading the store within this time.
        *until = (*until).min(now.at.after(rules.check_interval().max(MIN_WAIT)));
    }
    Decision { instance: step.instance, effects: step.effects, next }
}

/// A decision in progress.
pub(crate) struct Step<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) now: &'a Now,
    /// Whether a request may carry an earlier key than the one in use.
    pub(crate) in_flight: bool,
    pub(crate) instance: Instance,
    pub(crate) effects: Vec<LocalEffect>,
}

impl Step<'_> {
    fn handle(&mut self, event: Event) -> Next {
        let pending = core::mem::replace(&mut self.instance.pending, Pending::None);
        match event {
            Event::Wake => self.read(),
            Event::Due => {
                self.request_replacement(self.instance.in_use.generation);
                self.read()
            }
            Event::Rotate { replace } => {
                self.request_replacement(replace);
                self.skip_backoff();
                self.read()
            }
            Event::RotateCompromised => {
                self.request_replacement(self.instance.in_use.generation);
                self.skip_backoff();
                if self.rules.issuer != Issuer::Store {
                    self.instance.goal.compromised = Some(self.instance.in_use.key);
                }
                self.read()
            }
            Event::Read(record) => self.observe(record),
            Event::Written(record) => {
                self.instance.conflicts = 0;
                self.instance.record = record;
                self.continue_after_write(pending)
            }
            Event::Conflict => self.conflict(&pending),
            Event::Issued { key, unusable, is_repeated } => {
                self.keep_issued(key, unusable, is_repeated)
            }
            Event::Verified => self.continue_after_verification(pending),
            Event::Listed(keys) => self.confirm_overlap(Some(keys)),
            Event::Revoked => self.continue_after_revocation(pending),
            Event::Requested => self.await_request(),
            Event::Failed(failure) => self.handle_failure(pending, failure),
        }
    }

    fn request_replacement(&mut self, generation: u64) {
        self.instance.goal.replace = self.instance.goal.replace.max(Some(generation));
    }

    /// Skips the back-off for a caller.
    fn skip_backoff(&mut self) {
        self.instance.goal.is_urgent = true;
        self.instance.backoff.not_before = None;
    }

    pub(crate) fn read(&mut self) -> Next {
        self.instance.pending = Pending::Read;
        Next::Call(Call::Read)
    }

    pub(crate) fn write(&mut self, change: Change, pending: Pending) -> Next {
        self.instance.pending = pending;
        Next::Call(Call::Write(change))
    }

    pub(crate) fn verify(&mut self, key: crate::KeyRef, limit: Duration, pending: Pending) -> Next {
        self.instance.pending = pending;
        Next::Call(Call::Verify { key, limit })
    }

    pub(crate) fn is_backoff_over(&self) -> bool {
        self.instance.backoff.not_before.is_none_or(|time| time.has_come(self.now.at))
    }

    /// Waits for another instance, and reads the store in between.
    pub(crate) fn wait_for_others(&self, left: Duration) -> Next {
        let pause = left.min(MAX_WAIT).max(MIN_WAIT);
        Next::wait(self.now.at.after(pause))
    }

    /// Shortens a pause at random, so that instances do not act in step.
    pub(crate) fn jitter(&self, pause: Duration) -> Duration {
        pause * self.now.jitter.clamp(50, 100) / 100
    }

    /// Accepts a read, unless it shows an earlier key and may lag.
    fn observe(&mut self, record: Record) -> Next {
        if self.rules.issuer == Issuer::Store || !self.is_earlier(&record) {
            self.instance.ignore_stale_until = None;
            return self.accept(record);
        }
        let again = Next::wait(self.now.at.after(REREAD_PAUSE));
        match self.instance.ignore_stale_until {
            Some(until) if until.has_come(self.now.at) => self.accept(record),
            Some(_) => again,
            None => {
                self.instance.ignore_stale_until = Some(self.now.at.after(self.rules.max_read_lag));
                if !self.is_backoff_over() {
                    return again;
                }
                // An operator may have put back a key that works in place of one that does not.
                let key = self.instance.in_use.key;
                let limit = self.rules.max_read_lag / 2;
                self.verify(key, limit, Pending::VerifyInUse(record))
            }
        }
    }

    /// Whether a record was stored before the one in use. After a rollback, generations repeat: the write that
    /// stored a key distinguishes two keys of one generation, if it has a number.
    fn is_earlier(&self, record: &Record) -> bool {
        let InUse { key, generation, stored_as, .. } = self.instance.in_use;
        let is_other = record.generation == generation && record.key != key;
        record.generation < generation
            || is_other && record.stored_as != 0 && record.stored_as < stored_as
    }

    /// Continues with a record that shows the current state.
    pub(crate) fn accept(&mut self, record: Record) -> Next {
        self.instance.record = record;
        self.use_current();
        if self.rules.issuer == Issuer::Store {
            return self.request();
        }
        if !self.is_backoff_over() {
            return Next::Rest;
        }
        self.sync_compromised();
        self.proceed()
    }

    /// Uses the key that the record shows.
    pub(crate) fn use_current(&mut self) {
        let InUse { key, generation, stored_as, .. } = self.instance.in_use;
        let record = &self.instance.record;
        if (key, stored_as) != (record.key, record.stored_as) {
            // Restart the deadlines even for the same key: other instances have used another one in between.
            self.instance.in_use = InUse::since(self.now.at, record, self.rules);
        }
        self.instance.in_use.generation = record.generation;
        if key == record.key && generation == record.generation {
            return;
        }
        if record.generation < generation {
            // After a rollback, generations repeat with other keys.
            let replace = self.instance.goal.replace.map(|replace| replace.min(record.generation));
            self.instance.goal.replace = replace;
            if matches!(self.instance.phase, Phase::Overlap(_)) {
                self.instance.phase = Phase::Idle;
            }
        }
        if self.rules.issuer == Issuer::Store && key != record.key {
            // The store has replaced the secret, so the request is done.
            self.instance.phase = Phase::Idle;
        }
        self.in_flight |= key != record.key;
        self.effects.push(LocalEffect::Use { key: record.key, generation: record.generation });
    }

    /// Keeps the goal to replace a compromised key until it is done, also if another instance reported it.
    fn sync_compromised(&mut self) {
        let record = &self.instance.record;
        let previous = match record.stage {
            Stage::Overlap { previous } => Some(previous),
            _ => None,
        };
        if record.is_compromised && previous.is_none() {
            self.instance.goal.compromised = Some(record.key);
        }
        if self.instance.goal.compromised == Some(record.key) {
            self.request_replacement(self.instance.record.generation);
        } else if self.instance.goal.compromised != previous {
            self.instance.goal.compromised = None;
        }
    }

    /// Takes the next step that the record and the goal require.
    fn proceed(&mut self) -> Next {
        if let Some(next) = self.settle_issued() {
            return next;
        }
        if self
            .instance
            .goal
            .replace
            .is_some_and(|replace| self.instance.record.generation > replace)
        {
            self.instance.goal =
                Goal { compromised: self.instance.goal.compromised, ..Goal::default() };
        }
        if self.instance.record.stage == Stage::Settled
            && matches!(self.instance.phase, Phase::Overlap(_))
        {
            self.instance.phase = Phase::Idle;
        }
        match self.instance.record.stage {
            Stage::Overlap { previous } => {
                self.effects.push(LocalEffect::ReleasePermit);
                self.advance_overlap(previous)
            }
            Stage::Attempt(attempt) if attempt.holder == self.instance.id => {
                self.resume(attempt.id)
            }
            Stage::Attempt(attempt) => {
                let left = self.lease(attempt).left(self.now.at);
                if left.is_zero() {
                    return self.claim(attempt.id);
                }
                self.effects.push(LocalEffect::ReleasePermit);
                // While an attempt is postponed, no other instance acts.
                match left.saturating_sub(self.rules.attempt_lease) {
                    Duration::ZERO => self.wait_for_others(left),
                    postponed => Next::wait(self.now.at.after(postponed)),
                }
            }
            Stage::Settled if self.instance.goal.replace.is_none() => self.rest(),
            Stage::Settled => {
                let not_before =
                    self.instance.record.not_before.filter(|_| !self.instance.goal.is_urgent);
                match not_before.map(|time| time.left(self.now.at)).filter(|left| !left.is_zero()) {
                    Some(left) => {
                        self.effects.push(LocalEffect::ReleasePermit);
                        Next::wait(self.now.at.after(left))
                    }
                    None => self.claim(self.now.next_attempt),
                }
            }
        }
    }

    pub(crate) fn rest(&mut self) -> Next {
        self.instance.backoff = Backoff::default();
        self.effects.extend([LocalEffect::ReleasePermit, LocalEffect::Healthy]);
        Next::Rest
    }

    /// When another instance's attempt may be taken over.
    fn lease(&mut self, attempt: crate::Attempt) -> Time {
        let failures = self.instance.record.failures;
        let is_known = |known: &Lease| known.attempt == attempt && known.failures == failures;
        let lease = self.instance.lease.filter(is_known).unwrap_or_else(|| {
            let postponed = self.instance.record.not_before.unwrap_or(self.now.at).max(self.now.at);
            let lease = self.rules.attempt_lease;
            let (until, urgent_until) = (postponed.after(lease), self.now.at.after(lease));
            Lease { attempt, failures, until, urgent_until }
        });
        self.instance.lease = Some(lease);
        if self.instance.goal.is_urgent { lease.urgent_until } else { lease.until }
    }

    /// Another instance has written first: read what it has written, after a pause.
    fn conflict(&mut self, pending: &Pending) -> Next {
        if let Pending::Withdraw(Some((failure, pause))) | Pending::Postpone { failure, pause } =
            pending
        {
            return self.back_off(Cause::Call(*failure), *pause);
        }
        if let Pending::MissingConfirm = pending
            && let Phase::Missing { accepted_at, until, .. } = &mut self.instance.phase
        {
            *accepted_at = self.now.at.after(self.rules.max_read_lag);
            *until = (*until).max(*accepted_at);
        }
        self.instance.conflicts += 1;
        if self.instance.conflicts > MAX_CONFLICTS {
            self.instance.conflicts = 0;
            return self.back_off(Cause::Conflicts, self.next_pause(None));
        }
        let pause = CONFLICT_PAUSE * 2_u32.saturating_pow(self.instance.conflicts - 1);
        Next::wait(self.now.at.after(self.jitter(pause.min(MAX_WAIT))))
    }

    fn continue_after_write(&mut self, pending: Pending) -> Next {
        match pending {
            Pending::Claim(own_lease) => self.start_attempt(own_lease),
            Pending::Store => self.switch_over(),
            Pending::GiveUpClaim(failure, own_lease) => self.give_up_revoke(failure, own_lease),
            Pending::Withdraw(failed) => {
                self.instance.phase = Phase::Idle;
                match failed {
                    Some((failure, pause)) => self.back_off(Cause::Call(failure), pause),
                    None => self.read(),
                }
            }
            Pending::Postpone { failure, pause } => self.wait_out_pause(failure, pause),
            Pending::MissingConfirm => self.revoke_missing(),
            Pending::OverlapConfirm(untracked) => self.revoke_previous(untracked),
            Pending::Finish => {
                self.instance.phase = Phase::Idle;
                self.effects
                    .push(LocalEffect::Finished { generation: self.instance.record.generation });
                self.read()
            }
            _ => self.read(),
        }
    }

    fn continue_after_verification(&mut self, pending: Pending) -> Next {
        match pending {
            Pending::VerifyRead(record) => {
                self.instance.ignore_stale_until = Some(self.now.at);
                self.accept(record)
            }
            Pending::VerifyInUse(_) => Next::wait(self.now.at.after(REREAD_PAUSE)),
            Pending::VerifyNew => self.store(),
            Pending::OverlapVerify => self.list_keys(),
            _ => self.read(),
        }
    }

    fn handle_failure(&mut self, pending: Pending, failure: Failure) -> Next {
        match pending {
            Pending::VerifyInUse(record) if failure.is_refusal() => {
                let limit = self.rules.max_read_lag / 2;
                self.verify(record.key, limit, Pending::VerifyRead(record))
            }
            Pending::VerifyInUse(_) | Pending::VerifyRead(_) => {
                Next::wait(self.now.at.after(REREAD_PAUSE))
            }
            // The back-off of the failed step continues; this was only a read.
            Pending::Read if !self.is_backoff_over() => Next::Rest,
            Pending::Issue => self.handle_issue_failure(failure),
            Pending::VerifyNew => self.handle_verification_failure(failure),
            Pending::GiveUpRevoke(rejection) => self.handle_give_up_failure(rejection, failure),
            Pending::MissingRevoke => self.handle_missing_failure(failure),
            Pending::OverlapList if !failure.is_temporary() => self.confirm_overlap(None),
            Pending::OverlapRevoke(untracked) => self.handle_overlap_failure(untracked, failure),
            Pending::OverlapRevokeUntracked { left, revoked, .. } => {
                self.handle_untracked_failure(left, revoked, failure)
            }
            Pending::Request => {
                self.instance.phase = Phase::Idle;
                self.fail(failure)
            }
            // Report the original failure, not the failure to postpone.
            Pending::Postpone { failure, pause } => self.back_off(Cause::Call(failure), pause),
            _ => self.fail(failure),
        }
    }

    /// The pause after one more failure.
    pub(crate) fn next_pause(&self, retry_after: Option<Duration>) -> Duration {
        let (first, longest) = FAILURE_PAUSES;
        let failures =
            self.instance.backoff.failures.max(self.instance.record.failures).min(MAX_DOUBLINGS);
        let pause = longest.min(first * 2_u32.saturating_pow(failures));
        self.jitter(pause).max(retry_after.unwrap_or_default())
    }

    /// Interrupts a rotation. A started rotation resumes later; one that has not started is requested again
    /// while it is due.
    pub(crate) fn fail(&mut self, failure: Failure) -> Next {
        self.back_off(Cause::Call(failure), self.next_pause(failure.retry_after))
    }

    pub(crate) fn back_off(&mut self, cause: Cause, pause: Duration) -> Next {
        self.instance.goal =
            Goal { compromised: self.instance.goal.compromised, ..Goal::default() };
        self.instance.backoff.failures = (self.instance.backoff.failures + 1).min(MAX_DOUBLINGS);
        self.instance.backoff.not_before = Some(self.now.at.after(pause));
        self.effects.extend([LocalEffect::ReleasePermit, LocalEffect::Failed(cause)]);
        Next::Rest
    }
}
