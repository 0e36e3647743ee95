//! `cargo xtask bench`: everything the benches need, the tests of their own arithmetic, then they.

use anyhow::Result;

use crate::setup;
use crate::step::Step;

const PACKAGE: [&str; 4] = ["--release", "--locked", "--package", "strongroom-benches"];

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let prepared = setup::run()?;
    Step::cargo()?.args(["test"]).args(PACKAGE).args(["--lib", "--quiet"]).run()?;
    Step::cargo()?
        .args(["run"])
        .args(PACKAGE)
        .args(["--"])
        .args(arguments)
        .env("STRONGROOM_TEST_BAO", prepared.bao)
        .env("STRONGROOM_TEST_PYTHON", prepared.python)
        .run()
}
