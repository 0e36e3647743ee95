//! How long a token lives and when to act on it: rules without input or output.

use std::time::Duration;

use tokio::time::Instant;

/// How much shorter than a full life a renewed one may be before it counts as capped: servers
/// round to seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// No life is longer; the calendar has to have room for its end.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The life of a token as the server granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// When the request that granted it was sent: the server counts from later on.
    from: Instant,
    /// `None`: it never ends.
    life: Option<Duration>,
    /// What the login granted, to compare renewals with.
    full: Duration,
    renewable: bool,
}

/// What a renewal led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The token lives on as long as a new one would.
    Extended(Lease),
    /// The token nears its maximum: further renewals give less and less.
    Capped(Lease),
}

impl Lease {
    /// A life of `seconds` from `from` on; 0, as for root tokens, never ends.
    pub(crate) fn granted(from: Instant, seconds: u64, renewable: bool) -> Self {
        let life = Duration::from_secs(seconds).min(LONGEST_LIFE);
        Self { from, life: (seconds > 0).then_some(life), full: life, renewable }
    }

    pub(crate) fn ends(&self) -> Option<Instant> {
        self.life.and_then(|life| self.from.checked_add(life))
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.ends().is_some_and(|ends| ends <= now)
    }

    pub(crate) fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// When to renew or replace the token: `margin` before its end, or after two thirds of a life
    /// shorter than one and a half margins. `jitter`, from 0 to 1, moves it ahead by up to a tenth
    /// of the time that would remain, so that many instances do not come at once.
    pub(crate) fn due(&self, margin: Duration, jitter: f64) -> Option<Instant> {
        let life = self.life?;
        let rest = if life >= margin * 3 / 2 { margin } else { life / 3 };
        let after = life.saturating_sub(rest);
        let ahead = (rest / 10).min(after).mul_f64(jitter);
        self.from.checked_add(after.saturating_sub(ahead))
    }

    /// The life that a renewal sent at `from` granted.
    pub(crate) fn renewed(&self, from: Instant, seconds: u64, renewable: bool) -> Renewal {
        let life = Duration::from_secs(seconds).min(LONGEST_LIFE);
        let lease = Self { from, life: Some(life), full: self.full, renewable };
        if life + ROUNDING < self.full || !renewable {
            Renewal::Capped(lease)
        } else {
            Renewal::Extended(lease)
        }
    }
}

/// Growing pauses between attempts: 0.25 s, doubled each time up to 10 s, each cut by up to half
/// at random.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST_DELAY)
    }

    /// The next pause. `jitter` is from 0 to 1.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let delay = self.0;
        self.0 = (delay * 2).min(LONGEST_DELAY);
        delay.mul_f64(1.0 - jitter / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn due_after(seconds: u64, jitter: f64) -> f64 {
        let from = Instant::now();
        let due = Lease::granted(from, seconds, true).due(MINUTE, jitter).unwrap();
        (due - from).as_secs_f64()
    }

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-6, "{actual} is not {expected}");
    }

    #[test]
    fn a_token_is_due_sixty_seconds_before_it_expires() {
        for life in [90_u32, 91, 3_600, 2_764_800] {
            assert_near(f64::from(life) - due_after(life.into(), 0.0), 60.0);
        }
    }

    #[test]
    fn a_short_life_is_used_to_two_thirds() {
        for (life, due) in [(89, 59.333_333_333), (60, 40.0), (3, 2.0)] {
            assert_near(due_after(life, 0.0), due);
        }
    }

    #[test]
    fn jitter_only_brings_it_forward_and_by_a_tenth_of_the_rest_at_most() {
        assert_near(due_after(3_600, 1.0), 3_600.0 - 66.0);
        assert_near(due_after(3, 1.0), 1.9);
        assert_near(due_after(3_600, 0.5), 3_600.0 - 63.0);
    }

    #[test]
    fn a_token_without_an_end_is_never_due() {
        let lease = Lease::granted(Instant::now(), 0, false);
        assert_eq!((lease.ends(), lease.due(MINUTE, 0.0)), (None, None));
        assert!(!lease.is_over(Instant::now() + Duration::from_secs(1 << 32)));
    }

    #[test]
    fn an_endless_margin_or_life_does_no_harm() {
        let lease = Lease::granted(Instant::now(), u64::MAX, true);
        assert!(!lease.is_over(Instant::now()));
        let lease = Lease::granted(Instant::now(), 10, true);
        assert!(lease.due(Duration::from_secs(1 << 40), 1.0) <= lease.ends());
    }

    #[test]
    fn a_renewal_that_gives_less_than_the_login_is_capped() {
        let now = Instant::now();
        let lease = Lease::granted(now, 10, true);
        assert!(matches!(lease.renewed(now, 10, true), Renewal::Extended(_)));
        assert!(matches!(lease.renewed(now, 9, true), Renewal::Extended(_)));
        assert!(matches!(lease.renewed(now, 8, true), Renewal::Capped(_)));
        assert!(matches!(lease.renewed(now, 0, true), Renewal::Capped(_)));
        assert!(matches!(lease.renewed(now, 10, false), Renewal::Capped(_)));
        // The measure is the login, not the renewal before.
        let Renewal::Capped(shorter) = lease.renewed(now, 4, true) else { unreachable!() };
        assert!(matches!(shorter.renewed(now, 4, true), Renewal::Capped(_)));
    }

    #[test]
    fn a_life_counts_from_before_the_request() {
        let sent = Instant::now();
        let lease = Lease::granted(sent, 10, true);
        assert!(lease.is_over(sent + Duration::from_secs(10)));
        assert!(!lease.is_over(sent + Duration::from_millis(9_999)));
    }

    #[test]
    fn pauses_grow_to_ten_seconds() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..8).map(|_| backoff.next(0.0).as_secs_f64()).collect();
        assert_eq!(pauses, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_near(Backoff::new().next(1.0).as_secs_f64(), 0.125);
    }
}
