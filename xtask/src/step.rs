//! A command that xtask prints and runs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fmt, io};

use anyhow::{Context as _, Result};

use crate::root;

/// A command to run in the workspace's root, without standard input.
pub(crate) struct Step(Command);

/// How long the steps took, in the order in which they ended.
static TIMES: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// A step that failed.
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

    pub(crate) fn cargo() -> Result<Self> {
        Self::new(cargo())
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs the step.
    ///
    /// # Errors
    /// [`StepFailed`] if it fails.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.status()?;
        self.expect_success(status)
    }

    /// Runs the step and returns whether it succeeded.
    pub(crate) fn succeeds(mut self) -> Result<bool> {
        Ok(self.status()?.success())
    }

    /// Runs the step and returns its standard output.
    ///
    /// # Errors
    /// [`StepFailed`] if it fails.
    pub(crate) fn output(mut self) -> Result<String> {
        self.0.stderr(Stdio::inherit());
        let output = self.measure(Command::output)?;
        self.expect_success(output.status)?;
        String::from_utf8(output.stdout).with_context(|| format!("output of `{self}`"))
    }

    fn status(&mut self) -> Result<ExitStatus> {
        self.measure(Command::status)
    }

    /// Prints the step, runs it and records how long it took.
    fn measure<T>(&mut self, run: impl FnOnce(&mut Command) -> io::Result<T>) -> Result<T> {
        println!("$ {self}");
        let start = Instant::now();
        let result = run(&mut self.0).with_context(|| format!("cannot start `{self}`"));
        record_time(self.to_string(), start.elapsed());
        result
    }

    fn expect_success(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        Err(StepFailed { step: self.to_string(), status }.into())
    }
}

/// The command line, as a user types it in the workspace's root.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.0.get_envs() {
            write!(f, "{}={} ", name.display(), quote(value.unwrap_or_default()))?;
        }
        let program = Path::new(self.0.get_program());
        let in_workspace =
            self.0.get_current_dir().and_then(|root| program.strip_prefix(root).ok());
        match in_workspace {
            _ if env::var_os("CARGO").is_some_and(|cargo| program == cargo) => {
                f.write_str("cargo")?;
            }
            in_workspace => f.write_str(&quote(in_workspace.unwrap_or(program).as_os_str()))?,
        }
        self.0.get_args().try_for_each(|arg| write!(f, " {}", quote(arg)))
    }
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains(char::is_whitespace) { format!("'{word}'") } else { word.into_owned() }
}

/// The cargo that runs xtask. A `+toolchain` on the command line applies to every step.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub(crate) fn record_time(step: String, time: Duration) {
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push((step, time));
}

/// Prints the time of each step that took at least a second.
pub(crate) fn print_times() {
    let times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    for (step, time) in times.iter().filter(|(_, time)| time.as_secs() > 0) {
        println!("{:7.1} s  {step}", time.as_secs_f64());
    }
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
        write!(f, "`{}` failed with {}", self.step, self.status)
    }
}

impl std::error::Error for StepFailed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_the_line_that_a_user_types() {
        let step = Step::cargo().unwrap().args(["doc", "--no-deps"]).env("FLAGS", "-D warnings");
        assert_eq!(step.to_string(), "FLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn displays_programs_of_the_workspace_relative_to_its_root() {
        let step = Step::new(root().unwrap().join("target/tools/tool")).unwrap();
        assert_eq!(step.to_string(), "target/tools/tool");
    }

    #[test]
    fn a_failed_step_has_the_exit_code_of_its_program() {
        let error = Step::cargo().unwrap().args(["no-such-command"]).run().unwrap_err();
        let failed: &StepFailed = error.downcast_ref().unwrap();
        assert_eq!(failed.exit_code(), ExitCode::from(101));
    }
}
