//! A child, and what it says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

use strongroom_testkit::process::{ChildProcess, Role};

use crate::setting::Talent;
use crate::store::Store;

/// A child that nobody ends is over after this time, so that no test waits for ever for its words.
pub(crate) const LIFE: Duration = Duration::from_secs(30);

/// A child with its input and its output.
pub(crate) struct Running {
    pub(crate) process: ChildProcess,
    input: ChildStdin,
    /// What it has said so far.
    heard: Vec<String>,
    output: BufReader<ChildStdout>,
}

/// A child in a role, which knows its store and its issuer.
pub(crate) fn role(name: &str, store: &Store, talent: Talent, base: &str) -> Role {
    talent.tell(base, store.tell(Role::in_test(name, "child").unwrap())).inherit_stderr()
}

impl Running {
    pub(crate) fn spawn(role: Role) -> Self {
        let mut process = role.spawn().unwrap();
        let input = process.stdin().unwrap();
        let output = BufReader::new(process.stdout().unwrap());
        Self { process, input, heard: Vec::new(), output }
    }

    /// Waits until it says this line.
    pub(crate) fn hear(&mut self, expected: &str) {
        while self.heard.last().is_none_or(|line| line != expected) {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the child ended before `{expected}`: {:?}", self.heard);
            self.heard.push(line.trim_end().to_owned());
        }
    }

    /// All its lines, after it has ended well.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.heard.extend(self.output.lines().map(Result::unwrap));
        assert!(self.process.wait_within(LIFE).unwrap().success(), "{:?}", self.heard);
        self.heard
    }

    /// Lets a child that waits in [`pause`] go on.
    pub(crate) fn go_on(&mut self) {
        self.input.write_all(b"go on\n").unwrap();
    }
}

/// Says that this child has got to a point, and waits to be told to go on.
pub(crate) async fn pause(at: &str) {
    println!("\n{at}");
    let told = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        line
    });
    assert_eq!(told.await.unwrap(), "go on\n");
}
