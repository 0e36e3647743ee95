//! Which of several servers a request goes to: rules, without I/O and without a clock.
//!
//! A call begins with the server that answered last. If that one fails, the call goes on to the next one, and the server
//! is left for a pause that grows with each failure. A server in its pause is tried if no other is left.

use std::time::Duration;

/// The pause after the first failure, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a read waits for one server while another one is left to try.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// What a request does in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It changes nothing, so it may be sent again.
    Read,
    /// It may change something each time that it arrives.
    Write,
}

/// How the attempt at one server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server answered.
    Answered,
    /// The server answered that it or its store cannot serve now. It may have begun with the request.
    Unable,
    /// The server answered that it is shutting down: it has not begun with the request.
    Closing,
    /// No connection was established: the request has not arrived.
    NotSent,
    /// The request may have arrived, and no whole answer came.
    Lost,
}

impl Outcome {
    /// Whether the same request may go to another server.
    pub(crate) fn allows_next(self, access: Access) -> bool {
        match self {
            Self::Answered => false,
            Self::Closing | Self::NotSent => true,
            Self::Unable | Self::Lost => access == Access::Read,
        }
    }
}

/// The servers of one backend, by their numbers. A time is that since the backend was opened.
#[derive(Debug)]
pub(crate) struct Addresses {
    servers: Vec<Server>,
    /// The server that answered last.
    preferred: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Server {
    /// Failures since its last answer.
    failures: u32,
    /// The end of its pause.
    paused_until: Duration,
}

impl Addresses {
    pub(crate) fn new(count: usize) -> Self {
        Self { servers: vec![Server::default(); count], preferred: 0 }
    }

    pub(crate) fn count(&self) -> usize {
        self.servers.len()
    }

    /// The server for the next attempt of a call that has tried `tried`.
    pub(crate) fn next(&self, tried: &[usize], now: Duration) -> Option<usize> {
        let count = self.servers.len();
        let untried = (0..count).map(|offset| (self.preferred + offset) % count);
        // Of equal ones, the first has the minimum.
        untried.filter(|server| !tried.contains(server)).min_by_key(|server| {
            let server = self.servers.get(*server).copied().unwrap_or_default();
            server.paused_until.saturating_sub(now)
        })
    }

    /// Records how an attempt ended.
    pub(crate) fn record(&mut self, number: usize, outcome: Outcome, now: Duration) {
        let Some(server) = self.servers.get_mut(number) else { return };
        if outcome == Outcome::Answered {
            *server = Server::default();
            self.preferred = number;
        } else if now >= server.paused_until {
            // Other calls that failed at the same time count as one failure.
            server.paused_until = now + pause(server.failures);
            server.failures = server.failures.saturating_add(1);
        }
    }
}

/// The pause after so many failures before.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

/// How long one attempt may take, if `left` is left of the call and so many other servers are untried.
pub(crate) fn attempt_limit(left: Duration, untried: usize, access: Access) -> Duration {
    let shares = u32::try_from(untried).unwrap_or(u32::MAX).saturating_add(1);
    match (access, untried) {
        // A write that was sent goes to no other server, so it has all the time.
        (Access::Write, _) | (Access::Read, 0) => left,
        (Access::Read, _) => (left / shares).min(READ_PATIENCE),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The order in which a call tries all servers.
    fn order(addresses: &Addresses, now: Duration) -> Vec<usize> {
        let mut tried = Vec::new();
        while let Some(server) = addresses.next(&tried, now) {
            tried.push(server);
        }
        tried
    }

    #[test]
    fn only_what_cannot_have_changed_anything_goes_to_another_server() {
        for (outcome, read, write) in [
            (Outcome::Answered, false, false),
            (Outcome::Unable, true, false),
            (Outcome::Closing, true, true),
            (Outcome::NotSent, true, true),
            (Outcome::Lost, true, false),
        ] {
            assert_eq!(outcome.allows_next(Access::Read), read, "{outcome:?}");
            assert_eq!(outcome.allows_next(Access::Write), write, "{outcome:?}");
        }
    }

    #[test]
    fn the_server_that_answered_last_comes_first() {
        let mut addresses = Addresses::new(3);
        assert_eq!(order(&addresses, ZERO), [0, 1, 2]);
        addresses.record(1, Outcome::Answered, ZERO);
        assert_eq!(order(&addresses, ZERO), [1, 2, 0]);
        addresses.record(2, Outcome::Answered, ZERO);
        assert_eq!(order(&addresses, ZERO), [2, 0, 1]);
    }

    #[test]
    fn a_server_that_failed_comes_last_until_its_pause_is_over() {
        for outcome in [Outcome::Unable, Outcome::Closing, Outcome::NotSent, Outcome::Lost] {
            let mut addresses = Addresses::new(3);
            addresses.record(0, outcome, millis(50));
            for (now, expected) in
                [(50, [1, 2, 0]), (149, [1, 2, 0]), (150, [0, 1, 2]), (9_000, [0, 1, 2])]
            {
                assert_eq!(order(&addresses, millis(now)), expected, "{outcome:?} at {now}");
            }
        }
    }

    #[test]
    fn of_servers_in_a_pause_the_one_comes_first_that_ends_first() {
        let mut addresses = Addresses::new(3);
        addresses.record(1, Outcome::NotSent, millis(0));
        addresses.record(0, Outcome::NotSent, millis(10));
        addresses.record(2, Outcome::NotSent, millis(20));
        assert_eq!(order(&addresses, millis(30)), [1, 0, 2]);
        let mut alone = Addresses::new(1);
        alone.record(0, Outcome::NotSent, ZERO);
        assert_eq!(order(&alone, ZERO), [0]);
    }

    #[test]
    fn pauses_grow_with_each_failure_and_end_with_an_answer() {
        let mut addresses = Addresses::new(2);
        let mut now = ZERO;
        for pause in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            addresses.record(0, Outcome::NotSent, now);
            // Further failures during the pause do not count.
            addresses.record(0, Outcome::Lost, now + millis(pause - 1));
            assert_eq!(addresses.next(&[], now + millis(pause - 1)), Some(1), "{pause}");
            now += millis(pause);
            assert_eq!(addresses.next(&[], now), Some(0), "{pause}");
        }
        addresses.record(0, Outcome::Answered, now);
        addresses.record(0, Outcome::NotSent, now);
        assert_eq!(addresses.next(&[], now + millis(100)), Some(0));
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_read_leaves_time_for_the_other_servers() {
        for (left, untried, read) in [
            (30_000, 0, 30_000),
            (30_000, 1, 5_000),
            (6_000, 1, 3_000),
            (6_000, 2, 2_000),
            (0, 2, 0),
        ] {
            let limit = |access| attempt_limit(millis(left), untried, access);
            assert_eq!(limit(Access::Read), millis(read), "{left} {untried}");
            assert_eq!(limit(Access::Write), millis(left), "{left} {untried}");
        }
    }

    proptest! {
        #[test]
        fn a_call_tries_each_server_once(
            count in 1_usize..6,
            history in prop::collection::vec((0_usize..6, any::<bool>(), 0_u64..20_000), 0..20),
            now in 0_u64..20_000,
        ) {
            let mut addresses = Addresses::new(count);
            for (server, answers, at) in history {
                let outcome = if answers { Outcome::Answered } else { Outcome::NotSent };
                addresses.record(server, outcome, millis(at));
            }
            let mut order = order(&addresses, millis(now));
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }
}
