//! Runs suites, several at a time: most of them wait for servers.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Context as _, Result, ensure};

use crate::suite::Suite;
use crate::test_output::TestOutput;
use crate::{root, step};

/// The slowest suites, slowest first. They start first, so that none of them runs alone at the end.
const SLOWEST: [&str; 8] = [
    "strongroom::conformance",
    "strongroom::rotation_load",
    "strongroom-rotation-protocol::explore",
    "strongroom::rotation_crash",
    "documentation",
    "strongroom-backend-aws::interop",
    "strongroom-server::page",
    "strongroom::read_path",
];

type Variables<'a> = [(&'static str, &'a OsStr)];

/// How much of what panicked the summary repeats of each suite, so that it stays short.
const MAX_PANIC_LINES: usize = 20;

/// Some suites failed.
#[derive(Debug)]
pub(crate) struct SuitesFailed {
    failed: usize,
    suites: usize,
}

impl SuitesFailed {
    /// The exit code of `cargo test`.
    #[expect(clippy::unused_self, reason = "only this error has the exit code")]
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(101)
    }
}

impl fmt::Display for SuitesFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} suites failed", self.failed, self.suites)
    }
}

impl std::error::Error for SuitesFailed {}

/// A suite that has ended.
struct Finished {
    suite: Suite,
    log: PathBuf,
    time: Duration,
    output: TestOutput,
    /// How the suite failed.
    failure: Option<String>,
}

/// Runs all suites to their end and prints which tests failed.
///
/// # Errors
/// [`SuitesFailed`] if any suite failed.
pub(crate) fn run(suites: Vec<Suite>, variables: &Variables<'_>) -> Result<()> {
    let logs = root()?.join("target/test-output");
    fs::create_dir_all(&logs).context("cannot create target/test-output")?;
    let count = suites.len();
    let queue = Mutex::new(in_order(suites));
    let finished = Mutex::new(Vec::with_capacity(count));
    let start = Instant::now();
    let workers = concurrent_suites();
    println!("running {count} suites, {workers} at a time");
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(suite) = next(&queue) {
                    let ended = run_one(suite, &logs, variables);
                    let mut finished = lock(&finished);
                    print(&ended);
                    finished.push(ended);
                }
            });
        }
    });
    step::record_time(format!("{count} suites"), start.elapsed());
    let finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    print!("{}", summary(&finished));
    let failed = finished.iter().filter(|ended| ended.failure.is_some()).count();
    ensure!(failed == 0, SuitesFailed { failed, suites: count });
    Ok(())
}

/// Twice the number of processors: while one suite waits for a server, another one computes.
fn concurrent_suites() -> usize {
    2 * thread::available_parallelism().map_or(1, NonZero::get)
}

/// The slowest suites first, the others in the order of cargo.
fn in_order(mut suites: Vec<Suite>) -> VecDeque<Suite> {
    let rank = |suite: &Suite| SLOWEST.iter().position(|name| *name == suite.name);
    suites.sort_by_key(|suite| rank(suite).unwrap_or(SLOWEST.len()));
    suites.into()
}

fn next(queue: &Mutex<VecDeque<Suite>>) -> Option<Suite> {
    let mut queue = lock(queue);
    let suite = queue.pop_front()?;
    println!("  start   {}", suite.name);
    Some(suite)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_one(suite: Suite, logs: &Path, variables: &Variables<'_>) -> Finished {
    let log = logs.join(format!("{}.log", suite.name.replace("::", "-")));
    let start = Instant::now();
    let result = run_program(&suite, &log, variables);
    let text = fs::read(&log).unwrap_or_default();
    let output = TestOutput::parse(&String::from_utf8_lossy(&text));
    let failure = match result {
        Err(error) => Some(format!("{error:#}")),
        Ok(Some(status)) => Some(status),
        Ok(None) if output.results == 0 => Some("ended without a result".to_owned()),
        Ok(None) => None,
    };
    Finished { suite, log, time: start.elapsed(), output, failure }
}

/// Runs the suite as `cargo test` does, with its output in a file. Returns the status of a failed one.
fn run_program(suite: &Suite, log: &Path, variables: &Variables<'_>) -> Result<Option<String>> {
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let status = Command::new(&suite.program)
        .args(&suite.arguments)
        .current_dir(&suite.directory)
        .env("CARGO", step::cargo())
        .env("CARGO_MANIFEST_DIR", &suite.directory)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share the file of a log")?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start {}", suite.program.display()))?;
    Ok((!status.success()).then(|| status.to_string()))
}

/// Prints one line for a suite that passed, and all that a failed one has printed.
fn print(ended: &Finished) {
    let Finished { suite, log, time, output, failure } = ended;
    let verdict = if failure.is_some() { "FAILED" } else { "ok" };
    let seconds = time.as_secs_f64();
    print!("  {verdict:<7} {} ({} passed", suite.name, output.passed);
    if output.ignored > 0 {
        print!(", {} ignored", output.ignored);
    }
    println!(", {seconds:.1} s)");
    if failure.is_some() {
        let text = fs::read(log).unwrap_or_default();
        println!("---- {}\n{}----", suite.name, String::from_utf8_lossy(&text));
    }
}

/// What failed, and how to run it again.
fn summary(finished: &[Finished]) -> String {
    let mut text = String::new();
    let passed: u32 = finished.iter().map(|ended| ended.output.passed).sum();
    let ignored: u32 = finished.iter().map(|ended| ended.output.ignored).sum();
    let failed: usize = finished.iter().map(|ended| ended.output.failed.len()).sum();
    // Writing to text does not fail.
    let _ = writeln!(
        text,
        "\n{} suites: {passed} tests passed, {failed} failed, {ignored} ignored",
        finished.len()
    );
    for Finished { suite, output, failure, .. } in finished {
        let Some(failure) = failure else {
            continue;
        };
        let _ = writeln!(text, "\n{} failed: {failure}", suite.name);
        for test in &output.failed {
            let _ = writeln!(text, "    {test}");
        }
        for line in output.panics.iter().take(MAX_PANIC_LINES) {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "  run it again: cargo xtask test {}", suite.selection);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &str, script: &str) -> Suite {
        Suite {
            name: name.to_owned(),
            program: "sh".into(),
            arguments: ["-c", script].map(Into::into).to_vec(),
            directory: std::env::temp_dir(),
            selection: format!("--test {name}"),
        }
    }

    fn finish(suite: Suite, output: TestOutput, failure: Option<&str>) -> Finished {
        let failure = failure.map(str::to_owned);
        Finished { suite, log: PathBuf::new(), time: Duration::ZERO, output, failure }
    }

    #[test]
    fn the_summary_names_each_failed_suite_and_test() {
        let failed = vec!["writes".to_owned(), "lists".to_owned()];
        let panics = vec!["thread 'writes' panicked at src/lib.rs:1:1:".into(), "left".into()];
        let output = TestOutput { passed: 3, failed, panics, ..TestOutput::default() };
        let finished = [
            finish(suite("manager", ""), TestOutput { passed: 2, ..TestOutput::default() }, None),
            finish(suite("config", ""), output, Some("exit status: 101")),
            finish(suite("kill", ""), TestOutput::default(), Some("signal: 9 (SIGKILL)")),
        ];
        let expected = "
3 suites: 5 tests passed, 2 failed, 0 ignored

config failed: exit status: 101
    writes
    lists
  thread 'writes' panicked at src/lib.rs:1:1:
  left
  run it again: cargo xtask test --test config

kill failed: signal: 9 (SIGKILL)
  run it again: cargo xtask test --test kill
";
        assert_eq!(summary(&finished), expected);
    }

    #[cfg(unix)]
    #[test]
    fn a_suite_fails_with_a_bad_status_or_without_a_result() {
        let folder = std::env::temp_dir().join(format!("xtask-runner-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let failure = |script| run_one(suite("suite", script), &folder, &[]).failure;
        let result = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored'";
        assert_eq!(failure(result), None);
        assert_eq!(failure("exit 0").as_deref(), Some("ended without a result"));
        let exit = failure(&format!("{result}; exit 3"));
        assert_eq!(exit.as_deref(), Some("exit status: 3"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_slowest_suites_start_first() {
        let suites = ["strongroom", SLOWEST[1], "xtask::bin::xtask", SLOWEST[0]];
        let suites = suites.map(|name| suite(name, "")).into();
        let names: Vec<_> = in_order(suites).into_iter().map(|suite| suite.name).collect();
        assert_eq!(names, [SLOWEST[0], SLOWEST[1], "strongroom", "xtask::bin::xtask"]);
    }

    #[test]
    fn suites_that_fail_exit_like_cargo_test() {
        assert_eq!(SuitesFailed { failed: 1, suites: 2 }.exit_code(), ExitCode::from(101));
    }
}
