//! A server program as a supervised child: it never outlives this process.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::canary::CANARY;

/// Holds the server as its child and obeys its input. However the test process ends, the pipe is
/// closed then: the server is killed and its directory removed. A group that is left behind with a
/// stopped member is sent a SIGHUP, which is no reason to end before that.
const SUPERVISOR: &str = r#"
trap '' HUP
directory=$1
shift
end() { [ -z "$pid" ] || { kill -KILL "$pid"; wait "$pid"; pid=; }; }
while read -r order; do
    case $order in
    start)
        "$@" </dev/null >>"$directory/server.log" 2>&1 &
        pid=$!
        echo "$pid"
        ;;
    kill)
        end
        echo ended
        ;;
    esac
done
end
rm -rf "$directory"
"#;

/// How long a server may take for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How often a bounded wait looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What to run, and how it shows that it listens.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// A text that the server writes once all of its ports are bound.
    pub(crate) ready: &'static str,
    /// A text in the message of a server whose port is taken.
    pub(crate) clash: &'static str,
}

/// Another process took a port that was free a moment before.
#[derive(Debug)]
pub(crate) struct PortTaken;

/// A server program that can be killed, stopped and started again.
pub(crate) struct Supervised {
    supervisor: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    directory: PathBuf,
    program: Program,
    pid: Option<Pid>,
}

impl Supervised {
    /// Takes over `directory`, which is removed in the end. Nothing runs yet.
    pub(crate) fn new(directory: TempDir, program: Program) -> Self {
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(directory.path())
            .arg(&program.path)
            .args(&program.arguments)
            // Settings of whoever runs the tests, such as an address or a proxy, stay out.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C reaches the test process alone.
            .process_group(0)
            .spawn()
            .expect("a shell supervises servers");
        let orders = supervisor.stdin.take();
        let answers = BufReader::new(supervisor.stdout.take().expect("the output is piped"));
        Self { supervisor, orders, answers, directory: directory.keep(), program, pid: None }
    }

    /// Where the server keeps its files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the server wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read(self.directory.join("server.log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Starts the server and waits until its ports are bound; its output since then.
    pub(crate) async fn start(&mut self) -> Result<String, PortTaken> {
        assert!(self.pid.is_none(), "the server runs already");
        let before = self.log().len();
        let pid = self.order("start").parse().ok().and_then(Pid::from_raw);
        self.pid = Some(pid.expect("the supervisor answers with a process id"));
        let begin = Instant::now();
        loop {
            let ended = matches!(self.states().as_slice(), [] | ['Z']);
            let written = self.log().split_off(before);
            if written.contains(self.program.ready) && !ended {
                return Ok(written);
            }
            if ended && written.contains(self.program.clash) {
                self.kill();
                return Err(PortTaken);
            }
            assert!(
                !ended && begin.elapsed() < LIMIT,
                "the server did not start; it wrote:\n{}",
                written.replace(CANARY, "…")
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills the server with `SIGKILL` and waits until it is gone. Its files stay.
    pub(crate) fn kill(&mut self) {
        assert_eq!(self.order("kill"), "ended");
        self.pid = None;
    }

    /// Stops every thread of the server until the guard is dropped.
    pub(crate) fn pause(&self) -> Paused<'_> {
        self.signal(Signal::STOP);
        let paused = Paused(self);
        let begin = Instant::now();
        while self.states().iter().any(|state| *state != 'T') {
            assert!(begin.elapsed() < LIMIT, "the server did not stop");
            std::thread::sleep(LOOK_EVERY);
        }
        paused
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid.expect("the server runs");
        kill_process(pid, signal).expect("the server can be sent a signal");
    }

    /// The state of each thread, as in `ps`; none if the process is gone.
    fn states(&self) -> Vec<char> {
        let Some(pid) = self.pid else { return Vec::new() };
        let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
        let threads = threads.into_iter().flatten().flatten();
        threads.filter_map(|thread| state(&thread.path()).ok().flatten()).collect()
    }

    fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("the supervisor listens until the end");
        writeln!(orders, "{order}").expect("the supervisor listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the supervisor answers");
        answer.trim_end().to_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.orders.take());
        // Fails only if something else has waited for it.
        let _ = self.supervisor.wait();
    }
}

/// A server that stands still; it goes on when this is dropped.
pub struct Paused<'a>(&'a Supervised);

impl Paused<'_> {
    /// Lets the server go on (`SIGCONT`).
    pub fn resume(self) {}
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

fn state(thread: &Path) -> io::Result<Option<char>> {
    let status = fs::read_to_string(thread.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("State:"));
    Ok(line.and_then(|state| state.trim_start().chars().next()))
}

/// What `cargo xtask setup` has installed and names in an environment variable.
pub(crate) fn installed(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set; run `cargo xtask test`"))
        .into()
}

/// A port of the loopback address that is free now, and the one above it as well, where some
/// servers bind a second listener.
pub(crate) fn free_port() -> u16 {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    loop {
        let lower = bind(0).expect("a port is free");
        let port = lower.local_addr().expect("a listener has an address").port();
        if port.checked_add(1).is_some_and(|upper| bind(upper).is_ok()) {
            return port;
        }
    }
}
