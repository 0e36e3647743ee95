//! `cargo xtask test`: sets up what the tests need, then runs them.

use std::{panic, thread};

use anyhow::Result;

use crate::setup::{self, Setup};
use crate::step::Step;
use crate::suite::Suite;
use crate::{root, runner, suite};

/// The tests do not need the benches, which would compile the libraries that they compare with. The package of
/// the interleavings has no tests in this build.
const TEST: [&str; 8] = [
    "test",
    "--workspace",
    "--exclude",
    "strongroom-benches",
    "--exclude",
    INTERLEAVINGS,
    "--all-features",
    "--locked",
];
const INTERLEAVINGS: &str = "strongroom-interleavings";

const TEST_PACKAGE: [&str; 3] = ["test", "--all-features", "--locked"];

/// Installs the servers while it builds all tests, then runs several suites at a time.
pub(crate) fn run_all() -> Result<()> {
    setup::prepare_build()?;
    // The installation mostly waits for downloads.
    let (setup, suites) = thread::scope(|scope| {
        let setup = scope.spawn(setup::install_servers);
        let suites = build_suites();
        (setup.join().unwrap_or_else(|panic| panic::resume_unwind(panic)), suites)
    });
    runner::run(suites?, &variables(&setup?))
}

fn build_suites() -> Result<Vec<Suite>> {
    let build = ["--tests", "--no-run", "--message-format", "json-render-diagnostics"];
    let messages = Step::cargo()?.args(TEST).args(build).output()?;
    let mut suites = suite::from_cargo(&messages)?;
    suites.extend(interleavings()?);
    suites.push(Suite::doc_tests(root()?, TEST));
    Ok(suites)
}

/// Builds the exploration of the cache, whose locks a model checker replaces under `cfg(shuttle)`. That flag changes
/// every crate, so they are built in a directory of their own.
fn interleavings() -> Result<Vec<Suite>> {
    let build = ["test", "--locked", "--package", INTERLEAVINGS, "--test", "cache", "--no-run"];
    let messages = Step::cargo()?
        .args(build)
        .args(["--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", "--cfg shuttle")
        .env("CARGO_TARGET_DIR", root()?.join("target/shuttle"))
        .output()?;
    suite::from_cargo(&messages)
}

/// Passes the arguments on to `cargo test`, which runs one suite after the other.
pub(crate) fn run_with(arguments: &[&str]) -> Result<()> {
    let setup = setup::run()?;
    // With `--workspace`, cargo ignores `--package`.
    let test = if select_package(arguments) { &TEST_PACKAGE[..] } else { &TEST[..] };
    let step = Step::cargo()?.args(test).args(["--no-fail-fast"]).args(arguments);
    variables(&setup).into_iter().fold(step, |step, (name, value)| step.env(name, value)).run()
}

/// Whether the arguments for cargo, which end at `--`, select a package.
fn select_package(arguments: &[&str]) -> bool {
    let mut for_cargo = arguments.iter().take_while(|argument| **argument != "--");
    for_cargo.any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

/// The variables by which the tests find the servers.
pub(crate) fn variables(setup: &Setup) -> Vec<(&'static str, &std::ffi::OsStr)> {
    let mut variables = vec![
        ("STRONGROOM_TEST_PYTHON", setup.python.as_os_str()),
        ("STRONGROOM_TEST_BAO", setup.bao.as_os_str()),
        ("STRONGROOM_TEST_POSTGRES", setup.postgres.as_os_str()),
        ("STRONGROOM_TEST_POSTGRES_OLDER", setup.older_postgres.as_os_str()),
        ("STRONGROOM_TEST_SOFTHSM", setup.softhsm.module.as_os_str()),
        ("SOFTHSM2_CONF", setup.softhsm.configuration.as_os_str()),
        ("STRONGROOM_TEST_CHROMIUM", setup.chromium.as_os_str()),
        ("STRONGROOM_TEST_AXE", setup.axe.as_os_str()),
    ];
    variables.extend(
        setup.keyring.as_deref().map(|daemon| ("STRONGROOM_TEST_KEYRING", daemon.as_os_str())),
    );
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arguments_for_cargo_select_a_package() {
        assert!(select_package(&["-p", "strongroom"]));
        assert!(select_package(&["--package=strongroom", "--lib"]));
        assert!(!select_package(&["--test", "manager", "namespaces"]));
        assert!(!select_package(&["--", "-p"]));
    }
}
