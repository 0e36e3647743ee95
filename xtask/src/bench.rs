//! `cargo xtask bench`: the benches, after the tests of their own arithmetic.

use anyhow::Result;

use crate::step::Step;

const PACKAGE: [&str; 4] = ["--release", "--locked", "--package", "strongroom-benches"];

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    Step::cargo()?.args(["test"]).args(PACKAGE).args(["--lib", "--quiet"]).run()?;
    Step::cargo()?.args(["run"]).args(PACKAGE).args(["--"]).args(arguments).run()
}
