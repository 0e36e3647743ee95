//! `cargo xtask explore`: explores the rotation protocol deeper than its tests do.

use anyhow::Result;

use crate::step::Step;

pub(crate) fn run() -> Result<()> {
    Step::cargo()?
        .args(["test", "--locked", "--package", "strongroom-rotation-protocol"])
        .args(["--test", "explore"])
        .env("STRONGROOM_EXPLORE_DEEP", "1")
        .run()
}
