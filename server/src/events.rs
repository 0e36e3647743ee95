//! Tells clients what happens, as server-sent events that can be resumed: the records of the audit, as they come.
//!
//! One task follows the log while there are listeners. A listener that resumes or does not keep up reads the log until it
//! has caught up, so it loses nothing.

mod listener;
mod position;
mod view;

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use strongroom::access::{Access, AuditQuery, AuditRecord, AuditStream};
use strongroom_core::{ErrorKind, Result};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::{sleep, timeout};
use tracing::warn;

use self::listener::Listener;
use self::position::{Position, Told};
pub(crate) use self::view::View;

/// How many records wait for a listener that does not keep up; it then reads the log.
const WAITING: usize = 4_096;
/// How many listeners read the log at a time, so that other reads of the audit need not wait for all of them.
const READS: usize = 4;
/// After how long without a record the follower looks whether there are listeners.
const IDLE: Duration = Duration::from_secs(10);
/// The pause after the log could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// The records of the audit, for any number of listeners.
pub(crate) struct Events {
    access: Access,
    sender: broadcast::Sender<Message>,
    /// Whether the task that follows the log runs.
    follows: Arc<Mutex<bool>>,
    /// Ends the task and the listeners.
    stop: watch::Sender<bool>,
    reads: Arc<Semaphore>,
}

/// What the follower tells the listeners.
#[derive(Clone)]
enum Message {
    Begin(u64),
    Record(Arc<Heard>),
}

/// A record, and the event that tells of it.
struct Heard {
    record: AuditRecord,
    event: Bytes,
}

impl Message {
    fn told(&self) -> Told {
        match self {
            Self::Begin(seq) => Told::Begin(*seq),
            Self::Record(heard) => Told::Record(heard.record.seq),
        }
    }
}

impl Events {
    pub(crate) fn new(access: Access) -> Self {
        Self {
            access,
            sender: broadcast::Sender::new(WAITING),
            follows: Arc::default(),
            stop: watch::Sender::new(false),
            reads: Arc::new(Semaphore::new(READS)),
        }
    }

    /// Ends all listeners.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// A listener that hears of the records after `after`, or of those from now on. Needs a runtime.
    pub(crate) async fn listen(&self, view: View, after: Option<u64>) -> Result<Listener> {
        // First, so that no record is between the end of the log and what the follower tells.
        let heard = self.subscribe();
        let position = if let Some(after) = after {
            Position::CatchingUp { after }
        } else {
            let end = self.access.audit_page(AuditQuery::new().at_most(0)).await?;
            Position::Live { after: end.last }
        };
        let (access, reads) = (self.access.clone(), Arc::clone(&self.reads));
        Ok(Listener::new(view, position, heard, self.stop.subscribe(), access, reads))
    }

    fn subscribe(&self) -> broadcast::Receiver<Message> {
        let mut follows = self.follows.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = self.sender.subscribe();
        if !*follows {
            *follows = true;
            let follower = Follower {
                access: self.access.clone(),
                sender: self.sender.clone(),
                follows: Arc::clone(&self.follows),
            };
            tokio::spawn(follower.run(self.stop.subscribe()));
        }
        heard
    }
}

/// Follows the log for all listeners.
struct Follower {
    access: Access,
    sender: broadcast::Sender<Message>,
    follows: Arc<Mutex<bool>>,
}

impl Follower {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            // Also if the server was dropped.
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut records = None;
        let mut fails = false;
        while !self.ends() {
            match timeout(IDLE, self.follow_once(&mut records)).await {
                Ok(Ok(())) => fails = false,
                Ok(Err(error)) if error.kind() == ErrorKind::Closed => {
                    *self.follows.lock().unwrap_or_else(PoisonError::into_inner) = false;
                    return;
                }
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut fails, true) {
                        warn!(%error, "the audit cannot be read, so listeners hear of no events");
                    }
                    sleep(PAUSE).await;
                }
                Err(_) => {}
            }
        }
    }

    /// Tells the next record, or where the log ends if that is where it begins.
    async fn follow_once(&self, records: &mut Option<AuditStream>) -> Result<()> {
        let message = if let Some(records) = records {
            let record = records.next().await?;
            let event = event_of(&record)?;
            Message::Record(Arc::new(Heard { record, event }))
        } else {
            let end = self.access.audit_page(AuditQuery::new().at_most(0)).await?.last;
            *records = Some(self.access.follow(AuditQuery::new().after(end)));
            Message::Begin(end)
        };
        // Fails if there is no listener.
        let _ = self.sender.send(message);
        Ok(())
    }

    /// Whether there is no listener any more: the next one starts another task.
    fn ends(&self) -> bool {
        let mut follows = self.follows.lock().unwrap_or_else(PoisonError::into_inner);
        *follows = self.sender.receiver_count() > 0;
        !*follows
    }
}

/// The event that tells of a record.
fn event_of(record: &AuditRecord) -> Result<Bytes> {
    Ok(encode(&record.event, record.seq, record.to_json_line()?))
}

/// An event as it is sent. The data have no line break.
fn encode(name: &str, id: u64, data: impl Display) -> Bytes {
    Bytes::from(format!("id: {id}\nevent: {name}\ndata: {data}\n\n"))
}
