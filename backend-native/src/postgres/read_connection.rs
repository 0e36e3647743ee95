//! A connection for reads, on which several requests are under way at the same time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use strongroom_core::{Error, Result};
use strongroom_postgres::Failure;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::error::is_disconnected;
use super::location::Endpoint;
use super::statements;

/// How many connections there are at most.
const CONNECTIONS: usize = 4;
/// How long one request may take.
pub(super) const READ_TIME: Duration = Duration::from_secs(10);
/// The pause after a connection that failed; it doubles after each further failure, up to the second one.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A place for a connection.
#[derive(Default)]
struct Slot {
    content: Mutex<Content>,
    /// Held while a connection is opened, with what came of the last attempt.
    opening: Arc<tokio::sync::Mutex<Option<FailedAttempt>>>,
}

#[derive(Default)]
enum Content {
    #[default]
    Empty,
    Open(Arc<ReadConnection>),
    /// It takes no connection any more.
    Closed,
}

struct FailedAttempt {
    failure: Failure,
    not_before: Instant,
    pause: Duration,
}

pub(super) struct ReadConnection {
    session: strongroom_postgres::Session,
    get_active: Statement,
    get_exact: Statement,
    /// The highest number of a state that the server was proved to have. It goes on from there. A higher number that it has
    /// shown does not count: it is to be compared with what this process learns of that state.
    known_number: AtomicU64,
}

/// A query of one statement, and so of one snapshot.
#[derive(Clone, Copy)]
pub(super) enum Query<'a> {
    /// A secret with its active version.
    Active(&'a str),
    /// A secret with one version.
    Exact(&'a str, i64),
    Other(&'static str, &'a [(&'a (dyn ToSql + Sync), Type)]),
}

/// What a connection has answered to a query.
pub(super) struct Answer {
    pub(super) connection: Arc<ReadConnection>,
    /// The row of a state that is not later than what the rows are from, if the connection was not known to be there.
    pub(super) state: Option<Vec<Row>>,
    pub(super) rows: Vec<Row>,
}

impl ReadConnection {
    async fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let session = endpoint.connect().await?;
        let get_active = session.client.prepare(statements::GET_ACTIVE).await?;
        let get_exact = session.client.prepare(statements::GET_EXACT).await?;
        Ok(Self { session, get_active, get_exact, known_number: AtomicU64::new(0) })
    }

    fn is_closed(&self) -> bool {
        self.session.client.is_closed()
    }

    /// Remembers that the server was proved to have a state with this number.
    pub(super) fn note_number(&self, number: u64) {
        self.known_number.fetch_max(number, Ordering::Relaxed);
    }

    async fn rows(&self, query: Query<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
        let client = &self.session.client;
        match query {
            Query::Active(path) => client.query(&self.get_active, &[&path]).await,
            Query::Exact(path, version) => client.query(&self.get_exact, &[&path, &version]).await,
            Query::Other(sql, values) => client.query_typed(sql, values).await,
        }
    }

    /// The rows, and the state before them unless the server is known to have one with the required number.
    async fn answer(
        &self,
        query: Query<'_>,
        required: u64,
    ) -> Result<(Option<Vec<Row>>, Vec<Row>), tokio_postgres::Error> {
        if self.known_number.load(Ordering::Relaxed) >= required {
            return Ok((None, self.rows(query).await?));
        }
        // Sent at once and in this order, in which the server runs them: the snapshot of the rows is not earlier.
        let state = self.rows(Query::Other(statements::STATE, &[]));
        let (state, rows) = try_join(state, self.rows(query)).await?;
        Ok((Some(state), rows))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// The connection, which is opened if there is none. Also returns whether it was there.
    async fn get(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Arc<ReadConnection>, bool)> {
        if let Some(connection) = self.current() {
            return Ok((connection, true));
        }
        let last = Arc::clone(&self.opening).lock_owned().await;
        if let Some(connection) = self.current() {
            return Ok((connection, false));
        }
        if let Some(failed) = last.as_ref().filter(|failed| failed.is_recent()) {
            return Err(endpoint.error(&failed.failure));
        }
        let open = self.open(endpoint, last);
        let opened = if endpoint.is_replica() {
            // It goes on when no read waits for it.
            tokio::spawn(open).await.unwrap_or_else(|_| Err(endpoint.error(&Failure::TimedOut)))
        } else {
            // A task would rest with the runtime of this read, and keep others from connecting.
            open.await
        };
        Ok((opened?, false))
    }

    /// Connects. There is one attempt at a time.
    fn open(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        mut last: OwnedMutexGuard<Option<FailedAttempt>>,
    ) -> impl Future<Output = Result<Arc<ReadConnection>>> + Send + use<> {
        let (slot, endpoint) = (Arc::clone(self), Arc::clone(endpoint));
        async move {
            match ReadConnection::open(&endpoint).await {
                Ok(connection) => {
                    *last = None;
                    slot.set(Arc::new(connection))
                }
                Err(failure) => {
                    let error = endpoint.error(&failure);
                    *last = Some(FailedAttempt::after(last.as_ref(), failure));
                    Err(error)
                }
            }
        }
    }

    /// Connects, unless that is under way or has just failed.
    fn open_in_background(self: &Arc<Self>, endpoint: &Arc<Endpoint>) {
        if let Ok(last) = Arc::clone(&self.opening).try_lock_owned()
            && !last.as_ref().is_some_and(FailedAttempt::is_recent)
        {
            drop(tokio::spawn(self.open(endpoint, last)));
        }
    }

    fn set(&self, connection: Arc<ReadConnection>) -> Result<Arc<ReadConnection>> {
        let mut content = lock(&self.content);
        if matches!(*content, Content::Closed) {
            return Err(Error::backend_closed());
        }
        *content = Content::Open(Arc::clone(&connection));
        Ok(connection)
    }

    fn current(&self) -> Option<Arc<ReadConnection>> {
        let mut content = lock(&self.content);
        let Content::Open(connection) = &*content else { return None };
        if connection.is_closed() {
            *content = Content::Empty;
            return None;
        }
        Some(Arc::clone(connection))
    }

    /// Runs a query. One on a connection that was open before, and turns out to be broken, runs once more.
    async fn ask(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        query: Query<'_>,
        required: u64,
    ) -> Result<Answer> {
        loop {
            let (connection, was_open) = self.get(endpoint).await?;
            let failure = match connection.answer(query, required).await {
                Ok((state, rows)) => return Ok(Answer { connection, state, rows }),
                Err(error) => Failure::from(error),
            };
            if is_disconnected(&failure) || !matches!(failure, Failure::Server(_)) {
                self.forget(&connection);
            }
            if !is_disconnected(&failure) || !was_open {
                return Err(endpoint.error(&failure));
            }
        }
    }

    /// Gives a connection up, unless another one has taken its place.
    fn forget(&self, failed: &Arc<ReadConnection>) {
        let mut content = lock(&self.content);
        if matches!(&*content, Content::Open(connection) if Arc::ptr_eq(connection, failed)) {
            *content = Content::Empty;
        }
    }

    fn close(&self) {
        *lock(&self.content) = Content::Closed;
    }
}

impl FailedAttempt {
    fn after(last: Option<&Self>, failure: Failure) -> Self {
        let [first, longest] = PAUSES;
        let pause = last.map_or(first, |last| (last.pause * 2).min(longest));
        Self { failure, not_before: Instant::now() + pause, pause }
    }

    fn is_recent(&self) -> bool {
        Instant::now() < self.not_before
    }
}

/// The connections to one server.
pub(super) struct Connections {
    endpoint: Arc<Endpoint>,
    slots: [Arc<Slot>; CONNECTIONS],
    next: AtomicUsize,
}

impl Connections {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            slots: Default::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// Runs a query on one of the connections.
    pub(super) async fn ask(
        &self,
        query: Query<'_>,
        required: u64,
        limit: Duration,
    ) -> Result<Answer> {
        let slot = self.slot().ok_or_else(Error::backend_closed)?;
        let used = slot.current();
        let answer = slot.ask(&self.endpoint, query, required);
        timeout(limit, answer).await.unwrap_or_else(|_| {
            // The connection may be what does not answer.
            if let Some(used) = &used {
                slot.forget(used);
            }
            Err(self.endpoint.error(&Failure::TimedOut))
        })
    }

    /// The next slot in turn. While it has no connection to a replica and another one has, that one: the replica may refuse
    /// further ones.
    fn slot(&self) -> Option<&Arc<Slot>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let slot = self.slots.get(number)?;
        if !self.endpoint.is_replica() || slot.current().is_some() {
            return Some(slot);
        }
        let Some(other) = self.slots.iter().find(|slot| slot.current().is_some()) else {
            return Some(slot);
        };
        slot.open_in_background(&self.endpoint);
        Some(other)
    }

    /// The server has to prove again what it has.
    pub(super) fn forget_numbers(&self) {
        for connection in self.slots.iter().filter_map(|slot| slot.current()) {
            connection.known_number.store(0, Ordering::Relaxed);
        }
    }

    /// Closes the connections, and opens no others.
    pub(super) fn close(&self) {
        self.slots.iter().for_each(|slot| slot.close());
    }
}
