//! Faults on demand.

use std::collections::VecDeque;
use std::time::Duration;

/// What an [`Issuer`](super::Issuer) does instead of carrying out a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Does nothing and answers with this status.
    Status(u16),
    /// Does nothing and answers 429, with this many seconds in `Retry-After`.
    SlowDown(u64),
    /// Waits, then carries the request out.
    Late(Duration),
    /// Carries the request out, then closes the connection without an answer.
    LoseAnswer,
    /// Does nothing, and never answers.
    Hang,
    /// Carries the request out, and never answers.
    ActAndHang,
}

/// Faults still to come.
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
