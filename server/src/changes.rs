//! Tells clients which secrets have changed, as server-sent events, so that their caches need not ask.
//!
//! One task follows the feed of the store. Each listener hears of the secrets that it may read, and of no others.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use strongroom::SecretsManager;
use strongroom::access::{Actor, Guarded};
use strongroom_core::Change;
use strongroom_wire::{ChangeEvent, KEEP_ALIVE};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

/// How many changes wait for a listener that does not keep up; it then takes every secret for changed.
const WAITING: usize = 1_024;

/// The changes of the store, for any number of listeners.
pub(crate) struct Changes {
    /// Of the task that follows the store: once it has ended, nobody can listen.
    sender: broadcast::WeakSender<Arc<Change>>,
    /// Ends the listeners.
    stop: watch::Sender<bool>,
}

impl Changes {
    /// Follows the store for as long as this lives. Needs a runtime.
    pub(crate) fn follow(secrets: &SecretsManager) -> Self {
        let sender = broadcast::Sender::new(WAITING);
        let weak = sender.downgrade();
        let (stop, mut stopped) = watch::channel(false);
        if let Some(mut feed) = secrets.cached_changes() {
            tokio::spawn(async move {
                loop {
                    let change = tokio::select! {
                        // Also if this was dropped.
                        _ = stopped.wait_for(|stopped| *stopped) => break,
                        change = feed.next() => change,
                    };
                    let Some(change) = change else { break };
                    // Fails if there is no listener.
                    let _ = sender.send(Arc::new(change));
                }
            });
        }
        Self { sender: weak, stop }
    }

    /// Ends all listeners.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns once the listeners end, since the server stops.
    pub(crate) async fn stopped(&self) {
        // The sender is this value's own, so it is not dropped meanwhile.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// The events for a listener, until its rights have ended or the server stops. The first one says that it listens.
    /// `None` if the store tells of no changes.
    pub(crate) fn listen(
        &self,
        secrets: Guarded,
        actor: Actor,
    ) -> Option<impl Stream<Item = Result<Bytes, Infallible>> + Send + use<>> {
        let listener = Listener {
            changes: self.sender.upgrade()?.subscribe(),
            stopped: self.stop.subscribe(),
            secrets,
            actor,
            ready: VecDeque::from([ChangeEvent::Listening]),
        };
        Some(stream::unfold(listener, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        }))
    }
}

struct Listener {
    changes: broadcast::Receiver<Arc<Change>>,
    stopped: watch::Receiver<bool>,
    secrets: Guarded,
    actor: Actor,
    ready: VecDeque<ChangeEvent>,
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Bytes::from(event.encode()));
            }
            if !self.actor.is_living() {
                return None;
            }
            let received = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                received = timeout(KEEP_ALIVE / 2, self.changes.recv()) => received,
            };
            match received {
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
                Ok(Ok(change)) => self.ready.extend(self.visible(&change)),
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {
                    self.ready.push_back(ChangeEvent::Any);
                }
                Ok(Err(broadcast::error::RecvError::Closed)) => return None,
            }
        }
    }

    /// What the listener may know of a change.
    fn visible(&self, change: &Change) -> Option<ChangeEvent> {
        let Change::Secrets(paths) = change else { return Some(ChangeEvent::Any) };
        let paths: Vec<_> = paths.iter().filter_map(|path| self.secrets.readable(path)).collect();
        (!paths.is_empty()).then_some(ChangeEvent::Secrets(paths))
    }
}
