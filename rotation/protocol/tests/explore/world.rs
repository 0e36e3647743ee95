//! The world of the model: the store, the issuer, the instances, and the actions on them.

use std::time::Duration;

use strongroom_rotation_protocol::{
    AttemptId, Call, Change, Decision, Event, Instance, InstanceId, KeyRef, LocalEffect, Next, Now,
    Record, Rules, Stage, Time,
};

use crate::calls::Fault;
use crate::issuer::{Issuer, Keys, Kind};
use crate::mutant::Mutant;

/// The setup of an exploration.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) rules: Rules,
    pub(crate) nodes: usize,
    pub(crate) budget: Budget,
    /// How long a new key takes to work.
    pub(crate) works_after: Duration,
    /// Whether requests carry a key as long as possible.
    pub(crate) long_requests: bool,
    /// Whether the issuer refuses to revoke any key.
    pub(crate) never_revokes: bool,
    pub(crate) mutant: Option<Mutant>,
}

/// The budget of actions that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Rotations that a caller asks for.
    pub(crate) rotations: u8,
    /// Reports that the key in use is compromised.
    pub(crate) compromises: u8,
    /// Rollbacks by an operator.
    pub(crate) rollbacks: u8,
    /// Faults of any kind.
    pub(crate) faults: u8,
}

/// An action in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// The call of an instance is made and answered.
    Answer(usize),
    /// The same, with a fault.
    Fault(usize, Fault),
    /// An instance is paused before its call, or before it receives the response.
    StandStill(usize, bool),
    /// A paused instance continues.
    Continue(usize),
    /// The timer of an instance ends.
    Wake(usize),
    /// An instance dies before its call is made, or after it.
    Crash(usize, bool),
    Restart(usize),
    Rotate(usize),
    RotateCompromised(usize),
    /// Rollbacks by an operator.
    RollBack(usize),
    /// A late write takes effect.
    LandLate,
    /// Requests that carry an old key end.
    Drain(usize),
    /// Time passes until the next timer ends.
    Tick,
}

/// One instance with its calls and timers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the process")]
pub(crate) struct Node {
    /// `None` if the instance is down.
    pub(crate) instance: Option<Instance>,
    /// The version that it has read.
    pub(crate) known: u16,
    pub(crate) call: Option<Call>,
    pub(crate) answer: Option<Event>,
    pub(crate) timer: Time,
    pub(crate) waits_for_drain: bool,
    pub(crate) in_flight: bool,
    /// How long requests may carry an old key.
    pub(crate) drain_until: Time,
    pub(crate) stands_still: bool,
    /// Whether it was paused, or could not read the store for the whole propagation time, and has not
    /// read it since, so that it may use an old key.
    pub(crate) was_late: bool,
    /// How many reads in a row have failed, or shown an earlier state.
    pub(crate) failed_reads: u8,
}

/// A state of the store that lagging reads may still show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Past {
    pub(crate) record: Record,
    pub(crate) version: u16,
    pub(crate) until: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) record: Record,
    pub(crate) version: u16,
    pub(crate) past: Vec<Past>,
    pub(crate) backups: Vec<Record>,
    pub(crate) late: Option<(u16, Record)>,
    pub(crate) issuer: Issuer,
    pub(crate) budget: Budget,
    pub(crate) facts: Facts,
}

/// The history that the properties need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// How many ids instances and attempts have used.
    names: u8,
    pub(crate) token: u8,
    pub(crate) rotations: u8,
    pub(crate) faults: u8,
    pub(crate) was_rolled_back: bool,
    /// Keys that the issuer has accepted.
    pub(crate) verified: Keys,
    /// Keys that were reported to an operator.
    pub(crate) reported: Keys,
    /// Keys whose record says that they are compromised.
    pub(crate) compromised: Keys,
    /// Keys that a caller has reported as compromised.
    pub(crate) disowned: Keys,
    /// Keys that an issuer without fencing has issued to an instance that was paused before its call.
    pub(crate) late: Keys,
    /// Keys that were revoked although they were in use, because they or their successors are compromised.
    pub(crate) excused: Keys,
    /// The violation that has happened.
    pub(crate) violation: Option<&'static str>,
}

/// How long reads lag at most: shorter than `max_read_lag` of the instances.
const LAG: Duration = Duration::from_secs(2);
const BACKUPS: usize = 3;

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let record = Record::with_key(KeyRef(0));
        let mut world = Self {
            nodes: Vec::new(),
            record,
            version: 1,
            past: Vec::new(),
            backups: Vec::new(),
            late: None,
            issuer: Issuer::new(),
            budget: setup.budget,
            facts: Facts::default(),
        };
        world.facts.verified.add(KeyRef(0));
        for _ in 0..setup.nodes {
            let node = world.start(setup);
            world.nodes.push(node);
        }
        world
    }

    pub(crate) fn name(&mut self) -> u128 {
        self.facts.names += 1;
        u128::from(self.facts.names)
    }

    pub(crate) fn start(&mut self, setup: &Setup) -> Node {
        let id = InstanceId(self.name());
        let instance = Instance::new(id, self.record.clone(), Time::START, &setup.rules);
        Node {
            instance: Some(instance),
            known: self.version,
            call: None,
            answer: None,
            timer: Time::START,
            waits_for_drain: false,
            in_flight: false,
            drain_until: Time::START,
            stands_still: false,
            was_late: false,
            failed_reads: 0,
        }
    }

    /// The world after an action.
    pub(crate) fn after(&self, setup: &Setup, action: Action) -> Self {
        let mut world = self.clone();
        world.act(setup, action);
        world.check_use();
        world
    }

    fn act(&mut self, setup: &Setup, action: Action) {
        if matches!(action, Action::Fault(..) | Action::StandStill(..) | Action::Crash(..)) {
            self.budget.faults -= 1;
            self.facts.faults += 1;
        }
        match action {
            Action::Answer(i) => {
                let event = self.perform(setup, i, None);
                self.receive(setup, i, event);
            }
            Action::Fault(i, fault) => {
                let event = self.perform(setup, i, Some(fault));
                self.receive(setup, i, event);
            }
            Action::StandStill(i, is_made) => {
                if is_made {
                    let event = self.perform(setup, i, None);
                    self.nodes[i].answer = Some(event);
                }
                self.nodes[i].stands_still = true;
                self.nodes[i].was_late = true;
            }
            Action::Continue(i) => {
                self.nodes[i].stands_still = false;
                if let Some(event) = self.nodes[i].answer.take() {
                    self.receive(setup, i, event);
                }
            }
            Action::Wake(i) => self.receive(setup, i, Event::Wake),
            Action::Crash(i, is_made) => {
                if is_made {
                    let _ = self.perform(setup, i, None);
                }
                let node = &mut self.nodes[i];
                (node.instance, node.call, node.answer, node.in_flight) = (None, None, None, false);
                (node.timer, node.known, node.waits_for_drain) = (Time::START, 0, false);
            }
            Action::Restart(i) => self.nodes[i] = self.start(setup),
            Action::Rotate(i) => {
                self.budget.rotations -= 1;
                let replace = self.instance(i).in_use.generation;
                self.receive(setup, i, Event::Rotate { replace });
            }
            Action::RotateCompromised(i) => {
                self.budget.compromises -= 1;
                let key = self.instance(i).in_use.key;
                self.facts.disowned.add(key);
                self.receive(setup, i, Event::RotateCompromised);
            }
            Action::RollBack(backup) => {
                self.budget.rollbacks -= 1;
                self.facts.was_rolled_back = true;
                let record = self.backups[backup].clone();
                self.replace(record);
            }
            Action::LandLate => {
                if let Some((version, record)) = self.late.take()
                    && version == self.version
                {
                    self.replace(record);
                }
            }
            Action::Drain(i) => self.nodes[i].in_flight = false,
            Action::Tick => {
                let running = |node: &&Node| node.instance.is_some() && !node.stands_still;
                let timers = self.nodes.iter().filter(running);
                let by = timers.map(|node| node.timer.left(Time::START)).min().unwrap_or_default();
                self.rebase(by);
            }
        }
    }

    fn rebase(&mut self, by: Duration) {
        for node in &mut self.nodes {
            node.timer = node.timer.rebase(by);
            node.drain_until = node.drain_until.rebase(by);
            node.instance = node.instance.take().map(|instance| instance.rebase(by));
        }
        self.record = self.record.clone().rebase(by);
        self.past.retain_mut(|past| {
            past.until = past.until.rebase(by);
            past.record = past.record.clone().rebase(by);
            !past.until.has_come(Time::START)
        });
        for backup in &mut self.backups {
            *backup = backup.clone().rebase(by);
        }
        if let Some((_, record)) = &mut self.late {
            *record = record.clone().rebase(by);
        }
        self.issuer.rebase(by);
    }

    pub(crate) fn instance(&self, i: usize) -> &Instance {
        self.nodes[i].instance.as_ref().expect("only a running instance acts")
    }

    /// Stores another record.
    pub(crate) fn replace(&mut self, record: Record) {
        let before = std::mem::replace(&mut self.record, record);
        if !self.backups.contains(&before) && self.budget.rollbacks > 0 {
            self.backups.push(before.clone());
            if self.backups.len() > BACKUPS {
                self.backups.remove(0);
            }
        }
        if self.budget.faults > 0 {
            self.past.push(Past {
                record: before,
                version: self.version,
                until: Time::START.after(LAG),
            });
        }
        self.version += 1;
        if self.record.is_compromised {
            let key = match self.record.stage {
                Stage::Overlap { previous } => previous,
                _ => self.record.key,
            };
            self.facts.compromised.add(key);
        }
    }

    /// Records a violation if a key in use does not work.
    fn check_use(&mut self) {
        let uses_dead = |node: &Node| {
            let usable = self.issuer.live.with(self.facts.excused);
            let dead = |instance: &Instance| !usable.has(instance.in_use.key);
            !node.was_late && node.instance.as_ref().is_some_and(dead)
        };
        if self.nodes.iter().any(uses_dead) {
            self.facts.violation.get_or_insert("an instance uses a key that does not work");
        }
    }

    /// Delivers an event to an instance, and applies its decision.
    fn receive(&mut self, setup: &Setup, i: usize, event: Event) {
        let now = Now {
            at: Time::START,
            in_flight: self.nodes[i].in_flight,
            has_permit: true,
            next_attempt: AttemptId(u128::from(self.facts.names) + 100),
            jitter: 100,
        };
        let Some(instance) = self.nodes[i].instance.take() else { return };
        let decision = Mutant::decide(setup, instance, &now, event);
        let Decision { instance, effects, next } = decision;
        for effect in effects {
            self.apply(setup, i, &effect);
        }
        if let Next::Call(Call::Write(Change::Claim { id, .. })) = &next
            && *id == now.next_attempt
        {
            self.facts.names += 1;
        }
        let node = &mut self.nodes[i];
        (node.waits_for_drain, node.timer) = (false, Time::START);
        match next {
            Next::Call(call) => node.call = Some(call),
            Next::Wait { until, for_drain, .. } => {
                (node.timer, node.waits_for_drain) = (until, for_drain);
            }
            Next::Rest => node.timer = Time::START.after(setup.rules.check_interval()),
        }
        node.instance = Some(instance);
    }

    fn apply(&mut self, setup: &Setup, i: usize, effect: &LocalEffect) {
        match effect {
            LocalEffect::Use { .. } => {
                self.nodes[i].in_flight = setup.long_requests;
                self.nodes[i].drain_until = Time::START.after(setup.rules.drain_timeout);
            }
            LocalEffect::Drained { .. } => {
                let node = &mut self.nodes[i];
                let is_early = node.in_flight && !node.drain_until.has_come(Time::START);
                if is_early && self.facts.disowned.is_empty() && self.facts.compromised.is_empty() {
                    self.facts
                        .violation
                        .get_or_insert("requests with the old key were not awaited");
                }
                node.in_flight = false;
            }
            LocalEffect::RevocationFailed(key, _) => self.facts.reported.add(*key),
            LocalEffect::Orphaned { revoked: None } => {
                self.facts.reported = self.facts.reported.with(self.issuer.live);
            }
            _ => {}
        }
    }
}
