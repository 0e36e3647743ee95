//! Gets a new key: claims an attempt, asks the issuer, verifies the key, and stores it.

use core::time::Duration;

use crate::decide::Step;
use crate::rules::{MAX_SCORE, REFUSAL_SCORE, VERIFICATION_PAUSES};
use crate::{
    AttemptId, Backoff, Call, Cause, Change, Failure, Issued, KeyRef, LocalEffect, Next, Overlap,
    OwnLease, Pending, Phase, RevocationFailures, Stage, Verification,
};

impl Step<'_> {
    /// Resumes this instance's attempt.
    pub(crate) fn resume(&mut self, id: AttemptId) -> Next {
        match &self.instance.phase {
            Phase::Attempting { attempt, .. } | Phase::Issued(Issued { attempt, .. })
                if *attempt == id =>
            {
                self.advance()
            }
            Phase::Claiming { attempt, takes_over } if *attempt == id => {
                // The lease has been running since the write, for an unknown time.
                let own_lease = OwnLease { renew_at: self.now.at, call_deadline: self.now.at };
                let (attempt, may_have_issued) = (id, *takes_over);
                self.instance.phase = Phase::Attempting { attempt, own_lease, may_have_issued };
                self.advance()
            }
            Phase::Withdrawing { attempt, untracked } if *attempt == id => {
                let untracked = *untracked;
                self.withdraw(untracked, None)
            }
            // An operator has put back a record from during the attempt.
            _ => {
                self.instance.phase = Phase::Withdrawing { attempt: id, untracked: true };
                self.withdraw(true, None)
            }
        }
    }

    /// Writes this instance's claim to the store. An attempt that it takes over keeps its id, so that an
    /// idempotent issuer returns the same key again.
    pub(crate) fn claim(&mut self, id: AttemptId) -> Next {
        if !self.has_permit() {
            return self.queue();
        }
        let takes_over = self.instance.record.pending_attempt().is_some();
        // The issuer may also have issued a key for an attempt that the record has lost.
        let is_lost = matches!(self.instance.phase, Phase::Attempting { attempt, may_have_issued: true, .. }
            if attempt != id);
        // Ask an idempotent issuer again: the previous holder may have received a newer key.
        let keeps_key =
            matches!(self.instance.phase, Phase::Issued(_)) && !self.rules.is_idempotent();
        if !keeps_key {
            self.instance.phase = Phase::Claiming { attempt: id, takes_over };
        }
        let untracked = is_lost || takes_over && !self.rules.is_idempotent();
        let own_lease = self.reserve(Duration::ZERO);
        self.write_claim(id, untracked, Pending::Claim(own_lease))
    }

    fn write_claim(&mut self, id: AttemptId, untracked: bool, pending: Pending) -> Next {
        let change = Change::Claim {
            id,
            untracked,
            compromised: self.instance.goal.compromised == Some(self.instance.record.key),
        };
        self.write(change, pending)
    }

    fn has_permit(&self) -> bool {
        self.now.has_permit || self.instance.goal.compromised.is_some()
    }

    fn queue(&self) -> Next {
        let until = self.now.at.after(self.rules.check_interval());
        Next::Wait { until, for_drain: false, for_permit: true }
    }

    /// Starts the lease when the write is sent, because other instances may count it from then on.
    pub(crate) fn start_attempt(&mut self, own_lease: OwnLease) -> Next {
        match &mut self.instance.phase {
            Phase::Attempting { own_lease: known, .. }
            | Phase::Issued(Issued { own_lease: known, .. }) => *known = own_lease,
            Phase::Claiming { attempt, takes_over } => {
                let (attempt, may_have_issued) = (*attempt, *takes_over);
                self.instance.phase = Phase::Attempting { attempt, own_lease, may_have_issued };
            }
            _ => return self.read(),
        }
        self.call(own_lease)
    }

    /// The lease of an attempt that is written now, or whose pause ends now.
    fn reserve(&self, pause: Duration) -> OwnLease {
        let (start, lease) = (self.now.at.after(pause), self.rules.attempt_lease);
        OwnLease { renew_at: start.after(lease / 4), call_deadline: start.after(lease * 3 / 4) }
    }

    /// The time limit of a call to the issuer, which ends before others take the attempt over.
    fn limit(&self, own_lease: OwnLease) -> Duration {
        let lease = self.rules.attempt_lease;
        if !self.rules.is_shared() {
            return lease;
        }
        own_lease.call_deadline.left(self.now.at).max(lease / 4)
    }

    /// Makes the next call of this instance's attempt.
    fn advance(&mut self) -> Next {
        if !self.has_permit() {
            return self.queue();
        }
        let (attempt, own_lease) = match &self.instance.phase {
            Phase::Issued(Issued { verification: Verification::Running { next, .. }, .. })
                if !next.has_come(self.now.at) =>
            {
                return Next::wait(*next);
            }
            Phase::Attempting { attempt, own_lease, .. }
            | Phase::Issued(Issued { attempt, own_lease, .. }) => (*attempt, *own_lease),
            _ => return self.read(),
        };
        if self.rules.is_shared() && !self.is_covered(own_lease) {
            let own_lease = self.reserve(Duration::ZERO);
            return self.write_claim(attempt, false, Pending::Claim(own_lease));
        }
        self.call(own_lease)
    }

    /// Whether the lease was extended recently, and does not start after a pause that a caller has cut short.
    fn is_covered(&self, own_lease: OwnLease) -> bool {
        let now = self.now.at;
        !own_lease.renew_at.has_come(now)
            && own_lease.renew_at.left(now) <= self.rules.attempt_lease / 4
    }

    /// Makes the call even if extending the lease took much of it, because it would again.
    fn call(&mut self, own_lease: OwnLease) -> Next {
        let Some(attempt) = self.instance.record.pending_attempt().copied() else {
            return self.read();
        };
        let limit = self.limit(own_lease);
        match &self.instance.phase {
            Phase::Attempting { .. } => {
                self.effects.push(LocalEffect::Started);
                self.instance.pending = Pending::Issue;
                Next::Call(Call::Issue { attempt, current: self.instance.record.key, limit })
            }
            Phase::Issued(issued) => match (issued.key, issued.verification) {
                (key, Verification::Running { .. }) => self.verify(key, limit, Pending::VerifyNew),
                (_, Verification::Unusable { failure }) => self.give_up(failure),
            },
            _ => self.read(),
        }
    }

    /// Keeps the key that the issuer has issued.
    pub(crate) fn keep_issued(
        &mut self,
        key: KeyRef,
        unusable: Option<Failure>,
        repeated: bool,
    ) -> Next {
        let Phase::Attempting { attempt, own_lease, may_have_issued } = self.instance.phase else {
            return self.read();
        };
        let (now, lease) = (self.now.at, self.rules.attempt_lease);
        let verification = match unusable {
            Some(failure) => Verification::Unusable { failure },
            None => Verification::Running {
                next: now,
                pause: VERIFICATION_PAUSES.0,
                until: now.after(lease),
            },
        };
        let untracked = (may_have_issued || repeated) && !self.rules.is_idempotent();
        let revocation_failures = RevocationFailures::default();
        let may_be_stored = false;
        let issued = Issued {
            attempt,
            key,
            own_lease,
            untracked,
            verification,
            may_be_stored,
            revocation_failures,
        };
        self.instance.phase = Phase::Issued(issued);
        self.advance()
    }

    /// Handles a failed call for a key. The issuer may still have issued one.
    pub(crate) fn handle_issue_failure(&mut self, failure: Failure) -> Next {
        let Phase::Attempting { attempt, own_lease, may_have_issued } = self.instance.phase else {
            return self.fail(failure);
        };
        let may_have_issued = may_have_issued || !failure.is_refusal();
        self.instance.phase = Phase::Attempting { attempt, own_lease, may_have_issued };
        if may_have_issued {
            // Repeat the same attempt later.
            return self.postpone(failure);
        }
        self.instance.phase = Phase::Withdrawing { attempt, untracked: false };
        self.withdraw(false, Some(failure))
    }

    /// Makes all instances wait before the attempt is repeated.
    fn postpone(&mut self, failure: Failure) -> Next {
        let pause = self.next_pause(failure.retry_after);
        if !self.rules.is_shared() {
            return self.back_off(Cause::Call(failure), pause);
        }
        self.write(Change::Postpone { pause }, Pending::Postpone { failure, pause })
    }

    pub(crate) fn wait_out_pause(&mut self, failure: Failure, pause: Duration) -> Next {
        let later = self.reserve(pause);
        if let Phase::Attempting { own_lease, .. } | Phase::Issued(Issued { own_lease, .. }) =
            &mut self.instance.phase
        {
            *own_lease = later;
        }
        self.back_off(Cause::Call(failure), pause)
    }

    /// Verifies a rejected new key again after a pause: some keys work only after some time.
    pub(crate) fn handle_verification_failure(&mut self, failure: Failure) -> Next {
        let (now, longest) = (self.now.at, VERIFICATION_PAUSES.1.min(self.rules.attempt_lease / 4));
        let Phase::Issued(issued) = &mut self.instance.phase else { return self.fail(failure) };
        if failure.is_temporary() {
            return self.postpone(failure);
        }
        match &mut issued.verification {
            Verification::Running { next, pause, until } if !until.has_come(now) => {
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
        let Phase::Issued(issued) = &self.instance.phase else { return self.fail(failure) };
        let own_lease = self.reserve(Duration::ZERO);
        self.write_claim(issued.attempt, false, Pending::GiveUpClaim(failure, own_lease))
    }

    pub(crate) fn give_up_revoke(&mut self, failure: Failure, own_lease: OwnLease) -> Next {
        let Phase::Issued(issued) = &mut self.instance.phase else { return self.fail(failure) };
        if own_lease.call_deadline.has_come(self.now.at) {
            // Another instance may have taken the attempt over and stored the key.
            return self.fail(failure);
        }
        issued.own_lease = own_lease;
        let key = issued.key;
        let limit = self.limit(own_lease);
        self.revoke(key, limit, Pending::GiveUpRevoke(failure))
    }

    pub(crate) fn withdraw_rejected(&mut self, failure: Failure, is_revoked: bool) -> Next {
        let Phase::Issued(issued) = &self.instance.phase else { return self.fail(failure) };
        let (attempt, untracked) = (issued.attempt, issued.untracked || !is_revoked);
        self.instance.phase = Phase::Withdrawing { attempt, untracked };
        self.withdraw(untracked, Some(failure))
    }

    /// Handles a failure to revoke a key that does not work.
    pub(crate) fn handle_give_up_failure(&mut self, rejection: Failure, failure: Failure) -> Next {
        let again = self.now.at.after(self.rules.revocation_pause);
        let Phase::Issued(issued) = &mut self.instance.phase else { return self.fail(failure) };
        if !issued.revocation_failures.add(&failure, again, Some(MAX_SCORE)) {
            // Otherwise instances would take the attempt over from each other, and each would start to count.
            return self.postpone(failure);
        }
        self.effects.push(LocalEffect::RevocationFailed(issued.key, failure));
        self.withdraw_rejected(rejection, false)
    }

    /// Removes the attempt from the store. All instances then share the back-off.
    fn withdraw(&mut self, untracked: bool, failure: Option<Failure>) -> Next {
        let failed = failure.map(|failure| (failure, self.next_pause(failure.retry_after)));
        let change = Change::Withdraw { untracked, pause: failed.map(|(_, pause)| pause) };
        self.write(change, Pending::Withdraw(failed))
    }

    /// Stores a verified key as the current one.
    pub(crate) fn store(&mut self) -> Next {
        let Phase::Issued(issued) = &mut self.instance.phase else { return self.read() };
        issued.may_be_stored = true;
        let (key, untracked) = (issued.key, issued.untracked);
        self.effects.push(LocalEffect::Issued(key));
        let compromised = self.instance.goal.compromised == Some(self.instance.record.key);
        self.write(Change::Store { key, untracked, compromised }, Pending::Store)
    }

    pub(crate) fn switch_over(&mut self) -> Next {
        let generation = self.instance.record.generation;
        self.start_overlap(generation);
        self.effects.extend([LocalEffect::ReleasePermit, LocalEffect::Stored { generation }]);
        self.accept(self.instance.record.clone())
    }

    /// The store holds the key that this instance got. The failures before that do not postpone revoking the old
    /// key.
    fn start_overlap(&mut self, generation: u64) {
        self.instance.phase = Phase::Overlap(Overlap::of(generation, true));
        self.instance.backoff = Backoff::default();
    }

    /// Determines whether an issued key is stored, must still be stored, or will never be used.
    pub(crate) fn settle_issued(&mut self) -> Option<Next> {
        let (issued, missing) = match &self.instance.phase {
            Phase::Issued(issued) => (issued.clone(), None),
            Phase::Missing { issued, accepted_at, until } => {
                (issued.clone(), Some((*accepted_at, *until)))
            }
            _ => return None,
        };
        let record = &self.instance.record;
        if record.pending_attempt().is_some_and(|attempt| attempt.id == issued.attempt) {
            self.instance.phase = Phase::Issued(issued);
            return None;
        }
        if record.key == issued.key {
            self.start_overlap(record.generation);
            return None;
        }
        if matches!(record.stage, Stage::Overlap { previous } if previous == issued.key) {
            self.instance.phase = Phase::Idle;
            return None;
        }
        let (accepted_at, until) = missing.unwrap_or_else(|| {
            // If the key was stored, by this instance or by one that took the attempt over and got the same key,
            // other instances use it until they notice that it is gone.
            let may_be_used = issued.may_be_stored || self.rules.is_idempotent();
            let others = if may_be_used { self.rules.grace_for_others() } else { Duration::ZERO };
            let accepted_at = self.now.at.after(self.rules.max_read_lag);
            (accepted_at, accepted_at.after(others))
        });
        self.instance.phase = Phase::Missing { issued, accepted_at, until };
        // Replace a compromised key without waiting for other instances.
        let is_urgent = self.instance.goal.compromised.is_some();
        let due = if is_urgent { accepted_at } else { until };
        if due.has_come(self.now.at) {
            return Some(self.write(Change::Confirm, Pending::MissingConfirm));
        }
        Some(Next::wait(due))
    }

    pub(crate) fn revoke_missing(&mut self) -> Next {
        let Phase::Missing { issued, .. } = &self.instance.phase else { return self.read() };
        let key = issued.key;
        self.revoke(key, self.rules.attempt_lease, Pending::MissingRevoke)
    }

    pub(crate) fn handle_missing_failure(&mut self, failure: Failure) -> Next {
        let again = self.now.at.after(self.rules.revocation_pause);
        let Phase::Missing { issued, .. } = &mut self.instance.phase else {
            return self.fail(failure);
        };
        if !issued.revocation_failures.add(&failure, again, Some(MAX_SCORE)) {
            return self.fail(failure);
        }
        self.effects.push(LocalEffect::RevocationFailed(issued.key, failure));
        self.instance.phase = Phase::Idle;
        self.read()
    }

    pub(crate) fn revoke(&mut self, key: KeyRef, limit: Duration, pending: Pending) -> Next {
        self.instance.pending = pending;
        Next::Call(Call::Revoke { key, current: self.instance.record.key, limit })
    }
}

impl RevocationFailures {
    /// Counts a failure to revoke a key. Returns whether the score has reached `most`, so that the key is left
    /// to an operator.
    pub(crate) fn add(
        &mut self,
        failure: &Failure,
        retry_at: crate::Time,
        most: Option<u32>,
    ) -> bool {
        let more = if failure.is_temporary() { 1 } else { REFUSAL_SCORE };
        // Keep the score bounded, for the exploration.
        self.score = self.score.saturating_add(more).min(MAX_SCORE);
        self.retry_at = Some(retry_at);
        most.is_some_and(|most| self.score >= most)
    }

    /// Whether asking the issuer is suspended, because each call costs a version in the store.
    pub(crate) fn is_suspended(&self, now: crate::Time) -> bool {
        self.score >= MAX_SCORE && self.retry_at.is_some_and(|time| !time.has_come(now))
    }
}
