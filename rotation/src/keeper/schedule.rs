//! When a key is to be replaced, and when that is told of.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Keeper;
use crate::clock;
use crate::event::RotationStep;
use crate::policy::RotationPolicy;

/// When an end that comes near is told of.
const NOTICES: [Duration; 2] = [Duration::from_secs(7 * 86_400), Duration::from_secs(86_400)];
/// How far ahead the clock of another machine may be.
const NEAR: Duration = Duration::from_secs(3600);
/// How much earlier than it is due a key is replaced at most, so that keys that came together are not
/// replaced together: this share of the time until then, or an hour.
const JITTER: (u32, Duration) = (20, Duration::from_secs(3600));
/// How old a key is at least when its end has it replaced, unless the cooldown is shorter still.
const LEAST_AGE: Duration = Duration::from_secs(10);
/// The same where nothing but responses tell its end.
const LEAST_AGE_BY_HEADERS: Duration = Duration::from_secs(600);

impl Keeper {
    /// When the key ends, as far as anybody has said.
    fn end(&self) -> Option<SystemTime> {
        [self.told_end, self.turn.stored_end, self.turn.kept_expiry()].into_iter().flatten().min()
    }

    /// When the key ends, as the store says. A secret's own end that may not be changed is that of an
    /// earlier key.
    fn stored_end(&self) -> Option<SystemTime> {
        let kept = self.turn.kept_expiry().filter(|kept| self.turn.stuck != Some(*kept));
        [self.turn.stored_end, kept].into_iter().flatten().min()
    }

    /// When the key is to be replaced: when its interval is over, and some time before its end. Of a
    /// key that works for a short time only, a part of that time is enough.
    fn due_at(&self) -> Option<SystemTime> {
        let now = clock::wall();
        let rotated_at = self.turn.key.state.borrow().rotated_at;
        // Clocks of two machines differ; what lies far ahead is wrong.
        let is_far = |at: SystemTime| at.duration_since(now).is_ok_and(|ahead| ahead > NEAR);
        let seen_at = now.checked_sub(self.turn.held.since.elapsed());
        let rotated_at =
            rotated_at.and_then(|at| if is_far(at) { seen_at } else { Some(at.min(now)) });
        let since = rotated_at.unwrap_or(self.baseline);
        let secret = self.turn.seen.as_ref();
        let interval = secret.and_then(|secret| secret.metadata().rotation_interval);
        let by_interval = interval.and_then(|interval| since.checked_add(interval));
        let RotationPolicy { rotate_before: warning, min_key_age: cooldown, .. } = self.turn.policy;
        let by_end = |end: SystemTime, least_age: Duration| {
            let life = end.duration_since(since).unwrap_or_default();
            // A key that was never rotated may be near its end already.
            let Some(rotated_at) = rotated_at else { return end.checked_sub(warning) };
            let due = end.checked_sub(warning.min(life / 3))?;
            // An issuer of keys that have ended already is not asked for more of them.
            let least_age = if life.is_zero() { cooldown } else { least_age.max(life / 2) };
            Some(due.max(rotated_at.checked_add(cooldown.min(least_age))?))
        };
        let by_stored = self.stored_end().and_then(|end| by_end(end, LEAST_AGE));
        let by_told = self.told_end.and_then(|end| by_end(end, LEAST_AGE_BY_HEADERS));
        let due = [by_interval, by_stored, by_told].into_iter().flatten().min()?;
        let (share, most) = JITTER;
        let earlier = (due.duration_since(since).unwrap_or_default() / share).min(most);
        due.checked_sub(earlier * self.earlier / 100)
    }

    pub(super) fn is_due(&self) -> bool {
        self.due_at().is_some_and(|due| due <= clock::wall())
    }

    /// How long to rest: until the key is due or a notice is, and not longer than other instances may
    /// take to make a new key known.
    pub(super) fn rest(&self) -> Duration {
        let now = clock::wall();
        let left = |moment: SystemTime| moment.duration_since(now).unwrap_or_default();
        let due = self.due_at().map(left).filter(|_| self.may_act());
        let retry = self.not_before.map(|at| at.duration_since(Instant::now()));
        let notice = self.end().and_then(|end| {
            NOTICES.iter().filter_map(|ahead| end.checked_sub(*ahead)).filter(|at| *at > now).min()
        });
        let look = self.turn.look_every() * fastrand::u32(90..=100) / 100;
        let rest = [due, retry, notice.map(left)].into_iter().flatten().fold(look, Duration::min);
        rest.max(Duration::from_millis(50))
    }

    /// Tells of an end that comes near, once for each notice.
    pub(super) fn notice(&mut self) {
        let Some(end) = self.end() else { return };
        let left = end.duration_since(clock::wall()).unwrap_or_default();
        let Some(notice) = NOTICES.iter().filter(|ahead| left <= **ahead).min().copied() else {
            return;
        };
        let is_known = self.noticed.is_some_and(|(of, given)| of == end && given <= notice);
        if !is_known {
            self.noticed = Some((end, notice));
            self.turn.events.tell(&self.turn.path, RotationStep::Expiring { left });
        }
    }
}
