//! A suite: one program that cargo has built from tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::step;

/// A program that runs tests, and how to start it.
#[derive(Debug, PartialEq)]
pub(crate) struct Suite {
    /// The package and the target: `strongroom::manager`, or `strongroom` for the tests of a library.
    pub(crate) name: String,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// The package's directory, where the suite runs.
    pub(crate) directory: PathBuf,
    /// The arguments of `cargo xtask test` that select this suite.
    pub(crate) selection: String,
}

impl Suite {
    /// The tests in the documentation, which cargo both builds and runs.
    pub(crate) fn doc_tests(root: PathBuf, test: impl IntoIterator<Item = &'static str>) -> Self {
        let flags = ["--doc", "--no-fail-fast", "--quiet"];
        Self {
            name: "documentation".to_owned(),
            program: step::cargo(),
            arguments: test.into_iter().chain(flags).map(Into::into).collect(),
            directory: root,
            selection: "--doc".to_owned(),
        }
    }

    fn new(package: &str, directory: &Path, target: &Target<'_>) -> Self {
        let Target { kind, name, program } = target;
        let (suite, option) = match *kind {
            "test" => (format!("{package}::{name}"), format!("--test {name}")),
            "bin" => (format!("{package}::bin::{name}"), format!("--bin {name}")),
            _ => (package.to_owned(), "--lib".to_owned()),
        };
        Self {
            name: suite,
            program: program.into(),
            arguments: Vec::new(),
            directory: directory.to_path_buf(),
            selection: format!("--package {package} {option}"),
        }
    }
}

struct Target<'a> {
    kind: &'a str,
    name: &'a str,
    program: &'a str,
}

/// The suites that `cargo test --no-run --message-format json` has built.
pub(crate) fn from_cargo(messages: &str) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("a message of cargo")?;
        let is_suite = message.pointer("/profile/test").and_then(Value::as_bool) == Some(true);
        let text = |pointer| message.pointer(pointer).and_then(Value::as_str);
        let (true, Some(program)) = (is_suite, text("/executable")) else {
            continue;
        };
        let target = Target {
            kind: text("/target/kind/0").context("a message of cargo has no kind of target")?,
            name: text("/target/name").context("a message of cargo has no name of a target")?,
            program,
        };
        let manifest = text("/manifest_path").context("a message of cargo has no manifest")?;
        let directory = Path::new(manifest).parent().context("a manifest has no directory")?;
        let id = text("/package_id").context("a message of cargo has no package")?;
        suites.push(Suite::new(package_name(id, directory)?, directory, &target));
    }
    ensure!(!suites.is_empty(), "cargo has built no tests");
    Ok(suites)
}

/// The name in `path+file:///…/core#strongroom-core@0.1.0`. Cargo leaves it out where the directory has
/// the same name: `path+file:///…/xtask#0.1.0`.
fn package_name<'a>(id: &'a str, directory: &'a Path) -> Result<&'a str> {
    let named = id.rsplit_once('#').and_then(|(_, package)| package.split_once('@'));
    let name = match named {
        Some((name, _version)) => Some(name),
        None => directory.file_name().and_then(|name| name.to_str()),
    };
    name.with_context(|| format!("no name of a package in `{id}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"build-script-executed","package_id":"registry#libc@0.2"}
{"reason":"compiler-artifact","package_id":"path+file:///w#strongroom@0.1.0","manifest_path":"/w/Cargo.toml","target":{"kind":["lib"],"name":"strongroom"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"path+file:///w#strongroom@0.1.0","manifest_path":"/w/Cargo.toml","target":{"kind":["lib"],"name":"strongroom"},"profile":{"test":true},"executable":"/w/target/debug/deps/strongroom-1"}
{"reason":"compiler-artifact","package_id":"path+file:///w/xtask#0.1.0","manifest_path":"/w/xtask/Cargo.toml","target":{"kind":["bin"],"name":"xtask"},"profile":{"test":true},"executable":"/w/target/debug/deps/xtask-2"}
{"reason":"compiler-artifact","package_id":"path+file:///w/core#strongroom-core@0.1.0","manifest_path":"/w/core/Cargo.toml","target":{"kind":["test"],"name":"compile_fail"},"profile":{"test":true},"executable":"/w/target/debug/deps/compile_fail-3"}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn reads_the_suites_from_the_messages_of_cargo() {
        let suites = from_cargo(MESSAGES).unwrap();
        let names: Vec<_> = suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["strongroom", "xtask::bin::xtask", "strongroom-core::compile_fail"]);
        let selections: Vec<_> = suites.iter().map(|suite| suite.selection.as_str()).collect();
        let expected = [
            "--package strongroom --lib",
            "--package xtask --bin xtask",
            "--package strongroom-core --test compile_fail",
        ];
        assert_eq!(selections, expected);
        assert_eq!(suites[2].directory, Path::new("/w/core"));
        assert_eq!(suites[2].program, "/w/target/debug/deps/compile_fail-3");
    }

    #[test]
    fn fails_when_cargo_has_built_no_tests() {
        assert!(from_cargo(r#"{"reason":"build-finished","success":true}"#).is_err());
        assert!(from_cargo("no message").is_err());
    }
}
