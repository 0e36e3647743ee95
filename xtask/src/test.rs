//! `cargo xtask test`: everything the tests need, then all of them.

use anyhow::Result;

use crate::setup;
use crate::step::Step;

/// Benches stay out, so that the libraries they compare with are never built for tests.
const TEST: [&str; 6] =
    ["test", "--workspace", "--exclude", "strongroom-benches", "--all-features", "--locked"];

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let prepared = setup::run()?;
    Step::cargo()?
        .args(TEST)
        .args(arguments)
        .env("STRONGROOM_TEST_PYTHON", prepared.python)
        .env("STRONGROOM_TEST_BAO", prepared.bao)
        .env("STRONGROOM_TEST_POSTGRES", prepared.postgres)
        .run()
}
