//! Moves a state to a clock that started later, so that the exploration can compare states.

use core::time::Duration;

use crate::{
    InUse, Instance, Issued, Overlap, OwnLease, Pending, Phase, Record, RevocationFailures, Time,
    Verification,
};

impl Instance {
    /// The same instance on a clock that started `by` later.
    #[must_use]
    pub fn rebase(mut self, by: Duration) -> Self {
        let earlier = |time: Time| time.rebase(by);
        self.record = self.record.rebase(by);
        self.phase = self.phase.rebase(by);
        self.pending = match self.pending {
            Pending::VerifyInUse(record) => Pending::VerifyInUse(record.rebase(by)),
            Pending::VerifyRead(record) => Pending::VerifyRead(record.rebase(by)),
            Pending::Claim(own_lease) => Pending::Claim(own_lease.rebase(by)),
            Pending::GiveUpClaim(failure, own_lease) => {
                Pending::GiveUpClaim(failure, own_lease.rebase(by))
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
        self.ignore_stale_until = self.ignore_stale_until.map(earlier);
        self.backoff.not_before = self.backoff.not_before.map(earlier);
        self
    }
}

impl Phase {
    fn rebase(self, by: Duration) -> Self {
        match self {
            Self::Idle | Self::Claiming { .. } | Self::Withdrawing { .. } => self,
            Self::Attempting { attempt, own_lease, may_have_issued } => {
                Self::Attempting { attempt, own_lease: own_lease.rebase(by), may_have_issued }
            }
            Self::Issued(issued) => Self::Issued(issued.rebase(by)),
            Self::Missing { issued, accepted_at, until } => Self::Missing {
                issued: issued.rebase(by),
                accepted_at: accepted_at.rebase(by),
                until: until.rebase(by),
            },
            Self::Overlap(overlap) => Self::Overlap(Overlap {
                revocation_failures: overlap.revocation_failures.rebase(by),
                ..overlap
            }),
            Self::Requested { until } => Self::Requested { until: until.rebase(by) },
        }
    }
}

impl Issued {
    fn rebase(mut self, by: Duration) -> Self {
        self.own_lease = self.own_lease.rebase(by);
        self.revocation_failures = self.revocation_failures.rebase(by);
        if let Verification::Running { next, until, .. } = &mut self.verification {
            (*next, *until) = (next.rebase(by), until.rebase(by));
        }
        self
    }
}

impl OwnLease {
    fn rebase(self, by: Duration) -> Self {
        Self { renew_at: self.renew_at.rebase(by), call_deadline: self.call_deadline.rebase(by) }
    }
}

impl RevocationFailures {
    fn rebase(self, by: Duration) -> Self {
        Self { retry_at: self.retry_at.map(|time| time.rebase(by)), ..self }
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
