//! The packages that are published, checked and packed as crates.io would receive them.

use anyhow::{Result, ensure};

use crate::metadata::{Package, Workspace};
use crate::step::Step;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    for package in workspace.published_packages() {
        let missing = package.missing_keys();
        let name = package.name();
        ensure!(
            missing.is_empty(),
            "the Cargo.toml of `{name}` does not set {}",
            missing.join(", ")
        );
    }
    // The other steps have compiled the same sources. `--allow-dirty` lets a developer check a change
    // before it is committed.
    let names = workspace.published_packages().map(Package::name);
    Step::cargo()?
        .args(["package", "--quiet", "--offline", "--locked", "--no-verify", "--allow-dirty"])
        .args(names.flat_map(|name| ["--package", name]))
        .run()
}
