//! Runs the cases in a child process and searches its output for the canary.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use strongroom_core::Capability;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::{Case, Deviation, Target, cases, unsupported};
use crate::canary;
use crate::process::{self, Role};

/// The role of the child that runs the cases.
const ROLE: &str = "conformance";
/// The variable with the path of the child's trace.
const TRACE: &str = "STRONGROOM_CONFORMANCE_TRACE";
/// The name of the search for the canary in lists and filters.
const SEARCH: &str = "canary::nothing_leaked";
/// The time limit of one case.
const CASE_LIMIT: Duration = Duration::from_secs(1_200);
/// The time limit of a run.
const RUN_LIMIT: Duration = Duration::from_secs(3600);

/// The `main` of a test target with `harness = false`: runs all cases for `targets`.
///
/// The cases run in a child process, and this process forwards its output. Then it searches that output and
/// a trace of all crates at the most verbose level for the canary. The search has its own result line,
/// `canary::nothing_leaked`, for every selection of cases. If it alone is selected, it searches a run of all
/// cases. Takes the arguments of the standard harness.
#[must_use]
pub fn main(targets: Vec<Box<dyn Target>>) -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = trials(targets);
    if process::role().as_deref() == Some(ROLE) {
        trace_all(&env::var_os(TRACE).expect("the parent names the file"));
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    if arguments.list {
        trials.push(Trial::test(SEARCH, || Ok(())));
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let is_selected = |name: &str| match &arguments.filter {
        Some(filter) if arguments.exact => name == filter,
        Some(filter) => name.contains(filter),
        None => true,
    };
    let search_alone = is_selected(SEARCH) && !trials.iter().any(|trial| is_selected(trial.name()));
    supervise(arguments, search_alone)
}

fn supervise(mut arguments: Arguments, search_alone: bool) -> ExitCode {
    let child_arguments = env::args_os().skip(1).filter(|_| !search_alone);
    let run = capture(child_arguments).expect("a child");
    arguments.filter = None;
    arguments.skip.clear();
    let search = move || match canary::find(&run.output) {
        Some(finding) => Err(Failed::from(finding.to_string())),
        None if run.has_trace => Ok(()),
        None => Err(Failed::from("the trace is empty, so there was nothing to search")),
    };
    let searched = libtest_mimic::run(&arguments, vec![Trial::test(SEARCH, search)]);
    if run.passed { searched.exit_code() } else { ExitCode::from(101) }
}

/// A finished child.
struct Run {
    passed: bool,
    /// Whether the trace has any content.
    has_trace: bool,
    /// All that the child printed and traced.
    output: Vec<u8>,
}

/// Runs the child and forwards its output.
fn capture(arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> io::Result<Run> {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("trace");
    let role = Role::new(ROLE)?.env(TRACE, &trace);
    let mut child = arguments.fold(role, Role::arg).spawn()?;
    drop(child.stdin());
    let (stdout, stderr) = (child.stdout(), child.stderr());
    let other = thread::spawn(|| forward(stderr, &mut io::stderr()));
    let mut output = forward(stdout, &mut io::stdout())?;
    output.extend(other.join().expect("copying does not panic")?);
    let passed = child.wait_within(RUN_LIMIT)?.success();
    let trace = fs::read(trace)?;
    output.extend(&trace);
    Ok(Run { passed, has_trace: !trace.is_empty(), output })
}

/// Copies whole lines, so that two streams do not split each other's lines.
fn forward(source: Option<impl Read>, sink: &mut impl Write) -> io::Result<Vec<u8>> {
    let mut source = BufReader::new(source.expect("the child's output is piped"));
    let mut output = Vec::new();
    loop {
        let start = output.len();
        if source.read_until(b'\n', &mut output)? == 0 {
            return Ok(output);
        }
        sink.write_all(&output[start..])?;
        sink.flush()?;
    }
}

/// Writes the spans, events and `log` records of all crates to a file, at every level.
fn trace_all(file: &OsStr) {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(Mutex::new(File::create(file).expect("the file can be written")))
        .init();
    tracing::trace!("the trace starts");
}

fn trials(targets: Vec<Box<dyn Target>>) -> Vec<Trial> {
    targets.into_iter().flat_map(|target| trials_of(&Arc::from(target))).collect()
}

fn trials_of(target: &Arc<dyn Target>) -> Vec<Trial> {
    let capabilities = target.expected_capabilities();
    let mut trials = vec![trial(target, "capabilities_are_as_committed", check_capabilities)];
    let mut deviations = target.deviations().to_vec();
    for case in cases::all().filter(|case| case.runs_with(capabilities)) {
        let position = deviations.iter().position(|deviation| deviation.case == case.name);
        match position.map(|position| deviations.swap_remove(position)) {
            Some(deviation) => trials.push(trial(target, case.name, move |target| {
                expect_deviation(deviation, || run(target, case));
            })),
            None => trials.push(trial(target, case.name, move |target| run(target, case))),
        }
    }
    assert!(deviations.is_empty(), "{}: no such cases: {deviations:?}", target.name());
    let missing = Capability::ALL.iter().filter(|capability| !capabilities.has(**capability));
    for case in missing.flat_map(|capability| unsupported::cases(*capability)) {
        trials.push(trial(target, case.name, move |target| run(target, case)));
    }
    trials
}

fn trial(
    target: &Arc<dyn Target>,
    case: &str,
    run: impl FnOnce(&dyn Target) + Send + 'static,
) -> Trial {
    let name = format!("{}::{case}", target.name());
    let target = Arc::clone(target);
    let span_name = name.clone();
    Trial::test(name, move || {
        let _entered = tracing::trace_span!("case", name = span_name).entered();
        run(&*target);
        Ok(())
    })
}

fn run(target: &dyn Target, case: &Case) {
    in_runtime(async {
        let store = target.open_seeded(case.seeds).await;
        (case.run)(&store).await;
        canary::witness(&store);
        // Ends the session at a server, unless the case has closed the backend.
        let _ = store.backend().close().await;
    });
}

/// Runs a case that has to fail as the deviation says.
fn expect_deviation(deviation: Deviation, run: impl FnOnce()) {
    let Deviation { difference, message, may_pass, .. } = deviation;
    let Err(payload) = panic::catch_unwind(AssertUnwindSafe(run)) else {
        assert!(may_pass, "the case passes although {difference}");
        return;
    };
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(message), "another failure than that {difference}: {text}");
}

fn check_capabilities(target: &dyn Target) {
    in_runtime(async {
        let store = target.open().await;
        assert_eq!(store.backend().info().capabilities, target.expected_capabilities());
    });
}

fn in_runtime(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    runtime.block_on(async {
        tokio::time::timeout(CASE_LIMIT, case).await.expect("the case ends in time");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Deviation = Deviation::always("case", "it differs", "a known failure");
    const SOMETIMES: Deviation = Deviation::sometimes("case", "it differs", "a known failure");

    fn passes(deviation: Deviation, run: fn()) -> bool {
        panic::catch_unwind(|| expect_deviation(deviation, run)).is_ok()
    }

    #[test]
    fn a_deviation_is_the_failure_that_the_list_names_and_no_other_outcome() {
        for deviation in [ALWAYS, SOMETIMES] {
            assert!(passes(deviation, || panic!("a known failure: {}", 1)));
            assert!(passes(deviation, || panic!("a known failure")));
            assert!(!passes(deviation, || panic!("another failure")));
        }
        assert!(!passes(ALWAYS, || {}));
        assert!(passes(SOMETIMES, || {}));
    }
}
