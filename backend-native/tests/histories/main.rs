//! Several processes write a store in PostgreSQL while its server, its disk and its connections fail. What they have seen
//! is linearisable, and no write that was acknowledged is lost.
//!
//! `STRONGROOM_HISTORY_OPERATIONS` makes the run longer, and `STRONGROOM_TEST_SEED` repeats the faults of a run.
#![cfg(target_os = "linux")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test reports a failure, standard output how a child reports"
)]

mod batch;
mod checker;
mod cross_check;
mod fail_over;
mod faults;
mod history;
mod processes;
mod summary;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use strongroom_testkit::process::role;
use strongroom_testkit::report;
use support::mounting::{run, shell_that_mounts};
use support::{DIRECTORY, child_directory};

use crate::checker::{Violation, check};
use crate::faults::{ALL, Fault, Target};
use crate::history::{Action, Operation, Outcome};
use crate::processes::{Processes, Progress, SecretHistory, total};
use crate::writer::{Random, Task};

const PROCESSES: u32 = 4;
const OPERATIONS: u64 = 10_000;
/// The number of operations between two faults of a short run. A long one has about `FAULTS`.
const INTERVAL: u64 = 1_200;
const FAULTS: u64 = 120;
/// The size of the server's file system in MiB: of a new server, and of a million operations.
const SIZES: [u64; 2] = [400, 2_000];

/// What the children of the other tests do.
#[test]
fn child() {
    let Some(role) = role() else { return };
    match role.as_str() {
        "writer" => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(writer::run(&Task::of_process()));
        }
        "faults" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(write_through_faults());
            println!("\ndone");
        }
        unknown => panic!("{unknown}"),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn operations() -> u64 {
    number("STRONGROOM_HISTORY_OPERATIONS").unwrap_or(OPERATIONS)
}

fn seed() -> u64 {
    let random = || RandomState::new().build_hasher().finish();
    number("STRONGROOM_TEST_SEED").unwrap_or_else(random)
}

/// Each fault once in a random order, again and again.
struct Schedule(Vec<Fault>);

impl Schedule {
    fn next(&mut self, random: &mut Random) -> Fault {
        if self.0.is_empty() {
            self.0.extend(ALL);
        }
        let index = usize::try_from(random.below(self.0.len() as u64)).unwrap();
        self.0.swap_remove(index)
    }
}

async fn write_through_faults() {
    let seed = seed();
    println!("\nreport: seed {seed}");
    // The histories are not on the disk that is filled.
    let directory = tempfile::tempdir_in(child_directory().parent().unwrap()).unwrap();
    let mut target = Target::start().await;
    let url = target.url();
    let processes = Processes::start(&url, PROCESSES, seed, directory);
    let mut random = Random(seed);
    let mut schedule = Schedule(Vec::new());
    let mut count = 0;
    let interval = INTERVAL.max(operations() / FAULTS);
    // Each fault at least once.
    while count < ALL.len() || processes.recorded() < operations() {
        let due = processes.recorded() + interval;
        let is_due = |progress: &[Progress]| total(progress) >= due;
        processes.wait_until("the processes do not go on", is_due).await;
        let fault = schedule.next(&mut random);
        target.suffer(fault, &mut random, &processes).await;
        count += 1;
    }
    let (histories, summary) = processes.finish(&url).await;
    for line in summary.to_string().lines() {
        println!("report: {line}");
    }
    println!("report: {count} faults");
    check_all(&histories);
    assert_violations_are_found(&histories);
}

/// Checks all secrets, on each of which there were writes.
pub(crate) fn check_all(histories: &[SecretHistory]) {
    for (secret, history) in histories.iter().enumerate() {
        assert!(!history.last.is_empty(), "nothing was written to secret {secret}");
        if let Err(violation) = check(&history.operations, &history.last) {
            panic!("secret {secret}: {violation:#?}");
        }
    }
}

/// Shows that the checker would have found a write that was lost, and a read that was stale, in the same histories.
pub(crate) fn assert_violations_are_found(histories: &[SecretHistory]) {
    for SecretHistory { operations, last } in histories {
        let is_write = |operation: &&Operation| matches!(operation.outcome, Outcome::Written(_));
        let lost = operations.iter().rfind(is_write).unwrap();
        let Action::Put(value, _) = lost.action else { panic!("{lost:?}") };
        let without: Vec<_> = last.iter().copied().filter(|other| *other != value).collect();
        let found = check(operations, &without);
        assert!(found.is_err(), "the loss of {lost:?} was not found");

        let mut stale = operations.clone();
        let read = stale.iter_mut().rfind(|operation| {
            let Outcome::Read(version, _) = operation.outcome else { return false };
            // Acknowledged before the read began.
            operations.iter().any(|write| {
                write.outcome == Outcome::Written(version) && write.end < operation.begin
            }) && version > 1
        });
        let read = read.unwrap();
        let Outcome::Read(version, _) = read.outcome else { panic!("{read:?}") };
        let before = usize::try_from(version - 2).unwrap();
        read.outcome = Outcome::Read(version - 1, last[before]);
        let found = check(&stale, last);
        assert!(
            matches!(found, Err(Violation::Order { .. })),
            "a stale read was not found: {found:?}"
        );
    }
}

#[test]
fn no_write_is_lost_and_no_read_is_stale_while_everything_fails() {
    let directory = tempfile::tempdir().unwrap();
    let [size, further] = SIZES;
    let size = size + further * operations() / 1_000_000;
    let preparation = format!(
        "set -e; mount -t tmpfs -o size={size}m,mode=0755 none \"${DIRECTORY}\"; \
         export TMPDIR=\"${DIRECTORY}\""
    );
    let output = run(shell_that_mounts(), &preparation, "faults", directory.path());
    for line in output.lines().filter_map(|line| line.strip_prefix("report: ")) {
        report(line);
    }
}
