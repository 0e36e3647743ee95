//! One command that xtask runs, printed before it starts.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::{env, fmt};

use anyhow::{Context as _, Result};

use crate::root;

/// A command to run in the workspace's root, without standard input.
pub(crate) struct Step(Command);

/// A step ended with anything but success.
#[derive(Debug)]
pub(crate) struct StepFailed {
    step: String,
    status: ExitStatus,
}

impl Step {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Result<Self> {
        let mut command = Command::new(program);
        command.current_dir(root()?).stdin(Stdio::null());
        Ok(Self(command))
    }

    /// The cargo that runs xtask, so that a `+toolchain` holds for every step.
    pub(crate) fn cargo() -> Result<Self> {
        Self::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`StepFailed`] if it ends with anything but success.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.status()?;
        self.expect_success(status)
    }

    /// Runs it and says whether it succeeded.
    pub(crate) fn succeeds(mut self) -> Result<bool> {
        Ok(self.status()?.success())
    }

    /// Runs it and returns what it wrote to standard output.
    ///
    /// # Errors
    /// [`StepFailed`] if it ends with anything but success.
    pub(crate) fn output(mut self) -> Result<String> {
        self.announce();
        let output = self
            .0
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `{self}`"))?;
        self.expect_success(output.status)?;
        String::from_utf8(output.stdout).with_context(|| format!("output of `{self}`"))
    }

    fn status(&mut self) -> Result<ExitStatus> {
        self.announce();
        self.0.status().with_context(|| format!("cannot start `{self}`"))
    }

    fn announce(&self) {
        println!("$ {self}");
    }

    fn expect_success(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        Err(StepFailed { step: self.to_string(), status }.into())
    }
}

/// The line that a person would type in the workspace's root.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.0.get_envs() {
            write!(f, "{}={} ", name.display(), quoted(value.unwrap_or_default()))?;
        }
        let program = Path::new(self.0.get_program());
        let below_root = self.0.get_current_dir().and_then(|root| program.strip_prefix(root).ok());
        match below_root {
            _ if env::var_os("CARGO").is_some_and(|cargo| program == cargo) => {
                f.write_str("cargo")?;
            }
            below_root => f.write_str(&quoted(below_root.unwrap_or(program).as_os_str()))?,
        }
        self.0.get_args().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains(char::is_whitespace) { format!("'{word}'") } else { word.into_owned() }
}

impl StepFailed {
    /// The step's own exit code, or 1 if a signal ended it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let code = self.status.code().and_then(|code| u8::try_from(code).ok());
        code.map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

impl fmt::Display for StepFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with {}", self.step, self.status)
    }
}

impl std::error::Error for StepFailed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_that_a_person_would_type() {
        let step = Step::cargo().unwrap().args(["doc", "--no-deps"]).env("FLAGS", "-D warnings");
        assert_eq!(step.to_string(), "FLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn shows_programs_of_the_workspace_as_seen_from_its_root() {
        let step = Step::new(root().unwrap().join("target/tools/tool")).unwrap();
        assert_eq!(step.to_string(), "target/tools/tool");
    }

    #[test]
    fn a_failed_step_passes_its_exit_code_on() {
        let error = Step::cargo().unwrap().args(["no-such-command"]).run().unwrap_err();
        let failed: &StepFailed = error.downcast_ref().unwrap();
        assert_eq!(failed.exit_code(), ExitCode::from(101));
    }
}
