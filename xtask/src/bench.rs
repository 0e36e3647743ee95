//! `cargo xtask bench`: sets up the servers, tests the arithmetic of the benches, then runs them.

use anyhow::Result;

use crate::setup;
use crate::step::Step;

const PACKAGE: [&str; 4] = ["--release", "--locked", "--package", "strongroom-benches"];

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let setup = setup::run()?;
    Step::cargo()?.args(["test"]).args(PACKAGE).args(["--lib", "--quiet"]).run()?;
    Step::cargo()?
        .args(["run"])
        .args(PACKAGE)
        .args(["--"])
        .args(arguments)
        .env("STRONGROOM_TEST_BAO", setup.bao)
        .env("STRONGROOM_TEST_PYTHON", setup.python)
        .run()
}
