//! The rules and inputs of a decision.

use core::time::Duration;

use crate::{AttemptId, Time};

/// How long reads of a store may lag: an earlier generation, or a missing key, counts only after this time.
pub const MAX_READ_LAG: Duration = Duration::from_secs(5);
/// The longest pause before the next read of the store while another instance acts.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(5);
/// The shortest such pause.
pub(crate) const MIN_WAIT: Duration = Duration::from_millis(50);
/// How often to read the store if no other instance changes it.
pub(crate) const IDLE_CHECK: Duration = Duration::from_secs(300);
/// The pause after a read that may lag.
pub(crate) const REREAD_PAUSE: Duration = Duration::from_millis(200);
/// How many writes in a row may fail because another instance has written first.
pub(crate) const MAX_CONFLICTS: u32 = 10;
/// The pause after the first such write.
pub(crate) const CONFLICT_PAUSE: Duration = Duration::from_millis(40);
/// The pause after the first failure, and the longest.
pub(crate) const FAILURE_PAUSES: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(3600));
/// How often the pause after a failure can double; it reaches its limit earlier.
pub(crate) const MAX_DOUBLINGS: u32 = 16;
/// The pause after the first verification of a new key that was refused, and the longest.
pub(crate) const VERIFICATION_PAUSES: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(5));
/// How much a refusal to revoke a key counts, next to a temporary failure.
pub(crate) const REFUSAL_SCORE: u32 = 4;
/// The score at which the instance stops asking the issuer to revoke a key: five refusals, or twenty failures.
pub(crate) const MAX_SCORE: u32 = 5 * REFUSAL_SCORE;
/// How long to wait before asking the issuer again to revoke a key that has reached the score.
pub const REVOCATION_PAUSE: Duration = Duration::from_secs(86_400);
/// How often to read a secret that the store was asked to replace.
pub(crate) const REQUEST_CHECK: Duration = Duration::from_secs(1);

/// The rules by which an instance decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The source of new keys.
    pub issuer: Issuer,
    /// How long requests in flight may go on with an old key.
    pub drain_timeout: Duration,
    /// How long other instances may take to notice a new key; zero if there are no others.
    pub propagation_timeout: Duration,
    /// How long an instance may take to get a key before another one takes its attempt over.
    pub attempt_lease: Duration,
    /// How long reads of the store may lag.
    pub max_read_lag: Duration,
    /// How long to wait before asking the issuer again to revoke a key that has reached the maximum score,
    /// unless the next rotation needs it.
    pub revocation_pause: Duration,
}

/// The source of new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// An issuer. If it is idempotent, an attempt can be repeated without leaving an untracked key.
    Remote {
        /// Whether it is.
        is_idempotent: bool,
    },
    /// The store itself.
    Store,
}

impl Rules {
    /// Whether other instances use the key.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        !self.propagation_timeout.is_zero()
    }

    /// How often the store is read.
    #[must_use]
    pub fn check_interval(&self) -> Duration {
        let third = self.propagation_timeout / 3;
        if third.is_zero() { IDLE_CHECK } else { third }
    }

    /// How long other instances may need an old key: to notice the new one, and to let their requests end.
    pub(crate) fn grace_for_others(&self) -> Duration {
        if self.is_shared() {
            self.propagation_timeout.saturating_add(self.drain_timeout)
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.issuer == Issuer::Remote { is_idempotent: true }
    }
}

/// The inputs of a decision besides the event.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time.
    pub at: Time,
    /// Whether a request of this instance carries an earlier key than the one in use.
    pub in_flight: bool,
    /// Whether the instance holds a permit to replace this key now.
    pub has_permit: bool,
    /// An id for the next attempt, which no earlier attempt has.
    pub next_attempt: AttemptId,
    /// The share of a pause to wait, 50 to 100 per cent, so that instances do not act in step.
    pub jitter: u32,
}
