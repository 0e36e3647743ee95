//! The supervisor that leads the session of a pseudo-terminal.
//!
//! The command is a job of it, in the foreground, as it would be a job of a shell: so Ctrl-C, Ctrl-Z and
//! programs that read the terminal work. It forwards signals from the outer supervisor, suspends itself when
//! the command is suspended, and ends with its exit status.

use std::io;
use std::os::unix::process::CommandExt as _;

use rustix::process::Signal;

use super::machine::{Attachment, Effect, Event, Machine, OnChange};
use super::process::Process;
use super::signals::{Caught, Signals};
use crate::child::Program;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Runs the command in a new session, whose terminal is standard output.
pub(crate) async fn lead(program: &Program) -> Outcome {
    let terminal = rustix::stdio::stdout();
    let attach = rustix::process::setsid().and_then(|_| rustix::process::ioctl_tiocsctty(terminal));
    let fail =
        |what: &str, error: &io::Error| Failure::io(what, error).with_exit(Exit::NOT_STARTED);
    attach.map_err(|error| fail("attach the pseudo-terminal", &error.into()))?;
    let mut signals = Signals::new().map_err(|error| fail("handle signals", &error))?;
    let mut command = program.command();
    let child = command.process_group(0).spawn().map_err(|error| program.failure(&error))?;
    drop(command);
    let mut process = Process::new(&child, true)
        .ok_or_else(|| fail("start the command", &io::ErrorKind::InvalidData.into()))?;
    // If the command has ended, its group is gone.
    let _ = rustix::termios::tcsetpgrp(terminal, process.pid());
    let mut machine = Machine::new(Attachment::Job, OnChange::Nothing, true);
    loop {
        let Caught { signal, from_kernel } = signals.next().await;
        let event = Event::Signal { signal, from_kernel };
        if signal != Signal::CHILD {
            carry_out(machine.handle(event), &process);
            continue;
        }
        loop {
            let foreground = rustix::termios::tcgetpgrp(terminal).ok();
            let Some(event) = process.next_event(foreground) else { break };
            if let Some(code) = carry_out(machine.handle(event), &process) {
                return Ok(Exit::of_command(code));
            }
        }
    }
}

/// Carries out effects. Returns the exit status at the end.
fn carry_out(effects: Vec<Effect>, process: &Process) -> Option<u8> {
    for effect in effects {
        match effect {
            Effect::Send(signal) => process.send(signal),
            Effect::Continue => process.send(Signal::CONT),
            // The outer supervisor sees it, and continues this process. The kernel continues it, too, when the
            // pseudo-terminal closes, and ignores other signals that suspend: this session has no shell.
            Effect::Suspend => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
            }
            Effect::End(code) => return Some(code),
            // It has no terminal to take, no window, and no values that change.
            Effect::Resume | Effect::Resize | Effect::StartGrace | Effect::Start => {}
        }
    }
    None
}
