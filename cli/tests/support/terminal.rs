//! A command at a real pseudo-terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions};

use super::{Store, binary};

/// How long a test waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which streams are the terminal; the others are pipes or files of the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdout {
    Terminal,
    Pipe,
}

/// A command whose controlling terminal the test plays.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Terminal {
    /// Starts the binary with standard input and error at a terminal.
    pub(crate) fn start(store: &Store, arguments: &[&str], stdout: Stdout) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || {
            Stdio::from(
                rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap(),
            )
        };
        // It makes standard input the controlling terminal of a new session.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(binary()).args(arguments);
        store.prepare(&mut command);
        command.stdin(slave()).stderr(slave());
        command.stdout(if stdout == Stdout::Terminal { slave() } else { Stdio::piped() });
        let child = command.spawn().expect("setsid of util-linux can be started");
        drop(command);
        let keyboard = File::from(master);
        let screen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        spawn_reader(keyboard.try_clone().unwrap(), Arc::clone(&screen));
        Self { child, keyboard, screen }
    }

    /// Waits until the screen shows this text.
    pub(crate) fn expect(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let (shown, changed) = &*self.screen;
        let mut shown = shown.lock().unwrap();
        while !String::from_utf8_lossy(&shown).contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no `{text}` on the screen: {}",
                String::from_utf8_lossy(&shown)
            );
            shown = changed.wait_timeout(shown, left).unwrap().0;
        }
    }

    /// Types these keys.
    pub(crate) fn send(&mut self, keys: impl AsRef<[u8]>) {
        self.keyboard.write_all(keys.as_ref()).unwrap();
    }

    /// Whether the terminal shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits until the terminal shows what is typed, or does not.
    pub(crate) fn wait_for_echo(&self, is_shown: bool) {
        let deadline = Instant::now() + PATIENCE;
        while self.echoes() != is_shown {
            assert!(Instant::now() < deadline, "the terminal shows what is typed: {}", !is_shown);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets the terminal show what is typed, as a shell does when it takes the terminal back.
    pub(crate) fn show_typing(&self) {
        let mut modes = rustix::termios::tcgetattr(&self.keyboard).unwrap();
        modes.local_modes |= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        rustix::termios::tcsetattr(&self.keyboard, OptionalActions::Now, &modes).unwrap();
    }

    /// Sends a signal to the command.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Its other end.
    pub(crate) fn device(&self) -> &File {
        &self.keyboard
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end: the exit status (128 and the number of the signal, if one ended it), what the screen showed, and what went into a pipe.
    pub(crate) fn end(mut self) -> (i32, String, Vec<u8>) {
        let mut output = Vec::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_end(&mut output).unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the command does not end");
            thread::sleep(Duration::from_millis(5));
        };
        // The reader meets the end of the terminal once all its other ends are closed.
        let (shown, changed) = &*self.screen;
        let mut shown = shown.lock().unwrap();
        while Arc::strong_count(&self.screen) > 1 && Instant::now() < deadline {
            shown = changed.wait_timeout(shown, Duration::from_millis(5)).unwrap().0;
        }
        let text = String::from_utf8_lossy(&shown).into_owned();
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        (code.expect("it ends"), text, output)
    }
}

impl Drop for Terminal {
    /// Leaves no process of the session behind, also if the test has failed.
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).unwrap();
        let mut ended = Vec::new();
        // A process may start another one meanwhile.
        while let Some(process) = find_process(id, &ended) {
            let _ = kill_process(Pid::from_raw(process).unwrap(), Signal::KILL);
            ended.push(process);
        }
        let _ = self.child.wait();
    }
}

/// A process in the session or below a process in it, which may have a session of its own.
fn find_process(session: i32, ended: &[i32]) -> Option<i32> {
    let processes: Vec<[i32; 3]> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let id = entry.unwrap().file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let mut numbers = stat.rsplit_once(") ")?.1.split(' ').skip(1);
            let parent = numbers.next()?.parse().ok()?;
            Some([id, parent, numbers.nth(1)?.parse().ok()?])
        })
        .collect();
    let mut found: Vec<i32> = processes
        .iter()
        .filter(|process| process[2] == session)
        .map(|process| process[0])
        .collect();
    let mut index = 0;
    while let Some(&above) = found.get(index) {
        let below =
            processes.iter().filter(|process| process[1] == above).map(|process| process[0]);
        found.extend(below);
        index += 1;
    }
    // Those below first, before they lose their parents.
    found.into_iter().rev().find(|process| !ended.contains(process))
}

fn spawn_reader(mut terminal: File, screen: Arc<(Mutex<Vec<u8>>, Condvar)>) {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        // A terminal whose other ends are closed gives an error.
        while let Ok(count @ 1..) = terminal.read(&mut chunk) {
            let (shown, changed) = &*screen;
            shown.lock().unwrap().extend_from_slice(&chunk[..count]);
            changed.notify_all();
        }
    });
}
