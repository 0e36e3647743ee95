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
        if !self.has_version(copy.as_ref()) {
            self.install(&crate_name)?;
        }
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
