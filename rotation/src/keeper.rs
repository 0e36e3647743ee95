//! The task that keeps one key fresh.

mod schedule;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::calls::bounded;
use super::event::RotationStep;
use super::key::Wish;
use super::turn::{AGAIN, Next, Turn};

/// How long after a failure a rotation is tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// How long looks at the store because of refused keys are apart; twice as long each time that one was in
/// vain, so many times.
const LOOKS_APART: Duration = Duration::from_millis(250);
const MOST_IN_VAIN: u32 = 5;
/// How often in a row such a look may be in vain before nobody waits for the next one.
const WAITED_FOR: u32 = 2;

/// What ends a rest.
enum Woken {
    Stopped,
    Wished(Wish),
    InTime,
}

/// Somebody who waits for a key.
struct Waiting {
    /// It is to be newer than this generation.
    than: u64,
    /// Whether the one before it is to be revoked.
    revoked: bool,
    answer: oneshot::Sender<Result<u64>>,
}

pub(super) struct Keeper {
    turn: Turn,
    wishes: mpsc::Receiver<Wish>,
    /// Since when the key is in use, if it was never rotated.
    baseline: SystemTime,
    stop: watch::Receiver<bool>,
    /// Who waits for a newer key.
    waiting: Vec<Waiting>,
    failures: u32,
    /// After a failure, nothing is tried again before then. The store is looked at all the same.
    not_before: Option<Instant>,
    /// Whether requests with an old key are waited for.
    is_draining: bool,
    /// The end of the key, as a response told it.
    told_end: Option<SystemTime>,
    /// What is wrong with what responses say of it.
    complaint: Option<Error>,
    /// Whether that was told in the log.
    has_warned: bool,
    /// The number of the key that this is about.
    of: u64,
    /// How much earlier than it is due this key is replaced, in per cent of what it may be.
    earlier: u32,
    /// The last notice given, and for which end.
    noticed: Option<(SystemTime, Duration)>,
    /// The number of a key that was refused, and that of the last look at the store before.
    refused: Option<(u64, u64)>,
    /// When the store was last looked at for such a key, and how often in a row that was in vain.
    looked_at: Option<Instant>,
    in_vain: u32,
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
            complaint: None,
            has_warned: false,
            of: 0,
            earlier: fastrand::u32(0..=100),
            noticed: None,
            refused: None,
            looked_at: None,
            in_vain: 0,
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
                    let wished = self.take(wish);
                    wake = wished.map_or(wake, |at| at.min(wake));
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

    /// Takes a wish; when there is something to do.
    fn take(&mut self, wish: Wish) -> Option<Instant> {
        let generation = self.generation();
        match wish {
            Wish::Rotate(answer) => {
                Some(self.want(Waiting { than: generation, revoked: false, answer }))
            }
            Wish::ReplaceLeaked(answer) => {
                let leaked = self.turn.key.held.load().value.clone();
                self.turn.leaked = self.turn.issuer.is_some().then_some(leaked);
                Some(self.want(Waiting { than: generation, revoked: true, answer }))
            }
            Wish::Look => Some(self.look_after_refusal()),
            // What a response said of an earlier key says nothing of this one.
            Wish::Ends { serial, .. } | Wish::Implausible { serial, .. }
                if serial != self.serial() =>
            {
                None
            }
            Wish::Ends { at, .. } => {
                self.turn.key.state.send_modify(|state| state.expires_at = Some(at));
                self.told_end = Some(at);
                self.complaint = None;
                self.turn.key.has_complained.store(false, Ordering::Relaxed);
                // How long to rest depends on it.
                Some(Instant::now() + self.rest())
            }
            Wish::Implausible { why, .. } => {
                let error = Error::new(
                    ErrorKind::InvalidInput,
                    "set the unit of the issuer's headers in `ExpiryHeaders`",
                )
                .because(why)
                .at(&self.turn.path);
                if !std::mem::replace(&mut self.has_warned, true) {
                    tracing::warn!(path = %self.turn.path, %error, "a header is not believed");
                }
                self.complaint = Some(error.clone());
                self.turn.key.state.send_modify(|state| state.last_error = Some(error));
                None
            }
        }
    }

    /// Has the key replaced for somebody, at once.
    fn want(&mut self, waiting: Waiting) -> Instant {
        self.turn.wanted = Some(waiting.than);
        self.waiting.push(waiting);
        self.not_before = None;
        Instant::now()
    }

    /// When the store is looked at because a key was refused. That is done the less often, the more
    /// often it was in vain, and then nobody waits for it.
    fn look_after_refusal(&mut self) -> Instant {
        let now = Instant::now();
        let apart = LOOKS_APART * 2_u32.saturating_pow(self.in_vain.min(MOST_IN_VAIN));
        let next = self.looked_at.map_or(now, |at| now.max(at + apart));
        if next > now && self.in_vain > WAITED_FOR {
            self.turn.key.looks.release();
        }
        self.refused = Some((self.serial(), self.turn.key.looks.last()));
        next
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
        let steps = self.steps(may_act).await;
        if *self.stop.borrow() {
            return None;
        }
        match steps {
            Ok(pause) if !may_act => Some(pause.unwrap_or_else(|| self.rest())),
            Ok(pause) => {
                self.not_before = None;
                if pause.is_none() {
                    self.failures = 0;
                    self.turn.key.state.send_if_modified(|state| {
                        let before =
                            std::mem::replace(&mut state.last_error, self.complaint.clone());
                        before.is_some()
                    });
                }
                Some(pause.unwrap_or_else(|| self.rest()))
            }
            Err(error) => self.failed(error, may_act),
        }
    }

    /// Makes steps; how long to wait for the next, if there is one.
    async fn steps(&mut self, may_act: bool) -> Result<Option<Duration>> {
        let mut is_new = false;
        while !*self.stop.borrow() {
            // Each step begins with what is stored: one that was broken off is no harm.
            let step = AssertUnwindSafe(self.turn.step(may_act)).catch_unwind().await;
            self.note_look();
            let next = step.unwrap_or_else(|_| Err(panicked()))?;
            self.answer();
            match next {
                Next::Go => {}
                // Replicas may take turns to show two keys.
                Next::New if is_new => return Ok(Some(AGAIN)),
                Next::New => is_new = true,
                Next::Wait(pause) => return Ok(Some(pause)),
                Next::Drain(pause) => {
                    self.is_draining = true;
                    return Ok(Some(pause));
                }
                Next::Park => return Ok(Some(self.rest())),
                // The store is looked at meanwhile.
                Next::Queue => return Ok(Some(self.turn.look_every())),
                // Somebody may still want a newer key than the one that was just got.
                Next::Rest => match self.waiting.first() {
                    Some(waiting) if may_act => self.turn.wanted = Some(waiting.than),
                    _ => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// Notes whether a look at the store was of use to whose key was refused.
    fn note_look(&mut self) {
        let last = self.turn.key.looks.last();
        let Some((refused, _)) = self.refused.take_if(|(_, before)| last > *before) else { return };
        self.looked_at = Some(Instant::now());
        self.in_vain = if refused == self.serial() { self.in_vain.saturating_add(1) } else { 0 };
    }

    /// Tells those who wait that there is a newer key.
    fn answer(&mut self) {
        let (now, has_previous) = (self.generation(), self.turn.has_previous);
        let is_done =
            |waiting: &mut Waiting| now > waiting.than && !(waiting.revoked && has_previous);
        for waiting in self.waiting.extract_if(.., is_done) {
            let unrevoked = self.turn.unrevoked.clone().filter(|_| waiting.revoked);
            // Who went away does not want to know.
            let _ = waiting.answer.send(unrevoked.map_or(Ok(now), Err));
        }
        for waiting in &mut self.waiting {
            // If an earlier state was put back, what is newer than that will do.
            waiting.than = waiting.than.min(now);
        }
        let serial = self.serial();
        if self.of != serial {
            self.of = serial;
            (self.told_end, self.complaint, self.has_warned) = (None, None, false);
            self.earlier = fastrand::u32(0..=100);
        }
    }

    fn failed(&mut self, error: Error, may_act: bool) -> Option<Duration> {
        let error = error.at(&self.turn.path);
        let is_closing = self.turn.store.is_closed();
        if !may_act && !is_closing {
            // It was only looked; what is tried has its own time.
            return Some(self.rest());
        }
        for waiting in std::mem::take(&mut self.waiting) {
            let _ = waiting.answer.send(Err(error.clone()));
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
}

/// Nobody is to wait for a task that has ended.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.wishes.close();
        self.turn.key.looks.release();
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "see what the panic said, in the issuer or the store")
        .because("a step of the rotation panicked")
}
