//! Faults on demand.

use std::collections::VecDeque;
use std::time::Duration;

/// A fault of an [`Issuer`](super::Issuer) in response to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Does nothing and returns this status.
    Status(u16),
    /// Does nothing and returns 429, with this number of seconds in `Retry-After`.
    SlowDown(u64),
    /// Waits, then performs the request.
    Late(Duration),
    /// Performs the request, then closes the connection without a response.
    LoseAnswer,
    /// Does nothing and never responds.
    Hang,
    /// Performs the request and never responds.
    ActAndHang,
}

/// The faults of the next requests.
#[derive(Debug, Default)]
pub(super) struct Faults {
    issue: VecDeque<Fault>,
    revocation: VecDeque<Fault>,
}

impl Faults {
    pub(super) fn on_issue(&mut self, count: usize, fault: Fault) {
        self.issue.extend(std::iter::repeat_n(fault, count));
    }

    pub(super) fn on_revocation(&mut self, count: usize, fault: Fault) {
        self.revocation.extend(std::iter::repeat_n(fault, count));
    }

    pub(super) fn next_on_issue(&mut self) -> Option<Fault> {
        self.issue.pop_front()
    }

    pub(super) fn next_on_revocation(&mut self) -> Option<Fault> {
        self.revocation.pop_front()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
