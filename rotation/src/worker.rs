//! The task that rotates one key: it receives events, asks the protocol what to do next, and does it.

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

/// Rotates one key in one instance.
pub(crate) struct RotationWorker {
    pub(crate) context: WorkerContext,
    pub(crate) policy: RotationPolicy,
    rules: Rules,
    /// The instance's state in the protocol.
    instance: Instance,
    /// When the clock of the protocol started.
    start: Instant,
    state: WorkerState,
    schedule: Schedule,
    drain: DrainTracker,
    permit: ConcurrencyPermit,
    inbox: Inbox,
    callers: Callers,
}

/// The store, the issuer and the handles that a worker acts on.
pub(crate) struct WorkerContext {
    pub(crate) store: StoredSecret,
    /// The source of new keys; `None` if the store itself replaces the secret.
    pub(crate) issuer: Option<Arc<dyn KeyIssuer>>,
    pub(crate) key: Arc<SharedKey>,
    pub(crate) events: Events,
}

/// What the worker has read, and the keys and errors that the protocol refers to by number.
struct WorkerState {
    record: StoredRecord,
    keys: KeyTable,
    failures: FailureTable,
    /// When the secret itself expires in the store.
    expiry: Option<SystemTime>,
    /// The expiry of the secret before this instance stored the current key.
    expiry_before: Option<SystemTime>,
    /// How often the key is to be replaced.
    interval: Option<Duration>,
    /// The last read of the store, until its key is in use.
    check: Option<u64>,
    /// The stored time before which no attempt may be made, and until when this instance honours it.
    postponed: Option<(Option<SystemTime>, Time)>,
}

/// The state in which a worker starts.
pub(crate) struct InitialState {
    pub(crate) secret: Secret,
    pub(crate) record: StoredRecord,
    pub(crate) baseline: SystemTime,
    pub(crate) drain: DrainTracker,
    pub(crate) permit: ConcurrencyPermit,
    pub(crate) inbox: Inbox,
}

impl RotationWorker {
    pub(crate) fn new(
        context: WorkerContext,
        policy: RotationPolicy,
        rules: Rules,
        initial: InitialState,
    ) -> Self {
        let InitialState { secret, record, baseline, drain, permit, inbox } = initial;
        let mut keys = KeyTable::default();
        let view = record.view(&mut keys, (Time::START, clock::wall()));
        // Each task gets its own id, because it knows nothing about the attempts of an earlier task.
        let id = InstanceId(Uuid::new_v4().as_u128());
        let mut worker = Self {
            instance: Instance::new(id, view, Time::START, &rules),
            context,
            policy,
            rules,
            start: Instant::now(),
            state: WorkerState {
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
                Input::Command(command) => match self.merge_commands(command, &mut wake) {
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

    fn is_backoff_over(&self) -> bool {
        self.instance.backoff.not_before.is_none_or(|time| time.has_come(self.now()))
    }

    /// The event for a timer: the key is due, or it is time to read the store.
    fn wake_event(&mut self) -> Event {
        if let Some(left) = self.schedule.due_expiry_notice() {
            self.report(RotationStep::Expiring { left });
        }
        let is_rotating = self.instance.goal.replace.is_some();
        if !is_rotating
            && self.is_backoff_over()
            && self.schedule.is_due(&self.policy)
            && !self.is_postponed()
        {
            self.report(RotationStep::Due);
            return Event::Due;
        }
        Event::Wake
    }

    /// Whether the record postpones the next attempt because an attempt failed.
    fn is_postponed(&self) -> bool {
        let record = &self.instance.record;
        let is_settled = record.stage == Stage::Settled;
        is_settled && record.not_before.is_some_and(|time| !time.has_come(self.now()))
    }

    /// Carries out the decisions of the protocol until it waits. Returns when to wake, or `None` if the task
    /// ends.
    async fn drive(&mut self, event: Event) -> Option<Wake> {
        let mut event = event;
        let mut requested = None;
        loop {
            let now = self.snapshot(&event);
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
                    if let Some(error) = self.store_closed_error(&event) {
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
                    // A caller may ask for a newer key than the one that has just come into use.
                    Some(replace) if self.is_backoff_over() && requested != Some(replace) => {
                        requested = Some(replace);
                        event = Event::Rotate { replace };
                    }
                    _ => return self.pause(Wake::at(Instant::now() + self.sleep_duration())),
                },
            }
        }
    }

    fn pause(&mut self, wake: Wake) -> Option<Wake> {
        self.state.keys.retain(self.instance.keys());
        let (since, expiry) = (self.schedule.key_since(), self.schedule.expiry());
        metrics::set_times(&self.context.store.path, since, expiry);
        (!self.inbox.is_stopped()).then_some(wake)
    }

    /// The inputs of a decision besides the event: time, requests in flight, the permit, random numbers.
    fn snapshot(&mut self, event: &Event) -> Now {
        let is_rotating = self.instance.goal.replace.is_some()
            || matches!(self.instance.phase, Phase::Attempting { .. } | Phase::Issued(_));
        // A key that backs off, or that the store replaces, needs no permit.
        let may_need_permit = self.context.issuer.is_some() && self.is_backoff_over();
        let has_permit = match event {
            Event::Read(record)
                if may_need_permit && (is_rotating || record.pending_attempt().is_some()) =>
            {
                self.permit.take()
            }
            _ => self.permit.is_held(),
        };
        Now {
            at: self.now(),
            in_flight: self.drain.is_in_flight(),
            has_permit,
            next_attempt: AttemptId(Uuid::now_v7().as_u128()),
            jitter: fastrand::u32(50..=100),
        }
    }

    /// Whether the task may end before its next call. Nothing is lost then, and the next instance resumes.
    fn may_stop(&self) -> bool {
        match self.instance.pending {
            Pending::Read | Pending::Issue | Pending::OverlapVerify | Pending::Request => true,
            Pending::Claim(_) => matches!(self.instance.phase, Phase::Claiming { .. }),
            _ => false,
        }
    }

    /// The error of a call to a store that has been closed.
    fn store_closed_error(&self, event: &Event) -> Option<Error> {
        match event {
            Event::Failed(failure) if self.context.store.is_closed() => {
                self.state.failures.get(failure)
            }
            _ => None,
        }
    }

    /// How long to sleep while nothing is to be done.
    fn sleep_duration(&self) -> Duration {
        let postponed = self.instance.record.not_before.filter(|_| self.is_postponed());
        let retry = self.instance.backoff.not_before.max(postponed);
        let retry = retry.map(|time| time.left(self.now())).filter(|left| !left.is_zero());
        self.schedule.sleep_duration(&self.policy, self.rules.check_interval(), retry)
    }

    /// Whether the protocol has accepted the record that was read or written last.
    fn is_accepted(&self) -> bool {
        let (read, accepted) = (&self.state.record, &self.instance.record);
        let key = self.state.keys.get(accepted.key);
        let is_same_key = key.is_some_and(|key| is_same_key(&key.value, &read.key));
        self.context.issuer.is_none() || is_same_key && read.generation == accepted.generation
    }

    fn report(&self, step: RotationStep) {
        let path = &self.context.store.path;
        metrics::count(path, &step);
        self.context.events.send(path, step);
    }
}

/// When to wake a waiting worker.
pub(crate) struct Wake {
    at: Instant,
    /// Wake also when no request carries an old key any more.
    for_drain: bool,
}

impl Wake {
    fn at(at: Instant) -> Self {
        Self { at, for_drain: false }
    }
}

/// Releases the requests and callers that wait for this task.
impl Drop for RotationWorker {
    fn drop(&mut self) {
        self.inbox.close();
        self.context.key.checks.release();
    }
}
