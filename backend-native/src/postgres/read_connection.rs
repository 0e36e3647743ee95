//! A connection for reads, on which several requests are under way at the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use strongroom_core::Result;
use strongroom_postgres::Failure;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::error::is_disconnected;
use super::location::Endpoint;
use super::statements;

/// How many connections there are at most.
pub(super) const CONNECTIONS: usize = 4;
/// How long one request may take.
pub(super) const READ_TIME: Duration = Duration::from_secs(10);
/// The pause after a connection that failed; it doubles after each further failure, up to the second one.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A place for a connection.
#[derive(Default)]
pub(super) struct Slot {
    current: Mutex<Option<Arc<ReadConnection>>>,
    /// Held while a connection is opened, with what came of the last attempt.
    opening: tokio::sync::Mutex<Option<FailedAttempt>>,
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

    /// The server has to prove again what it has.
    pub(super) fn forget_number(&self) {
        self.known_number.store(0, Ordering::Relaxed);
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
    pub(super) async fn get(&self, endpoint: &Endpoint) -> Result<(Arc<ReadConnection>, bool)> {
        if let Some(connection) = self.current() {
            return Ok((connection, true));
        }
        let mut last = self.opening.lock().await;
        if let Some(connection) = self.current() {
            return Ok((connection, false));
        }
        if let Some(FailedAttempt { failure, not_before, .. }) = &*last
            && Instant::now() < *not_before
        {
            return Err(endpoint.error(failure));
        }
        match ReadConnection::open(endpoint).await {
            Ok(connection) => {
                *last = None;
                let connection = Arc::new(connection);
                *lock(&self.current) = Some(Arc::clone(&connection));
                Ok((connection, false))
            }
            Err(failure) => {
                let error = endpoint.error(&failure);
                let [first, longest] = PAUSES;
                let pause = last.as_ref().map_or(first, |last| (last.pause * 2).min(longest));
                *last = Some(FailedAttempt { failure, not_before: Instant::now() + pause, pause });
                Err(error)
            }
        }
    }

    pub(super) fn current(&self) -> Option<Arc<ReadConnection>> {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|connection| connection.is_closed()) {
            *current = None;
        }
        current.clone()
    }

    /// Runs a query. One on a connection that was open before, and turns out to be broken, runs once more.
    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
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
    pub(super) fn forget(&self, failed: &Arc<ReadConnection>) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, failed)) {
            *current = None;
        }
    }

    /// Lets the next read connect, also shortly after an attempt that failed.
    pub(super) fn forget_failure(&self) {
        // One that is under way finds out by itself.
        if let Ok(mut last) = self.opening.try_lock() {
            *last = None;
        }
    }

    pub(super) fn close(&self) {
        *lock(&self.current) = None;
    }
}
