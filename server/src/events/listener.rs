//! One listener: from what the log and its follower tell to the events that are sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::json;
use strongroom::access::{Access, AuditPage, AuditRecord};
use strongroom_core::Result;
use strongroom_wire::KEEP_ALIVE;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::position::{Part, Position};
use super::view::View;
use super::{Message, encode, event_of};

/// How many records one read of the log returns.
const PAGE: usize = 64;

type Reading = Pin<Box<dyn Future<Output = Result<AuditPage>> + Send>>;

/// One listener.
pub(crate) struct Listener {
    view: View,
    position: Position,
    heard: broadcast::Receiver<Message>,
    stopped: watch::Receiver<bool>,
    access: Access,
    reads: Arc<Semaphore>,
    /// The read of the log that is under way.
    reading: Option<Reading>,
    /// Records that were read and not looked at.
    page: VecDeque<AuditRecord>,
    ready: VecDeque<Bytes>,
    /// When something has to be sent, so that the peer knows that the connection lives.
    comment_at: Instant,
}

/// What a listener has to do with what has arrived.
enum Ready {
    Event(Bytes),
    Nothing,
    End,
}

/// What a listener has waited for.
enum Arrived {
    Page(Result<AuditPage>),
    Message(Result<Message, RecvError>),
}

impl Listener {
    pub(super) fn new(
        view: View,
        position: Position,
        heard: broadcast::Receiver<Message>,
        stopped: watch::Receiver<bool>,
        access: Access,
        reads: Arc<Semaphore>,
    ) -> Self {
        let listening = encode("listening", position.after(), "{}");
        Self {
            view,
            position,
            heard,
            stopped,
            access,
            reads,
            reading: None,
            page: VecDeque::new(),
            ready: VecDeque::from([listening]),
            comment_at: Instant::now(),
        }
    }

    /// The events, until the rights of the listener have ended or the server stops. The first one says that it listens.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, |mut listener| async move {
            let event = listener.next().await?;
            listener.comment_at = Instant::now() + KEEP_ALIVE / 2;
            Some((Ok(event), listener))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.next_ready() {
                Ready::Event(event) => return Some(event),
                Ready::End => return None,
                Ready::Nothing => {}
            }
            if self.reading.is_none() && matches!(self.position, Position::CatchingUp { .. }) {
                self.reading = Some(self.read());
            }
            let arrived = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                arrived = wait(&mut self.reading, &mut self.heard) => arrived,
                () = sleep_until(self.comment_at) => continue,
            };
            match arrived {
                Arrived::Page(page) => {
                    self.reading = None;
                    self.take_page(page)?;
                }
                Arrived::Message(Ok(message)) => self.take_message(&message),
                Arrived::Message(Err(RecvError::Lagged(_))) => self.position.lag(),
                Arrived::Message(Err(RecvError::Closed)) => return None,
            }
        }
    }

    /// The next event of what has arrived, if the listener may hear of it still.
    fn next_ready(&mut self) -> Ready {
        while self.ready.is_empty()
            && let Some(record) = self.page.pop_front()
        {
            if self.view.shows(&record) {
                let record = self.view.redact(&record).unwrap_or(record);
                let Ok(event) = event_of(&record) else { return Ready::End };
                self.ready.push_back(event);
            }
        }
        let is_silent = self.ready.is_empty();
        if is_silent && Instant::now() < self.comment_at {
            return Ready::Nothing;
        }
        if !self.view.is_living() {
            return Ready::End;
        }
        // A comment; the id spares a listener that resumes the search of what it would not have heard of.
        let comment = || Bytes::from(format!(":\nid: {}\n\n", self.position.after()));
        Ready::Event(self.ready.pop_front().unwrap_or_else(comment))
    }

    /// Reads the next part of the log. A listener that waits for its turn keeps its place.
    fn read(&self) -> Reading {
        let (access, reads) = (self.access.clone(), Arc::clone(&self.reads));
        let query = self.view.query.clone().after(self.position.after()).at_most(PAGE);
        Box::pin(async move {
            // It is never closed.
            let _permit = reads.acquire_owned().await;
            access.audit_page(query).await
        })
    }

    fn take_page(&mut self, page: Result<AuditPage>) -> Option<()> {
        let page = page
            .inspect_err(|error| warn!(%error, "the audit cannot be read, so a listener ends"))
            .ok()?;
        let part = Part { searched: page.searched, first: page.first, last: page.last };
        if let Some(gap) = self.position.read(part) {
            let data = json!({"after": gap.after, "first": gap.first});
            self.ready.push_back(encode("gap", gap.first.saturating_sub(1), data));
        }
        self.page.extend(page.records);
        Some(())
    }

    fn take_message(&mut self, message: &Message) {
        let is_next = self.position.hear(message.told());
        if let Message::Record(heard) = message
            && is_next
            && self.view.shows(&heard.record)
        {
            let event = match self.view.redact(&heard.record) {
                Some(redacted) => event_of(&redacted).ok(),
                None => Some(heard.event.clone()),
            };
            self.ready.extend(event);
        }
    }
}

/// Waits for the read that is under way, or else for what the follower tells. Can be dropped.
async fn wait(reading: &mut Option<Reading>, heard: &mut broadcast::Receiver<Message>) -> Arrived {
    match reading {
        Some(reading) => Arrived::Page(reading.await),
        None => Arrived::Message(heard.recv().await),
    }
}
