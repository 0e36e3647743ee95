//! The process of the command.

use rustix::process::{Pid, Signal, WaitOptions};

use super::machine::Event;

/// A process that this one has started and waits for.
pub(crate) struct Process {
    pid: Pid,
    /// Whether it leads a group that is continued with it.
    is_group: bool,
    has_ended: bool,
}

impl Process {
    pub(crate) fn new(child: &std::process::Child, is_group: bool) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(child.id()).ok()?)?;
        Some(Self { pid, is_group, has_ended: false })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal, unless the process has ended: its id may be that of another one then.
    pub(crate) fn send(&self, signal: Signal) {
        if self.has_ended {
            return;
        }
        // A process that runs under another user cannot be signalled; it ends by itself.
        let _ = if self.is_group && signal == Signal::CONT {
            rustix::process::kill_process_group(self.pid, signal)
        } else {
            rustix::process::kill_process(self.pid, signal)
        };
    }

    /// What has happened to the process. `foreground` is the group that has the terminal.
    pub(crate) fn next_event(&mut self, foreground: Option<Pid>) -> Option<Event> {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        while !self.has_ended {
            let (_, status) = match rustix::process::waitpid(Some(self.pid), options) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) | Ok(None) => return None,
                Ok(Some(found)) => found,
            };
            if let Some(signal) = status.stopping_signal().filter(|_| status.stopped()) {
                let is_foreground = foreground == Some(self.pid);
                return Some(Event::Suspended { signal, is_foreground });
            }
            if status.continued() {
                return Some(Event::Continued);
            }
            let code = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => continue,
            };
            self.has_ended = true;
            return Some(Event::Ended(u8::try_from(code).unwrap_or(u8::MAX)));
        }
        None
    }
}
