//! The world of the model: a log with a cursor, an endpoint, two processes, and the steps that they take.

use std::sync::Arc;

use crate::webhook::cursor::{Cursor, HolderId};
use crate::webhook::dispatcher::{self, Attempt, Dispatcher, Limits, Message, Now};

/// How far the clocks of two machines may run apart during a lease.
pub(super) const MARGIN: i64 = 1;
/// How many steps of its clock a process observes a cursor before it takes the lease over.
pub(super) const TAKE_OVER: i64 = LIMITS.lease + MARGIN;
/// A time is one step of a clock here.
const LIMITS: Limits = Limits {
    lease: 2,
    margin: MARGIN,
    progress: 1,
    min_delay: 2,
    max_delay: 4,
    max_age: 4,
    min_failing: 2,
    max_refusals: 2,
    keep_alive: 1_000,
};
/// How far the clock of the second machine is ahead: further than a lease can last.
const AHEAD: i64 = 7;
/// The id of processes that have ended.
const ENDED: HolderId = HolderId(u64::MAX);
/// The clock at the beginning.
const START: i64 = 100;

/// How a process works. All but the first are wrong in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Right,
    /// Counts a message as delivered when it begins to send it.
    SettlesBeforeDelivery,
    /// Moves the cursor past a dead letter without recording it.
    ForgetsDeadLetters,
    /// Begins at the end of the log instead of at the cursor.
    StartsAtEnd,
    /// Holds the lease once its claim was accepted, even if the log says later that another process does.
    TrustsOwnClaim,
    /// Reads the lease, but not how far others have delivered.
    IgnoresCursor,
    /// Takes the lease over when it has ended by the clock of this machine, or ends later than any lease can.
    ComparesClocks,
    /// Takes the lease over from the cursor at the end of the log, even if it has observed another one.
    ClaimsUnobserved,
}

/// What the endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Takes,
    Fails,
    Refuses,
    /// It takes the message, and the connection breaks before the answer.
    LosesAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another part of some process records an event.
    Append,
    /// The clock of a machine goes on.
    Tick(usize),
    /// A process reads the end of the log.
    Read(usize),
    /// A process takes its next step, or the endpoint answers its request.
    Act(usize, Endpoint),
    Crash(usize),
    /// A process ends and gives the lease up.
    Close(usize),
    Restart(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    id: HolderId,
    dispatcher: Dispatcher,
    /// What it has read of the log.
    cursor: Option<Cursor>,
    last: u64,
    /// The record of the request that is under way.
    sending: Option<u64>,
    has_claimed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// The number of the last record, and when each was made.
    pub(super) last: u64,
    times: Vec<i64>,
    pub(super) cursor: Option<Cursor>,
    /// The last record before the webhook began.
    pub(super) started_after: Option<u64>,
    /// The dead letters in the log.
    pub(super) dead: Vec<u64>,
    /// Whether one of them was given up for its age.
    pub(super) has_expired: bool,
    /// How often the endpoint got each record.
    pub(super) counts: Vec<u8>,
    /// Records that a process gave up.
    given_up: Vec<u64>,
    /// The clocks of the two machines.
    pub(super) ticks: [i64; 2],
    pub(super) processes: [Option<Arc<Process>>; 2],
    /// Crashes, processes that are closed, and lost answers.
    pub(super) disturbances: u8,
    pub(super) takeovers: u8,
    pub(super) is_in_order: bool,
    pub(super) repeats_settled: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Worlds {
    pub(super) variant: Variant,
    /// What the endpoint may do.
    pub(super) endpoints: &'static [Endpoint],
    /// The number of the last record, of which the first is there before the webhook.
    pub(super) max_records: u64,
    /// Whether the others are there when the processes begin.
    pub(super) begins_full: bool,
    pub(super) max_ticks: i64,
    /// How far the clocks may run apart.
    pub(super) max_apart: i64,
    /// How many crashes, closed processes and lost answers there are.
    pub(super) max_disturbances: u8,
}

impl World {
    /// Whether a record is for the webhook.
    pub(super) fn matches(seq: u64) -> bool {
        seq != 2
    }

    pub(super) fn received(&self, seq: u64) -> u8 {
        usize::try_from(seq).ok().and_then(|seq| self.counts.get(seq)).copied().unwrap_or(0)
    }

    /// The time on one of the machines: no two of them agree.
    fn now(&self, i: usize) -> Now {
        let ahead = if i == 0 { 0 } else { AHEAD };
        Now { clock: START + self.ticks[i] + ahead, ticks: self.ticks[i] }
    }

    /// Whether a process has read all of the log.
    pub(super) fn is_read_by(&self, process: &Process) -> bool {
        process.cursor == self.cursor && process.last == self.last
    }

    fn receive(&mut self, seq: u64) {
        let start = self.started_after.unwrap_or(0);
        let is_done = |earlier: &u64| {
            !Self::matches(*earlier)
                || self.received(*earlier) > 0
                || self.given_up.contains(earlier)
        };
        if self.received(seq) == 0 && !(start + 1..seq).all(|earlier| is_done(&earlier)) {
            self.is_in_order = false;
        }
        self.counts[usize::try_from(seq).unwrap()] += 1;
    }
}

impl Worlds {
    pub(super) fn start(&self) -> World {
        let mut world = World {
            last: 1,
            times: vec![START; 2],
            cursor: None,
            started_after: None,
            dead: Vec::new(),
            has_expired: false,
            counts: vec![0; usize::try_from(self.max_records).unwrap() + 1],
            given_up: Vec::new(),
            ticks: [0; 2],
            processes: [None, None],
            disturbances: 0,
            takeovers: 0,
            is_in_order: true,
            repeats_settled: false,
        };
        if self.begins_full {
            // Another process has begun the webhook, and has ended.
            let (settled_to, lease_until) = (world.last, START);
            let (version, is_released) = (0, true);
            let cursor = Cursor { settled_to, holder: ENDED, lease_until, version, is_released };
            world.cursor = Some(cursor);
            world.started_after = Some(settled_to);
            while world.last < self.max_records {
                self.take(&mut world, Step::Append);
            }
        }
        for i in 0..2 {
            self.restart(&mut world, i);
        }
        world
    }

    fn restart(&self, world: &mut World, i: usize) {
        // A process that begins has another id than those before it.
        let id = HolderId(u64::from(world.disturbances) * 2 + u64::try_from(i).unwrap());
        let mut dispatcher = Dispatcher::new("w", id, LIMITS);
        if self.variant == Variant::StartsAtEnd {
            dispatcher.found([], world.last);
        }
        let (cursor, last) = (world.cursor.clone(), world.last);
        let process = Process { id, dispatcher, cursor, last, sending: None, has_claimed: false };
        world.processes[i] = Some(Arc::new(process));
    }

    /// Whether a process believes to hold the lease.
    pub(super) fn holds(&self, world: &World, i: usize) -> bool {
        let Some(process) = &world.processes[i] else { return false };
        if self.variant == Variant::TrustsOwnClaim {
            return process.has_claimed;
        }
        let cursor = process.cursor.as_ref();
        cursor.is_some_and(|cursor| process.dispatcher.holds(cursor, world.now(i)))
    }

    /// Takes a step; returns whether anything changes.
    pub(super) fn take(&self, world: &mut World, step: Step) -> bool {
        match step {
            Step::Append => {
                world.last += 1;
                world.times.push(world.now(0).clock);
            }
            Step::Tick(i) => world.ticks[i] += 1,
            Step::Read(i) => {
                let now = world.now(i);
                let (cursor, last) = (world.cursor.clone(), world.last);
                let Some(process) = &mut world.processes[i] else { return false };
                let process = Arc::make_mut(process);
                (process.cursor, process.last) = (cursor, last);
                // A process takes its next step as soon as it has read.
                if let Some(cursor) = self.cursor_for(process, now) {
                    process.dispatcher.see(&cursor, now);
                }
            }
            Step::Crash(i) => {
                world.processes[i] = None;
                world.disturbances += 1;
            }
            Step::Close(i) => {
                let Some(process) = world.processes[i].take() else { return false };
                let mut process = Arc::unwrap_or_clone(process);
                let Some(advance) = process.dispatcher.release(process.cursor.as_ref()) else {
                    return false;
                };
                self.record(world, i, &mut process, advance);
                world.disturbances += 1;
            }
            Step::Restart(i) => self.restart(world, i),
            Step::Act(i, endpoint) => {
                let Some(process) = world.processes[i].take() else { return false };
                let mut process = Arc::unwrap_or_clone(process);
                let changes = self.act(world, i, &mut process, endpoint);
                world.processes[i] = Some(Arc::new(process));
                return changes;
            }
        }
        true
    }

    fn act(&self, world: &mut World, i: usize, process: &mut Process, endpoint: Endpoint) -> bool {
        if let Some(seq) = process.sending.take() {
            return self.answer(world, i, process, endpoint, seq);
        }
        // What the endpoint does matters for requests alone.
        if endpoint != Endpoint::Takes {
            return false;
        }
        let now = world.now(i);
        let before = process.dispatcher.clone();
        loop {
            let cursor = self.cursor_for(process, now);
            let step = process.dispatcher.step(cursor.as_ref(), process.last, now);
            Self::note_given_up(world, process);
            match step {
                dispatcher::Step::Search { after } => {
                    let found = (after + 1..=process.last).filter(|seq| World::matches(*seq));
                    let time = |seq: u64| world.times[usize::try_from(seq).unwrap()];
                    let messages = found.map(|seq| Message::new(seq, time(seq), "e".to_owned()));
                    process.dispatcher.found(messages, process.last);
                }
                dispatcher::Step::Record(advance) => {
                    self.record(world, i, process, advance);
                    return true;
                }
                dispatcher::Step::Send { seq } => {
                    let settled_to = world.cursor.as_ref().map_or(0, |cursor| cursor.settled_to);
                    world.repeats_settled |= world.is_read_by(process) && seq <= settled_to;
                    process.sending = Some(seq);
                    if self.variant == Variant::SettlesBeforeDelivery {
                        process.dispatcher.sent(Attempt::Delivered, now, 0);
                    }
                    return true;
                }
                dispatcher::Step::Wait { .. } => return process.dispatcher != before,
            }
        }
    }

    /// The cursor by which a process decides.
    fn cursor_for(&self, process: &Process, now: Now) -> Option<Cursor> {
        let mut cursor = process.cursor.clone()?;
        match self.variant {
            Variant::TrustsOwnClaim if process.has_claimed => {
                (cursor.holder, cursor.is_released) = (process.id, false);
            }
            Variant::IgnoresCursor => cursor.settled_to = 0,
            Variant::ComparesClocks if cursor.holder != process.id => {
                let rest = cursor.lease_until - now.clock;
                cursor.is_released |= rest <= 0 || rest > 2 * LIMITS.lease;
            }
            _ => {}
        }
        Some(cursor)
    }

    fn record(
        &self,
        world: &mut World,
        i: usize,
        process: &mut Process,
        mut advance: crate::webhook::cursor::Advance,
    ) {
        if self.variant == Variant::ForgetsDeadLetters {
            advance.dead.clear();
        }
        let compares = !matches!(self.variant, Variant::ComparesClocks | Variant::ClaimsUnobserved);
        if !compares && advance.observed.is_some() {
            advance.observed = world.cursor.clone();
        }
        let now = world.now(i);
        if let Some((dead, cursor)) = advance.decide(world.cursor.as_ref(), world.last, now.clock) {
            match &world.cursor {
                None => world.started_after = Some(world.last),
                Some(before) if before.holder != process.id => {
                    world.takeovers += 1;
                }
                Some(_) => {}
            }
            world.has_expired |= dead.iter().any(|letter| letter.reason == "fails");
            world.dead.extend(dead.iter().map(|letter| letter.seq));
            world.dead.sort_unstable();
            world.cursor = Some(cursor);
            process.dispatcher.recorded(now);
            process.has_claimed = true;
        }
        (process.cursor, process.last) = (world.cursor.clone(), world.last);
    }

    fn answer(
        &self,
        world: &mut World,
        i: usize,
        process: &mut Process,
        endpoint: Endpoint,
        seq: u64,
    ) -> bool {
        let failed = || Attempt::Failed { reason: "fails".to_owned(), retry_after: None };
        let attempt = match endpoint {
            Endpoint::Takes => {
                world.receive(seq);
                Attempt::Delivered
            }
            Endpoint::Fails => failed(),
            Endpoint::Refuses => Attempt::Refused { reason: "refuses".to_owned() },
            Endpoint::LosesAnswer => {
                if world.disturbances >= self.max_disturbances {
                    return false;
                }
                world.receive(seq);
                world.disturbances += 1;
                failed()
            }
        };
        if self.variant != Variant::SettlesBeforeDelivery {
            process.dispatcher.sent(attempt, world.now(i), 0);
        }
        Self::note_given_up(world, process);
        true
    }

    fn note_given_up(world: &mut World, process: &Process) {
        for seq in process.dispatcher.dead_seqs() {
            if !world.given_up.contains(&seq) {
                world.given_up.push(seq);
                world.given_up.sort_unstable();
            }
        }
    }
}
