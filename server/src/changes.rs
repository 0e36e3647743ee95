//! Tells clients which secrets have changed, as server-sent events, so that their caches need not ask.
//!
//! One task follows the feed of the store. Each listener hears of the secrets that it may read, and of no others.

use std::collections::VecDeque;
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
    sender: broadcast::Sender<Arc<Change>>,
    /// Ends the listeners.
    stop: watch::Sender<bool>,
    has_feed: bool,
}

impl Changes {
    /// Follows the store for as long as this lives. Needs a runtime.
    pub(crate) fn follow(secrets: &SecretsManager) -> Self {
        let (sender, _) = broadcast::channel(WAITING);
        let (stop, mut stopped) = watch::channel(false);
        let feed = secrets.cached_changes();
        let has_feed = feed.is_some();
        if let Some(mut feed) = feed {
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    let change = tokio::select! {
                        // Also if this was dropped.
                        _ = stopped.wait_for(|stopped| *stopped) => break,
                        change = feed.next() => change,
                    };
                    let Some(change) = change else { break };
                    // Fails if nobody listens.
                    let _ = sender.send(Arc::new(change));
                }
            });
        }
        Self { sender, stop, has_feed }
    }

    /// Whether the store tells of changes.
    pub(crate) fn has_feed(&self) -> bool {
        self.has_feed
    }

    /// Ends all listeners.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The events for a listener, until its rights have ended or the server stops. The first one says that it listens.
    pub(crate) fn listen(
        &self,
        secrets: Guarded,
        actor: Actor,
    ) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + use<> {
        let listener = Listener {
            changes: self.sender.subscribe(),
            stopped: self.stop.subscribe(),
            secrets,
            actor,
            ready: VecDeque::from([ChangeEvent::Listening]),
        };
        stream::unfold(listener, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
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
