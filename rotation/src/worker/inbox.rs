//! What a worker hears from the engine, from handles of the key, and from time.

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

/// What a worker hears.
pub(super) enum Input {
    Stop,
    Command(Command),
    Wake,
}

/// Where a worker hears it.
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
            // The channel stays open, since this task holds a sender, too.
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
    /// Takes a command, and those that wait behind it: callers that come together share a rotation. The
    /// event that they mean.
    pub(super) fn take_all(&mut self, first: Command, wake: &mut Wake) -> Option<Event> {
        let mut event = None;
        let mut next = Some(first);
        while let Some(command) = next {
            match self.take(command) {
                Ok(Event::Rotate { .. }) if event == Some(Event::RotateCompromised) => {}
                Ok(other) => event = Some(other),
                Err(at) => wake.at = at.map_or(wake.at, |at| at.min(wake.at)),
            }
            next = self.inbox.commands.try_recv().ok();
        }
        event
    }

    /// The event that a command means, or when to wake for it.
    fn take(&mut self, command: Command) -> Result<Event, Option<Instant>> {
        let serial = self.outside.key.current.load().serial;
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
                let checks = &self.outside.key.checks;
                Err(Some(self.inbox.pacer.plan(serial, checks)))
            }
            // What a response says of an earlier key says nothing of this one.
            Command::ObserveExpiry { serial: of, .. }
            | Command::ObserveImplausible { serial: of, .. }
                if of != serial =>
            {
                Err(None)
            }
            Command::ObserveExpiry { at, .. } => {
                self.outside.key.state.send_modify(|state| state.expires_at = Some(at));
                self.schedule.observe_expiry(at);
                self.outside.key.has_complained.store(false, Ordering::Relaxed);
                // How long to rest depends on it.
                Err(Some(Instant::now() + self.rest()))
            }
            Command::ObserveImplausible { why, .. } => {
                let path = &self.outside.store.path;
                let advice = "set the unit of the issuer's headers in `ExpiryHeaders`";
                let error = Error::new(ErrorKind::InvalidInput, advice).because(why).at(path);
                if self.schedule.observe_implausible(error.clone()) {
                    tracing::warn!(%path, %error, "an expiry header is not plausible");
                }
                self.outside.key.state.send_modify(|state| state.last_error = Some(error));
                Err(None)
            }
        }
    }
}
