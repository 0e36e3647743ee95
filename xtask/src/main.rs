//! `cargo xtask`: what a developer of Strongroom and its CI run.
//!
//! Every command prints each step as `$ …` before it runs it, stops at the first step that fails
//! with that step's exit code, and ends with the time it took.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

mod bench;
mod deny;
mod explore;
mod fuzz;
mod lint;
mod setup;
mod step;
mod test;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, path};

use anyhow::{Context as _, Result, bail};

use crate::step::StepFailed;

const USAGE: &str = "\
cargo xtask <command>

  setup              install and check what the tests need besides cargo's own work
  test [-- args]     setup, then all tests; args go to `cargo test`, such as a name to filter by
  lint               formatting, clippy, documentation, feature combinations, cargo-deny
  bench [group]      setup, then the benches; print a table, write target/bench/report.json;
                     with a group, run only groups whose name contains it
  explore            explore the rotation protocol with one more fault than `test` does: it may take hours
                     and many GB of memory
  fuzz [seconds]     run every fuzz target, 60 seconds each unless said otherwise
  help               show this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let start = Instant::now();
    let result = dispatch(&arguments);
    let seconds = start.elapsed().as_secs_f64();
    let name = arguments.first().map_or("help", String::as_str);
    match result {
        Ok(()) if name == "help" => ExitCode::SUCCESS,
        Ok(()) => {
            println!("xtask {name}: done in {seconds:.1} s");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            println!("xtask {name}: failed after {seconds:.1} s");
            error.downcast_ref().map_or(ExitCode::FAILURE, StepFailed::exit_code)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] | ["help" | "--help" | "-h"] => print!("{USAGE}"),
        ["setup"] => drop(setup::run()?),
        ["test"] => test::run(&[])?,
        ["test", "--", rest @ ..] => test::run(rest)?,
        ["lint"] => lint::run()?,
        ["bench", rest @ ..] => bench::run(rest)?,
        ["explore"] => explore::run()?,
        ["fuzz"] => fuzz::run(fuzz::DEFAULT_SECONDS)?,
        ["fuzz", seconds] => {
            fuzz::run(seconds.parse().with_context(|| format!("`{seconds}` is no number"))?)?;
        }
        _ => bail!("no such command; there are:\n\n{USAGE}"),
    }
    Ok(())
}

/// The workspace's root, where every step runs.
fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let root = path::Path::new(&package).parent().context("xtask lies outside a workspace")?;
    Ok(root.to_path_buf())
}
