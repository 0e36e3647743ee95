//! `cargo xtask`: the commands that developers of Strongroom and its CI run.
//!
//! Every command prints each step as `$ …` before it runs it, stops at the first step that fails
//! with that step's exit code, and ends with the time that each step took.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the user reads its output")]

mod bench;
mod debian;
mod deny;
mod explore;
mod fuzz;
mod lint;
mod metadata;
mod package;
mod runner;
mod setup;
mod step;
mod suite;
mod test;
mod test_output;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, path};

use anyhow::{Context as _, Result, bail};

use crate::runner::SuitesFailed;
use crate::step::StepFailed;

const USAGE: &str = "\
cargo xtask <command>

  setup              check the C compiler, fetch the dependencies, and install OpenBao, LocalStack and
                     PostgreSQL, which the tests start, below target/python, and SoftHSM2, GNOME Keyring
                     and Chromium below target/debian unless they are installed
  test               setup; build all tests, run several suites at a time, name the tests that failed;
                     the output of each suite goes to target/test-output/
  test <arguments>   setup; `cargo test` over the workspace with these arguments, such as a part of a
                     test's name: `test --test manager namespaces -- --nocapture`
  lint               check formatting, clippy, documentation, each feature alone, the packages that are
                     published, and the dependencies (cargo-deny)
  bench [group]      setup; run the benches, print a table and write target/bench/report.json; with a
                     group, run only the groups whose name contains it
  explore            setup; check the histories of a million operations on a store in PostgreSQL whose
                     server fails, and explore the rotation protocol with one more fault than `test`
                     does: this can take hours and many GB of memory
  fuzz [seconds]     run every fuzz target, each for 60 seconds or the given time
  help               show this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let start = Instant::now();
    let result = dispatch(&arguments);
    let seconds = start.elapsed().as_secs_f64();
    let name = arguments.first().map_or("help", String::as_str);
    if let (Ok(()), "help" | "--help" | "-h") = (&result, name) {
        return ExitCode::SUCCESS;
    }
    step::print_times();
    match result {
        Ok(()) => {
            println!("xtask {name}: done in {seconds:.1} s");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            println!("xtask {name}: failed after {seconds:.1} s");
            exit_code(&error)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let step = error.downcast_ref().map(StepFailed::exit_code);
    let suites = error.downcast_ref().map(SuitesFailed::exit_code);
    step.or(suites).unwrap_or(ExitCode::FAILURE)
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] | ["help" | "--help" | "-h"] => print!("{USAGE}"),
        ["setup"] => drop(setup::run()?),
        ["test"] | ["test", "--"] => test::run_all()?,
        ["test", "--", rest @ ..] | ["test", rest @ ..] => test::run_with(rest)?,
        ["lint"] => lint::run()?,
        ["bench", rest @ ..] => bench::run(rest)?,
        ["explore"] => explore::run()?,
        ["fuzz"] => fuzz::run(fuzz::DEFAULT_SECONDS)?,
        ["fuzz", seconds] => {
            let seconds = seconds.parse();
            fuzz::run(seconds.context("the time to fuzz is not a number of seconds")?)?;
        }
        _ => bail!("unknown command; the commands are:\n\n{USAGE}"),
    }
    Ok(())
}

/// The workspace's root, where every step runs.
fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let root = path::Path::new(&package).parent().context("xtask is outside of a workspace")?;
    Ok(root.to_path_buf())
}
