//! The same state on a clock that started later: what the exploration compares states by.

use core::time::Duration;

use crate::{
    InUse, Instance, Issued, Overlap, Pending, Phase, Record, Reluctance, Reserved, Time, Trial,
};

impl Instance {
    /// The same instance on a clock that started `by` later.
    #[must_use]
    pub fn rebase(mut self, by: Duration) -> Self {
        let earlier = |time: Time| time.rebase(by);
        self.record = self.record.rebase(by);
        self.phase = self.phase.rebase(by);
        self.pending = match self.pending {
            Pending::DistrustInUse(record) => Pending::DistrustInUse(record.rebase(by)),
            Pending::DistrustRead(record) => Pending::DistrustRead(record.rebase(by)),
            Pending::Claim(reserved) => Pending::Claim(reserved.rebase(by)),
            Pending::GiveUpClaim(failure, reserved) => {
                Pending::GiveUpClaim(failure, reserved.rebase(by))
            }
            pending => pending,
        };
        let InUse { drain_until, others_until, takeover_at, .. } = &mut self.in_use;
        for time in [drain_until, others_until, takeover_at] {
            *time = earlier(*time);
        }
        if let Some(lease) = &mut self.lease {
            (lease.until, lease.urgent_until) = (earlier(lease.until), earlier(lease.urgent_until));
        }
        self.distrust_until = self.distrust_until.map(earlier);
        self.backoff.not_before = self.backoff.not_before.map(earlier);
        self
    }
}

impl Phase {
    fn rebase(self, by: Duration) -> Self {
        match self {
            Self::Idle | Self::Claiming { .. } | Self::Withdrawing { .. } => self,
            Self::Attempting { attempt, reserved, may_have_issued } => {
                Self::Attempting { attempt, reserved: reserved.rebase(by), may_have_issued }
            }
            Self::Issued(issued) => Self::Issued(issued.rebase(by)),
            Self::Missing { issued, believed_at, until } => Self::Missing {
                issued: issued.rebase(by),
                believed_at: believed_at.rebase(by),
                until: until.rebase(by),
            },
            Self::Overlap(overlap) => {
                Self::Overlap(Overlap { reluctance: overlap.reluctance.rebase(by), ..overlap })
            }
            Self::Requested { until } => Self::Requested { until: until.rebase(by) },
        }
    }
}

impl Issued {
    fn rebase(mut self, by: Duration) -> Self {
        self.reserved = self.reserved.rebase(by);
        self.reluctance = self.reluctance.rebase(by);
        if let Trial::Running { next, until, .. } = &mut self.trial {
            (*next, *until) = (next.rebase(by), until.rebase(by));
        }
        self
    }
}

impl Reserved {
    fn rebase(self, by: Duration) -> Self {
        Self { renew_at: self.renew_at.rebase(by), answer_by: self.answer_by.rebase(by) }
    }
}

impl Reluctance {
    fn rebase(self, by: Duration) -> Self {
        Self { ask_again_at: self.ask_again_at.map(|time| time.rebase(by)), ..self }
    }
}

impl Record {
    /// The same record on a clock that started `by` later.
    #[must_use]
    pub fn rebase(mut self, by: Duration) -> Self {
        self.not_before = self.not_before.map(|time| time.rebase(by));
        self
    }
}
