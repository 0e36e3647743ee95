//! Follows what a server tells of changes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::{Change, ChangeFeed, ErrorKind};
use strongroom_wire::{ChangeEvent, ChangeEvents, KEEP_ALIVE};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::client::Client;

/// The pause after a connection that failed or ended; it doubles after each further one, up to the second one.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// The changes that a server tells of. After each time without a connection, any secret may have changed.
pub(crate) struct RemoteFeed {
    /// It does not keep the client open.
    client: Weak<Client>,
    closing: CancellationToken,
    state: State,
    pause: Duration,
    /// The servers that have failed since the last connection.
    tried: Vec<usize>,
    told: VecDeque<ChangeEvent>,
}

enum State {
    Waiting {
        until: Instant,
    },
    Listening {
        response: reqwest::Response,
        events: ChangeEvents,
        since: Instant,
        /// The wait for a sign of life may be interrupted.
        heard_at: Instant,
    },
    /// The store of the server tells of no changes.
    Ended,
}

/// What a step has come to.
enum Step {
    Told(Vec<ChangeEvent>),
    Connected(reqwest::Response),
    Lost,
    Ended,
}

impl RemoteFeed {
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        Self {
            client: Arc::downgrade(client),
            closing: client.closing(),
            state: State::Waiting { until: Instant::now() },
            pause: PAUSES[0],
            tried: Vec::new(),
            told: VecDeque::new(),
        }
    }

    /// Waits for the next event on the connection, or for the next connection.
    async fn step(&mut self) -> Step {
        match &mut self.state {
            State::Ended => Step::Ended,
            State::Waiting { until } => {
                sleep_until(*until).await;
                let Some(client) = self.client.upgrade() else { return Step::Ended };
                match client.listen(&mut self.tried).await {
                    Ok(response) => Step::Connected(response),
                    Err(error) => match error.kind() {
                        ErrorKind::Unsupported | ErrorKind::Closed => Step::Ended,
                        _ => Step::Lost,
                    },
                }
            }
            State::Listening { response, events, heard_at, .. } => {
                match timeout_at(*heard_at + KEEP_ALIVE, response.chunk()).await {
                    Ok(Ok(Some(piece))) => {
                        *heard_at = Instant::now();
                        events.push(&piece).map_or(Step::Lost, Step::Told)
                    }
                    _ => Step::Lost,
                }
            }
        }
    }

    fn apply(&mut self, step: Step) {
        let [first, longest] = PAUSES;
        match step {
            Step::Told(events) => self.told.extend(events),
            Step::Connected(response) => {
                let (events, now) = (ChangeEvents::default(), Instant::now());
                self.state = State::Listening { response, events, since: now, heard_at: now };
            }
            Step::Lost => {
                // A server that ends each connection at once is not asked ten times a second.
                if let State::Listening { since, .. } = &self.state
                    && since.elapsed() >= KEEP_ALIVE
                {
                    self.pause = first;
                }
                self.state = State::Waiting { until: Instant::now() + self.pause };
                self.pause = (2 * self.pause).min(longest);
            }
            Step::Ended => self.state = State::Ended,
        }
    }
}

#[async_trait]
impl ChangeFeed for RemoteFeed {
    async fn next(&mut self) -> Option<Change> {
        loop {
            match self.told.pop_front() {
                Some(ChangeEvent::Secrets(paths)) => return Some(Change::Secrets(paths)),
                // What has changed before it began to listen is not known.
                Some(ChangeEvent::Listening | ChangeEvent::Any) => return Some(Change::Any),
                None => {}
            }
            if matches!(self.state, State::Ended) || self.client.strong_count() == 0 {
                return None;
            }
            let closing = self.closing.clone();
            let step = tokio::select! {
                biased;
                () = closing.cancelled() => Step::Ended,
                step = self.step() => step,
            };
            self.apply(step);
        }
    }
}

impl fmt::Debug for RemoteFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFeed").finish_non_exhaustive()
    }
}
