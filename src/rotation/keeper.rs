//! The task that keeps one key fresh.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::event::RotationStep;
use super::key::Wish;
use super::policy::RotationPolicy;
use super::turn::{Next, Turn};
use crate::clock;
use crate::policy::bounded;

/// How long after a failure a rotation is tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// When an end that comes near is told of.
const NOTICES: [Duration; 2] = [Duration::from_secs(7 * 86_400), Duration::from_secs(86_400)];
/// How far ahead the clock of another machine may be.
const NEAR: Duration = Duration::from_secs(3600);
/// How long looks at the store because of refused keys are apart.
const LOOKS_APART: Duration = Duration::from_secs(1);
/// How much earlier than it is due a key is replaced at most, so that keys that came together are not
/// replaced together: this share of the time until then, or an hour.
const JITTER: (u32, Duration) = (20, Duration::from_secs(3600));

/// What ends a rest.
enum Woken {
    Stopped,
    Wished(Wish),
    InTime,
}

pub(super) struct Keeper {
    turn: Turn,
    wishes: mpsc::Receiver<Wish>,
    /// Since when the key is in use, if it was never rotated.
    baseline: SystemTime,
    stop: watch::Receiver<bool>,
    /// Who waits for a generation that is newer than this one.
    waiting: Vec<(u64, oneshot::Sender<Result<u64>>)>,
    failures: u32,
    /// After a failure, nothing is tried again before then. The store is looked at all the same.
    not_before: Option<Instant>,
    /// Whether requests with an old key are waited for.
    is_draining: bool,
    /// The end of the key with this number, as a response told it.
    told_end: Option<(u64, SystemTime)>,
    /// How much earlier than it is due this key is replaced, in per cent of what it may be.
    earlier: u32,
    /// The last notice given, and for which end.
    noticed: Option<(SystemTime, Duration)>,
    /// When the store was last looked at because a key was refused.
    looked_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        turn: Turn,
        wishes: mpsc::Receiver<Wish>,
        baseline: SystemTime,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            turn,
            wishes,
            baseline,
            stop,
            waiting: Vec::new(),
            failures: 0,
            not_before: None,
            is_draining: false,
            told_end: None,
            earlier: fastrand::u32(0..=100),
            noticed: None,
            looked_at: None,
        }
    }

    /// Runs until the engine stops.
    pub(super) async fn run(mut self) {
        // Whatever was interrupted is gone on with at once.
        let mut wake = Instant::now();
        loop {
            match self.woken(wake).await {
                Woken::Stopped => return,
                Woken::Wished(wish) => {
                    if self.take(wish) {
                        wake = Instant::now();
                    }
                }
                Woken::InTime => match self.go_on().await {
                    Some(pause) => wake = Instant::now() + pause,
                    None => return,
                },
            }
        }
    }

    async fn woken(&mut self, wake: Instant) -> Woken {
        let Self { stop, wishes, turn: Turn { held, place, .. }, is_draining, .. } = self;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Woken::Stopped,
            // The channel stays open, since this task holds a sender, too.
            Some(wish) = wishes.recv() => Woken::Wished(wish),
            () = held.all_drained(), if *is_draining => Woken::InTime,
            () = place.granted(), if place.is_queued() => Woken::InTime,
            () = sleep_until(wake) => Woken::InTime,
        }
    }

    /// Takes a wish; whether there is something to do at once.
    fn take(&mut self, wish: Wish) -> bool {
        let generation = self.generation();
        match wish {
            Wish::Rotate(answer) => {
                self.waiting.push((generation, answer));
                self.turn.wanted = Some(generation);
                self.not_before = None;
                true
            }
            Wish::Look => {
                let is_worth_it = self.looked_at.is_none_or(|at| at.elapsed() >= LOOKS_APART);
                if is_worth_it {
                    self.looked_at = Some(Instant::now());
                }
                is_worth_it
            }
            // What a response said of an earlier key says nothing of this one.
            Wish::Ends { serial, .. } if serial != self.serial() => false,
            Wish::Ends { serial, at } => {
                self.turn.key.state.send_modify(|state| state.expires_at = Some(at));
                self.told_end = Some((serial, at));
                // How long to rest depends on it.
                self.may_act()
            }
            Wish::Implausible(why) => {
                let error = Error::new(
                    ErrorKind::InvalidInput,
                    "set the unit of the issuer's headers in `ExpiryHeaders`",
                )
                .because(why)
                .at(&self.turn.path);
                let is_news = self.turn.key.state.send_if_modified(|state| {
                    let is_news = state
                        .last_error
                        .as_ref()
                        .is_none_or(|last| last.to_string() != error.to_string());
                    if is_news {
                        state.last_error = Some(error.clone());
                    }
                    is_news
                });
                if is_news {
                    tracing::warn!(path = %self.turn.path, %error, "a header is not believed");
                }
                false
            }
        }
    }

    fn serial(&self) -> u64 {
        self.turn.key.held.load().serial
    }

    fn may_act(&self) -> bool {
        self.not_before.is_none_or(|moment| Instant::now() >= moment)
    }

    fn generation(&self) -> u64 {
        self.turn.key.held.load().generation
    }

    /// Makes steps until nothing is to be done, and gives the time until the next look; nothing if there
    /// will be none.
    async fn go_on(&mut self) -> Option<Duration> {
        self.is_draining = false;
        self.notice();
        let may_act = self.may_act();
        if may_act && self.turn.wanted.is_none() && self.is_due() {
            self.turn.events.tell(&self.turn.path, RotationStep::Due);
            self.turn.wanted = Some(self.generation());
        }
        match self.steps(may_act).await {
            Ok(_) if !may_act => Some(self.rest()),
            Ok(pause) => {
                self.not_before = None;
                if pause.is_none() {
                    self.failures = 0;
                    self.turn.key.state.send_if_modified(|state| state.last_error.take().is_some());
                }
                Some(pause.unwrap_or_else(|| self.rest()))
            }
            Err(error) => self.failed(error, may_act),
        }
    }

    /// Makes steps; how long to wait for the next, if there is one.
    async fn steps(&mut self, may_act: bool) -> Result<Option<Duration>> {
        while !*self.stop.borrow() {
            // Each step begins with what is stored: one that was broken off is no harm.
            let step = AssertUnwindSafe(self.turn.step(may_act)).catch_unwind().await;
            let next = step.unwrap_or_else(|_| Err(panicked()))?;
            self.answer();
            match next {
                Next::Go => {}
                Next::Wait(pause) => return Ok(Some(pause)),
                Next::Drain(pause) => {
                    self.is_draining = true;
                    return Ok(Some(pause));
                }
                // The store is looked at meanwhile.
                Next::Queue => return Ok(Some(self.turn.look_every())),
                // Somebody may still want a newer key than the one that was just got.
                Next::Rest => match self.waiting.first() {
                    Some((generation, _)) if may_act => self.turn.wanted = Some(*generation),
                    _ => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// Tells those who wait that there is a newer key.
    fn answer(&mut self) {
        let now = self.generation();
        let (newer, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(than, _)| now > *than);
        // If an earlier state was put back, what is newer than that will do.
        let lowered = |(than, answer): (u64, _)| (than.min(now), answer);
        let waiting: Vec<(u64, oneshot::Sender<Result<u64>>)> = waiting;
        self.waiting = waiting.into_iter().map(lowered).collect();
        let newer: Vec<(u64, oneshot::Sender<Result<u64>>)> = newer;
        for (_, answer) in newer {
            // Who went away does not want to know.
            let _ = answer.send(Ok(now));
        }
        let serial = self.serial();
        if self.told_end.is_some_and(|(of, _)| of != serial) {
            self.told_end = None;
            self.earlier = fastrand::u32(0..=100);
        }
    }

    fn failed(&mut self, error: Error, may_act: bool) -> Option<Duration> {
        let error = error.at(&self.turn.path);
        let is_closing = self.turn.secrets.is_closing();
        if !may_act && !is_closing {
            // It was only looked; what is tried has its own time.
            return Some(self.rest());
        }
        for (_, answer) in std::mem::take(&mut self.waiting) {
            let _ = answer.send(Err(error.clone()));
        }
        // What has begun is gone on with. What has not is wanted again while it is due.
        self.turn.wanted = None;
        self.turn.place.leave();
        self.turn.key.state.send_modify(|state| state.last_error = Some(error.clone()));
        let delay = error.retry_delay().map_or(Duration::ZERO, bounded);
        self.turn.events.tell(&self.turn.path, RotationStep::Failed { error });
        if is_closing {
            // Nothing will come of it.
            return None;
        }
        let (first, longest) = PAUSES;
        let pause = longest.min(first * 2_u32.saturating_pow(self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        let pause = (pause * fastrand::u32(50..=100) / 100).max(delay);
        self.not_before = Instant::now().checked_add(pause);
        Some(pause.min(self.rest()))
    }

    /// When the key ends, as far as anybody has said.
    fn end(&self) -> Option<SystemTime> {
        let stored = self.turn.key.state.borrow().expires_at;
        let kept = self.turn.seen.as_ref().and_then(|secret| secret.metadata().expires_at);
        [self.told_end.map(|(_, at)| at), stored, kept].into_iter().flatten().min()
    }

    /// When the key is to be replaced: when its interval is over, and some time before its end. Of a
    /// key that works for a short time only, a part of that time is enough.
    fn due_at(&self) -> Option<SystemTime> {
        let now = clock::wall();
        let rotated_at = self.turn.key.state.borrow().rotated_at;
        // Clocks of two machines differ; what lies far ahead is wrong.
        let is_far = |at: &SystemTime| at.duration_since(now).is_ok_and(|ahead| ahead > NEAR);
        let rotated_at = rotated_at.filter(|at| !is_far(at)).map(|at| at.min(now));
        let since = rotated_at.unwrap_or(self.baseline);
        let secret = self.turn.seen.as_ref();
        let interval = secret.and_then(|secret| secret.metadata().rotation_interval);
        let by_interval = interval.and_then(|interval| since.checked_add(interval));
        let by_end = self.end().and_then(|end| {
            let life = end.duration_since(since).unwrap_or_default();
            let RotationPolicy { warning, cooldown, .. } = self.turn.policy;
            // A key that was never rotated may be near its end already.
            let warning = if rotated_at.is_some() { warning.min(life / 3) } else { warning };
            let cooled = rotated_at.and_then(|at| at.checked_add(cooldown.min(life / 2)));
            let due = end.checked_sub(warning)?;
            Some(cooled.map_or(due, |cooled| due.max(cooled)))
        });
        let due = [by_interval, by_end].into_iter().flatten().min()?;
        let (share, most) = JITTER;
        let earlier = (due.duration_since(since).unwrap_or_default() / share).min(most);
        due.checked_sub(earlier * self.earlier / 100)
    }

    fn is_due(&self) -> bool {
        self.due_at().is_some_and(|due| due <= clock::wall())
    }

    /// How long to rest: until the key is due or a notice is, and not longer than other instances may
    /// take to make a new key known.
    fn rest(&self) -> Duration {
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
    fn notice(&mut self) {
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

fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "see what the panic said, in the issuer or the store")
        .because("a step of the rotation panicked")
}
