//! Explores every order in which a small log, its follower and a listener can act.

use std::collections::{HashSet, VecDeque};

use super::*;

/// How many records there are at most.
const MAX: u64 = 4;
/// How much of what the follower tells waits for the listener.
const WAITING: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    first: u64,
    last: u64,
    /// Up to which record the follower has told; `None` while it does not run.
    follower: Option<u64>,
    starts_left: u8,
    told: VecDeque<Told>,
    is_lagging: bool,
    /// `None` until it begins, after it has subscribed.
    position: Option<Position>,
    /// The number from which on the listener must have each record.
    begin: u64,
    taken: Vec<u64>,
    /// Records that a gap has named.
    missing: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Append,
    Prune,
    StartFollower,
    EndFollower,
    Follow,
    BeginNow,
    Resume(u64),
    /// The listener reads so many records, or hears once.
    Listen(u64),
}

const ACTS: [Act; 12] = [
    Act::Append,
    Act::Prune,
    Act::StartFollower,
    Act::EndFollower,
    Act::Follow,
    Act::BeginNow,
    Act::Resume(0),
    Act::Resume(1),
    Act::Resume(2),
    Act::Resume(3),
    Act::Listen(1),
    Act::Listen(2),
];

impl World {
    fn new(records: u64) -> Self {
        Self {
            first: 1,
            last: records,
            follower: None,
            starts_left: 2,
            told: VecDeque::new(),
            is_lagging: false,
            position: None,
            begin: 0,
            taken: Vec::new(),
            missing: Vec::new(),
        }
    }

    fn tell(&mut self, told: Told) {
        if self.told.len() == WAITING {
            self.told.pop_front();
            self.is_lagging = true;
        }
        self.told.push_back(told);
    }

    /// The world after an act; `None` if it cannot happen.
    fn after(&self, act: Act) -> Option<Self> {
        let mut next = self.clone();
        match act {
            Act::Append if self.last < MAX => next.last += 1,
            Act::Prune if self.first < self.last => next.first += 1,
            Act::StartFollower if self.follower.is_none() && self.starts_left > 0 => {
                next.starts_left -= 1;
                next.follower = Some(self.last);
                next.tell(Told::Begin(self.last));
            }
            Act::EndFollower if self.follower.is_some() => next.follower = None,
            Act::Follow => {
                let told = self.follower.filter(|told| *told < self.last)?;
                let seq = (told + 1).max(self.first);
                next.follower = Some(seq);
                next.tell(Told::Record(seq));
            }
            Act::BeginNow if self.position.is_none() => {
                next.position = Some(Position::Live { after: self.last });
                next.begin = self.last + 1;
            }
            Act::Resume(after) if self.position.is_none() && after <= self.last => {
                next.position = Some(Position::CatchingUp { after });
                next.begin = after + 1;
            }
            Act::Listen(length) => next.listen(length)?,
            _ => return None,
        }
        Some(next)
    }

    fn listen(&mut self, length: u64) -> Option<()> {
        let mut position = self.position?;
        if let Position::CatchingUp { after } = position {
            let begin = after.max(self.first - 1);
            let searched = self.last.min(begin + length);
            let part = Part { searched, first: self.first, last: self.last };
            if let Some(gap) = position.read(part) {
                self.missing.extend(gap.after + 1..gap.first);
            }
            let records = (after + 1).max(self.first)..=searched;
            self.taken.extend(records);
        } else if std::mem::take(&mut self.is_lagging) {
            position.lag();
        } else {
            let told = self.told.pop_front()?;
            if position.hear(told) {
                let Told::Record(seq) = told else { panic!("it takes {told:?}") };
                self.taken.push(seq);
            }
        }
        self.position = Some(position);
        Some(())
    }

    fn check(&self) {
        let Some(position) = self.position else { return };
        assert!(self.taken.is_sorted_by(|a, b| a < b), "a record came twice: {self:?}");
        assert!(self.missing.iter().all(|seq| *seq < self.first), "not pruned: {self:?}");
        for seq in self.begin..=position.after() {
            let is_known = self.taken.contains(&seq) || self.missing.contains(&seq);
            assert!(is_known, "{seq} is lost: {self:?}");
        }
    }

    /// Lets the follower and the listener act until nothing is left to do.
    fn settle(mut self) {
        self.starts_left = 1;
        let listens = [Act::StartFollower, Act::Follow, Act::Listen(1)];
        while let Some(next) = listens.iter().find_map(|act| self.after(*act)) {
            self = next;
            self.check();
        }
        let last = Position::Live { after: self.last };
        assert_eq!(self.position, Some(last), "it stays behind: {self:?}");
    }
}

#[test]
fn no_order_of_events_loses_or_repeats_a_record() {
    let mut waiting: Vec<_> = (0..=2).map(World::new).collect();
    let mut seen: HashSet<_> = waiting.iter().cloned().collect();
    while let Some(world) = waiting.pop() {
        world.check();
        if world.position.is_some() {
            world.clone().settle();
        }
        for next in ACTS.iter().filter_map(|act| world.after(*act)) {
            if seen.insert(next.clone()) {
                waiting.push(next);
            }
        }
    }
    assert!(seen.len() > 10_000, "only {} worlds", seen.len());
}

#[test]
fn a_listener_beyond_the_end_is_told_so_and_goes_on_at_the_end() {
    let mut position = Position::CatchingUp { after: 9 };
    let gap = position.read(Part { searched: 4, first: 1, last: 4 });
    assert_eq!(gap, Some(Gap { after: 9, first: 5 }));
    assert_eq!(position, Position::Live { after: 4 });
}
