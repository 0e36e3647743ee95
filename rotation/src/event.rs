//! The events of rotations, for logs and alerts.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Error, SecretPath};
use tokio::sync::broadcast;
use tracing::{error, info, warn};

use super::fingerprint::Fingerprint;

/// Something that happened to a key. It never holds the key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotationEvent {
    /// The secret that holds the key.
    pub path: SecretPath,
    /// What happened.
    pub step: RotationStep,
}

/// A step of a rotation, in order, or what interrupts one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RotationStep {
    /// The key expires soon. The engine sends this event 7 days and 1 day ahead.
    Expiring {
        /// How long the key still works.
        left: Duration,
    },
    /// The key is due for replacement.
    Due,
    /// This instance has started an attempt to get a new key, or has taken over the attempt of an instance
    /// that stopped. The attempt is in the store.
    Started,
    /// The issuer has issued a new key and accepts it. The key is not stored yet.
    Issued {
        /// The fingerprint of the new key.
        fingerprint: Fingerprint,
    },
    /// The new key is stored as the current one.
    Stored {
        /// The generation of the new key.
        generation: u64,
    },
    /// New requests of this instance use the new key.
    Switched {
        /// The generation of the new key.
        generation: u64,
    },
    /// No request of this instance carries the old key any more, or
    /// [`drain_timeout`](super::RotationPolicy::drain_timeout) is over.
    Drained {
        /// Whether the old key is revoked while requests still carry it.
        timed_out: bool,
    },
    /// The issuer does not accept the old key any more.
    Revoked {
        /// The fingerprint of the old key.
        fingerprint: Fingerprint,
    },
    /// The issuer does not revoke an old key, or a new one that does not work, and the engine does not ask
    /// again: an operator has to revoke it. The issuer has refused five times or failed twenty times. Once is
    /// enough if the key delays the replacement of a compromised one.
    RevocationFailed {
        /// The fingerprint of the key.
        fingerprint: Fingerprint,
        /// Why.
        error: Error,
    },
    /// The issuer may have issued a key that the store does not hold: an instance stopped during an attempt,
    /// a response of the issuer was lost, or an operator put the old key back.
    Orphaned {
        /// How many such keys the engine has revoked; `None` if the issuer does not list its keys:
        /// an operator has to look for them there.
        revoked: Option<usize>,
    },
    /// The rotation is over: the store holds one key.
    Finished {
        /// The generation of that key.
        generation: u64,
    },
    /// A step of the rotation failed. The last good key stays in use, and the engine tries again.
    Failed {
        /// Why.
        error: Error,
    },
}

impl RotationStep {
    /// The name of the step, as in logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Expiring { .. } => "expiring",
            Self::Due => "due",
            Self::Started => "started",
            Self::Issued { .. } => "issued",
            Self::Stored { .. } => "stored",
            Self::Switched { .. } => "switched",
            Self::Drained { .. } => "drained",
            Self::Revoked { .. } => "revoked",
            Self::RevocationFailed { .. } => "revocation_failed",
            Self::Orphaned { .. } => "orphaned",
            Self::Finished { .. } => "finished",
            Self::Failed { .. } => "failed",
        }
    }
}

impl fmt::Display for RotationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path, self.step.name())?;
        match &self.step {
            RotationStep::Failed { error } | RotationStep::RevocationFailed { error, .. } => {
                write!(f, ": {error}")
            }
            _ => Ok(()),
        }
    }
}

/// How many events a slow receiver may fall behind before it loses some.
const BACKLOG: usize = 256;

type Observer = dyn Fn(&RotationEvent) + Send + Sync;

/// Sends events to the log, to the observer before the next step, and to the receivers.
#[derive(Clone)]
pub(crate) struct Events {
    sender: broadcast::Sender<RotationEvent>,
    observer: Option<Arc<Observer>>,
}

impl Events {
    pub(crate) fn new(observer: Option<Arc<Observer>>) -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), observer }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<RotationEvent> {
        self.sender.subscribe()
    }

    pub(crate) fn send(&self, path: &SecretPath, step: RotationStep) {
        match &step {
            RotationStep::Failed { error } => {
                warn!(%path, %error, "a step of a rotation failed, and is tried again");
            }
            RotationStep::RevocationFailed { fingerprint, error } => {
                warn!(%path, %fingerprint, %error, "a key is not revoked; revoke it by hand");
            }
            RotationStep::Expiring { left } => {
                warn!(%path, hours_left = left.as_secs() / 3600, "a key is about to expire");
            }
            RotationStep::Orphaned { revoked: None } => {
                warn!(%path, "the issuer may have issued a key that is not stored; revoke it there");
            }
            step => info!(%path, step = step.name(), "key rotation"),
        }
        let event = RotationEvent { path: path.clone(), step };
        if let Some(observer) = &self.observer {
            let result = catch_unwind(AssertUnwindSafe(|| observer(&event)));
            if result.is_err() {
                error!(%path, step = event.step.name(), "an observer of key rotation panicked");
            }
        }
        // There may be no receiver.
        let _ = self.sender.send(event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events(..)")
    }
}
