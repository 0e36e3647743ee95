//! Tells of changes: each transaction that changes the store notifies the channel `strongroom_native` with the number of the
//! state that it has made, its tag, the tag of the state before, and the paths of the secrets that it has written.
//!
//! Every role that may connect to the database can notify. So a notification only makes the feed look at the state, and
//! its paths count if its tag is that of the state, or the one before which a later notification that counts names. A role
//! that cannot read the state cannot know its tag before the notification is sent. A change without such a notification,
//! and one that was made while there was no connection, may be of any secret.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use strongroom_core::{Change, ChangeFeed, ForkGuard, SecretPath, async_trait};
use strongroom_postgres::{Failure, Session};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::location::DatabaseLocation;
use super::replica::Replica;
use super::rows::state_of;
use super::statements;
use crate::state::StoredState;
use crate::store_cell::StoreCell;

/// The longest payload that the server takes is one byte longer, in bytes: see `NOTIFY` in PostgreSQL's documentation.
const MAX_PAYLOAD: usize = 7_999;
/// How often a feed looks at the state at least, which shows whether the connection still works.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a feed looks at the state at most, however many notifications there are.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// How many notifications a feed keeps until it looks.
const MAX_ANNOUNCED: usize = 1024;
/// How long such a request, or an attempt to connect, may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The pause after an attempt that failed; it doubles after each further failure, up to the second one.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// The tag of a state: the first 16 bytes of the SHA-256 of what is stored, which has a random nonce.
fn tag(state: &StoredState) -> String {
    let digest: [u8; 32] = Sha256::digest(&state.sealed).into();
    let mut tag = String::with_capacity(32);
    for byte in digest.iter().take(16) {
        // Writing to a text cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag
}

/// What a transaction tells: the number and the tag of its state, the tag of the one before and, line by line, the paths
/// that it has written, or `*` for too many.
pub(super) fn payload(
    state: &StoredState,
    before: Option<&StoredState>,
    paths: &BTreeSet<String>,
) -> String {
    let before = before.map(tag).unwrap_or_default();
    let mut payload = format!("{}\n{}\n{before}", state.number, tag(state));
    if payload.len() + paths.iter().map(|path| path.len() + 1).sum::<usize>() > MAX_PAYLOAD {
        payload.push_str("\n*");
        return payload;
    }
    for path in paths {
        payload.push('\n');
        payload.push_str(path);
    }
    payload
}

/// What a notification says.
#[derive(Debug, PartialEq, Eq)]
struct Announcement {
    number: u64,
    tag: String,
    before: String,
    /// `None` if they were too many.
    paths: Option<Vec<SecretPath>>,
}

impl Announcement {
    /// `None` if no transaction of a store has made the payload.
    fn parse(payload: &str) -> Option<Self> {
        let mut lines = payload.split('\n');
        let number = lines.next()?.parse().ok()?;
        let (tag, before) = (lines.next()?.to_owned(), lines.next()?.to_owned());
        let paths = lines.map(|line| SecretPath::parse(line).ok()).collect();
        Some(Self { number, tag, before, paths })
    }
}

/// The state of which a feed has told, or that the process had seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    number: u64,
    /// Empty if only the number is known.
    tag: String,
}

/// What has changed from `known` to `now`, by the first announcement of each state between them.
fn change_between(known: &Known, now: &Known, announced: &VecDeque<Announcement>) -> Change {
    let (mut paths, mut at) = (Vec::new(), now.clone());
    while at.number > known.number {
        let is_of = |it: &&Announcement| (it.number, &it.tag) == (at.number, &at.tag);
        let Some(announcement) = announced.iter().find(is_of) else { return Change::Any };
        let Some(written) = &announcement.paths else { return Change::Any };
        paths.extend(written.iter().cloned());
        at = Known { number: at.number - 1, tag: announcement.before.clone() };
    }
    let is_continued = known.tag.is_empty() || known.tag == at.tag;
    if at.number == known.number && is_continued { Change::Secrets(paths) } else { Change::Any }
}

/// Follows the notifications, while `next` is awaited.
pub(super) struct DatabaseFeed {
    /// It does not keep the store open.
    cell: Weak<StoreCell>,
    location: Arc<DatabaseLocation>,
    /// It must not answer with what is older than a change that the feed has told of. Its connections end with the store.
    replica: Weak<Replica>,
    fork_guard: ForkGuard,
    closed: watch::Receiver<bool>,
    session: Option<Session>,
    known: Known,
    /// Of states after that one, as far as they were received.
    announced: VecDeque<Announcement>,
    last_check: Instant,
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
        replica: Weak<Replica>,
        fork_guard: ForkGuard,
        closed: watch::Receiver<bool>,
    ) -> Self {
        let number = cell.get().map_or(0, |store| store.guard().highest_number());
        let cell = Arc::downgrade(cell);
        let (now, [pause, _]) = (Instant::now(), PAUSES);
        Self {
            cell,
            location,
            replica,
            fork_guard,
            closed,
            session: None,
            known: Known { number, tag: String::new() },
            announced: VecDeque::new(),
            last_check: now,
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
            () = sleep_until(self.next_check) => Event::Check,
            notification = session.notification() => match notification {
                Some(notification) => Event::Notified(notification.payload().to_owned()),
                None => Event::Ended,
            },
        }
    }

    /// Keeps what a notification says, and looks at the state soon.
    fn note(&mut self, payload: &str) {
        let Some(announcement) = Announcement::parse(payload) else { return };
        if announcement.number <= self.known.number {
            return;
        }
        if self.announced.len() < MAX_ANNOUNCED {
            self.announced.push_back(announcement);
        }
        self.next_check = self.next_check.min(self.last_check + MIN_INTERVAL);
    }

    /// Looks at the state. Returns what has changed since the last look.
    async fn look(&mut self) -> Option<Change> {
        let Some(session) = &self.session else { return None };
        let ask = session.client.query_typed_opt(statements::STATE, &[]);
        let state = match timeout(ANSWER_TIME, ask).await {
            Ok(Ok(row)) => row.and_then(|row| state_of(&row).ok()),
            // The tables are missing until the first write, or may not be read.
            Ok(Err(error)) if error.code().is_some() => None,
            _ => {
                self.give_up();
                return None;
            }
        };
        if let (Some(replica), Some(state)) = (self.replica.upgrade(), &state) {
            replica.note_reported(state.number);
        }
        [self.pause, _] = PAUSES;
        self.last_check = Instant::now();
        self.next_check = self.last_check + CHECK_INTERVAL;
        // The server sends what it was notified of before the answer, or right after it.
        while let Some(notification) = self.session.as_mut().and_then(Session::waiting_notification)
        {
            self.note(notification.payload());
        }
        let now = state
            .map_or_else(Known::default, |state| Known { number: state.number, tag: tag(&state) });
        if now == self.known || (now.number == self.known.number && self.known.tag.is_empty()) {
            self.known = now;
            return None;
        }
        let change = change_between(&self.known, &now, &self.announced);
        self.announced.retain(|announcement| announcement.number > now.number);
        self.known = now;
        Some(change)
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
                Event::Notified(payload) => self.note(&payload),
                Event::Check => match self.look().await {
                    Some(Change::Secrets(paths)) if paths.is_empty() => {}
                    Some(change) => return Some(change),
                    None => {}
                },
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

    fn state(number: u64) -> StoredState {
        StoredState { number, sealed: number.to_be_bytes().to_vec() }
    }

    fn known(number: u64) -> Known {
        Known { number, tag: tag(&state(number)) }
    }

    fn announcement(number: u64, paths: &[&str]) -> Announcement {
        let paths: BTreeSet<_> = paths.iter().map(|path| (*path).to_owned()).collect();
        Announcement::parse(&payload(&state(number), Some(&state(number - 1)), &paths)).unwrap()
    }

    fn secrets(paths: &[&str]) -> Change {
        Change::Secrets(paths.iter().map(|path| SecretPath::parse(path).unwrap()).collect())
    }

    #[test]
    fn a_chain_of_notifications_says_what_was_written() {
        let announced = VecDeque::from([announcement(6, &["a/b", "c"]), announcement(7, &["d"])]);
        assert_eq!(change_between(&known(5), &known(7), &announced), secrets(&["d", "a/b", "c"]));
        assert_eq!(change_between(&known(6), &known(7), &announced), secrets(&["d"]));
        // One is missing, the number went back, or the store is another one.
        assert_eq!(change_between(&known(4), &known(7), &announced), Change::Any);
        assert_eq!(change_between(&known(7), &known(5), &announced), Change::Any);
        let other = Known { number: 5, tag: "other".into() };
        assert_eq!(change_between(&other, &known(7), &announced), Change::Any);
        let unknown = Known { number: 5, tag: String::new() };
        assert_eq!(change_between(&unknown, &known(6), &announced), secrets(&["a/b", "c"]));
    }

    #[test]
    fn a_forged_notification_hides_no_change() {
        let forged = |text: &str| Announcement::parse(text).unwrap();
        let guessed = forged("6\n00000000000000000000000000000000\n");
        let announced = VecDeque::from([guessed]);
        assert_eq!(change_between(&known(5), &known(6), &announced), Change::Any);
        // Who has seen the true one sends another of the same state: the first counts.
        let (first, tag_of_6) = (announcement(6, &["a"]), known(6).tag);
        let later = forged(&format!("6\n{tag_of_6}\n{}", known(5).tag));
        let announced = VecDeque::from([first, later]);
        assert_eq!(change_between(&known(5), &known(6), &announced), secrets(&["a"]));
        for text in ["", "no number", "6", "6\ntag", "-1\na\nb"] {
            assert_eq!(Announcement::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_payload_is_longer_than_the_server_takes() {
        for length in [7_000, 7_900, 7_930, 8_000, 20_000] {
            let paths = BTreeSet::from(["p".repeat(length)]);
            let long = payload(&state(u64::MAX), Some(&state(u64::MAX - 1)), &paths);
            assert!(long.len() <= MAX_PAYLOAD, "{length}");
        }
        let many: BTreeSet<_> = (0..2_000).map(|number| format!("of/{number}")).collect();
        let announced = Announcement::parse(&payload(&state(5), None, &many)).unwrap();
        assert_eq!(announced.paths, None);
    }
}
