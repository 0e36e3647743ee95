//! Revokes the old key once the new one is stored, works, and is used everywhere.

use alloc::vec::Vec;
use core::time::Duration;

use crate::decide::Step;
use crate::rules::MAX_SCORE;
use crate::{
    Call, Change, Failure, KeyRef, LocalEffect, Next, Overlap, Pending, Phase, RevocationFailures,
    Stage, Untracked,
};

impl Overlap {
    pub(crate) fn of(generation: u64, is_own: bool) -> Self {
        let revocation_failures = RevocationFailures::default();
        Self { generation, is_own, is_drained: false, is_revoked: false, revocation_failures }
    }
}

impl Step<'_> {
    /// Revokes the old key, or waits for requests and instances that may need it.
    pub(crate) fn advance_overlap(&mut self, previous: KeyRef) -> Next {
        let (record, now) = (self.instance.record.clone(), self.now.at);
        let overlap = match &self.instance.phase {
            Phase::Overlap(overlap) if overlap.generation == record.generation => overlap.clone(),
            _ => Overlap::of(record.generation, false),
        };
        self.instance.phase = Phase::Overlap(overlap.clone());
        if previous == record.key {
            // An operator has put the old key back: no record holds the newer key any more.
            self.effects.push(LocalEffect::Orphaned { revoked: None });
            return self.write(Change::Finish { untracked: false }, Pending::Finish);
        }
        let is_urgent =
            record.is_compromised || self.is_compromised(previous) || self.blocks_replacement();
        if !is_urgent {
            let others = self.remaining_for_others(&overlap);
            if !others.is_zero() {
                return self.wait_for_others(others);
            }
            let until = self.instance.in_use.drain_until;
            if self.in_flight && !until.has_come(now) {
                return Next::Wait { until, for_drain: true, for_permit: false };
            }
            if overlap.revocation_failures.is_suspended(now) && !self.needs_replacement() {
                return Next::Rest;
            }
        }
        if !overlap.is_drained {
            self.effects.push(LocalEffect::Drained { timed_out: self.in_flight });
            self.instance.phase = Phase::Overlap(Overlap { is_drained: true, ..overlap });
        }
        // Revoke the old key only after the new one has been verified.
        self.verify(record.key, self.rules.attempt_lease, Pending::OverlapVerify)
    }

    /// How much longer other instances need the old key. An instance that has not stored the new key waits
    /// longer, for the one that has.
    fn remaining_for_others(&self, overlap: &Overlap) -> Duration {
        let in_use = &self.instance.in_use;
        let until = if overlap.is_own { in_use.others_until } else { in_use.takeover_at };
        until.left(self.now.at)
    }

    fn is_compromised(&self, key: KeyRef) -> bool {
        self.instance.goal.compromised == Some(key)
    }

    /// Whether the new key is already compromised, so that the old one blocks its replacement.
    fn blocks_replacement(&self) -> bool {
        self.is_compromised(self.instance.record.key)
    }

    /// Whether the new key is due for replacement as well.
    fn needs_replacement(&self) -> bool {
        self.instance.goal.replace.is_some_and(|replace| replace >= self.instance.record.generation)
    }

    /// The score at which the old key is left to an operator; `None` while no rotation waits for it.
    fn max_score(&self) -> Option<u32> {
        let previous = self.previous()?;
        let only_blocks_replacement = self.blocks_replacement()
            && !self.instance.record.is_compromised
            && !self.is_compromised(previous);
        self.needs_replacement().then_some(if only_blocks_replacement { 1 } else { MAX_SCORE })
    }

    fn previous(&self) -> Option<KeyRef> {
        match self.instance.record.stage {
            Stage::Overlap { previous } => Some(previous),
            _ => None,
        }
    }

    pub(crate) fn list_keys(&mut self) -> Next {
        if !self.instance.record.has_untracked_keys {
            return self.write(Change::Confirm, Pending::OverlapConfirm(Untracked::None));
        }
        self.instance.pending = Pending::OverlapList;
        let limit = self.rules.attempt_lease;
        Next::Call(Call::List { current: self.instance.record.key, limit })
    }

    /// Writes the record once more, after the issuer has listed its keys: each attempt is written before
    /// the issuer is asked, so none of the keys belongs to a later attempt.
    pub(crate) fn confirm_overlap(&mut self, listed: Option<Vec<KeyRef>>) -> Next {
        let (current, previous) = (self.instance.record.key, self.previous());
        // A list without the current key does not hold keys.
        let untracked = match listed.filter(|keys| keys.contains(&current)) {
            None => Untracked::Unknown,
            Some(mut keys) => {
                keys.retain(|key| *key != current && Some(*key) != previous);
                Untracked::Keys(keys)
            }
        };
        self.write(Change::Confirm, Pending::OverlapConfirm(untracked))
    }

    pub(crate) fn revoke_previous(&mut self, untracked: Untracked) -> Next {
        let Some(previous) = self.previous() else { return self.read() };
        self.revoke(previous, self.rules.attempt_lease, Pending::OverlapRevoke(untracked))
    }

    pub(crate) fn continue_after_revocation(&mut self, pending: Pending) -> Next {
        match pending {
            Pending::GiveUpRevoke(failure) => self.withdraw_rejected(failure, true),
            Pending::MissingRevoke => {
                self.instance.phase = Phase::Idle;
                self.read()
            }
            Pending::OverlapRevoke(untracked) => {
                let previous = self.previous();
                if let Phase::Overlap(overlap) = &mut self.instance.phase
                    && !core::mem::replace(&mut overlap.is_revoked, true)
                {
                    self.effects.extend(previous.map(LocalEffect::Revoked));
                }
                self.revoke_untracked(untracked)
            }
            Pending::OverlapRevokeUntracked { mut left, revoked, some_stay } => {
                left.pop();
                self.revoke_next(left, revoked + 1, some_stay)
            }
            _ => self.read(),
        }
    }

    fn revoke_untracked(&mut self, untracked: Untracked) -> Next {
        match untracked {
            Untracked::None => self.finish(false),
            Untracked::Unknown => {
                self.effects.push(LocalEffect::Orphaned { revoked: None });
                self.finish(false)
            }
            Untracked::Keys(keys) => self.revoke_next(keys, 0, false),
        }
    }

    fn revoke_next(&mut self, left: Vec<KeyRef>, revoked: usize, some_stay: bool) -> Next {
        match left.last() {
            None => {
                self.effects.push(LocalEffect::Orphaned { revoked: Some(revoked) });
                self.finish(some_stay)
            }
            Some(key) => {
                let (key, limit) = (*key, self.rules.attempt_lease);
                self.revoke(
                    key,
                    limit,
                    Pending::OverlapRevokeUntracked { left, revoked, some_stay },
                )
            }
        }
    }

    /// The issuer does not revoke the old key.
    pub(crate) fn handle_overlap_failure(
        &mut self,
        untracked: Untracked,
        failure: Failure,
    ) -> Next {
        let Some(previous) = self.previous() else { return self.fail(failure) };
        if !self.count_revocation_failure(previous, failure) {
            return self.fail(failure);
        }
        self.revoke_untracked(untracked)
    }

    /// The issuer does not revoke a key that the store does not hold.
    pub(crate) fn handle_untracked_failure(
        &mut self,
        mut left: Vec<KeyRef>,
        revoked: usize,
        failure: Failure,
    ) -> Next {
        let Some(key) = left.pop() else { return self.fail(failure) };
        if !self.count_revocation_failure(key, failure) {
            return self.fail(failure);
        }
        self.revoke_next(left, revoked, true)
    }

    /// Counts a failure to revoke a key. Returns whether the key is left to an operator.
    fn count_revocation_failure(&mut self, key: KeyRef, failure: Failure) -> bool {
        let (most, again) = (self.max_score(), self.now.at.after(self.rules.revocation_pause));
        let Phase::Overlap(overlap) = &mut self.instance.phase else { return false };
        let count_revocation_failure = overlap.revocation_failures.add(&failure, again, most);
        if count_revocation_failure {
            self.effects.push(LocalEffect::RevocationFailed(key, failure));
        }
        count_revocation_failure
    }

    fn finish(&mut self, untracked: bool) -> Next {
        self.write(Change::Finish { untracked }, Pending::Finish)
    }
}
