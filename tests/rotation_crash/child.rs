//! A child process, and the lines that it prints.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

use strongroom_testkit::process::{ChildProcess, Role};

use crate::issuer::IssuerKind;
use crate::store::Store;

/// A child ends by itself after this time, so that no test waits for its output for ever.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(30);

/// A child process with its input and its output.
pub(crate) struct Child {
    pub(crate) process: ChildProcess,
    input: ChildStdin,
    /// The lines that it has printed so far.
    lines: Vec<String>,
    output: BufReader<ChildStdout>,
}

/// A child in a role, with the environment that describes its store and its issuer.
pub(crate) fn role(name: &str, store: &Store, kind: IssuerKind, base: &str) -> Role {
    let role = store.export(Role::in_test(name, "child").unwrap());
    kind.export(base, role).inherit_stderr()
}

impl Child {
    pub(crate) fn spawn(role: Role) -> Self {
        let mut process = role.spawn().unwrap();
        let input = process.stdin().unwrap();
        let output = BufReader::new(process.stdout().unwrap());
        Self { process, input, lines: Vec::new(), output }
    }

    /// Waits until it prints this line.
    pub(crate) fn wait_for_line(&mut self, expected: &str) {
        while self.lines.last().is_none_or(|line| line != expected) {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the child ended before `{expected}`: {:?}", self.lines);
            self.lines.push(line.trim_end().to_owned());
        }
    }

    /// Waits until it has ended with success. All its lines.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.lines.extend(self.output.lines().map(Result::unwrap));
        assert!(self.process.wait_within(MAX_LIFETIME).unwrap().success(), "{:?}", self.lines);
        self.lines
    }

    /// Resumes a child that waits in [`pause`].
    pub(crate) fn resume(&mut self) {
        self.input.write_all(b"resume\n").unwrap();
    }
}

/// Prints that this child has reached a point, and waits for [`Child::resume`].
pub(crate) async fn pause(at: &str) {
    println!("\n{at}");
    let input = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        line
    });
    assert_eq!(input.await.unwrap(), "resume\n");
}
