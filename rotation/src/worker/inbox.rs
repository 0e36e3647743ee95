//! The inputs of a worker: commands of handles, the stop signal of the engine, and timers.

use std::sync::atomic::Ordering;

use strongroom_core::{Error, ErrorKind};
use strongroom_rotation_protocol::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{RotationWorker, Wake};
use crate::drain::DrainTracker;
use crate::key::Command;
use crate::permit::ConcurrencyPermit;
use crate::store_checks::CheckPacer;

/// An input of a worker.
pub(super) enum Input {
    Stop,
    Command(Command),
    Wake,
}

/// Receives the inputs of a worker.
pub(crate) struct Inbox {
    commands: mpsc::Receiver<Command>,
    stop: watch::Receiver<bool>,
    pub(super) pacer: CheckPacer,
}

impl Inbox {
    pub(crate) fn new(commands: mpsc::Receiver<Command>, stop: watch::Receiver<bool>) -> Self {
        Self { commands, stop, pacer: CheckPacer::default() }
    }

    pub(super) async fn next(
        &mut self,
        wake: &Wake,
        drain: &mut DrainTracker,
        permit: &mut ConcurrencyPermit,
    ) -> Input {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => Input::Stop,
            // The channel stays open, because this task also holds a sender.
            Some(command) = self.commands.recv() => Input::Command(command),
            () = drain.wait(), if wake.for_drain => Input::Wake,
            () = permit.wait(), if permit.is_queued() => Input::Wake,
            () = sleep_until(wake.at) => Input::Wake,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(super) fn close(&mut self) {
        self.commands.close();
    }
}

impl RotationWorker {
    /// Handles a command and those queued behind it, so that concurrent callers share a rotation. Returns the
    /// event for the protocol.
    pub(super) fn merge_commands(&mut self, first: Command, wake: &mut Wake) -> Option<Event> {
        let mut event = None;
        let mut next = Some(first);
        while let Some(command) = next {
            match self.handle_command(command) {
                Ok(Event::Rotate { .. }) if event == Some(Event::RotateCompromised) => {}
                Ok(other) => event = Some(other),
                Err(at) => wake.at = at.map_or(wake.at, |at| at.min(wake.at)),
            }
            next = self.inbox.commands.try_recv().ok();
        }
        event
    }

    /// Returns the event for a command, or when to wake for it.
    fn handle_command(&mut self, command: Command) -> Result<Event, Option<Instant>> {
        let serial = self.context.key.current.load().serial;
        match command {
            Command::Rotate(answer) => {
                let replace = self.instance.in_use.generation;
                self.callers.add(replace, false, answer);
                Ok(Event::Rotate { replace })
            }
            Command::RotateCompromised(answer) => {
                self.callers.add(self.instance.in_use.generation, true, answer);
                Ok(Event::RotateCompromised)
            }
            Command::CheckStore => {
                let checks = &self.context.key.checks;
                Err(Some(self.inbox.pacer.plan(serial, checks)))
            }
            // Ignore what a response says about an earlier key.
            Command::ObserveExpiry { serial: of, .. }
            | Command::ObserveImplausible { serial: of, .. }
                if of != serial =>
            {
                Err(None)
            }
            Command::ObserveExpiry { at, .. } => {
                self.context.key.state.send_modify(|state| state.expires_at = Some(at));
                self.schedule.observe_expiry(at);
                self.context.key.has_reported_implausible.store(false, Ordering::Relaxed);
                // The expiry determines how long to sleep.
                Err(Some(Instant::now() + self.sleep_duration()))
            }
            Command::ObserveImplausible { why, .. } => {
                let path = &self.context.store.path;
                let advice = "set the unit of the issuer's headers in `ExpiryHeaders`";
                let error = Error::new(ErrorKind::InvalidInput, advice).because(why).at(path);
                if self.schedule.observe_implausible(error.clone()) {
                    tracing::warn!(%path, %error, "an expiry header is not plausible");
                }
                self.context.key.state.send_modify(|state| state.last_error = Some(error));
                Err(None)
            }
        }
    }
}
