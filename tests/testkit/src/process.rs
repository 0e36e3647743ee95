//! Child processes that run the test's own binary.
//!
//! A test that kills a writer starts its own executable again in a role, which an environment variable
//! names. No child outlives its [`ChildProcess`].

use std::ffi::OsStr;
use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "STRONGROOM_TEST_ROLE";

/// The interval at which a bounded wait polls.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The role of this process; `None` in the test process.
#[must_use]
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A command that starts this executable again in a role. Input and output are piped.
#[derive(Debug)]
pub struct Role(Command);

impl Role {
    /// A child in the role `name`, without arguments: for a test target whose own `main` calls [`role`]
    /// first.
    ///
    /// # Errors
    /// If the operating system does not return the path of this executable.
    pub fn new(name: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command))
    }

    /// A child in the role `name` that runs only the test function `test`, given with its module
    /// path: for a target with the standard harness. That function calls [`role`] first.
    ///
    /// # Errors
    /// If the operating system does not return the path of this executable.
    pub fn in_test(name: &str, test: &str) -> io::Result<Self> {
        Ok(Self::new(name)?.arg(test).arg("--exact").arg("--nocapture"))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Sets an environment variable of the child.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// The child shares the standard error of this process.
    #[must_use]
    pub fn inherit_stderr(mut self) -> Self {
        self.0.stderr(Stdio::inherit());
        self
    }

    /// Starts the child.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn spawn(mut self) -> io::Result<ChildProcess> {
        self.0.spawn().map(ChildProcess)
    }
}

/// A running child, killed when this is dropped.
#[derive(Debug)]
pub struct ChildProcess(Child);

impl ChildProcess {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Takes the child's standard input; dropping it closes the input.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Takes the child's standard output.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Takes the child's standard error.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Kills the child with `SIGKILL`, which it cannot catch, and waits for its end.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }

    /// Waits for the child to exit.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if it still runs after `limit`; this kills it.
    pub fn wait_within(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() >= limit {
                self.kill()?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the child still runs after {limit:?}"),
                ));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Fails only if the child has already ended.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);

    fn spawn(name: &str) -> ChildProcess {
        Role::in_test(name, "process::tests::child").unwrap().env("GREETING", "hi").spawn().unwrap()
    }

    /// The children of the other tests run this; it does nothing in the test process.
    #[test]
    fn child() {
        let Some(role) = role() else { return };
        let mut stdin = std::io::stdin();
        let mut stdout = std::io::stdout();
        writeln!(stdout, "\n{role} says {}", std::env::var("GREETING").unwrap()).unwrap();
        if role == "waiter" {
            stdin.read_to_string(&mut String::new()).unwrap();
        }
    }

    /// Waits until the child runs in its role. Returns the rest of its output.
    fn read_until(child: &mut ChildProcess, expected: &str) -> Lines<BufReader<ChildStdout>> {
        let mut lines = BufReader::new(child.stdout().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == expected));
        lines
    }

    #[test]
    fn a_child_runs_in_its_role() {
        let mut child = spawn("speaker");
        assert!(read_until(&mut child, "speaker says hi").all(|line| line.is_ok()));
        assert!(child.wait_within(LIMIT).unwrap().success());
    }

    #[test]
    fn a_killed_child_ends_by_signal_nine() {
        let mut child = spawn("waiter");
        let _rest = read_until(&mut child, "waiter says hi");
        assert_eq!(child.kill().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_child_that_exceeds_the_limit_is_killed() {
        let mut child = spawn("waiter");
        let error = child.wait_within(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(child.0.try_wait().unwrap().is_some());
    }

    #[test]
    fn dropping_kills_the_child() {
        let mut child = spawn("waiter");
        let _rest = read_until(&mut child, "waiter says hi");
        let process = format!("/proc/{}", child.id());
        assert!(std::path::Path::new(&process).exists());
        drop(child);
        assert!(!std::path::Path::new(&process).exists());
    }
}
