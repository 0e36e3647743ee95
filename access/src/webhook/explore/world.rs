//! The world of the model: a log with a cursor, an endpoint, two processes, and the steps that they take.

use std::sync::Arc;

use crate::webhook::cursor::{Cursor, HolderId};
use crate::webhook::dispatcher::{self, Attempt, Dispatcher, Limits, Message, Now};

/// A time is one step of the clock here.
const LIMITS: Limits = Limits {
    lease: 3,
    margin: 1,
    progress: 2,
    min_delay: 2,
    max_delay: 4,
    max_age: 4,
    min_failing: 2,
    max_refusals: 2,
    keep_alive: 1_000,
};
/// How far the clock is set back: further than a lease can last.
const SET_BACK: i64 = 7;
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
    /// Holds the lease once its claim was accepted, whatever the log says later.
    TrustsOwnClaim,
    /// Reads the lease, but not how far others have delivered.
    IgnoresCursor,
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
    Tick,
    SetClockBack,
    /// A process reads the end of the log.
    Read(usize),
    /// A process takes its next step, or the endpoint answers its request.
    Act(usize, Endpoint),
    Crash(usize),
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
    pub(super) ticks: i64,
    pub(super) clock_offset: i64,
    pub(super) processes: [Option<Arc<Process>>; 2],
    /// Crashes and lost answers.
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
    pub(super) sets_clock_back: bool,
    pub(super) max_ticks: i64,
    /// How many crashes and lost answers there are.
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

    fn now(&self) -> Now {
        Now { clock: START + self.ticks + self.clock_offset, ticks: self.ticks }
    }

    /// Whether a process has read all of the log.
    pub(super) fn is_read_by(&self, process: &Process) -> bool {
        process.cursor == self.cursor && process.last == self.last
    }

    /// Gives a process that has ended another id than the one that begins in its place has.
    fn forget(&mut self, id: HolderId) {
        let seen = self.processes.iter_mut().flatten();
        let seen = seen.filter_map(|process| Arc::make_mut(process).cursor.as_mut());
        for cursor in self.cursor.iter_mut().chain(seen).filter(|cursor| cursor.holder == id) {
            cursor.holder = ENDED;
        }
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
            ticks: 0,
            clock_offset: 0,
            processes: [None, None],
            disturbances: 0,
            takeovers: 0,
            is_in_order: true,
            repeats_settled: false,
        };
        if self.begins_full {
            // Another process has begun the webhook, and has ended.
            let (settled_to, lease_until) = (world.last, START);
            world.cursor = Some(Cursor { settled_to, holder: ENDED, lease_until });
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
        let id = HolderId(u64::try_from(i).unwrap());
        let mut dispatcher = Dispatcher::new("w", id, LIMITS);
        if self.variant == Variant::StartsAtEnd {
            dispatcher.found([], world.last);
        }
        let (cursor, last) = (world.cursor.clone(), world.last);
        let process = Process { id, dispatcher, cursor, last, sending: None, has_claimed: false };
        world.processes[i] = Some(Arc::new(process));
    }

    /// Whether a process believes to hold the lease.
    pub(super) fn holds(&self, world: &World, process: &Process) -> bool {
        if self.variant == Variant::TrustsOwnClaim {
            return process.has_claimed;
        }
        let is_own = |cursor: &Cursor| {
            cursor.holder == process.id && cursor.is_living(world.now().clock, LIMITS.lease)
        };
        process.cursor.as_ref().is_some_and(is_own)
    }

    /// Takes a step; returns whether anything changes.
    pub(super) fn take(&self, world: &mut World, step: Step) -> bool {
        match step {
            Step::Append => {
                world.last += 1;
                world.times.push(world.now().clock);
            }
            Step::Tick => world.ticks += 1,
            Step::SetClockBack => world.clock_offset = -SET_BACK,
            Step::Read(i) => {
                let (cursor, last) = (world.cursor.clone(), world.last);
                let Some(process) = &mut world.processes[i] else { return false };
                let process = Arc::make_mut(process);
                (process.cursor, process.last) = (cursor, last);
            }
            Step::Crash(i) => {
                world.processes[i] = None;
                world.disturbances += 1;
                world.forget(HolderId(u64::try_from(i).unwrap()));
            }
            Step::Restart(i) => self.restart(world, i),
            Step::Act(i, endpoint) => {
                let Some(process) = world.processes[i].take() else { return false };
                let mut process = Arc::unwrap_or_clone(process);
                let changes = self.act(world, &mut process, endpoint);
                world.processes[i] = Some(Arc::new(process));
                return changes;
            }
        }
        true
    }

    fn act(&self, world: &mut World, process: &mut Process, endpoint: Endpoint) -> bool {
        if let Some(seq) = process.sending.take() {
            return self.answer(world, process, endpoint, seq);
        }
        // What the endpoint does matters for requests alone.
        if endpoint != Endpoint::Takes {
            return false;
        }
        let now = world.now();
        loop {
            let cursor = self.cursor_for(process);
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
                    self.record(world, process, advance);
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
                dispatcher::Step::Wait { .. } => return false,
            }
        }
    }

    /// The cursor by which a process decides.
    fn cursor_for(&self, process: &Process) -> Option<Cursor> {
        let mut cursor = process.cursor.clone()?;
        match self.variant {
            Variant::TrustsOwnClaim if process.has_claimed => {
                (cursor.holder, cursor.lease_until) = (process.id, START + LIMITS.lease);
            }
            Variant::IgnoresCursor => cursor.settled_to = 0,
            _ => {}
        }
        Some(cursor)
    }

    fn record(
        &self,
        world: &mut World,
        process: &mut Process,
        mut advance: crate::webhook::cursor::Advance,
    ) {
        if self.variant == Variant::ForgetsDeadLetters {
            advance.dead.clear();
        }
        let now = world.now();
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
            process.dispatcher.sent(attempt, world.now(), 0);
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
