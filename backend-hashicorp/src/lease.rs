//! How long a token lives and when to renew it: rules without input or output.

use std::time::Duration;

use tokio::time::Instant;

/// A renewed TTL may be this much shorter than the first one before it counts as capped: servers
/// round to seconds.
const TTL_ROUNDING: Duration = Duration::from_secs(1);

/// Caps TTLs, so that the time of expiry does not overflow.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The lease of a token as the server granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// When the request that granted it was sent: the server counts from a later time.
    granted_at: Instant,
    /// `None`: it never expires.
    ttl: Option<Duration>,
    /// What the login granted, to compare renewals with.
    initial_ttl: Duration,
    renewable: bool,
}

/// The result of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The token lives as long as a new one would.
    Extended(Lease),
    /// The token nears its maximum TTL: each further renewal grants less.
    Capped(Lease),
}

impl Lease {
    /// A TTL of `seconds`, counted from `granted_at`; 0, as for root tokens, never expires.
    pub(crate) fn new(granted_at: Instant, seconds: u64, renewable: bool) -> Self {
        let ttl = Duration::from_secs(seconds).min(MAX_TTL);
        Self { granted_at, ttl: (seconds > 0).then_some(ttl), initial_ttl: ttl, renewable }
    }

    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.ttl.and_then(|ttl| self.granted_at.checked_add(ttl))
    }

    pub(crate) fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// When to renew or replace the token: `margin` before it expires, or after two thirds of a TTL
    /// shorter than one and a half margins. `jitter`, from 0 to 1, brings that forward by up to a
    /// tenth of the time that would remain, so that many instances do not renew at once.
    pub(crate) fn renew_at(&self, margin: Duration, jitter: f64) -> Option<Instant> {
        let ttl = self.ttl?;
        let remaining = if ttl >= margin * 3 / 2 { margin } else { ttl / 3 };
        let age = ttl.saturating_sub(remaining);
        let forward = (remaining / 10).min(age).mul_f64(jitter);
        self.granted_at.checked_add(age.saturating_sub(forward))
    }

    /// Applies the TTL that a renewal, sent at `sent_at`, has granted.
    pub(crate) fn renew(&self, sent_at: Instant, seconds: u64, renewable: bool) -> Renewal {
        let ttl = Duration::from_secs(seconds).min(MAX_TTL);
        let initial_ttl = self.initial_ttl;
        let lease = Self { granted_at: sent_at, ttl: Some(ttl), initial_ttl, renewable };
        if ttl + TTL_ROUNDING < initial_ttl || !renewable {
            Renewal::Capped(lease)
        } else {
            Renewal::Extended(lease)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn age_at_renewal(ttl: u64, jitter: f64) -> f64 {
        let granted_at = Instant::now();
        let renew_at = Lease::new(granted_at, ttl, true).renew_at(MINUTE, jitter).unwrap();
        (renew_at - granted_at).as_secs_f64()
    }

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-6, "{actual} is not {expected}");
    }

    #[test]
    fn renews_sixty_seconds_before_expiry() {
        for ttl in [90_u32, 91, 3_600, 2_764_800] {
            assert_near(f64::from(ttl) - age_at_renewal(ttl.into(), 0.0), 60.0);
        }
    }

    #[test]
    fn renews_after_two_thirds_of_a_short_ttl() {
        for (ttl, age) in [(89, 59.333_333_333), (60, 40.0), (3, 2.0)] {
            assert_near(age_at_renewal(ttl, 0.0), age);
        }
    }

    #[test]
    fn jitter_brings_the_renewal_forward_by_a_tenth_of_the_remaining_time_at_most() {
        assert_near(age_at_renewal(3_600, 1.0), 3_600.0 - 66.0);
        assert_near(age_at_renewal(3, 1.0), 1.9);
        assert_near(age_at_renewal(3_600, 0.5), 3_600.0 - 63.0);
    }

    #[test]
    fn never_renews_a_token_that_does_not_expire() {
        let lease = Lease::new(Instant::now(), 0, false);
        assert_eq!((lease.expires_at(), lease.renew_at(MINUTE, 0.0)), (None, None));
    }

    #[test]
    fn a_huge_ttl_or_margin_does_not_overflow() {
        let lease = Lease::new(Instant::now(), u64::MAX, true);
        assert!(lease.expires_at().unwrap() > Instant::now());
        let lease = Lease::new(Instant::now(), 10, true);
        assert!(lease.renew_at(Duration::from_secs(1 << 40), 1.0) <= lease.expires_at());
    }

    #[test]
    fn a_renewal_that_grants_less_than_the_login_is_capped() {
        let now = Instant::now();
        let lease = Lease::new(now, 10, true);
        assert!(matches!(lease.renew(now, 10, true), Renewal::Extended(_)));
        assert!(matches!(lease.renew(now, 9, true), Renewal::Extended(_)));
        assert!(matches!(lease.renew(now, 8, true), Renewal::Capped(_)));
        assert!(matches!(lease.renew(now, 0, true), Renewal::Capped(_)));
        assert!(matches!(lease.renew(now, 10, false), Renewal::Capped(_)));
        // The first TTL counts, not that of the last renewal.
        let Renewal::Capped(shorter) = lease.renew(now, 4, true) else { unreachable!() };
        assert!(matches!(shorter.renew(now, 4, true), Renewal::Capped(_)));
    }

    #[test]
    fn a_ttl_counts_from_when_the_request_was_sent() {
        let sent_at = Instant::now();
        let lease = Lease::new(sent_at, 10, true);
        assert_eq!(lease.expires_at(), Some(sent_at + Duration::from_secs(10)));
    }
}
