//! The task that rotates one key: it hears what happens, has the protocol decide, and carries that out.

mod carry_out;
mod inbox;
mod perform;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom_core::{Error, Secret};
use strongroom_rotation_protocol::{
    AttemptId, Event, Instance, InstanceId, Next, Now, Pending, Phase, Rules, Stage, Time, decide,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::callers::Callers;
use super::clock;
use super::drain::DrainTracker;
use super::event::{Events, RotationStep};
use super::failures::FailureTable;
use super::issuer::KeyIssuer;
use super::key::SharedKey;
use super::key_table::{KeyTable, is_same_key};
use super::metrics;
use super::permit::ConcurrencyPermit;
use super::policy::RotationPolicy;
use super::record::StoredRecord;
use super::schedule::Schedule;
use super::store::StoredSecret;

pub(crate) use self::inbox::Inbox;
use self::inbox::Input;

/// One key in the hands of one instance.
pub(crate) struct RotationWorker {
    pub(crate) outside: Outside,
    pub(crate) policy: RotationPolicy,
    rules: Rules,
    /// The instance as the protocol sees it, and the zero of its clock.
    instance: Instance,
    start: Instant,
    known: Known,
    schedule: Schedule,
    drain: DrainTracker,
    permit: ConcurrencyPermit,
    inbox: Inbox,
    callers: Callers,
}

/// What the worker acts on.
pub(crate) struct Outside {
    pub(crate) store: StoredSecret,
    /// Who makes new keys; `None` if the store does that by its own means.
    pub(crate) issuer: Option<Arc<dyn KeyIssuer>>,
    pub(crate) key: Arc<SharedKey>,
    pub(crate) events: Events,
}

/// What the numbers of the protocol stand for.
struct Known {
    record: StoredRecord,
    keys: KeyTable,
    failures: FailureTable,
    /// When the secret itself expires in the store.
    expiry: Option<SystemTime>,
    /// The same, before the key was stored that it is to follow.
    expiry_before: Option<SystemTime>,
    /// How often the key is to be replaced.
    interval: Option<Duration>,
    /// The last read of the store, until what it shows is in use.
    check: Option<u64>,
    /// The stored time before which no attempt is made, and until when it counts here.
    postponed: Option<(Option<SystemTime>, Time)>,
}

/// What a worker begins with.
pub(crate) struct Beginning {
    pub(crate) secret: Secret,
    pub(crate) record: StoredRecord,
    pub(crate) baseline: SystemTime,
    pub(crate) drain: DrainTracker,
    pub(crate) permit: ConcurrencyPermit,
    pub(crate) inbox: Inbox,
}

impl RotationWorker {
    pub(crate) fn new(
        outside: Outside,
        policy: RotationPolicy,
        rules: Rules,
        beginning: Beginning,
    ) -> Self {
        let Beginning { secret, record, baseline, drain, permit, inbox } = beginning;
        let mut keys = KeyTable::default();
        let view = record.view(&mut keys, (Time::START, clock::wall()));
        // Each task has another name: it does not know what an earlier one remembers of its attempts.
        let id = InstanceId(Uuid::new_v4().as_u128());
        let mut worker = Self {
            instance: Instance::new(id, view, Time::START, &rules),
            outside,
            policy,
            rules,
            start: Instant::now(),
            known: Known {
                record,
                keys,
                failures: FailureTable::default(),
                expiry: secret.metadata().expires_at,
                expiry_before: None,
                interval: secret.metadata().rotation_interval,
                check: None,
                postponed: None,
            },
            schedule: Schedule::new(baseline),
            drain,
            permit,
            inbox,
            callers: Callers::default(),
        };
        worker.publish_record();
        worker
    }

    /// Runs until the engine stops.
    pub(crate) async fn run(mut self) {
        // An interrupted rotation resumes immediately.
        let mut wake = Wake::at(Instant::now());
        loop {
            let Self { inbox, drain, permit, .. } = &mut self;
            let event = match inbox.next(&wake, drain, permit).await {
                Input::Stop => return,
                Input::Wake => self.wake_event(),
                Input::Command(command) => match self.take_all(command, &mut wake) {
                    Some(event) => event,
                    None => continue,
                },
            };
            match self.drive(event).await {
                Some(next) => wake = next,
                None => return,
            }
        }
    }

    /// The time of the protocol.
    fn now(&self) -> Time {
        Time::since_start(self.start.elapsed())
    }

    fn may_act(&self) -> bool {
        self.instance.backoff.not_before.is_none_or(|time| time.has_come(self.now()))
    }

    /// What a timer means: the key is due, or the store is to be read.
    fn wake_event(&mut self) -> Event {
        if let Some(left) = self.schedule.notice() {
            self.tell(RotationStep::Expiring { left });
        }
        let wants = self.instance.goal.replace.is_some();
        if !wants && self.may_act() && self.schedule.is_due(&self.policy) && !self.is_postponed() {
            self.tell(RotationStep::Due);
            return Event::Due;
        }
        Event::Wake
    }

    /// Whether another instance has failed, and the store says when to try again.
    fn is_postponed(&self) -> bool {
        let record = &self.instance.record;
        let is_settled = record.stage == Stage::Settled;
        is_settled && record.not_before.is_some_and(|time| !time.has_come(self.now()))
    }

    /// Carries out what the protocol decides, until it waits. When to wake; `None` if the task ends.
    async fn drive(&mut self, event: Event) -> Option<Wake> {
        let mut event = event;
        let mut asked_for = None;
        loop {
            let now = self.gather(&event);
            let decision = decide(&self.rules, self.instance.clone(), &now, event);
            self.instance = decision.instance;
            for effect in decision.effects {
                self.carry_out(&effect);
            }
            self.finish_check();
            self.answer_callers();
            match decision.next {
                Next::Call(call) => {
                    if self.inbox.is_stopped() && self.may_stop() {
                        return None;
                    }
                    event = self.perform(call).await;
                    if let Some(error) = self.closed_error(&event) {
                        self.fail(error);
                        return None;
                    }
                }
                Next::Wait { until, for_drain, for_permit } => {
                    if for_permit {
                        self.permit.queue();
                    }
                    let left = until.left(self.now());
                    return self.pause(Wake { at: Instant::now() + left, for_drain });
                }
                Next::Rest => match self.callers.first() {
                    // A caller may want a newer key than the one that has just come into use.
                    Some(replace) if self.may_act() && asked_for != Some(replace) => {
                        asked_for = Some(replace);
                        event = Event::Rotate { replace };
                    }
                    _ => return self.pause(Wake::at(Instant::now() + self.rest())),
                },
            }
        }
    }

    fn pause(&mut self, wake: Wake) -> Option<Wake> {
        self.known.keys.retain(self.instance.keys());
        let (since, expiry) = (self.schedule.key_since(), self.schedule.expiry());
        metrics::set_times(&self.outside.store.path, since, expiry);
        (!self.inbox.is_stopped()).then_some(wake)
    }

    /// What the protocol cannot know by itself.
    fn gather(&mut self, event: &Event) -> Now {
        let wants = self.instance.goal.replace.is_some()
            || matches!(self.instance.phase, Phase::Attempting { .. } | Phase::Issued(_));
        // A key that waits after a failure, or that the store replaces, keeps no other key waiting.
        let may_need_it = self.outside.issuer.is_some() && self.may_act();
        let has_permit = match event {
            Event::Read(record) if may_need_it && (wants || record.attempt().is_some()) => {
                self.permit.take()
            }
            _ => self.permit.is_held(),
        };
        Now {
            at: self.now(),
            in_flight: self.drain.is_in_flight(),
            has_permit,
            unused: AttemptId(Uuid::now_v7().as_u128()),
            jitter: fastrand::u32(50..=100),
        }
    }

    /// Whether the task may end before the call that it would make next: nothing is lost then, and the
    /// next instance resumes.
    fn may_stop(&self) -> bool {
        match self.instance.pending {
            Pending::Read | Pending::Issue | Pending::RetireVerify | Pending::Request => true,
            Pending::Claim(_) => matches!(self.instance.phase, Phase::Claiming { .. }),
            _ => false,
        }
    }

    /// The error of a store that has been closed.
    fn closed_error(&self, event: &Event) -> Option<Error> {
        match event {
            Event::Failed(failure) if self.outside.store.is_closed() => {
                self.known.failures.get(failure)
            }
            _ => None,
        }
    }

    /// How long to rest.
    fn rest(&self) -> Duration {
        let postponed = self.instance.record.not_before.filter(|_| self.is_postponed());
        let retry = self.instance.backoff.not_before.max(postponed);
        let retry = retry.map(|time| time.left(self.now())).filter(|left| !left.is_zero());
        self.schedule.rest(&self.policy, self.rules.check_interval(), retry)
    }

    /// Whether the record that was read or written last is the one that the instance goes by.
    fn is_accepted(&self) -> bool {
        let (read, accepted) = (&self.known.record, &self.instance.record);
        let key = self.known.keys.get(accepted.key);
        let is_same_key = key.is_some_and(|key| is_same_key(&key.value, &read.key));
        self.outside.issuer.is_none() || is_same_key && read.generation == accepted.generation
    }

    fn tell(&self, step: RotationStep) {
        self.outside.events.tell(&self.outside.store.path, step);
    }
}

/// When a worker that waits goes on.
pub(crate) struct Wake {
    at: Instant,
    /// Also when no request carries an old key.
    for_drain: bool,
}

impl Wake {
    fn at(at: Instant) -> Self {
        Self { at, for_drain: false }
    }
}

/// Lets no request or caller wait for a task that has ended.
impl Drop for RotationWorker {
    fn drop(&mut self) {
        self.inbox.close();
        self.outside.key.checks.release();
    }
}
