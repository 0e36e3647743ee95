//! Compares the checker with that of `stateright`, which searches all orders of the operations, on small random histories.

use std::cell::Cell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};
use strongroom_testkit::report;

use crate::checker::check;
use crate::history::{Action, Condition, Operation, Outcome, Value};
use crate::writer::Random;

const CASES: u32 = 6_000;
const OPERATIONS: usize = 9;
const SEED: [u8; 32] = *b"strongroom histories cross-check";

/// A secret: the values of its versions, from version 1 on.
#[derive(Clone, Debug, Default)]
struct Secret(Vec<Value>);

#[derive(Clone, Debug)]
enum Call {
    Run(Action),
    ReadAll,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Run(Outcome),
    All(Vec<Value>),
}

impl Secret {
    fn run(&mut self, action: Action) -> Outcome {
        let active = self.0.len() as u64;
        match action {
            Action::Get => match self.0.last() {
                Some(value) => Outcome::Read(active, *value),
                None => Outcome::NotFound,
            },
            Action::Put(value, condition) => {
                let holds = match condition {
                    Condition::None => true,
                    Condition::MustNotExist => active == 0,
                    Condition::MustBeVersion(version) => active == version,
                };
                if !holds {
                    return Outcome::Conflict;
                }
                self.0.push(value);
                Outcome::Written(active + 1)
            }
        }
    }
}

impl SequentialSpec for Secret {
    type Op = Call;
    type Ret = Answer;

    fn invoke(&mut self, call: &Call) -> Answer {
        match call {
            Call::Run(action) => Answer::Run(self.run(*action)),
            Call::ReadAll => Answer::All(self.0.clone()),
        }
    }
}

/// The verdict of `stateright`.
fn is_linearizable(operations: &[Operation], last: &[Value]) -> bool {
    // A write that failed has not happened, and a read that failed says nothing.
    let is_failed = |operation: &Operation| {
        operation.outcome == Outcome::Failed
            || (operation.action == Action::Get && operation.outcome == Outcome::Unknown)
    };
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        if !is_failed(operation) {
            events.push((operation.begin, index, true));
            events.push((operation.end, index, false));
        }
    }
    events.sort_unstable();
    let mut tester = LinearizabilityTester::new(Secret::default());
    // Each operation has a thread of its own. An operation whose outcome is unknown never returns.
    for (_, index, begins) in events {
        let Operation { action, outcome, .. } = operations[index];
        if begins {
            tester.on_invoke(index, Call::Run(action)).unwrap();
        } else if outcome != Outcome::Unknown {
            tester.on_return(index, Answer::Run(outcome)).unwrap();
        }
    }
    let all = Answer::All(last.to_vec());
    tester.on_invret(operations.len(), Call::ReadAll, all).unwrap();
    tester.is_consistent()
}

/// Random choices.
struct Choices(Random);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.below(limit as u64)).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// An operation of the simulation that has not ended.
struct Running {
    operation: Operation,
    /// What came of it, once it has had its moment.
    outcome: Option<Outcome>,
}

/// A history as a linearisable register gives it, and the values of all versions.
fn simulate(choices: &mut Choices) -> (Vec<Operation>, Vec<Value>) {
    let mut secret = Secret::default();
    let mut running: Vec<Running> = Vec::new();
    // Writes that ended as unknown, and may still happen.
    let mut late: Vec<Action> = Vec::new();
    let mut done = Vec::new();
    let (mut time, mut begun) = (0, 0);
    let most = 2 + choices.below(OPERATIONS - 1);
    while done.len() < most {
        time += 1;
        match choices.below(6) {
            0 | 1 if begun < most && running.len() < 4 => {
                begun += 1;
                let action = action(choices, begun, secret.0.len());
                let operation =
                    Operation { begin: time, end: time, action, outcome: Outcome::Unknown };
                running.push(Running { operation, outcome: None });
            }
            2 | 3 if !running.is_empty() => {
                let index = choices.below(running.len());
                let Running { operation, outcome } = &mut running[index];
                if outcome.is_none() {
                    let fails = choices.one_in(8);
                    *outcome =
                        Some(if fails { Outcome::Failed } else { secret.run(operation.action) });
                }
            }
            4 if !running.is_empty() => {
                let index = choices.below(running.len());
                let Running { mut operation, outcome } = running.swap_remove(index);
                operation.end = time;
                operation.outcome = outcome.unwrap_or(Outcome::Unknown);
                if outcome.is_none() && operation.action != Action::Get {
                    late.push(operation.action);
                }
                // An acknowledgement may be lost.
                if matches!(outcome, Some(Outcome::Written(_))) && choices.one_in(5) {
                    operation.outcome = Outcome::Unknown;
                }
                done.push(operation);
            }
            5 if !late.is_empty() => {
                let index = choices.below(late.len());
                secret.run(late.swap_remove(index));
            }
            _ => {}
        }
    }
    (done, secret.0)
}

fn action(choices: &mut Choices, sequence: usize, latest: usize) -> Action {
    let sequence = u32::try_from(sequence).unwrap();
    let value = Value { process: 0, writer: 0, sequence };
    match choices.below(8) {
        0..=2 => Action::Get,
        3 => Action::Put(value, Condition::None),
        4 => Action::Put(value, Condition::MustNotExist),
        _ => {
            // Mostly the latest version or one beside it.
            let version = (latest + choices.below(3)).saturating_sub(1).max(1);
            Action::Put(value, Condition::MustBeVersion(version as u64))
        }
    }
}

/// Changes something of a history. Most changes make it wrong.
fn mutate(choices: &mut Choices, history: &mut [Operation], last: &mut Vec<Value>) {
    let (index, other) = (choices.below(history.len()), choices.below(history.len()));
    match choices.below(8) {
        // An acknowledged write is lost.
        0 if !last.is_empty() => {
            last.remove(choices.below(last.len()));
        }
        1 if last.len() > 1 => {
            let swapped = choices.below(last.len() - 1);
            last.swap(swapped, swapped + 1);
        }
        // A read is stale, or from the future.
        2 | 3 if !last.is_empty() => {
            let version = choices.below(last.len());
            let read = Outcome::Read(version as u64 + 1, last[version]);
            if let Some(operation) = history.iter_mut().find(|o| o.action == Action::Get) {
                operation.outcome = read;
            }
        }
        4 => {
            let outcome = match (history[index].action, choices.below(3)) {
                (Action::Get, _) => Outcome::NotFound,
                (_, 0) => Outcome::Conflict,
                (_, 1) => Outcome::Failed,
                (_, _) => Outcome::Written(choices.below(last.len() + 2) as u64 + 1),
            };
            history[index].outcome = outcome;
        }
        5 if history[index].action != Action::Get && history[other].action != Action::Get => {
            let outcome = history[index].outcome;
            history[index].outcome = history[other].outcome;
            history[other].outcome = outcome;
        }
        // An operation was at another time.
        _ => {
            let (begin, end) = (history[index].begin, history[index].end);
            (history[index].begin, history[index].end) = (history[other].begin, history[other].end);
            (history[other].begin, history[other].end) = (begin, end);
        }
    }
}

#[test]
fn agrees_with_the_search_of_stateright() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let (accepted, rejected) = (Cell::new(0_u32), Cell::new(0_u32));
    let case = (0..4_usize, proptest::prelude::any::<u64>());
    let outcome = runner.run(&case, |(mutations, seed)| {
        let mut choices = Choices(Random(seed));
        let (mut history, mut last) = simulate(&mut choices);
        for _ in 0..mutations {
            mutate(&mut choices, &mut history, &mut last);
        }
        let found = check(&history, &last);
        let count = if found.is_ok() { &accepted } else { &rejected };
        count.set(count.get() + 1);
        if mutations == 0 && found.is_err() {
            return Err(TestCaseError::fail(format!("{found:?} in {history:#?}, {last:?}")));
        }
        if found.is_ok() == is_linearizable(&history, &last) {
            return Ok(());
        }
        Err(TestCaseError::fail(format!("{found:?} here, in {history:#?}, {last:?}")))
    });
    outcome.unwrap();
    let (accepted, rejected) = (accepted.get(), rejected.get());
    report(format_args!("histories that both accept: {accepted}, that both reject: {rejected}"));
    assert!(accepted > CASES / 4 && rejected > CASES / 4, "{accepted} {rejected}");
}
