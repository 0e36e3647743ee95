//! `cargo xtask bench`: sets up the servers, tests the arithmetic of the benches, then runs them.

use anyhow::Result;

use crate::step::Step;
use crate::{root, setup};

const PACKAGE: [&str; 4] = ["--release", "--locked", "--package", "strongroom-benches"];

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let setup = setup::run()?;
    Step::cargo()?.args(["test"]).args(PACKAGE).args(["--lib", "--quiet"]).run()?;
    let command = ["--release", "--locked", "--package", "strongroom-cli"];
    Step::cargo()?.args(["build"]).args(command).run()?;
    Step::cargo()?
        .args(["run"])
        .args(PACKAGE)
        .args(["--"])
        .args(arguments)
        .env("STRONGROOM_BENCH_COMMAND", root()?.join("target/release/strongroom"))
        .env("STRONGROOM_TEST_BAO", setup.bao)
        .env("STRONGROOM_TEST_POSTGRES", setup.postgres)
        .env("STRONGROOM_TEST_PYTHON", setup.python)
        .run()
}
