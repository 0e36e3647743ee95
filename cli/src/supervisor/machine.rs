//! The protocol of a supervisor, as a pure function: events in, effects out.
//!
//! | phase      | event                                    | next phase | effects                      |
//! |------------|------------------------------------------|------------|------------------------------|
//! | any        | the command ended                        | `Ended`    | `End`                        |
//! | `Stopping` | the command ended                        | `Running`  | `Start`                      |
//! | any        | the window has another size              | same       | `Resize` or `Send(WINCH)`    |
//! | any        | this process was continued, or was not suspended | `Running` | `Resume`, and `Continue` if the command is suspended |
//! | any        | another signal                           | same       | `Send`; after one that ends programs, `Stopping` is `Running` |
//! | `Suspended`| the terminal was closed                  | `Running`  | `Send(HUP)`, `Continue`      |
//! | any        | the command was suspended, with a shell  | `Suspended`| `Suspend`                    |
//! | any        | it was suspended by the terminal, alone  | same       | `Continue`                   |
//! | any        | it used the terminal from the background, in this process's group | `Suspended` |  |
//! | `Suspended`| the command was continued                | `Running`  |                              |
//! | `Running`, `Suspended` | a secret changed, restart    | `Stopping` | `Send(TERM)`, `Continue`, `StartGrace` |
//! | any but `Stopping` | a secret changed, signal         | same       | `Send`                       |
//! | `Stopping` | the grace is over                        | same       | `Send(KILL)`                 |
//!
//! A signal that the kernel sent because of the terminal reaches every process of the foreground group, so a
//! command in this process's group has it already: it is not sent again.

use rustix::process::Signal;

use super::signals::ENDING;

/// How the command is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// It is in the process group and the session of this process.
    SameGroup,
    /// It is behind a pseudo-terminal of its own, in a session of its own.
    Terminal,
    /// This process leads the session behind the pseudo-terminal, and the command is a job in it.
    Job,
}

/// What happens when a secret changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnChange {
    Nothing,
    Restart,
    Signal(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A signal reached this process. The kernel sends those of the terminal.
    Signal { signal: Signal, from_kernel: bool },
    /// The command ended: its exit status, or 128 and the number of the signal that ended it.
    Ended(u8),
    /// The command was suspended. `is_foreground` tells whether the terminal is its.
    Suspended { signal: i32, is_foreground: bool },
    /// The command was continued.
    Continued,
    /// This process goes on after it was to suspend itself.
    Resumed,
    /// The command's secrets have changed.
    Changed,
    /// The command had its time to end.
    GraceOver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send a signal to the command.
    Send(Signal),
    /// Let the command go on, with its group if it is a job.
    Continue,
    /// Give the terminal back and suspend this process.
    Suspend,
    /// Take the terminal again, if this process is in the foreground.
    Resume,
    /// Give the pseudo-terminal the size of the window.
    Resize,
    /// Give the command time to end.
    StartGrace,
    /// Start the command with the values of now.
    Start,
    /// End with this exit status.
    End(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Suspended,
    /// It is to end and to start again.
    Stopping,
    Ended,
}

/// A supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    phase: Phase,
    attachment: Attachment,
    on_change: OnChange,
    /// Whether a shell waits that can continue this process after it was suspended.
    has_job_control: bool,
}

impl Machine {
    pub(crate) fn new(attachment: Attachment, on_change: OnChange, has_job_control: bool) -> Self {
        Self { phase: Phase::Running, attachment, on_change, has_job_control }
    }

    /// The next state, and what to do.
    pub(crate) fn handle(&mut self, event: Event) -> Vec<Effect> {
        match event {
            _ if self.phase == Phase::Ended => Vec::new(),
            Event::Ended(_) if self.phase == Phase::Stopping => {
                self.phase = Phase::Running;
                vec![Effect::Start]
            }
            Event::Ended(code) => {
                self.phase = Phase::Ended;
                vec![Effect::End(code)]
            }
            Event::Signal { signal: Signal::CONT, .. } | Event::Resumed => self.resume(),
            Event::Signal { signal: Signal::WINCH, from_kernel } => self.resize(from_kernel),
            Event::Signal { signal, from_kernel } => self.forward(signal, from_kernel),
            Event::Suspended { signal, is_foreground } => self.suspend(signal, is_foreground),
            Event::Continued => {
                if self.phase == Phase::Suspended {
                    self.phase = Phase::Running;
                }
                Vec::new()
            }
            Event::Changed => self.change(),
            Event::GraceOver if self.phase == Phase::Stopping => vec![Effect::Send(Signal::KILL)],
            Event::GraceOver => Vec::new(),
        }
    }

    fn resume(&mut self) -> Vec<Effect> {
        let was_suspended = self.phase == Phase::Suspended;
        if was_suspended {
            self.phase = Phase::Running;
        }
        if was_suspended { vec![Effect::Resume, Effect::Continue] } else { vec![Effect::Resume] }
    }

    fn resize(&self, from_kernel: bool) -> Vec<Effect> {
        match self.attachment {
            Attachment::Terminal => vec![Effect::Resize],
            Attachment::SameGroup if from_kernel => Vec::new(),
            Attachment::SameGroup | Attachment::Job => vec![Effect::Send(Signal::WINCH)],
        }
    }

    fn forward(&mut self, signal: Signal, from_kernel: bool) -> Vec<Effect> {
        if ENDING.contains(&signal) && self.phase == Phase::Stopping {
            // Who ends the supervisor does not want the command to start again.
            self.phase = Phase::Running;
        }
        let has_it = from_kernel && self.attachment == Attachment::SameGroup;
        let mut effects = if has_it { Vec::new() } else { vec![Effect::Send(signal)] };
        // No shell is left that could continue it.
        if signal == Signal::HUP && self.phase == Phase::Suspended {
            self.phase = Phase::Running;
            effects.push(Effect::Continue);
        }
        effects
    }

    fn suspend(&mut self, signal: i32, is_foreground: bool) -> Vec<Effect> {
        let is = |other: Signal| signal == other.as_raw();
        let by_access = is(Signal::TTIN) || is(Signal::TTOU);
        if by_access && is_foreground && self.attachment == Attachment::Job {
            // It used the terminal before it got it.
            return vec![Effect::Continue];
        }
        // The leader of the session behind a pseudo-terminal stops itself, by each way of suspending the command.
        let by_terminal = by_access || is(Signal::TSTP) || self.attachment == Attachment::Terminal;
        if !self.has_job_control && by_terminal {
            // The kernel does not suspend a process that no shell can continue.
            return vec![Effect::Continue];
        }
        if self.phase == Phase::Running {
            self.phase = Phase::Suspended;
        }
        // The kernel suspends the whole group of a process that uses the terminal from the background. If this
        // process runs, a shell has continued it since then.
        let has_group = by_access && self.attachment == Attachment::SameGroup;
        if self.has_job_control && !has_group { vec![Effect::Suspend] } else { Vec::new() }
    }

    fn change(&mut self) -> Vec<Effect> {
        match (self.on_change, self.phase) {
            (OnChange::Nothing, _) | (_, Phase::Stopping | Phase::Ended) => Vec::new(),
            (OnChange::Signal(signal), _) => vec![Effect::Send(signal)],
            (OnChange::Restart, _) => {
                self.phase = Phase::Stopping;
                // One that is suspended ends when it goes on.
                vec![Effect::Send(Signal::TERM), Effect::Continue, Effect::StartGrace]
            }
        }
    }
}

#[cfg(test)]
mod tests;
