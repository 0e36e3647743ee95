//! Tells of changes: each transaction that changes the store notifies the channel `strongroom_native` with the number of the
//! state that it has made, and the paths of the secrets that it has written.
//!
//! A number that does not follow the last one, or that of the store after the connection was opened again, tells that a
//! notification was missed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use strongroom_core::{Change, ChangeFeed, ForkGuard, SecretPath, async_trait};
use strongroom_postgres::{Failure, Session};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::location::DatabaseLocation;
use super::statements;
use super::tables::state_of;
use crate::store_cell::StoreCell;

/// The longest payload that the server takes is one byte longer, in bytes: see `NOTIFY` in PostgreSQL's documentation.
const MAX_PAYLOAD: usize = 7_999;
/// How often a feed asks for the number of the state, which shows whether the connection still works.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long such a request, or an attempt to connect, may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The pause after an attempt that failed; it doubles after each further failure, up to the second one.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// What a transaction tells: the number of its state and, line by line, the paths that it has written, or `*` for too many.
pub(super) fn payload(number: u64, paths: &BTreeSet<String>) -> String {
    let length = paths.iter().map(|path| path.len() + 1).sum::<usize>();
    let mut payload = number.to_string();
    if payload.len() + length > MAX_PAYLOAD {
        payload.push_str("\n*");
        return payload;
    }
    for path in paths {
        payload.push('\n');
        payload.push_str(path);
    }
    payload
}

/// What a payload says: the number, and what has changed. `None` if it is not one of this store's.
fn parse(payload: &str) -> Option<(u64, Change)> {
    let mut lines = payload.split('\n');
    let number = lines.next()?.parse().ok()?;
    let paths: Option<Vec<_>> = lines.map(|line| SecretPath::parse(line).ok()).collect();
    Some((number, paths.map_or(Change::Any, Change::Secrets)))
}

/// Follows the notifications, while `next` is awaited.
pub(super) struct DatabaseFeed {
    /// It does not keep the store open.
    cell: Weak<StoreCell>,
    location: Arc<DatabaseLocation>,
    fork_guard: ForkGuard,
    closed: watch::Receiver<bool>,
    session: Option<Session>,
    /// The number of the last state of which this feed has told, or that the process had seen before.
    last: u64,
    next_check: Instant,
    next_attempt: Instant,
    pause: Duration,
}

/// What there is to do next.
enum Event {
    Notified(String),
    /// The connection has ended.
    Ended,
    Check,
    Closed,
}

impl DatabaseFeed {
    pub(super) fn new(
        cell: &Arc<StoreCell>,
        location: Arc<DatabaseLocation>,
        fork_guard: ForkGuard,
        closed: watch::Receiver<bool>,
    ) -> Self {
        let last = cell.get().map_or(0, |store| store.guard().highest_number());
        let cell = Arc::downgrade(cell);
        let (now, [pause, _]) = (Instant::now(), PAUSES);
        Self {
            cell,
            location,
            fork_guard,
            closed,
            session: None,
            last,
            next_check: now,
            next_attempt: now,
            pause,
        }
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow() || self.cell.strong_count() == 0 || self.fork_guard.check().is_err()
    }

    /// Connects, and listens before the number of the state is asked for.
    async fn connect(&mut self) {
        let connect = async {
            let session = self.location.connect().await?;
            session.client.batch_execute(statements::LISTEN).await?;
            Ok::<_, Failure>(session)
        };
        match timeout(ANSWER_TIME, connect).await {
            Ok(Ok(session)) => {
                self.session = Some(session);
                self.next_check = Instant::now();
            }
            _ => self.give_up(),
        }
    }

    /// Ends the connection, and waits before the next attempt.
    fn give_up(&mut self) {
        let [_, longest] = PAUSES;
        self.session = None;
        self.next_attempt = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(longest);
    }

    /// Waits for what is next on the connection.
    async fn event(&mut self) -> Event {
        let Some(session) = &mut self.session else { return Event::Ended };
        tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => Event::Closed,
            notification = session.notification() => match notification {
                Some(notification) => Event::Notified(notification.payload().to_owned()),
                None => Event::Ended,
            },
            () = sleep_until(self.next_check) => Event::Check,
        }
    }

    /// Asks for the number of the state. Returns whether the feed has missed a change.
    async fn has_missed(&mut self) -> bool {
        let Some(session) = &self.session else { return false };
        let ask = session.client.query_typed_opt(statements::STATE, &[]);
        let number = match timeout(ANSWER_TIME, ask).await {
            Ok(Ok(row)) => row.and_then(|row| state_of(&row).ok()).map_or(0, |state| state.number),
            // The tables are missing until the first write, or may not be read.
            Ok(Err(error)) if error.code().is_some() => 0,
            _ => {
                self.give_up();
                return false;
            }
        };
        [self.pause, _] = PAUSES;
        self.next_check = Instant::now() + CHECK_INTERVAL;
        std::mem::replace(&mut self.last, number) != number
    }
}

#[async_trait]
impl ChangeFeed for DatabaseFeed {
    async fn next(&mut self) -> Option<Change> {
        loop {
            if self.is_closed() {
                self.session = None;
                return None;
            }
            if self.session.is_none() {
                tokio::select! {
                    biased;
                    _ = self.closed.wait_for(|closed| *closed) => continue,
                    () = sleep_until(self.next_attempt) => {}
                }
                self.connect().await;
                continue;
            }
            match self.event().await {
                Event::Closed => {}
                Event::Ended => self.give_up(),
                Event::Check => {
                    if self.has_missed().await {
                        return Some(Change::Any);
                    }
                }
                Event::Notified(payload) => {
                    let Some((number, change)) = parse(&payload) else { return Some(Change::Any) };
                    // A check has told of it already.
                    if number <= self.last {
                        continue;
                    }
                    let follows = number == self.last + 1;
                    self.last = number;
                    return Some(if follows { change } else { Change::Any });
                }
            }
        }
    }
}

impl fmt::Debug for DatabaseFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseFeed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_was_written() {
        let paths: BTreeSet<_> = ["a/b", "c"].map(str::to_owned).into();
        let expected = ["a/b", "c"].map(|path| SecretPath::parse(path).unwrap());
        assert_eq!(parse(&payload(7, &paths)), Some((7, Change::Secrets(expected.to_vec()))));
        assert_eq!(parse(&payload(8, &BTreeSet::new())), Some((8, Change::Secrets(Vec::new()))));
        let many: BTreeSet<_> = (0..2_000).map(|number| format!("of/{number}")).collect();
        let long = payload(u64::MAX, &many);
        assert!(long.len() <= MAX_PAYLOAD);
        assert_eq!(parse(&long), Some((u64::MAX, Change::Any)));
        assert_eq!(parse("no number"), None);
    }

    #[test]
    fn the_longest_payload_with_paths_is_one_that_the_server_takes() {
        for length in [7_990, 7_997, 7_998, 8_000] {
            let paths = BTreeSet::from(["p".repeat(length)]);
            assert!(payload(5, &paths).len() <= MAX_PAYLOAD);
        }
    }
}
