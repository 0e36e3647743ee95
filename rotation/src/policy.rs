//! When keys are replaced, and how long each step may take.

use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result};

use super::calls::cap_duration;
use super::record::{KEY, RECORD_PREFIX};

/// When a key is replaced, and how long each step may take.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use strongroom_rotation::RotationPolicy;
///
/// // One instance of the service, which replaces its key three days ahead.
/// let policy = RotationPolicy::new().rotate_before(Duration::from_secs(3 * 86_400)).single_instance();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationPolicy {
    /// The member of the secret that holds the key. `key` unless set.
    pub member: String,
    /// How long before its expiry a key is replaced. 7 days unless set.
    pub rotate_before: Duration,
    /// How long requests in flight may go on with the old key. 30 seconds unless set.
    pub drain_timeout: Duration,
    /// How long other instances may take to notice a new key, and so how much longer the old one
    /// works. Each instance reads the store three times within it. 90 seconds unless set; zero if there are
    /// no other instances.
    pub propagation_timeout: Duration,
    /// The minimum age of a key that is replaced because of its expiry. It protects an issuer whose new keys
    /// all expire soon from a request for each. 1 hour unless set. For a key with a lifetime of less than
    /// twice that, half its lifetime is enough, but at least 10 seconds, or 10 minutes where only
    /// response headers tell the expiry.
    pub min_key_age: Duration,
    /// How long an attempt to get a key belongs to the instance that has started it, before another
    /// instance takes it over; the instance extends the lease while it needs it. Also the limit of a call
    /// to the issuer or the store, and how long a new key that does not work yet is verified again. With
    /// other instances, a call that gets or verifies a new key has half to three quarters of it. 60 seconds
    /// unless set.
    pub attempt_lease: Duration,
}

impl Default for RotationPolicy {
    fn default() -> Self {
        Self {
            member: KEY.to_owned(),
            rotate_before: Duration::from_secs(7 * 86_400),
            drain_timeout: Duration::from_secs(30),
            propagation_timeout: Duration::from_secs(90),
            min_key_age: Duration::from_secs(3600),
            attempt_lease: Duration::from_secs(60),
        }
    }
}

impl RotationPolicy {
    /// The default, for several instances that share a store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the member of the secret that holds the key.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.member = name.into();
        self
    }

    /// Sets how long before its expiry a key is replaced.
    #[must_use]
    pub fn rotate_before(mut self, ahead: Duration) -> Self {
        self.rotate_before = ahead;
        self
    }

    /// Sets how long requests in flight may go on with the old key.
    #[must_use]
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain_timeout = limit;
        self
    }

    /// Sets how long other instances may take to notice a new key.
    #[must_use]
    pub fn propagation_timeout(mut self, limit: Duration) -> Self {
        self.propagation_timeout = limit;
        self
    }

    /// Declares that no other instance uses the key: the engine revokes the old one as soon as no request
    /// carries it any more.
    #[must_use]
    pub fn single_instance(self) -> Self {
        self.propagation_timeout(Duration::ZERO)
    }

    /// Sets the minimum age of a key that is replaced because of its expiry.
    #[must_use]
    pub fn min_key_age(mut self, age: Duration) -> Self {
        self.min_key_age = age;
        self
    }

    /// Checks the policy, and caps its times, so that adding them to an instant cannot overflow.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the member has a reserved name, or the lease is zero.
    pub(crate) fn check(mut self) -> Result<Self> {
        if self.member.starts_with(RECORD_PREFIX) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("name a member that does not begin with `{RECORD_PREFIX}`"),
            )
            .because(format!("the policy's `member` is `{}`", self.member)));
        }
        if self.attempt_lease.is_zero() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "give the issuer and the store time to respond, such as 60 seconds",
            )
            .because("the policy's `attempt_lease` is zero"));
        }
        let Self {
            rotate_before,
            drain_timeout,
            propagation_timeout,
            min_key_age,
            attempt_lease,
            ..
        } = &mut self;
        for time in [rotate_before, drain_timeout, propagation_timeout, min_key_age, attempt_lease]
        {
            *time = cap_duration(*time);
        }
        Ok(self)
    }

    /// Sets how long an attempt to get a key belongs to the instance that has started it.
    #[must_use]
    pub fn attempt_lease(mut self, limit: Duration) -> Self {
        self.attempt_lease = limit;
        self
    }
}
