//! What happens to keys, for logs and alerts.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Error, SecretPath};
use tokio::sync::broadcast;
use tracing::{error, info, warn};

use super::fingerprint::Fingerprint;
use super::metrics;

/// Something that happened to a key. Never holds one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotationEvent {
    /// The secret that holds the key.
    pub path: SecretPath,
    /// What happened.
    pub step: RotationStep,
}

/// A step of a rotation, in their order, or what keeps one from going on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RotationStep {
    /// The key has so long left before it stops working. Told 7 days and 1 day ahead.
    Expiring {
        /// How long.
        left: Duration,
    },
    /// The key is to be replaced.
    Due,
    /// This instance has noted in the store that it gets a new key, or goes on where another stopped.
    Started,
    /// The issuer has given a new key, and accepts it; it is not stored yet.
    Issued {
        /// Stands for the new key.
        fingerprint: Fingerprint,
    },
    /// The new key is stored as the current one.
    Stored {
        /// Which key it is.
        generation: u64,
    },
    /// New requests of this instance use the new key.
    Switched {
        /// Which key it is.
        generation: u64,
    },
    /// No request carries the old key any more, or the time for that is over.
    Drained {
        /// Whether requests were still under way when the time was over.
        timed_out: bool,
    },
    /// The issuer does not accept the old key any more.
    Revoked {
        /// Stands for the old key.
        fingerprint: Fingerprint,
    },
    /// The issuer does not revoke an old key, or a new one that does not work, and is not asked again:
    /// somebody has to revoke it. It has refused five times or failed twenty times, unless the next key
    /// is needed at once.
    RevocationFailed {
        /// Stands for the key.
        fingerprint: Fingerprint,
        /// Why.
        error: Error,
    },
    /// Another instance, or this one before it was started anew, stopped while it was getting a key, or
    /// an answer of the issuer was lost: the issuer may have given a key that nobody knows.
    Orphaned {
        /// How many keys were revoked that nobody knows; `None` if this issuer cannot list its keys, and
        /// somebody has to look there.
        revoked: Option<usize>,
    },
    /// The store holds one key.
    Finished {
        /// Which key it is.
        generation: u64,
    },
    /// It could not go on; the last good key stays in use, and it is tried again.
    Failed {
        /// Why.
        error: Error,
    },
}

impl RotationStep {
    /// The step in a word, as in logs.
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
        write!(f, "`{}`: {}", self.path, self.step.name())
    }
}

/// How many events a slow subscriber may fall behind before it misses some.
const BACKLOG: usize = 256;

type Observer = dyn Fn(&RotationEvent) + Send + Sync;

/// Where events go: to the log, to those who listen, and to one who is told before the next step.
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

    pub(crate) fn tell(&self, path: &SecretPath, step: RotationStep) {
        match &step {
            RotationStep::Failed { error } => {
                warn!(%path, %error, "a key was not rotated; the last good one stays in use");
            }
            RotationStep::RevocationFailed { fingerprint, error } => {
                warn!(%path, %fingerprint, %error, "a key is not revoked; revoke it by hand");
            }
            RotationStep::Expiring { left } => {
                warn!(%path, hours_left = left.as_secs() / 3600, "a key is about to expire");
            }
            RotationStep::Orphaned { revoked: None } => {
                warn!(%path, "the issuer may have given a key that nobody knows; revoke it there");
            }
            step => info!(%path, step = step.name(), "key rotation"),
        }
        metrics::count(path, &step);
        let event = RotationEvent { path: path.clone(), step };
        if let Some(observer) = &self.observer {
            let told = catch_unwind(AssertUnwindSafe(|| observer(&event)));
            if told.is_err() {
                error!(%path, step = event.step.name(), "an observer of key rotation panicked");
            }
        }
        // Nobody has to listen.
        let _ = self.sender.send(event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events(..)")
    }
}
