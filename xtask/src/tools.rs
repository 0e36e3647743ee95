//! Cargo's extensions in exact versions.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::root;
use crate::step::Step;

/// An extension of cargo, pinned.
pub(crate) struct Tool {
    /// The subcommand: `deny` for `cargo deny`.
    pub(crate) subcommand: &'static str,
    pub(crate) version: &'static str,
    /// Requirements of pip, with hashes, that bring the program compiled. Not every platform has it.
    pub(crate) requirements: Option<&'static str>,
}

impl Tool {
    /// Finds the program on the search path if it has the pinned version. Otherwise installs a copy in
    /// `target/tools`, once.
    pub(crate) fn program(&self) -> Result<OsString> {
        let crate_name = format!("cargo-{}", self.subcommand);
        if self.has_version(crate_name.as_ref()) {
            return Ok(crate_name.into());
        }
        let copy = root()?.join("target/tools/bin").join(format!("{crate_name}{EXE_SUFFIX}"));
        if self.has_version(copy.as_ref()) {
            return Ok(copy.into());
        }
        if self.install_compiled()? && self.has_version(copy.as_ref()) {
            return Ok(copy.into());
        }
        self.install(&crate_name)?;
        Ok(copy.into())
    }

    fn has_version(&self, program: &std::ffi::OsStr) -> bool {
        let output = Command::new(program)
            .args([self.subcommand, "--version"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        output.is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout);
            output.status.success() && text.split_whitespace().any(|word| word == self.version)
        })
    }

    /// Installs the compiled program, which takes seconds where a build takes minutes. Returns whether it could.
    fn install_compiled(&self) -> Result<bool> {
        let Some(requirements) = self.requirements else { return Ok(false) };
        let create = ["-m", "venv", "target/tools/python"];
        if !Step::new("python3")?.args(create).succeeds().unwrap_or(false) {
            return Ok(false);
        }
        let install = ["-m", "pip", "install", "--disable-pip-version-check", "--no-deps"];
        Step::new(root()?.join("target/tools/python/bin/python"))?
            .args(install)
            .args(["--require-hashes", "--only-binary", ":all:", "--force-reinstall"])
            .args(["--prefix", "target/tools", "--requirement", requirements])
            .succeeds()
    }

    fn install(&self, crate_name: &str) -> Result<()> {
        Step::cargo()?
            .args(["install", "--locked", "--force", "--root", "target/tools"])
            .args([format!("{crate_name}@{}", self.version)])
            // The tool runs for seconds; optimizing it would take minutes.
            .env("CARGO_PROFILE_RELEASE_LTO", "false")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .run()
    }
}
