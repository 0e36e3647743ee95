//! `cargo xtask explore`: explores the rotation protocol deeper than its tests do, and runs the test of histories for longer.

use anyhow::Result;

use crate::step::Step;
use crate::{setup, test};

const HISTORY_OPERATIONS: &str = "1000000";

pub(crate) fn run() -> Result<()> {
    let setup = setup::run()?;
    let histories = Step::cargo()?
        .args(["test", "--locked", "--package", "strongroom-backend-native"])
        .args(["--features", "postgres", "--test", "histories", "--", "--nocapture"])
        .env("STRONGROOM_HISTORY_OPERATIONS", HISTORY_OPERATIONS);
    let variables = test::variables(&setup);
    variables.into_iter().fold(histories, |step, (name, value)| step.env(name, value)).run()?;
    Step::cargo()?
        .args(["test", "--locked", "--package", "strongroom-rotation-protocol"])
        .args(["--test", "explore"])
        .env("STRONGROOM_EXPLORE_DEEP", "1")
        .run()
}
