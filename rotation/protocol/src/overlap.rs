//! Revoking the old key, once the new one is stored, works, and is used everywhere.

use alloc::vec::Vec;
use core::time::Duration;

use crate::decide::Step;
use crate::rules::ENOUGH;
use crate::{
    Call, Change, Effect, Failure, KeyRef, Next, Overlap, Pending, Phase, Reluctance, Stage,
    Untracked,
};

impl Overlap {
    pub(crate) fn of(generation: u64, is_own: bool) -> Self {
        let reluctance = Reluctance::default();
        Self { generation, is_own, is_drained: false, is_revoked: false, reluctance }
    }
}

impl Step<'_> {
    /// Revokes the old key, or waits for those who may need it.
    pub(crate) fn retire(&mut self, previous: KeyRef) -> Next {
        let (record, now) = (self.me.record.clone(), self.now.at);
        let overlap = match &self.me.phase {
            Phase::Overlap(overlap) if overlap.generation == record.generation => overlap.clone(),
            _ => Overlap::of(record.generation, false),
        };
        self.me.phase = Phase::Overlap(overlap.clone());
        if previous == record.key {
            // An operator has put the old key back: the key that was in between is in no record.
            self.effects.push(Effect::Orphaned { revoked: None });
            return self.write(Change::Finish { untracked: false }, Pending::Finish);
        }
        let is_urgent =
            record.is_compromised || self.is_compromised(previous) || self.is_in_the_way();
        if !is_urgent {
            let others = self.others_need(&overlap);
            if !others.is_zero() {
                return self.wait_for_others(others);
            }
            let until = self.me.in_use.drain_until;
            if self.in_flight && !until.has_come(now) {
                return Next::Wait { until, for_drain: true, for_permit: false };
            }
            if overlap.reluctance.is_parked(now) && !self.wants_next() {
                return Next::Rest;
            }
        }
        if !overlap.is_drained {
            self.effects.push(Effect::Drained { timed_out: self.in_flight });
            self.me.phase = Phase::Overlap(Overlap { is_drained: true, ..overlap });
        }
        // Never before it is certain that the new key works.
        self.verify(record.key, self.rules.attempt_lease, Pending::RetireVerify)
    }

    /// How much longer other instances need the old key. An instance that has not stored the new key waits
    /// longer, for the one that has.
    fn others_need(&self, overlap: &Overlap) -> Duration {
        let in_use = &self.me.in_use;
        let until = if overlap.is_own { in_use.others_until } else { in_use.takeover_at };
        until.left(self.now.at)
    }

    fn is_compromised(&self, key: KeyRef) -> bool {
        self.me.goal.compromised == Some(key)
    }

    /// Whether the new key is compromised already, and the old one in the way of its replacement.
    fn is_in_the_way(&self) -> bool {
        self.is_compromised(self.me.record.key)
    }

    /// Whether the new key is to be replaced as well.
    fn wants_next(&self) -> bool {
        self.me.goal.replace.is_some_and(|wanted| wanted >= self.me.record.generation)
    }

    /// The score at which the old key is left to an operator; none while nothing waits for it.
    fn most(&self) -> Option<u32> {
        let previous = self.previous()?;
        let is_only_in_the_way = self.is_in_the_way()
            && !self.me.record.is_compromised
            && !self.is_compromised(previous);
        self.wants_next().then_some(if is_only_in_the_way { 1 } else { ENOUGH })
    }

    fn previous(&self) -> Option<KeyRef> {
        match self.me.record.stage {
            Stage::Overlap { previous } => Some(previous),
            _ => None,
        }
    }

    pub(crate) fn retire_list(&mut self) -> Next {
        if !self.me.record.has_untracked_keys {
            return self.write(Change::Confirm, Pending::RetireConfirm(Untracked::None));
        }
        self.me.pending = Pending::RetireList;
        let limit = self.rules.attempt_lease;
        Next::Call(Call::List { current: self.me.record.key, limit })
    }

    /// Writes the record once more, after the issuer has listed its keys: each attempt is written before
    /// the issuer is asked, so none of the keys belongs to a later attempt.
    pub(crate) fn confirm_retire(&mut self, listed: Option<Vec<KeyRef>>) -> Next {
        let (current, previous) = (self.me.record.key, self.previous());
        // A list without the current key is a list of something else.
        let untracked = match listed.filter(|keys| keys.contains(&current)) {
            None => Untracked::Unknown,
            Some(mut keys) => {
                keys.retain(|key| *key != current && Some(*key) != previous);
                Untracked::Keys(keys)
            }
        };
        self.write(Change::Confirm, Pending::RetireConfirm(untracked))
    }

    pub(crate) fn retire_revoke(&mut self, untracked: Untracked) -> Next {
        let Some(previous) = self.previous() else { return self.read() };
        self.revoke(previous, self.rules.attempt_lease, Pending::RetireRevoke(untracked))
    }

    pub(crate) fn continue_after_revocation(&mut self, pending: Pending) -> Next {
        match pending {
            Pending::GiveUpRevoke(failure) => self.withdraw_rejected(failure, true),
            Pending::MissingRevoke => {
                self.me.phase = Phase::Idle;
                self.read()
            }
            Pending::RetireRevoke(untracked) => {
                let previous = self.previous();
                if let Phase::Overlap(overlap) = &mut self.me.phase
                    && !core::mem::replace(&mut overlap.is_revoked, true)
                {
                    self.effects.extend(previous.map(Effect::Revoked));
                }
                self.retire_untracked(untracked)
            }
            Pending::RetireUntracked { mut left, revoked, some_stay } => {
                left.pop();
                self.revoke_next(left, revoked + 1, some_stay)
            }
            _ => self.read(),
        }
    }

    fn retire_untracked(&mut self, untracked: Untracked) -> Next {
        match untracked {
            Untracked::None => self.finish(false),
            Untracked::Unknown => {
                self.effects.push(Effect::Orphaned { revoked: None });
                self.finish(false)
            }
            Untracked::Keys(keys) => self.revoke_next(keys, 0, false),
        }
    }

    fn revoke_next(&mut self, left: Vec<KeyRef>, revoked: usize, some_stay: bool) -> Next {
        match left.last() {
            None => {
                self.effects.push(Effect::Orphaned { revoked: Some(revoked) });
                self.finish(some_stay)
            }
            Some(key) => {
                let (key, limit) = (*key, self.rules.attempt_lease);
                self.revoke(key, limit, Pending::RetireUntracked { left, revoked, some_stay })
            }
        }
    }

    /// The issuer does not revoke the old key.
    pub(crate) fn handle_retire_failure(&mut self, untracked: Untracked, failure: Failure) -> Next {
        let Some(previous) = self.previous() else { return self.fail(failure) };
        if !self.is_left(previous, failure) {
            return self.fail(failure);
        }
        self.retire_untracked(untracked)
    }

    /// The issuer does not revoke a key that the store does not hold.
    pub(crate) fn handle_untracked_failure(
        &mut self,
        mut left: Vec<KeyRef>,
        revoked: usize,
        failure: Failure,
    ) -> Next {
        let Some(key) = left.pop() else { return self.fail(failure) };
        if !self.is_left(key, failure) {
            return self.fail(failure);
        }
        self.revoke_next(left, revoked, true)
    }

    /// Counts a failure to revoke a key. Whether the key is left to an operator.
    fn is_left(&mut self, key: KeyRef, failure: Failure) -> bool {
        let (most, again) = (self.most(), self.now.at.after(self.rules.revocation_pause));
        let Phase::Overlap(overlap) = &mut self.me.phase else { return false };
        let is_left = overlap.reluctance.add(&failure, again, most);
        if is_left {
            self.effects.push(Effect::RevocationFailed(key, failure));
        }
        is_left
    }

    fn finish(&mut self, untracked: bool) -> Next {
        self.write(Change::Finish { untracked }, Pending::Finish)
    }
}
