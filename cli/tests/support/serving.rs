//! A server that runs as a process of its own.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use super::{Store, binary};

/// How a server is started.
const START: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--format", "json"];

/// A server that runs.
pub(crate) struct Serving {
    child: Child,
    pub(crate) started: Value,
}

impl Serving {
    pub(crate) fn start(store: &Store, arguments: &[&str]) -> Self {
        let arguments = [&START, arguments].concat();
        Self::of(store.command(&arguments))
    }

    /// Starts a server in which no file can be longer than so many blocks of 512 bytes.
    pub(crate) fn start_limited(store: &Store, blocks: u32, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        // Without the trap, the signal would end the server.
        command.args(["-c", &format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"")]);
        command.arg(binary()).args(START).args(arguments);
        store.prepare(&mut command);
        Self::of(command)
    }

    /// Lets files be of any length.
    pub(crate) fn lift_limit(&self) {
        let limit = Rlimit { current: None, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            assert_eq!(error, "", "it did not start");
        }
        Self { started: serde_json::from_str(&line).unwrap(), child }
    }

    /// Sends a request. Returns the status and the body.
    pub(crate) fn ask(&self, token: &str, request: &str, body: &str) -> (u16, String) {
        self.try_ask(token, request, body).unwrap()
    }

    /// The same, of a server that may end meanwhile.
    pub(crate) fn try_ask(
        &self,
        token: &str,
        request: &str,
        body: &str,
    ) -> io::Result<(u16, String)> {
        let address = self.started["url"].as_str().unwrap().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address)?;
        let length = body.len();
        write!(
            stream,
            "{request} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }

    /// Ends it without a chance to do anything.
    pub(crate) fn kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
    }

    /// Stops it as a supervisor does. Returns what it has printed.
    pub(crate) fn stop(&mut self, signal: Signal) -> String {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended}");
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
        printed
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
