//! Starts the command and connects its streams.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use strongroom_redact::Redactor;

use super::process::Process;
use super::pump::Pump;
use super::terminal::{Outer, Pty};
use super::{Plan, no_keyboard};
use crate::child::own_binary;
use crate::failure::Failure;
use crate::output::open_stream;

/// How long a pseudo-terminal that another process keeps open may be silent before its output counts as
/// ended. A pipe has all that the command wrote at once.
const SETTLE: Duration = Duration::from_millis(250);

/// A command that runs.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) pty: Option<Pty>,
    stdout: Option<Pump>,
    stderr: Option<Pump>,
}

impl Running {
    /// Gives the pseudo-terminal the size of the window.
    pub(crate) fn copy_size(&self) {
        if let Some(pty) = &self.pty {
            pty.copy_size();
        }
    }

    /// Ends the command without asking it.
    pub(crate) fn kill(&self) {
        // Behind a pseudo-terminal it is not this process's child.
        if let Some(group) = self.pty.as_ref().and_then(Pty::foreground) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        self.process.send(Signal::KILL);
    }

    /// Waits until its output is copied.
    ///
    /// # Errors
    /// The first of the streams that could not be copied to its end.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        let mut result = Ok(());
        let streams = [("standard output", self.stdout), ("standard error", self.stderr)];
        for (stream, pump) in streams {
            let Some(pump) = pump else { continue };
            let copied = pump.finish().await.or_else(|error| error.report(stream));
            result = result.and(copied);
        }
        result
    }
}

/// Starts the command: behind a pseudo-terminal, with pipes, or with our own streams if nothing is masked.
pub(crate) fn start(
    plan: &Plan,
    variables: &[(String, OsString)],
    outer: Option<&mut Outer>,
    is_terminal: bool,
) -> Result<Running, Failure> {
    let fail = |error: &io::Error| Failure::io("start the command", error);
    let mut command = Command::new(own_binary().map_err(|error| fail(&error))?);
    command.arg0("strongroom").arg("__supervised");
    command.arg("--supervisor").arg(std::process::id().to_string());
    plan.inheritance.apply(&mut command);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let start = || match &plan.redactor {
        Some(redactor) if is_terminal => in_terminal(command, plan, redactor, outer),
        redactor => with_pipes(command, plan, redactor.as_ref()),
    };
    start().map_err(|error| fail(&error))
}

fn in_terminal(
    mut command: Command,
    plan: &Plan,
    redactor: &Redactor,
    outer: Option<&mut Outer>,
) -> io::Result<Running> {
    let (pty, slave) = Pty::open(outer.as_deref())?;
    let end = || slave.try_clone().map(Stdio::from);
    command.arg("--terminal").arg("--").args(plan.program.words()).stdout(end()?);
    if rustix::termios::isatty(rustix::stdio::stdin()) {
        command.stdin(end()?);
    }
    let has_pipe = !rustix::termios::isatty(rustix::stdio::stderr());
    command.stderr(if has_pipe { Stdio::piped() } else { end()? });
    if let Some(outer) = outer {
        outer.connect(&pty)?;
        outer.take();
    }
    let mut child = command.spawn()?;
    // It keeps copies of the other end.
    drop((command, slave));
    let typed = pty.typed();
    let sink = open_stream(rustix::stdio::stdout())?;
    let stdout = Pump::start(pty.output()?, sink, redactor.stream(), SETTLE, typed)?;
    let stderr = copy(child.stderr.take(), rustix::stdio::stderr(), redactor)?;
    running(&child, Some(pty), Some(stdout), stderr)
}

fn with_pipes(
    mut command: Command,
    plan: &Plan,
    redactor: Option<&Redactor>,
) -> io::Result<Running> {
    command.arg("--").args(plan.program.words());
    if redactor.is_some() {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let (mut stdout, mut stderr) = (None, None);
    if let Some(redactor) = redactor {
        stdout = copy(child.stdout.take(), rustix::stdio::stdout(), redactor)?;
        stderr = copy(child.stderr.take(), rustix::stdio::stderr(), redactor)?;
    }
    running(&child, None, stdout, stderr)
}

fn copy(
    source: Option<impl Into<OwnedFd>>,
    sink: BorrowedFd<'static>,
    redactor: &Redactor,
) -> io::Result<Option<Pump>> {
    let Some(source) = source else { return Ok(None) };
    let (sink, stream) = (open_stream(sink)?, redactor.stream());
    Pump::start(source.into(), sink, stream, Duration::ZERO, no_keyboard()).map(Some)
}

fn running(
    child: &Child,
    pty: Option<Pty>,
    stdout: Option<Pump>,
    stderr: Option<Pump>,
) -> io::Result<Running> {
    let process = Process::new(child, false).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Running { process, pty, stdout, stderr })
}
