//! `cargo xtask fuzz`: runs every target of `fuzz/` for a limited time.

use anyhow::{Result, ensure};

use crate::step::Step;
use crate::tools::Tool;

/// How long each target runs by default.
pub(crate) const DEFAULT_SECONDS: u32 = 60;

const FUZZ: Tool = Tool { subcommand: "fuzz", version: "0.13.2", requirements: None };

pub(crate) fn run(seconds: u32) -> Result<()> {
    // libFuzzer treats 0 as no limit.
    ensure!(seconds > 0, "the time to fuzz must be at least one second");
    let program = FUZZ.program()?;
    let nightly = Step::new("rustc")?.args(["--version"]).output()?.contains("nightly");
    let targets = Step::new(&program)?.args(["fuzz", "list"]).output()?;
    for target in targets.lines() {
        let limit = format!("-max_total_time={seconds}");
        let mut step = Step::new(&program)?.args(["fuzz", "run", target, "--", &limit]);
        if !nightly {
            // A stable compiler accepts the `-Z` flags for sanitizers and coverage only with this variable.
            step = step.env("RUSTC_BOOTSTRAP", "1");
        }
        step.run()?;
    }
    Ok(())
}
