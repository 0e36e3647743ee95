//! Getting a new key: claim an attempt, ask the issuer, verify the key, store it.

use core::time::Duration;

use crate::decide::Step;
use crate::rules::{ENOUGH, REFUSAL, TRIAL_PAUSES};
use crate::{
    AttemptId, Call, Cause, Change, Effect, Failure, Issued, KeyRef, Next, Overlap, Pending, Phase,
    Reluctance, Reserved, Stage, Trial,
};

impl Step<'_> {
    /// Goes on with the attempt of this instance that the store shows.
    pub(crate) fn resume(&mut self, id: AttemptId) -> Next {
        match &self.me.phase {
            Phase::Attempting { attempt, .. } | Phase::Issued(Issued { attempt, .. })
                if *attempt == id =>
            {
                self.advance()
            }
            Phase::Claiming { attempt, takes_over } if *attempt == id => {
                // It was written some time ago.
                let reserved = Reserved { renew_at: self.now.at, answer_by: self.now.at };
                let (attempt, may_have_issued) = (id, *takes_over);
                self.me.phase = Phase::Attempting { attempt, reserved, may_have_issued };
                self.advance()
            }
            Phase::Withdrawing { attempt, untracked } if *attempt == id => {
                let untracked = *untracked;
                self.withdraw(untracked, None)
            }
            // An operator has put back what was stored while the attempt was under way.
            _ => {
                self.me.phase = Phase::Withdrawing { attempt: id, untracked: true };
                self.withdraw(true, None)
            }
        }
    }

    /// Writes to the store that this instance gets a key. The name of an attempt that it takes over stays,
    /// so that an idempotent issuer gives the key that it may have given before.
    pub(crate) fn claim(&mut self, id: AttemptId) -> Next {
        if !self.has_permit() {
            return self.queue();
        }
        let takes_over = self.me.record.attempt().is_some();
        // Of an attempt that the record has lost, the issuer may have given a key, too.
        let is_lost = matches!(self.me.phase, Phase::Attempting { attempt, may_have_issued: true, .. }
            if attempt != id);
        // An idempotent issuer is asked again: the instance before may have got a newer key.
        let keeps_key = matches!(self.me.phase, Phase::Issued(_)) && !self.rules.is_idempotent();
        if !keeps_key {
            self.me.phase = Phase::Claiming { attempt: id, takes_over };
        }
        let untracked = is_lost || takes_over && !self.rules.is_idempotent();
        let reserved = self.reserve(Duration::ZERO);
        self.write_claim(id, untracked, Pending::Claim(reserved))
    }

    fn write_claim(&mut self, id: AttemptId, untracked: bool, pending: Pending) -> Next {
        let change = Change::Claim {
            id,
            untracked,
            compromised: self.me.goal.compromised == Some(self.me.record.key),
        };
        self.write(change, pending)
    }

    fn has_permit(&self) -> bool {
        self.now.has_permit || self.me.goal.compromised.is_some()
    }

    fn queue(&self) -> Next {
        let until = self.now.at.after(self.rules.check_interval());
        Next::Wait { until, for_drain: false, for_permit: true }
    }

    /// The attempt is this instance's since the write was sent: from then on, others count its lease.
    pub(crate) fn start_attempt(&mut self, reserved: Reserved) -> Next {
        match &mut self.me.phase {
            Phase::Attempting { reserved: known, .. }
            | Phase::Issued(Issued { reserved: known, .. }) => *known = reserved,
            Phase::Claiming { attempt, takes_over } => {
                let (attempt, may_have_issued) = (*attempt, *takes_over);
                self.me.phase = Phase::Attempting { attempt, reserved, may_have_issued };
            }
            _ => return self.read(),
        }
        self.call(reserved)
    }

    /// For how long the attempt belongs to this instance once it is written, or once its pause is over.
    fn reserve(&self, pause: Duration) -> Reserved {
        let (start, lease) = (self.now.at.after(pause), self.rules.attempt_lease);
        Reserved { renew_at: start.after(lease / 4), answer_by: start.after(lease * 3 / 4) }
    }

    /// How long a call to the issuer may take, so that the attempt is over before others go on with it.
    fn limit(&self, reserved: Reserved) -> Duration {
        let lease = self.rules.attempt_lease;
        if !self.rules.is_shared() {
            return lease;
        }
        reserved.answer_by.left(self.now.at).max(lease / 4)
    }

    /// Makes the next call of an attempt that the store shows as this instance's.
    fn advance(&mut self) -> Next {
        if !self.has_permit() {
            return self.queue();
        }
        let (attempt, reserved) = match &self.me.phase {
            Phase::Issued(Issued { trial: Trial::Running { next, .. }, .. })
                if !next.has_come(self.now.at) =>
            {
                return Next::wait(*next);
            }
            Phase::Attempting { attempt, reserved, .. }
            | Phase::Issued(Issued { attempt, reserved, .. }) => (*attempt, *reserved),
            _ => return self.read(),
        };
        if self.rules.is_shared() && !self.is_covered(reserved) {
            let reserved = self.reserve(Duration::ZERO);
            return self.write_claim(attempt, false, Pending::Claim(reserved));
        }
        self.call(reserved)
    }

    /// Whether the lease was extended lately, and not for a time after a pause that a caller has cut short.
    fn is_covered(&self, reserved: Reserved) -> bool {
        let now = self.now.at;
        !reserved.renew_at.has_come(now)
            && reserved.renew_at.left(now) <= self.rules.attempt_lease / 4
    }

    /// Makes the call, also if the store has taken much of the lease to extend it: it would again.
    fn call(&mut self, reserved: Reserved) -> Next {
        let Some(attempt) = self.me.record.attempt().copied() else { return self.read() };
        let limit = self.limit(reserved);
        match &self.me.phase {
            Phase::Attempting { .. } => {
                self.effects.push(Effect::Started);
                self.me.pending = Pending::Issue;
                Next::Call(Call::Issue { attempt, current: self.me.record.key, limit })
            }
            Phase::Issued(issued) => match (issued.key, issued.trial) {
                (key, Trial::Running { .. }) => self.verify(key, limit, Pending::VerifyNew),
                (_, Trial::Unusable { failure }) => self.give_up(failure),
            },
            _ => self.read(),
        }
    }

    /// Keeps the key that the issuer has given.
    pub(crate) fn keep_issued(
        &mut self,
        key: KeyRef,
        unusable: Option<Failure>,
        repeated: bool,
    ) -> Next {
        let Phase::Attempting { attempt, reserved, may_have_issued } = self.me.phase else {
            return self.read();
        };
        let (now, lease) = (self.now.at, self.rules.attempt_lease);
        let trial = match unusable {
            Some(failure) => Trial::Unusable { failure },
            None => Trial::Running { next: now, pause: TRIAL_PAUSES.0, until: now.after(lease) },
        };
        let untracked = (may_have_issued || repeated) && !self.rules.is_idempotent();
        let reluctance = Reluctance::default();
        let may_be_stored = false;
        let issued = Issued { attempt, key, reserved, untracked, trial, may_be_stored, reluctance };
        self.me.phase = Phase::Issued(issued);
        self.advance()
    }

    /// The issuer has given no key, as far as is known.
    pub(crate) fn handle_issue_failure(&mut self, failure: Failure) -> Next {
        let Phase::Attempting { attempt, reserved, may_have_issued } = self.me.phase else {
            return self.fail(failure);
        };
        let may_have_issued = may_have_issued || !failure.is_refusal();
        self.me.phase = Phase::Attempting { attempt, reserved, may_have_issued };
        if may_have_issued {
            // The same attempt is made again, later.
            return self.postpone(failure);
        }
        self.me.phase = Phase::Withdrawing { attempt, untracked: false };
        self.withdraw(false, Some(failure))
    }

    /// Lets all instances wait before the attempt is repeated.
    fn postpone(&mut self, failure: Failure) -> Next {
        let pause = self.next_pause(failure.retry_after);
        if !self.rules.is_shared() {
            return self.back_off(Cause::Call(failure), pause);
        }
        self.write(Change::Postpone { pause }, Pending::Postpone { failure, pause })
    }

    pub(crate) fn wait_out_pause(&mut self, failure: Failure, pause: Duration) -> Next {
        let later = self.reserve(pause);
        if let Phase::Attempting { reserved, .. } | Phase::Issued(Issued { reserved, .. }) =
            &mut self.me.phase
        {
            *reserved = later;
        }
        self.back_off(Cause::Call(failure), pause)
    }

    /// The issuer does not accept its new key. Some keys work only after some time.
    pub(crate) fn handle_trial_failure(&mut self, failure: Failure) -> Next {
        let (now, longest) = (self.now.at, TRIAL_PAUSES.1.min(self.rules.attempt_lease / 4));
        let Phase::Issued(issued) = &mut self.me.phase else { return self.fail(failure) };
        if failure.is_temporary() {
            return self.postpone(failure);
        }
        match &mut issued.trial {
            Trial::Running { next, pause, until } if !until.has_come(now) => {
                *next = now.after(*pause).min(*until);
                *pause = (*pause * 2).min(longest);
                Next::wait(*next)
            }
            _ => self.give_up(failure),
        }
    }

    /// Gives up a key that does not work. Another instance may have stored the same key: claim the attempt
    /// once more before the key is revoked.
    fn give_up(&mut self, failure: Failure) -> Next {
        let Phase::Issued(issued) = &self.me.phase else { return self.fail(failure) };
        let reserved = self.reserve(Duration::ZERO);
        self.write_claim(issued.attempt, false, Pending::GiveUpClaim(failure, reserved))
    }

    pub(crate) fn give_up_revoke(&mut self, failure: Failure, reserved: Reserved) -> Next {
        let Phase::Issued(issued) = &mut self.me.phase else { return self.fail(failure) };
        if reserved.answer_by.has_come(self.now.at) {
            // Another instance may have taken the attempt over meanwhile, and stored the key.
            return self.fail(failure);
        }
        issued.reserved = reserved;
        let key = issued.key;
        let limit = self.limit(reserved);
        self.revoke(key, limit, Pending::GiveUpRevoke(failure))
    }

    pub(crate) fn withdraw_rejected(&mut self, failure: Failure, is_revoked: bool) -> Next {
        let Phase::Issued(issued) = &self.me.phase else { return self.fail(failure) };
        let (attempt, untracked) = (issued.attempt, issued.untracked || !is_revoked);
        self.me.phase = Phase::Withdrawing { attempt, untracked };
        self.withdraw(untracked, Some(failure))
    }

    /// The issuer does not revoke a key that does not work.
    pub(crate) fn handle_give_up_failure(&mut self, rejection: Failure, failure: Failure) -> Next {
        let again = self.now.at.after(self.rules.revocation_pause);
        let Phase::Issued(issued) = &mut self.me.phase else { return self.fail(failure) };
        if !issued.reluctance.add(&failure, again, Some(ENOUGH)) {
            // Otherwise instances take the attempt over from each other, and each begins to count.
            return self.postpone(failure);
        }
        self.effects.push(Effect::RevocationFailed(issued.key, failure));
        self.withdraw_rejected(rejection, false)
    }

    /// Removes the attempt from the store. All instances then share the back-off.
    fn withdraw(&mut self, untracked: bool, failure: Option<Failure>) -> Next {
        let failed = failure.map(|failure| (failure, self.next_pause(failure.retry_after)));
        let change = Change::Withdraw { untracked, pause: failed.map(|(_, pause)| pause) };
        self.write(change, Pending::Withdraw(failed))
    }

    /// Makes a key that works the current one.
    pub(crate) fn store(&mut self) -> Next {
        let Phase::Issued(issued) = &mut self.me.phase else { return self.read() };
        issued.may_be_stored = true;
        let (key, untracked) = (issued.key, issued.untracked);
        self.effects.push(Effect::Issued(key));
        let compromised = self.me.goal.compromised == Some(self.me.record.key);
        self.write(Change::Store { key, untracked, compromised }, Pending::Store)
    }

    pub(crate) fn switch_over(&mut self) -> Next {
        let generation = self.me.record.generation;
        self.me.phase = Phase::Overlap(Overlap::of(generation, true));
        self.effects.extend([Effect::ReleasePermit, Effect::Stored { generation }]);
        self.accept(self.me.record.clone())
    }

    /// Finds out what became of a key that the issuer has given: it is stored, it is to be stored, or it
    /// will never be used.
    pub(crate) fn settle_issued(&mut self) -> Option<Next> {
        let (issued, missing) = match &self.me.phase {
            Phase::Issued(issued) => (issued.clone(), None),
            Phase::Missing { issued, believed_at, until } => {
                (issued.clone(), Some((*believed_at, *until)))
            }
            _ => return None,
        };
        let record = &self.me.record;
        if record.attempt().is_some_and(|attempt| attempt.id == issued.attempt) {
            self.me.phase = Phase::Issued(issued);
            return None;
        }
        if record.key == issued.key {
            self.me.phase = Phase::Overlap(Overlap::of(record.generation, true));
            return None;
        }
        if matches!(record.stage, Stage::Overlap { previous } if previous == issued.key) {
            self.me.phase = Phase::Idle;
            return None;
        }
        let (believed_at, until) = missing.unwrap_or_else(|| {
            // If it was stored, by this instance or by one that took the attempt over and got the same key,
            // other instances use it until they notice that it is gone.
            let may_be_used = issued.may_be_stored || self.rules.is_idempotent();
            let others = if may_be_used { self.rules.others() } else { Duration::ZERO };
            let believed_at = self.now.at.after(self.rules.believed_after);
            (believed_at, believed_at.after(others))
        });
        self.me.phase = Phase::Missing { issued, believed_at, until };
        // The replacement of a compromised key waits for no other instance.
        let is_urgent = self.me.goal.compromised.is_some();
        let due = if is_urgent { believed_at } else { until };
        if due.has_come(self.now.at) {
            return Some(self.write(Change::Confirm, Pending::MissingConfirm));
        }
        Some(Next::wait(due))
    }

    pub(crate) fn revoke_missing(&mut self) -> Next {
        let Phase::Missing { issued, .. } = &self.me.phase else { return self.read() };
        let key = issued.key;
        self.revoke(key, self.rules.attempt_lease, Pending::MissingRevoke)
    }

    pub(crate) fn handle_missing_failure(&mut self, failure: Failure) -> Next {
        let again = self.now.at.after(self.rules.revocation_pause);
        let Phase::Missing { issued, .. } = &mut self.me.phase else { return self.fail(failure) };
        if !issued.reluctance.add(&failure, again, Some(ENOUGH)) {
            return self.fail(failure);
        }
        self.effects.push(Effect::RevocationFailed(issued.key, failure));
        self.me.phase = Phase::Idle;
        self.read()
    }

    pub(crate) fn revoke(&mut self, key: KeyRef, limit: Duration, pending: Pending) -> Next {
        self.me.pending = pending;
        Next::Call(Call::Revoke { key, current: self.me.record.key, limit })
    }
}

impl Reluctance {
    /// Counts a failure to revoke a key. Whether the score has reached `most`, so that the key is left to
    /// an operator.
    pub(crate) fn add(
        &mut self,
        failure: &Failure,
        ask_again_at: crate::Time,
        most: Option<u32>,
    ) -> bool {
        let more = if failure.is_temporary() { 1 } else { REFUSAL };
        // More than enough says no more.
        self.score = self.score.saturating_add(more).min(ENOUGH);
        self.ask_again_at = Some(ask_again_at);
        most.is_some_and(|most| self.score >= most)
    }

    /// Whether the issuer is not asked again for now: each time costs a version in the store.
    pub(crate) fn is_parked(&self, now: crate::Time) -> bool {
        self.score >= ENOUGH && self.ask_again_at.is_some_and(|time| !time.has_come(now))
    }
}
