//! Children of the test's own binary.
//!
//! A test that kills a writer starts its own executable again in a role, which travels in an
//! environment variable. No child outlives its [`ChildProcess`].

use std::ffi::OsStr;
use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "STRONGROOM_TEST_ROLE";

/// How often a bounded wait looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The role that this process was started in, or `None` in the test itself.
#[must_use]
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// How to start this executable again in a role. Input and output are piped.
#[derive(Debug)]
pub struct Role(Command);

impl Role {
    /// A child in the role `name`, without arguments: for a test target with a `main` of its own,
    /// which asks [`role`] first.
    ///
    /// # Errors
    /// If the path of this executable is not known.
    pub fn new(name: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command))
    }

    /// A child in the role `name` that runs only the test function `test`, given with its module
    /// path: for a target with the standard harness. That function asks [`role`] first.
    ///
    /// # Errors
    /// If the path of this executable is not known.
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

    /// Lets the child write its errors where this process writes its own.
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

    /// The child's input, once; dropping it ends the input.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// The child's output, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// The child's error output, once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Kills the child with `SIGKILL`, which it cannot catch, and waits until it is gone.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }

    /// Waits for the child to end by itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if it still runs after `limit`; it is killed then.
    pub fn wait_within(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() >= limit {
                self.kill()?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the child was still running after {limit:?}"),
                ));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Both fail only if the child is gone already.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn spawn(name: &str) -> ChildProcess {
        Role::in_test(name, "process::tests::child").unwrap().env("GREETING", "hi").spawn().unwrap()
    }

    /// What the children of the other tests do; nothing in the test process itself.
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

    /// Returns once the child runs in its role, with the rest of its output.
    fn hear(child: &mut ChildProcess, expected: &str) -> Lines<BufReader<ChildStdout>> {
        let mut lines = BufReader::new(child.stdout().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == expected));
        lines
    }

    #[test]
    fn a_child_runs_in_its_role() {
        let mut child = spawn("speaker");
        assert!(hear(&mut child, "speaker says hi").all(|line| line.is_ok()));
        assert!(child.wait_within(LIMIT).unwrap().success());
    }

    #[test]
    fn a_killed_child_ends_by_signal_nine() {
        let mut child = spawn("waiter");
        let _rest = hear(&mut child, "waiter says hi");
        assert_eq!(child.kill().unwrap().signal(), Some(9));
    }

    #[test]
    fn waiting_is_bounded_and_no_child_is_left() {
        let mut child = spawn("waiter");
        let refused = child.wait_within(Duration::from_millis(20)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(child.0.try_wait().unwrap().is_some());
    }

    #[test]
    fn dropping_kills() {
        let mut child = spawn("waiter");
        let _rest = hear(&mut child, "waiter says hi");
        let process = format!("/proc/{}", child.id());
        assert!(std::path::Path::new(&process).exists());
        drop(child);
        assert!(!std::path::Path::new(&process).exists());
    }
}
