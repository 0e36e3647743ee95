//! Runs a state to its end without further faults, with each instance scheduled in turn (fairness).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::FixedState;
use strongroom_rotation_protocol::{Phase, Stage, Time};

use crate::world::{Action, Budget, Node, Setup, World};

/// How many actions may happen until the world settles. A rotation takes about 30 with two instances.
const MOST: usize = 8_000;
/// How many of the last actions a trace shows.
const LINES: usize = 40;

/// How many locks the threads of an exploration share.
const SHARDS: usize = 32;

/// How many actions each world takes to settle. Most explored worlds soon reach one that is known here, from which
/// everything happens as before. It knows worlds by their fingerprints, as the explorer does.
#[derive(Debug, Default)]
pub(crate) struct Settled([Mutex<Shard>; SHARDS]);

type Shard = HashMap<u64, u16, FixedState>;

impl Settled {
    /// Why the world does not settle, if it does not.
    pub(crate) fn settle(&self, setup: &Setup, world: &World) -> Option<&'static str> {
        let mut world = without_faults(world);
        let mut path = Vec::new();
        let rest = loop {
            let fingerprint = FixedState::default().hash_one(&world);
            if let Some(rest) = self.shard(fingerprint).get(&fingerprint) {
                break usize::from(*rest);
            }
            if world.facts.violation.is_some() {
                return world.facts.violation;
            }
            path.push(fingerprint);
            match next(setup, &world) {
                Some(action) if path.len() < MOST => world = world.after(setup, action),
                Some(_) => return Some("a rotation does not end"),
                None => match verdict(&world) {
                    None => break 0,
                    violation => return violation,
                },
            }
        };
        if path.len() + rest > MOST {
            return Some("a rotation does not end");
        }
        for (fingerprint, rest) in path.into_iter().rev().zip(rest + 1..) {
            self.shard(fingerprint).insert(fingerprint, u16::try_from(rest).unwrap_or(u16::MAX));
        }
        None
    }

    fn shard(&self, fingerprint: u64) -> MutexGuard<'_, Shard> {
        let shard = &self.0[usize::from(fingerprint.to_le_bytes()[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The world in which no caller, operator or fault acts again. The earlier states of the store have no reader left.
fn without_faults(world: &World) -> World {
    World { budget: Budget::default(), past: Vec::new(), backups: Vec::new(), ..world.clone() }
}

/// The actions until a world settles, to explain why a property fails.
pub(crate) fn trace(setup: &Setup, world: &World) -> String {
    let mut world = without_faults(world);
    let mut lines = String::new();
    for _ in 0..LINES {
        let action = next(setup, &world);
        let word = |text: String| text.split([' ', '(', '{']).next().map(str::to_owned);
        let node = |node: &Node| {
            let instance = node.instance.as_ref()?;
            let (phase, pending) = (&instance.phase, &instance.pending);
            Some((
                word(format!("{phase:?}"))?,
                word(format!("{pending:?}"))?,
                instance.in_use.key.0,
            ))
        };
        let nodes: Vec<_> = world.nodes.iter().map(node).collect();
        let live: Vec<_> = world.issuer.live.all().map(|key| key.0).collect();
        let (key, stage) = (world.record.key.0, &world.record.stage);
        let _ = writeln!(lines, "{nodes:?} store {key} {stage:?} live {live:?} {action:?}");
        let Some(action) = action else { break };
        world = world.after(setup, action);
    }
    lines
}

/// The next action; `None` once the world has settled.
fn next(setup: &Setup, world: &World) -> Option<Action> {
    let mut actions = Vec::new();
    world.actions(setup, &mut actions);
    let urgent = |action: &Action| {
        matches!(action, Action::Restart(_) | Action::Continue(_) | Action::LandLate)
    };
    let wake =
        |action: &&Action| matches!(action, Action::Answer(_) | Action::Wake(_) | Action::Drain(_));
    if let Some(action) = actions.iter().find(|action| urgent(action)) {
        return Some(*action);
    }
    if let Some(action) = actions.iter().find(wake) {
        return Some(*action);
    }
    // A key that the issuer does not revoke stays in the record until the next rotation.
    let is_suspended = |node: &Node| {
        let phase = node.instance.as_ref().map(|instance| &instance.phase);
        matches!(phase, Some(Phase::Overlap(overlap)) if overlap.revocation_failures.retry_at.is_some())
    };
    let is_kept = setup.never_revokes && world.nodes.iter().all(is_suspended);
    let is_settled = (world.record.stage == Stage::Settled || is_kept)
        && world.nodes.iter().all(|node| node.known == world.version)
        && world.nodes.iter().all(|node| {
            let Some(instance) = &node.instance else { return false };
            instance.in_use.key == world.record.key
                && instance.goal.replace.is_none()
                && instance.goal.compromised.is_none()
                && (is_kept
                    || instance.backoff.not_before.is_none_or(|time| time.has_come(Time::START)))
                && !matches!(instance.phase, Phase::Issued(_) | Phase::Missing { .. })
        });
    if is_settled { None } else { Some(Action::Tick) }
}

/// The violation in a settled world, if there is one.
fn verdict(world: &World) -> Option<&'static str> {
    let (issuer, facts) = (&world.issuer, &world.facts);
    // An issuer without fencing can issue a key to an instance that was paused for longer than its lease
    // and then dies: no instance can know of that key.
    let mut known = facts.reported.with(facts.late);
    known.add(world.record.key);
    if let Stage::Overlap { previous } = world.record.stage {
        known.add(previous);
    }
    if world.record.is_compromised {
        return Some("a compromised key is not replaced");
    }
    if !facts.was_rolled_back && !issuer.live.without(known).is_empty() {
        let is_noted = world.record.has_untracked_keys;
        // The next rotation looks for them.
        return (!is_noted).then_some("a key is live, and neither stored nor reported");
    }
    let compromised = facts.compromised.all().any(|key| issuer.live.has(key));
    if !facts.was_rolled_back
        && compromised
        && !facts.compromised.all().any(|key| facts.reported.has(key))
    {
        return Some("a compromised key is live, and not reported");
    }
    None
}
