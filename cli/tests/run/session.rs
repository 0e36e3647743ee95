//! A command with pipes, whose output a test waits for.

use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a test waits for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came about that {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A command that runs.
pub(crate) struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Session {
    /// Starts a command. Its output and its errors are read as one text.
    pub(crate) fn start(mut command: Command) -> Self {
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(command);
        let output = Arc::default();
        read(child.stdout.take().unwrap(), &output);
        read(child.stderr.take().unwrap(), &output);
        let stdin = child.stdin.take();
        Self { child, stdin, output }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits until the output has this text, and returns all of it so far.
    pub(crate) fn expect(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let (output, changed) = &*self.output;
        let mut output = output.lock().unwrap();
        loop {
            let shown = String::from_utf8_lossy(&output).into_owned();
            if shown.contains(text) {
                return shown;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no `{text}` in: {shown}");
            output = changed.wait_timeout(output, left).unwrap().0;
        }
    }

    /// Sends a signal again and again until the command ends, as a person does: a signal that comes while another
    /// one of its kind waits is lost. Standard input stays open.
    pub(crate) fn end_by(mut self, signal: Signal) -> (ExitStatus, String) {
        let stdin = self.stdin.take();
        wait_until("the command ends by signals", || {
            self.send(signal);
            self.child.try_wait().unwrap().is_some()
        });
        drop(stdin);
        self.end()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        drop(self.stdin.take());
        let mut status = None;
        wait_until("the command ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(&self.output) > 1 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let output = self.output.0.lock().unwrap();
        (status.unwrap(), String::from_utf8_lossy(&output).into_owned())
    }

    /// Waits for the end: the exit status, or 128 and the number of the signal, and the output.
    pub(crate) fn end_code(self) -> (i32, String) {
        let (status, output) = self.end();
        let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap();
        (code, output)
    }
}

impl Drop for Session {
    /// Leaves no process of the command's group behind, also if the test has failed.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn read(mut source: impl Read + Send + 'static, output: &Arc<(Mutex<Vec<u8>>, Condvar)>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = source.read(&mut chunk) {
            output.0.lock().unwrap().extend_from_slice(chunk.get(..count).unwrap_or_default());
            output.1.notify_all();
        }
    });
}
