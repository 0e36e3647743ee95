//! The benches: `cargo xtask bench [group]`.
//!
//! Without an argument, every group runs and a new report is written. With an argument, the groups whose
//! name contains it run, and their figures replace those of the last report.
#![expect(clippy::print_stdout, reason = "the user reads the table")]

mod groups {
    pub(crate) mod access;
    pub(crate) mod aws;
    pub(crate) mod cached;
    pub(crate) mod command;
    pub(crate) mod delays;
    pub(crate) mod hashicorp;
    pub(crate) mod memory;
    pub(crate) mod native;
    pub(crate) mod native_scale;
    pub(crate) mod postgres;
    pub(crate) mod redact;
    pub(crate) mod rotation;
    pub(crate) mod server;
}

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use strongroom_benches::report::Report;
use strongroom_testkit::process;

type Group = fn(&mut Report) -> Result<()>;

const GROUPS: &[(&str, Group)] = &[
    ("access", groups::access::run),
    ("aws", groups::aws::run),
    ("cached", groups::cached::run),
    ("command", groups::command::run),
    ("delays", groups::delays::run),
    ("hashicorp", groups::hashicorp::run),
    ("memory", groups::memory::run),
    ("native", groups::native::run),
    ("native_scale", groups::native_scale::run),
    ("postgres", groups::postgres::run),
    ("postgres_scale", groups::native_scale::run_postgres),
    ("redact", groups::redact::run),
    ("rotation", groups::rotation::run),
    ("server", groups::server::run),
];

fn main() -> Result<()> {
    if let Some(role) = process::role() {
        return groups::cached::play(&role);
    }
    let filter = env::args().nth(1);
    let is_selected = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter));
    let names: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
    ensure!(names.iter().any(|name| is_selected(name)), "no such group; the groups are {names:?}");

    let mut report = Report::default();
    for (name, group) in GROUPS.iter().filter(|(name, _)| is_selected(name)) {
        println!("measuring {name} …");
        group(&mut report).with_context(|| format!("group {name}"))?;
    }
    print!("\n{report}");

    let file = report_file()?;
    if filter.is_some() {
        report.merge_into(&file)?;
    } else {
        report.write(&file)?;
    }
    println!("\nwritten to {}", file.display());
    Ok(())
}

fn report_file() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask bench`")?;
    let root = Path::new(&package).parent().context("the benches are outside of a workspace")?;
    Ok(root.join("target/bench/report.json"))
}
