//! Explores the protocol exhaustively: two processes with one log, each possibly behind it, crashing at any
//! step, with any clock; a right shell around the pure core, and wrong ones that the exploration has to find.
//!
//! One step proposes and appends. Since proposing is pure, that covers a pause in between: it is the same as
//! a process that has not read the rows which others append meanwhile.

mod world;

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use stateright::{Checker as _, Model, Property};

use self::world::{Act, Process, Row, Shell, Step, World, Worlds};
use super::*;

/// The clock of a process shows any of these at each step. The requests are made at 0.
const TIMES: [i64; 4] = [0, 1, 2, 3];
/// When open requests and approvals for one use expire.
const EXPIRES_AT: i64 = 2;
/// How long the other approvals can be used for: longer than that, if approved at 1.
const USABLE_FOR: i64 = 2;

fn request(number: u8, requester: &str, quorum: u8, usage: ApprovalUse) -> ApprovalRequest {
    let terms = ApprovalTerms {
        tenant: "acme".into(),
        requester: requester.into(),
        // Bob's token was issued by dave.
        excluded: if requester == "bob" {
            BTreeSet::from(["dave".into()])
        } else {
            BTreeSet::new()
        },
        action: "read".into(),
        path: "production/key".into(),
        version: VersionPolicy::Active,
        purpose: "payout".into(),
        reason: "ticket".into(),
        quorum: NonZeroU8::new(quorum).unwrap(),
        usage,
        expires_at: EXPIRES_AT,
    };
    ApprovalRequest::new(ApprovalId([number; 16]), terms, 0).unwrap()
}

/// Everything that anybody tries with the request, permitted or not.
fn commands(index: usize) -> impl Iterator<Item = (usize, ApprovalCommand)> {
    // Alice makes requests, and approves those of others.
    let approvers = ["alice", "carol", "dave"].map(|by| ApprovalCommand::Approve { by: by.into() });
    let deny = ApprovalCommand::Deny { by: "carol".into(), reason: "no".into() };
    let withdraw = ["alice", "bob"].map(|by| ApprovalCommand::Withdraw { by: by.into() });
    let uses =
        [("alice", "production/key"), ("bob", "production/key"), ("alice", "production/other")];
    let uses = uses.map(|(by, path)| ApprovalCommand::Use {
        by: by.into(),
        action: "read".into(),
        path: path.into(),
        version: None,
    });
    let others = [deny, ApprovalCommand::Expire];
    let all = approvers.into_iter().chain(others).chain(withdraw).chain(uses);
    all.map(move |command| (index, command))
}

impl Model for Worlds {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let event = |request: &ApprovalRequest| ApprovalEvent::Requested(Box::new(request.clone()));
        let rows = self.requests.iter().map(|request| Row { at: 0, event: Some(event(request)) });
        let log: Vec<Arc<Row>> = rows.map(Arc::new).collect();
        let processes = [Some(self.start(&log)), Some(self.start(&log))];
        vec![World { log, processes, served: vec![0; self.requests.len()] }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (process, state) in world.processes.iter().enumerate() {
            let Some(state) = state else {
                steps.push(Step::Restart(process));
                continue;
            };
            steps.push(Step::Crash(process));
            if state.read < world.log.len() {
                steps.push(Step::Read(process));
            }
            if world.log.len() == self.max_rows {
                continue;
            }
            for command in std::iter::once(None).chain((0..self.commands.len()).map(Some)) {
                // Different clocks that lead to the same time are one step.
                for clock in TIMES.into_iter().filter(|clock| self.time(state, *clock) == *clock) {
                    for crashes in [false, true] {
                        steps.push(Step::Act(Act { process, command, clock, crashes }));
                    }
                }
            }
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world =
            if let Step::Act(act) = step { self.act(world, act)? } else { world.clone() };
        match step {
            Step::Read(i) => world.read(i),
            Step::Crash(i) => world.processes[i] = None,
            Step::Restart(i) => world.processes[i] = Some(self.start(&world.log)),
            Step::Act(_) => {}
        }
        // The processes are alike: worlds that differ in their order are one.
        world.processes.sort_by_key(|process| process.as_ref().map(|process| process.read));
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the log keeps the rules", |worlds: &Self, world: &World| {
                worlds.requests.iter().all(|request| keeps_rules(request, &world.log))
            }),
            Property::always("each secret served is in the log", |worlds: &Self, world: &World| {
                let uses = |request: &ApprovalRequest| {
                    let used = |event: &ApprovalEvent| matches!(event, ApprovalEvent::Used { .. });
                    let events = world.log.iter().filter_map(|row| row.event.as_ref());
                    events.filter(|event| event.id() == request.id && used(event)).count()
                };
                worlds
                    .requests
                    .iter()
                    .map(uses)
                    .zip(&world.served)
                    .all(|(uses, served)| *served <= uses)
            }),
            Property::always("a restart loses nothing", |worlds: &Self, world: &World| {
                let process_agrees = |process: &Arc<Process>| {
                    let mut restarted = Process::new(&worlds.requests);
                    restarted.read(&world.log[..process.read]);
                    **process == restarted
                };
                world.processes.iter().flatten().all(process_agrees)
            }),
            Property::sometimes(
                "an approval for one use is used",
                |worlds: &Self, world: &World| {
                    let once = |request: &ApprovalRequest| request.usage == ApprovalUse::Once;
                    let mut served = worlds.requests.iter().zip(&world.served);
                    served.any(|(request, served)| once(request) && *served == 1)
                        || !worlds.requests.iter().any(once)
                },
            ),
            Property::sometimes(
                "another is used after the expiry of its request",
                |worlds: &Self, world: &World| {
                    let used_late = world.log.iter().any(|row| {
                        row.at >= EXPIRES_AT
                            && matches!(row.event, Some(ApprovalEvent::Used { .. }))
                    });
                    used_late
                        || worlds.requests.iter().all(|request| request.usage == ApprovalUse::Once)
                },
            ),
        ]
    }
}

/// The rules once more, written as one walk over the rows, without the state machine.
fn keeps_rules(request: &ApprovalRequest, log: &[Arc<Row>]) -> bool {
    let (mut approvers, mut decided_at) = (BTreeSet::new(), None);
    let (mut has_ended, mut now) = (false, 0);
    for row in log {
        now = now.max(row.at);
        let expires_at = match (request.usage, decided_at) {
            (ApprovalUse::For(_), Some(at)) => at + USABLE_FOR,
            _ => EXPIRES_AT,
        };
        let Some(event) = row.event.as_ref().filter(|event| event.id() == request.id) else {
            continue;
        };
        let is_late = now >= expires_at;
        if has_ended || is_late != matches!(event, ApprovalEvent::Expired { .. }) {
            return false;
        }
        match event {
            ApprovalEvent::Requested(_) => {}
            ApprovalEvent::Approved { by, .. } => {
                let is_excluded =
                    request.requester == *by || request.requester == "bob" && by == "dave";
                if is_excluded || decided_at.is_some() || !approvers.insert(by) {
                    return false;
                }
                if approvers.len() == usize::from(request.quorum.get()) {
                    decided_at = Some(now);
                }
            }
            ApprovalEvent::Denied { .. }
            | ApprovalEvent::Withdrawn { .. }
            | ApprovalEvent::Expired { .. } => has_ended = true,
            ApprovalEvent::Used { .. } => {
                if decided_at.is_none() {
                    return false;
                }
                has_ended = request.usage == ApprovalUse::Once;
            }
        }
    }
    true
}

fn for_some_time() -> ApprovalUse {
    ApprovalUse::For(Duration::from_millis(USABLE_FOR.unsigned_abs()))
}

fn explore(worlds: Worlds) {
    let start = std::time::Instant::now();
    let checker = worlds.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} steps deep at most, {:.1} s",
        checker.unique_state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

#[test]
fn one_approver_and_one_use() {
    explore(Worlds::new(Shell::Right, vec![request(1, "alice", 1, ApprovalUse::Once)], 4));
}

#[test]
fn two_approvers_and_one_use() {
    explore(Worlds::new(Shell::Right, vec![request(1, "alice", 2, ApprovalUse::Once)], 5));
}

#[test]
fn one_approver_and_use_for_some_time() {
    explore(Worlds::new(Shell::Right, vec![request(1, "alice", 1, for_some_time())], 4));
}

#[test]
fn two_approvers_and_use_for_some_time() {
    explore(Worlds::new(Shell::Right, vec![request(1, "alice", 2, for_some_time())], 5));
}

#[test]
fn two_requests_in_one_log() {
    let requests =
        vec![request(1, "alice", 1, ApprovalUse::Once), request(2, "bob", 2, for_some_time())];
    explore(Worlds::new(Shell::Right, requests, 4));
}

/// Asserts that the exploration of a wrong shell finds a violation of `property`.
fn finds(shell: Shell, property: &'static str) {
    let worlds = Worlds::new(shell, vec![request(1, "alice", 2, ApprovalUse::Once)], 5);
    let finish = stateright::HasDiscoveries::AnyOf([property].into());
    let checker = worlds.checker().finish_when(finish).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "{shell:?} passes: {:?}", checker.discoveries());
}

#[test]
fn finds_an_append_without_compare() {
    finds(Shell::AppendsWithoutCompare, "the log keeps the rules");
}

#[test]
fn finds_a_proposal_kept_after_a_conflict() {
    finds(Shell::KeepsProposalAfterConflict, "the log keeps the rules");
}

#[test]
fn finds_a_clock_that_went_back() {
    finds(Shell::TrustsClock, "the log keeps the rules");
}

#[test]
fn finds_a_secret_served_before_the_append() {
    finds(Shell::ServesBeforeAppend, "each secret served is in the log");
}

#[test]
fn finds_a_restart_that_forgets() {
    finds(Shell::ForgetsOnRestart, "a restart loses nothing");
    finds(Shell::ForgetsOnRestart, "the log keeps the rules");
}
