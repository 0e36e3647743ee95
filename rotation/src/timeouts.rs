//! How long calls of an issuer may take.

use std::time::Duration;

use strongroom_core::Problems;

/// The longest timeout that can be set.
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// How long an issuer may take to connect and to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// How long one connection may take to establish; default 3 s.
    pub connect: Duration,
    /// How long a whole call may take; default 10 s.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), call: Duration::from_secs(10) }
    }
}

impl Timeouts {
    pub(crate) fn check(&self, problems: &mut Problems) {
        for (name, time) in [("connect", self.connect), ("call", self.call)] {
            if time.is_zero() || time > ONE_DAY {
                problems.add(format!("`timeouts.{name}` must be more than zero and at most a day"));
            }
        }
    }
}
