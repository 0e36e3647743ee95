//! When a key is due, and when an event announces its expiry.

use std::time::{Duration, SystemTime};

use strongroom_core::Error;
use tokio::time::Instant;

use super::clock;
use super::policy::RotationPolicy;
use super::record::is_same_time;

/// How long before its expiry an event announces it.
const NOTICES: [Duration; 2] = [Duration::from_secs(7 * 86_400), Duration::from_secs(86_400)];
/// How far ahead the clock of another machine may be.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
/// Spreads rotations: a key is replaced early by up to one part in so many of its lifetime, at most an hour, so that
/// keys issued together are not replaced together.
const JITTER: (u32, Duration) = (20, Duration::from_secs(3600));
/// The minimum age of a key that is due by its expiry, unless `min_key_age` is shorter.
const MIN_AGE: Duration = Duration::from_secs(10);
/// The same, if only responses report the expiry.
const MIN_AGE_BY_HEADERS: Duration = Duration::from_secs(600);
/// The shortest time to sleep.
const MIN_SLEEP: Duration = Duration::from_millis(50);

/// What the store says about the times of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyTimes {
    pub(crate) rotated_at: Option<SystemTime>,
    /// When the key stops working, as its record says.
    pub(crate) expires_at: Option<SystemTime>,
    /// When the secret expires in the store.
    pub(crate) secret_expires_at: Option<SystemTime>,
    /// An expiry of the secret that belongs to an earlier key.
    pub(crate) fixed_expiry: Option<SystemTime>,
    pub(crate) interval: Option<Duration>,
}

/// When one key is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Since when the key is in use, if it was never rotated.
    baseline: SystemTime,
    /// Since when this instance uses it.
    in_use_since: Instant,
    pub(crate) times: KeyTimes,
    /// The expiry that a response has reported.
    observed_expiry: Option<SystemTime>,
    /// The error of a response whose expiry is implausible.
    implausible_expiry: Option<Error>,
    has_warned: bool,
    /// The share of the jitter that this key uses, in per cent.
    jitter: u32,
    /// The last notice that was sent, and for which expiry.
    last_notice: Option<(SystemTime, Duration)>,
}

impl Schedule {
    pub(crate) fn new(baseline: SystemTime) -> Self {
        Self {
            baseline,
            in_use_since: Instant::now(),
            times: KeyTimes::default(),
            observed_expiry: None,
            implausible_expiry: None,
            has_warned: false,
            jitter: fastrand::u32(0..=100),
            last_notice: None,
        }
    }

    /// Starts over for a new key: earlier responses describe the previous one.
    pub(crate) fn start_key(&mut self) {
        self.in_use_since = Instant::now();
        (self.observed_expiry, self.implausible_expiry, self.has_warned) = (None, None, false);
        self.jitter = fastrand::u32(0..=100);
    }

    /// Records the expiry that a response reports.
    pub(crate) fn observe_expiry(&mut self, at: SystemTime) {
        (self.observed_expiry, self.implausible_expiry) = (Some(at), None);
    }

    /// Records an implausible expiry. Returns whether it is the first one of this key.
    pub(crate) fn observe_implausible(&mut self, implausible_expiry: Error) -> bool {
        self.implausible_expiry = Some(implausible_expiry);
        !std::mem::replace(&mut self.has_warned, true)
    }

    pub(crate) fn implausible_expiry(&self) -> Option<&Error> {
        self.implausible_expiry.as_ref()
    }

    /// When the key stops working, if that is known.
    pub(crate) fn expiry(&self) -> Option<SystemTime> {
        let KeyTimes { expires_at, secret_expires_at, .. } = self.times;
        [self.observed_expiry, expires_at, secret_expires_at].into_iter().flatten().min()
    }

    /// Since when the key has been in use: its rotation, or else the baseline.
    pub(crate) fn key_since(&self) -> SystemTime {
        self.rotated_at().unwrap_or(self.baseline)
    }

    /// When the key replaced the previous one. A time far ahead was written by a wrong clock and does not count.
    fn rotated_at(&self) -> Option<SystemTime> {
        let now = clock::wall();
        let is_far = |at: SystemTime| at.duration_since(now).is_ok_and(|ahead| ahead > CLOCK_SKEW);
        let seen_at = now.checked_sub(self.in_use_since.elapsed());
        self.times.rotated_at.and_then(|at| if is_far(at) { seen_at } else { Some(at.min(now)) })
    }

    /// When to replace the key: after its interval, and `rotate_before` its expiry. A key with a short lifetime is
    /// replaced after a part of that.
    fn due_at(&self, policy: &RotationPolicy) -> Option<SystemTime> {
        let rotated_at = self.rotated_at();
        let since = self.key_since();
        let KeyTimes { expires_at, secret_expires_at, fixed_expiry, interval, .. } = self.times;
        let by_interval = interval.and_then(|interval| since.checked_add(interval));
        let by_expiry = |expiry: SystemTime, min_age: Duration| {
            let life = expiry.duration_since(since).unwrap_or_default();
            // A key that was never rotated may already be near its expiry.
            let Some(rotated_at) = rotated_at else {
                return expiry.checked_sub(policy.rotate_before);
            };
            let due = expiry.checked_sub(policy.rotate_before.min(life / 3))?;
            // If the issuer returns keys that have already expired, do not ask for more of them.
            let min_age = if life.is_zero() { policy.min_key_age } else { min_age.max(life / 2) };
            Some(due.max(rotated_at.checked_add(policy.min_key_age.min(min_age))?))
        };
        let secret_expiry =
            secret_expires_at.filter(|expiry| !is_same_time(fixed_expiry, Some(*expiry)));
        let stored = [expires_at, secret_expiry].into_iter().flatten().min();
        let by_stored = stored.and_then(|expiry| by_expiry(expiry, MIN_AGE));
        let by_observed =
            self.observed_expiry.and_then(|expiry| by_expiry(expiry, MIN_AGE_BY_HEADERS));
        let due = [by_interval, by_stored, by_observed].into_iter().flatten().min()?;
        let (share, most) = JITTER;
        let earlier = (due.duration_since(since).unwrap_or_default() / share).min(most);
        due.checked_sub(earlier * self.jitter / 100)
    }

    pub(crate) fn is_due(&self, policy: &RotationPolicy) -> bool {
        self.due_at(policy).is_some_and(|due| due <= clock::wall())
    }

    /// How long to sleep: until the key is due, a notice is due, or the store must be read again after `check`.
    /// `retry` is the time until the key may be replaced again after a failure.
    pub(crate) fn sleep_duration(
        &self,
        policy: &RotationPolicy,
        check: Duration,
        retry: Option<Duration>,
    ) -> Duration {
        let now = clock::wall();
        let left = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        let due = self.due_at(policy).map(left).filter(|_| retry.is_none());
        let notice = self.expiry().and_then(|expiry| {
            let times = NOTICES.iter().filter_map(|ahead| expiry.checked_sub(*ahead));
            times.filter(|at| *at > now).min()
        });
        let check = check * fastrand::u32(90..=100) / 100;
        let sleep = [due, retry, notice.map(left)].into_iter().flatten().fold(check, Duration::min);
        sleep.max(MIN_SLEEP)
    }

    /// How long the key still works, if a notice is due. Each notice is due once.
    pub(crate) fn due_expiry_notice(&mut self) -> Option<Duration> {
        let expiry = self.expiry()?;
        let left = expiry.duration_since(clock::wall()).unwrap_or_default();
        let notice = NOTICES.iter().filter(|ahead| left <= **ahead).min().copied()?;
        let is_repeated = self.last_notice.is_some_and(|(of, sent)| of == expiry && sent <= notice);
        if is_repeated {
            return None;
        }
        self.last_notice = Some((expiry, notice));
        Some(left)
    }
}
