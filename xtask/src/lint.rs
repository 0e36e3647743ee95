//! `cargo xtask lint`: checks everything that must hold before a change is merged, except the tests.

use anyhow::Result;

use crate::metadata::Workspace;
use crate::step::Step;
use crate::{deny, package};

const FACADE: &str = "strongroom";
const COMMAND: &str = "strongroom-cli";
/// What a server with a store of its own needs, and no more: other packages switch features of its libraries on.
const SERVER: &str = "native,server";

/// An example gets the dev-dependencies, which `clippy` has checked the workspace with. Without them, dependencies
/// have other features, and cargo would check the SDK of AWS and the workspace again.
const DOC: [&str; 10] = [
    "doc",
    "--workspace",
    "--no-deps",
    "--all-features",
    "--locked",
    "--lib",
    "--bin",
    "xtask",
    "--example",
    "quickstart",
];

pub(crate) fn run() -> Result<()> {
    install_components()?;
    cargo(&["fmt", "--all", "--check"])?.run()?;
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?.run()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--locked"];
    cargo(&clippy)?.args(["--", "-D", "warnings"]).run()?;
    cargo(&DOC)?.env("RUSTDOCFLAGS", "-D warnings").run()?;
    let workspace = Workspace::load()?;
    check_features(&workspace)?;
    package::run(&workspace)?;
    deny::run()
}

fn cargo(args: &[&str]) -> Result<Step> {
    Ok(Step::cargo()?.args(args))
}

/// Installs the linter and the formatter, which a minimal toolchain does not contain.
fn install_components() -> Result<()> {
    for component in ["rustfmt", "clippy"] {
        let subcommand = if component == "rustfmt" { "fmt" } else { component };
        if !cargo(&[subcommand, "--version"])?.succeeds()? {
            Step::new("rustup")?.args(["component", "add", component]).run()?;
        }
    }
    Ok(())
}

/// Checks the facade as its users build it: with the default features, none, and each alone; and the command with the
/// server alone. All together are checked with the workspace.
fn check_features(workspace: &Workspace) -> Result<()> {
    let check = |package: &str, choice: &[&str]| {
        cargo(&["clippy", "--locked", "--package", package])?
            .args(choice)
            .args(["--", "-D", "warnings"])
            .run()
    };
    check(FACADE, &[])?;
    check(FACADE, &["--no-default-features"])?;
    for feature in workspace.package(FACADE)?.optional_features() {
        check(FACADE, &["--no-default-features", "--features", feature])?;
    }
    check(COMMAND, &["--no-default-features", "--features", SERVER])
}
