//! What other processes can see of a value while the command has it.

#![expect(clippy::unwrap_used, reason = "test code reports a failure with a panic")]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use strongroom_testkit::canary;
use support::{Store, binary, planted};

/// How long a test waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(120);
/// The user `nobody`, as whom a test of root runs the command: root may read every process.
const NOBODY: u32 = 65_534;

/// A process that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn proc_file(id: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{id}/{name}"))
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// The same command for a user who is not root.
fn unprivileged(mut command: Command) -> Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A store of that user, and the binary where it can be run.
fn store() -> (Store, PathBuf) {
    let store = Store::native();
    if !is_root() {
        return (store, binary().to_owned());
    }
    let copy = store.file("strongroom");
    fs::copy(binary(), &copy).unwrap();
    chown(store.file(""), Some(NOBODY), Some(NOBODY)).unwrap();
    (store, copy)
}

/// Whether another process of the same user can read the environment of a process, and so its memory: the kernel asks
/// for the same right.
fn is_readable(id: u32) -> bool {
    let mut command = Command::new("cat");
    command.arg(proc_file(id, "environ")).stdout(Stdio::null()).stderr(Stdio::null());
    unprivileged(command).status().unwrap().success()
}

fn soft_core_limit(id: u32) -> String {
    let limits = fs::read_to_string(proc_file(id, "limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().nth(4).unwrap().to_owned()
}

fn start_put(store: &Store, binary: &Path) -> Process {
    let mut command = Command::new(binary);
    store.prepare(command.args(["put", "a"]));
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    Process(unprivileged(command).spawn().unwrap())
}

#[test]
fn a_running_command_shows_no_value_and_cannot_be_dumped() {
    let (store, binary) = store();
    let mut process = start_put(&store, &binary);
    let mut stdin = process.0.stdin.take().unwrap();
    // It waits for the rest of the value.
    stdin.write_all(planted("-first").as_bytes()).unwrap();
    let id = process.0.id();
    // A process that does not protect itself stays readable.
    let mut other = Command::new("sleep");
    other.arg("1000");
    let other = Process(unprivileged(other).spawn().unwrap());
    assert!(is_readable(other.0.id()));
    let deadline = Instant::now() + PATIENCE;
    while is_readable(id) || soft_core_limit(id) != "0" {
        assert!(Instant::now() < deadline, "the process can be read or dumped");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(process.0.try_wait().unwrap().is_none(), "it has ended");
    for name in ["cmdline", "comm", "stat", "status"] {
        let shown = fs::read(proc_file(id, name)).unwrap();
        assert!(canary::find(&shown).is_none(), "{name}");
    }
    let listed = Command::new("ps").args(["-o", "args", "-p", &id.to_string()]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("put a") && canary::find(listed.as_bytes()).is_none(), "{listed}");
    drop(stdin);
    assert!(process.0.wait().unwrap().success());
}
