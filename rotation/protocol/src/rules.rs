//! What an instance is told about the issuer and about time.

use core::time::Duration;

use crate::{AttemptId, Time};

/// How long an earlier generation, or the lack of a key, has to be shown before it is believed: some
/// stores show an earlier state now and then.
pub const BELIEVED_AFTER: Duration = Duration::from_secs(5);
/// How long to wait at most before the store is read again for what another instance does.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The shortest such pause.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(50);
/// How often the store is read where no other instance is expected to change it.
pub(crate) const IDLE_CHECK: Duration = Duration::from_secs(300);
/// The pause after a read that is not believed.
pub(crate) const READ_AGAIN: Duration = Duration::from_millis(200);
/// How many writes in a row may find that another instance has written first.
pub(crate) const MOST_CONFLICTS: u32 = 10;
/// The pause after the first such write.
pub(crate) const CONFLICT_PAUSE: Duration = Duration::from_millis(40);
/// The pause after the first failure, and the longest.
pub(crate) const FAILURE_PAUSES: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(3600));
/// How often the pause after a failure can double: it is at its longest before.
pub(crate) const MOST_DOUBLINGS: u32 = 16;
/// The pause after the first verification of a new key that was refused, and the longest.
pub(crate) const TRIAL_PAUSES: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(5));
/// How much a refusal to revoke a key counts, next to a temporary failure.
pub(crate) const REFUSAL: u32 = 4;
/// The score at which the issuer is not asked any more to revoke a key: five refusals, or twenty failures.
pub(crate) const ENOUGH: u32 = 5 * REFUSAL;
/// How long an issuer that has declined too often is not asked again to revoke a key.
pub const REVOCATION_PAUSE: Duration = Duration::from_secs(86_400);
/// How often the store is read for a secret that it was asked to replace.
pub(crate) const REQUEST_CHECK: Duration = Duration::from_secs(1);

/// What an instance is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who makes new keys.
    pub issuer: Issuer,
    /// How long requests in flight may go on with an old key.
    pub drain_timeout: Duration,
    /// How long other instances may take to notice a new key; zero if there are no others.
    pub propagation_timeout: Duration,
    /// How long an instance may take to get a key before another one takes its attempt over.
    pub attempt_lease: Duration,
    /// How long an earlier state has to be shown before it is believed.
    pub believed_after: Duration,
    /// How long an issuer that has declined too often is not asked again to revoke a key, unless the next
    /// key is wanted.
    pub revocation_pause: Duration,
}

/// Who makes new keys.
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
    pub(crate) fn others(&self) -> Duration {
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

/// The moment at which an instance decides, with what it cannot know by itself.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time.
    pub at: Time,
    /// Whether a request of this instance carries an earlier key than the one in use.
    pub in_flight: bool,
    /// Whether the instance may replace this key now, next to others.
    pub has_permit: bool,
    /// A name that no attempt has had.
    pub unused: AttemptId,
    /// How much of a pause to take, 50 to 100 per cent, so that instances do not act in step.
    pub jitter: u32,
}
