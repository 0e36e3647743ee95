//! A server program as a supervised child, which never outlives this process.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::canary::CANARY;

/// The supervisor starts the server as its child and reads commands from its input. When the test process
/// ends in any way, the pipe closes; the supervisor then kills the server and removes its directory. The
/// kernel sends SIGHUP to an orphaned process group with a stopped member; the supervisor ignores it. A
/// stopped child of the server could not notice that the server has ended, so the supervisor resumes it.
const SUPERVISOR: &str = r#"
trap '' HUP
directory=$1
shift
end() {
    [ -n "$pid" ] || return 0
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
    kill -KILL "$pid"
    wait "$pid"
    [ -z "$children" ] || kill -CONT $children
    pid=
}
while read -r command; do
    case $command in
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

/// The time limit for each operation of a server.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// The interval at which a bounded wait polls.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A server program, and the text by which it reports that it listens.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// The server writes this text when all of its ports are bound.
    pub(crate) ready: &'static str,
    /// The server writes this text if its port is in use.
    pub(crate) clash: &'static str,
}

/// Another process has bound the port since it was free.
#[derive(Debug)]
pub(crate) struct PortTaken;

/// A server program that can be killed, stopped and started again.
pub(crate) struct Supervised {
    supervisor: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    directory: PathBuf,
    program: Program,
    pid: Option<Pid>,
}

impl Supervised {
    /// Owns `directory` and removes it on drop. Does not start the server.
    pub(crate) fn new(directory: TempDir, program: Program) -> Self {
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(directory.path())
            .arg(&program.path)
            .args(&program.arguments)
            // The server must not inherit settings such as an address or a proxy.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C signals only the test process.
            .process_group(0)
            .spawn()
            .expect("a shell supervises servers");
        let commands = supervisor.stdin.take();
        let answers = BufReader::new(supervisor.stdout.take().expect("the output is piped"));
        Self { supervisor, commands, answers, directory: directory.keep(), program, pid: None }
    }

    /// The directory with the server's files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server's output so far.
    pub(crate) fn log(&self) -> String {
        fs::read(self.directory.join("server.log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Starts the server and waits until its ports are bound. Returns its output since the start.
    pub(crate) async fn start(&mut self) -> Result<String, PortTaken> {
        assert!(self.pid.is_none(), "the server runs already");
        let before = self.log().len();
        let pid = self.send("start").parse().ok().and_then(Pid::from_raw);
        self.pid = Some(pid.expect("the supervisor answers with a process id"));
        let begin = Instant::now();
        loop {
            let has_ended = self.has_ended();
            let written = self.log().split_off(before);
            if written.contains(self.program.ready) && !has_ended {
                return Ok(written);
            }
            if has_ended && written.contains(self.program.clash) {
                self.kill();
                return Err(PortTaken);
            }
            assert!(
                !has_ended && begin.elapsed() < LIMIT,
                "the server did not start; it wrote:\n{}",
                written.replace(CANARY, "…")
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Kills the server with `SIGKILL` and waits for its end. Its files remain.
    pub(crate) fn kill(&mut self) {
        assert_eq!(self.send("kill"), "ended");
        self.pid = None;
    }

    /// Whether the server has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.states().as_slice(), [] | ['Z'])
    }

    /// Stops every thread of the server and all of its child processes until the guard is dropped.
    pub(crate) fn pause(&self) -> Paused<'_> {
        self.signal(Signal::STOP);
        let mut paused = Paused { server: self, children: Vec::new() };
        let begin = Instant::now();
        while self.states().iter().any(|state| *state != 'T') {
            assert!(begin.elapsed() < LIMIT, "the server did not stop");
            std::thread::sleep(POLL_INTERVAL);
        }
        // A stopped server starts no further ones.
        paused.children = self.children();
        for child in &paused.children {
            // Fails if the child has ended.
            let _ = kill_process(*child, Signal::STOP);
        }
        paused
    }

    /// The processes that the server has started.
    fn children(&self) -> Vec<Pid> {
        let parent = self.pid.map(Pid::as_raw_nonzero);
        let parent = parent.map_or_else(String::new, |pid| pid.to_string());
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|process| status(&process.path(), "PPid:").as_deref() == Some(&*parent))
            .filter_map(|process| process.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid.expect("the server runs");
        kill_process(pid, signal).expect("the server can be sent a signal");
    }

    /// The state of each thread, as `ps` shows it; empty if the process has ended.
    fn states(&self) -> Vec<char> {
        let Some(pid) = self.pid else { return Vec::new() };
        let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
        let threads = threads.into_iter().flatten().flatten();
        threads.filter_map(|thread| status(&thread.path(), "State:")?.chars().next()).collect()
    }

    fn send(&mut self, command: &str) -> String {
        let commands = self.commands.as_mut().expect("the supervisor runs");
        writeln!(commands, "{command}").expect("the supervisor listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the supervisor answers");
        answer.trim_end().to_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.commands.take());
        // Fails only if other code has waited for it.
        let _ = self.supervisor.wait();
    }
}

/// A paused server. Dropping this resumes it.
pub struct Paused<'a> {
    server: &'a Supervised,
    children: Vec<Pid>,
}

impl Paused<'_> {
    /// Resumes the server (`SIGCONT`).
    pub fn resume(self) {}
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        for child in &self.children {
            // Fails if the child has ended.
            let _ = kill_process(*child, Signal::CONT);
        }
        self.server.signal(Signal::CONT);
    }
}

/// A field of the status of a process or a thread, unless it has ended.
fn status(task: &Path, field: &str) -> Option<String> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.map(|value| value.trim().to_owned())
}

/// The path of a program that `cargo xtask setup` has installed, from an environment variable.
pub(crate) fn require_tool(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set; run `cargo xtask test`"))
        .into()
}

/// A free port of the loopback address. The next port is free, too, because some servers bind a second
/// listener there.
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
