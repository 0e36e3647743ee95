//! Runs the command of `run` below this process: where output is masked, files are to be removed, or the
//! command follows changes of its secrets. Otherwise `run` executes the command in its own place.
//!
//! `machine.rs` decides; this shell carries it out. Behind a pseudo-terminal there are two supervisors: this
//! process, and one that leads the session of the pseudo-terminal (`session.rs`), because the kernel suspends
//! only a process whose parent is in its session.

mod attach;
mod job;
mod keyboard;
mod machine;
mod process;
mod pump;
mod session;
mod signals;
mod terminal;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::Signal;
use strongroom::{Secret, SecretPath};
use strongroom_redact::Redactor;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

pub(crate) use self::machine::OnChange;
pub(crate) use self::pump::{Pump, PumpError};
pub(crate) use self::session::lead as lead_session;
pub(crate) use self::signals::{
    ENDING, Ignored, parse as parse_signal, survive as survive_signals,
};

use self::attach::Running;
use self::job::Job;
use self::machine::{Attachment, Effect, Event, Machine};
use self::signals::{Caught, Signals};
use self::terminal::Outer;
use crate::child::{Binding, Files, Inheritance, Program, Target};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::known::Filter;

/// How often a process in the background looks whether it is in the foreground: a shell that brings it there
/// does not tell it.
const LOOK: Duration = Duration::from_millis(200);

/// What to run, and how.
pub(crate) struct Plan {
    pub(crate) program: Program,
    pub(crate) inheritance: Inheritance,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) files: Files,
    /// Masks the output, if it is to be masked.
    pub(crate) redactor: Option<Redactor>,
    /// Whether a value that is too short to be masked is refused.
    pub(crate) must_mask: bool,
    /// The secrets whose values are not masked.
    pub(crate) filter: Filter,
    pub(crate) on_change: OnChange,
    /// How long the command has to end before it is killed and started again.
    pub(crate) grace: Duration,
    /// New values, with the paths of their secrets.
    pub(crate) changes: UnboundedReceiver<(SecretPath, Secret)>,
}

impl Plan {
    /// Gives a binding the value that it has in a new version of its secret. Returns whether it is another one. If
    /// the new value cannot be what it is to be, the old one stays.
    fn update(&mut self, binding: &mut Binding, secret: &Secret) -> Result<bool, Failure> {
        let value = binding.read(secret)?;
        if value.constant_time_eq(&binding.value) {
            return Ok(false);
        }
        // A field is a value of its own.
        let is_masked = !self.filter.excludes(binding.path());
        if let Some(redactor) = self.redactor.as_ref().filter(|_| is_masked) {
            redactor.add([(binding.path().clone(), value.clone())]);
        }
        binding.check(&value)?;
        if self.must_mask {
            binding.check_mask(&value)?;
        }
        if let (Target::File(name), OnChange::Signal(_)) = (&binding.target, self.on_change) {
            self.files.add(name, &value)?;
        }
        binding.value = value;
        Ok(true)
    }
}

/// Runs the command and returns its exit status.
pub(crate) async fn run(plan: Plan, context: &Context) -> Outcome {
    let signals = Signals::new()
        .map_err(|error| Failure::io("handle signals", &error).with_exit(Exit::NOT_STARTED))?;
    let outer = Outer::open();
    let is_terminal = plan.redactor.is_some() && rustix::termios::isatty(rustix::stdio::stdout());
    let attachment = if is_terminal { Attachment::Terminal } else { Attachment::SameGroup };
    let is_alone = Job::current().is_some_and(Job::is_alone);
    let machine = Machine::new(attachment, plan.on_change, outer.is_some() && !is_alone);
    let mut supervisor =
        Supervisor { plan, context, machine, attachment, signals, outer, grace: None };
    supervisor.run().await
}

struct Supervisor<'a> {
    plan: Plan,
    context: &'a Context,
    machine: Machine,
    attachment: Attachment,
    signals: Signals,
    outer: Option<Outer>,
    /// When the command has had its time to end.
    grace: Option<Instant>,
}

/// What the loop does next.
enum Next {
    Wait,
    Start,
    End(u8),
}

impl Supervisor<'_> {
    async fn run(&mut self) -> Outcome {
        loop {
            let mut running =
                self.start().map_err(|failure| failure.with_exit(Exit::NOT_STARTED))?;
            let next = loop {
                match self.step(&mut running).await? {
                    Next::Wait => {}
                    next => break next,
                }
            };
            let ended_by = self.finish(running).await?;
            match (next, ended_by) {
                (Next::End(code), _) => return Ok(Exit::of_command(code)),
                // The command is not to start again.
                (_, Some(signal)) => return Ok(Exit::of_signal(signal)),
                (_, None) => {}
            }
        }
    }

    /// Starts the command with the values of now.
    fn start(&mut self) -> Result<Running, Failure> {
        let plan = &mut self.plan;
        plan.files.clear();
        let variables = variables(&plan.bindings, &mut plan.files)?;
        let is_terminal = self.attachment == Attachment::Terminal;
        let outer = self.outer.as_mut().filter(|_| is_terminal);
        attach::start(plan, &variables, outer, is_terminal)
    }

    async fn step(&mut self, running: &mut Running) -> Result<Next, Failure> {
        let grace = self.grace;
        let expired = async move {
            match grace {
                Some(time) => tokio::time::sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        let mut changes = Vec::new();
        tokio::select! {
            caught = self.signals.next() => Ok(self.catch(caught, running)),
            1.. = self.plan.changes.recv_many(&mut changes, usize::MAX) => {
                Ok(if self.learn(changes) { self.handle(Event::Changed, running) } else { Next::Wait })
            }
            () = tokio::time::sleep(LOOK), if self.is_in_background(running) => {
                self.take_terminal(running);
                Ok(Next::Wait)
            }
            () = expired => {
                self.grace = None;
                Ok(self.handle(Event::GraceOver, running))
            }
        }
    }

    fn catch(&mut self, caught: Caught, running: &mut Running) -> Next {
        if caught.signal != Signal::CHILD {
            let Caught { signal, from_kernel } = caught;
            return self.handle(Event::Signal { signal, from_kernel }, running);
        }
        while let Some(event) = running.process.next_event(None) {
            match self.handle(event, running) {
                Next::Wait => {}
                next => return next,
            }
        }
        Next::Wait
    }

    fn handle(&mut self, event: Event, running: &mut Running) -> Next {
        let mut effects = VecDeque::from(self.machine.handle(event));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send(Signal::KILL) => running.kill(),
                Effect::Send(signal) => running.process.send(signal),
                Effect::Continue => match running.process.next_event(None) {
                    // The shell has continued it with its group, and it may have been suspended again since.
                    Some(event) => effects.extend(self.machine.handle(event)),
                    None => running.process.send(Signal::CONT),
                },
                Effect::Suspend => {
                    self.suspend();
                    effects.extend(self.machine.handle(Event::Resumed));
                }
                Effect::Resume => self.take_terminal(running),
                Effect::Resize => running.copy_size(),
                Effect::StartGrace => self.grace = Some(Instant::now() + self.plan.grace),
                Effect::Start => {
                    self.grace = None;
                    return Next::Start;
                }
                Effect::End(code) => return Next::End(code),
            }
        }
        Next::Wait
    }

    /// Whether the command has a pseudo-terminal, and this process does not have its terminal.
    fn is_in_background(&self, running: &Running) -> bool {
        running.pty.is_some() && self.outer.as_ref().is_some_and(|outer| !outer.is_taken())
    }

    /// Takes the terminal, if this process is in the foreground.
    fn take_terminal(&mut self, running: &Running) {
        if let Some(outer) = self.outer.as_mut().filter(|_| running.pty.is_some()) {
            outer.take();
        }
        running.copy_size();
    }

    /// Suspends this process until a shell continues it.
    ///
    /// Of the signals that suspend, this is the one that no handler catches and that the kernel ignores if no
    /// shell can continue the process, as after the end of that shell: then this returns at once.
    fn suspend(&mut self) {
        if let Some(outer) = &mut self.outer {
            outer.give_back();
        }
        // Ctrl-Z behind the pseudo-terminal reached no other process of this pipeline.
        let _ = match self.attachment {
            Attachment::Terminal => rustix::process::kill_current_process_group(Signal::TTIN),
            _ => rustix::process::kill_process(rustix::process::getpid(), Signal::TTIN),
        };
    }

    /// Takes new values of secrets. Returns whether the command has another one.
    fn learn(&mut self, changes: Vec<(SecretPath, Secret)>) -> bool {
        let plan = &mut self.plan;
        // The old values stay masked: they may be in use until every service has the new ones.
        if let Some(redactor) = &plan.redactor {
            let masked = changes.iter().filter(|(path, _)| !plan.filter.excludes(path));
            redactor.add(masked.map(|(path, secret)| (path.clone(), secret.value().clone())));
        }
        // Of two values of one secret, the last one counts.
        let changes: HashMap<_, _> = changes.into_iter().collect();
        let mut has_changed = false;
        let mut bindings = std::mem::take(&mut plan.bindings);
        for binding in &mut bindings {
            let Some(secret) = changes.get(binding.path()) else { continue };
            match plan.update(binding, secret) {
                Ok(is_new) => has_changed |= is_new,
                Err(failure) => {
                    let reason = failure.message();
                    self.context
                        .note(format_args!("warning: {reason}; the command keeps the old value"));
                }
            }
        }
        plan.bindings = bindings;
        has_changed
    }

    /// Writes the rest of the output and gives the terminal back. Returns the signal that asked this process to
    /// end meanwhile.
    async fn finish(&mut self, running: Running) -> Result<Option<Signal>, Failure> {
        if let Some(outer) = &mut self.outer {
            outer.give_back_keys();
        }
        let written = running.finish();
        tokio::pin!(written);
        let result = loop {
            tokio::select! {
                result = &mut written => break result.map(|()| None),
                caught = self.signals.next() => match caught.signal {
                    // Output that is not read does not keep this process from its end.
                    signal if ENDING.contains(&signal) => break Ok(Some(signal)),
                    Signal::TSTP => self.suspend(),
                    _ => {}
                }
            }
        };
        if let Some(outer) = &mut self.outer {
            outer.give_back();
        }
        result
    }
}

/// The variables of the command. Files are written for those that hold the path of one.
pub(crate) fn variables(
    bindings: &[Binding],
    files: &mut Files,
) -> Result<Vec<(String, std::ffi::OsString)>, Failure> {
    use std::os::unix::ffi::OsStrExt as _;
    let variable = |binding: &Binding| {
        let value = match &binding.target {
            Target::Variable(_) => {
                std::ffi::OsStr::from_bytes(binding.value.expose_bytes()).to_owned()
            }
            Target::File(name) => files.add(name, &binding.value)?,
        };
        Ok((binding.target.name().to_owned(), value))
    };
    bindings.iter().map(variable).collect()
}

/// A flag that no key sets.
pub(crate) fn no_keyboard() -> Arc<AtomicBool> {
    Arc::default()
}
