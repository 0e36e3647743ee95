//! `cargo xtask lint`: everything that must be clean before a change is merged.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::deny;
use crate::step::Step;

const FACADE: &str = "strongroom";

pub(crate) fn run() -> Result<()> {
    install_components()?;
    cargo(&["fmt", "--all", "--check"])?.run()?;
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?.run()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--locked"];
    cargo(&clippy)?.args(["--", "-D", "warnings"]).run()?;
    let doc = ["doc", "--workspace", "--no-deps", "--all-features", "--locked"];
    cargo(&doc)?.env("RUSTDOCFLAGS", "-D warnings").run()?;
    feature_combinations()?;
    deny::run()
}

fn cargo(args: &[&str]) -> Result<Step> {
    Ok(Step::cargo()?.args(args))
}

/// A minimal toolchain comes without the linter and the formatter.
fn install_components() -> Result<()> {
    for component in ["rustfmt", "clippy"] {
        let subcommand = if component == "rustfmt" { "fmt" } else { component };
        if !cargo(&[subcommand, "--version"])?.succeeds()? {
            Step::new("rustup")?.args(["component", "add", component]).run()?;
        }
    }
    Ok(())
}

/// The facade as its users would build it: the default, nothing, each feature alone, everything.
fn feature_combinations() -> Result<()> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"])?;
    let features = features(&metadata.output()?)?;
    let check = |choice: &[&str]| {
        cargo(&["clippy", "--locked", "--package", FACADE])?
            .args(choice)
            .args(["--", "-D", "warnings"])
            .run()
    };
    check(&[])?;
    check(&["--no-default-features"])?;
    for feature in &features {
        check(&["--no-default-features", "--features", feature])?;
    }
    check(&["--all-features"])
}

/// The facade's features besides `default`, from cargo's description of the workspace.
fn features(metadata: &str) -> Result<Vec<String>> {
    let metadata: Value = serde_json::from_str(metadata).context("`cargo metadata`")?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let features = packages
        .into_iter()
        .flatten()
        .find(|package| package.get("name").is_some_and(|name| name == FACADE))
        .and_then(|facade| facade.get("features")?.as_object())
        .with_context(|| format!("no package `{FACADE}` in this workspace"))?;
    Ok(features.keys().filter(|name| *name != "default").cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_of_the_facade_without_default() {
        let metadata = r#"{"packages": [
            {"name": "strongroom-core", "features": {"other": []}},
            {"name": "strongroom", "features": {"default": ["env"], "env": [], "native": []}}
        ]}"#;
        assert_eq!(features(metadata).unwrap(), ["env", "native"]);
        assert!(features(r#"{"packages": []}"#).is_err());
    }
}
