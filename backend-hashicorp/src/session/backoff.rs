//! How long a session waits after failures.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::token::Token;

/// Half of the first delay after a failed login or renewal; jitter adds up to as much.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(125);
/// Half of the longest one.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// How long to wait before the next login after the server has rejected two new tokens in a row.
/// Each request tries the last token, so a cause that passes needs no login. A token that the server never
/// accepts cannot be revoked and lives on.
const MIN_THROTTLE: Duration = Duration::from_secs(30);
/// The longest time between logins in that state.
const MAX_THROTTLE: Duration = Duration::from_secs(600);

/// Delays after failed logins and renewals: up to 0.25 s, then twice as long each time, up to 10 s,
/// each shortened by up to half at random.
#[derive(Debug)]
pub(super) struct RetryDelays(ExponentialBackoff);

impl RetryDelays {
    pub(super) fn new() -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(MIN_RETRY_DELAY)
            .with_max_delay(MAX_RETRY_DELAY)
            .with_jitter()
            .without_max_times();
        Self(delays.build())
    }

    pub(super) fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(2 * MAX_RETRY_DELAY)
    }
}

/// Limits logins while the server rejects each new token on its first use.
#[derive(Debug, Default)]
pub(super) struct LoginThrottle {
    /// The login that issued the last of those tokens.
    generation: u64,
    /// `None` until a token is rejected on its first use.
    delays: Option<ExponentialBackoff>,
    until: Option<Instant>,
}

impl LoginThrottle {
    /// Whether to log in now to replace a token that the server has rejected.
    pub(super) fn allows_login(&mut self, rejected: &Token) -> bool {
        if rejected.was_accepted() {
            *self = Self::default();
            return true;
        }
        if self.generation != rejected.generation {
            self.generation = rejected.generation;
            self.rejected_on_first_use();
        }
        self.until.is_none_or(|until| until <= Instant::now())
    }

    fn rejected_on_first_use(&mut self) {
        match &mut self.delays {
            // The first one may have been revoked by chance: log in immediately.
            None => {
                let delays = ExponentialBuilder::new()
                    .with_min_delay(MIN_THROTTLE)
                    .with_max_delay(MAX_THROTTLE)
                    .without_max_times();
                self.delays = Some(delays.build());
            }
            Some(delays) => {
                self.until = Some(Instant::now() + delays.next().unwrap_or(MAX_THROTTLE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_double_from_a_quarter_of_a_second_to_ten_seconds() {
        for _ in 0..100 {
            let mut delays = RetryDelays::new();
            for longest in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
                let delay = delays.next().as_secs_f64();
                assert!((longest / 2.0..=longest).contains(&delay), "{delay} s of {longest} s");
            }
        }
    }
}
