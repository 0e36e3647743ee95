//! `cargo xtask fuzz`: every target of `fuzz/`, for a while.

use anyhow::{Result, ensure};

use crate::step::Step;
use crate::tools::Tool;

/// How long each target runs unless said otherwise.
pub(crate) const DEFAULT_SECONDS: u32 = 60;

const FUZZ: Tool = Tool { subcommand: "fuzz", version: "0.13.2" };

pub(crate) fn run(seconds: u32) -> Result<()> {
    // libFuzzer reads 0 as "without end".
    ensure!(seconds > 0, "fuzz for at least one second");
    let program = FUZZ.program()?;
    let nightly = Step::new("rustc")?.args(["--version"]).output()?.contains("nightly");
    let targets = Step::new(&program)?.args(["fuzz", "list"]).output()?;
    for target in targets.lines() {
        let limit = format!("-max_total_time={seconds}");
        let mut step = Step::new(&program)?.args(["fuzz", "run", target, "--", &limit]);
        if !nightly {
            // Sanitizers and coverage are `-Z` flags, which a stable compiler refuses without it.
            step = step.env("RUSTC_BOOTSTRAP", "1");
        }
        step.run()?;
    }
    Ok(())
}
