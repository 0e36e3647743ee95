//! The connection of a log: opened when a call needs it, and given up when a call fails.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use strongroom_core::{Error, ErrorKind, Problems, Result};
use strongroom_postgres::{
    ConnectionUrl, Connector, Failure, ServerProcess, Session, SessionLimits,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;
use tokio_postgres::Statement;

use super::error::{CallError, EXPLAIN, inside_runtime, unreadable};
use super::schema;
use crate::log::LogId;
use crate::log::error::corrupt;
use crate::log::location::DatabaseLocation;
use crate::settings::{CA_CERT, URL};

/// How long a call takes at most while the log is being opened, and when it only reads.
const LONG_WAIT: Duration = Duration::from_secs(30);
/// The shortest and the longest time that a call of a writer takes.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];
/// How long a connection to one host may take to establish, and to log in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause after a connection that failed; it doubles after each further failure, up to the second one.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A connection that has been set up.
pub(super) struct LogSession {
    pub(super) session: Session,
    pub(super) process: ServerProcess,
    /// Reads the state of the log, once it is prepared.
    state: OnceCell<Statement>,
}

/// What a call needs to know about the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The schema of this release.
    Log,
    /// Nothing: the log is being opened.
    Nothing,
}

/// Where and how to connect.
struct Target {
    connector: Connector,
    url: ConnectionUrl,
}

/// Runs calls, each within a bound. It has a runtime of its own, and blocks.
pub(super) struct LogConnection {
    runtime: Runtime,
    target: Target,
    session: Option<LogSession>,
    wait: Duration,
    /// Why the last connection failed, when the next attempt may be made, and the pause after that.
    failed: Option<(Failure, Instant, Duration)>,
}

/// Parses the URL, and adds a problem if it cannot be used.
pub(super) fn parse_url(
    database: &DatabaseLocation,
    problems: &mut Problems,
) -> Option<ConnectionUrl> {
    EXPLAIN.parse_url(database.url.expose_secret(), problems)
}

impl LogConnection {
    /// Checks the location, and loads the certificates. Does not connect.
    pub(super) fn new(database: &DatabaseLocation) -> Result<Self> {
        if Handle::try_current().is_ok() {
            return Err(inside_runtime());
        }
        let mut problems = Problems::new();
        let url = parse_url(database, &mut problems);
        let tls = EXPLAIN.load_tls(database.ca_cert.as_deref(), &mut problems);
        problems.into_result()?;
        let (Some(url), Some((tls, loaded))) = (url, tls) else {
            return Err(Error::new(ErrorKind::Config, format!("check `{URL}` and `{CA_CERT}`"))
                .because("the TLS client of the audit log cannot be set up"));
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| {
            Error::new(ErrorKind::Unavailable, "raise the limits on open files and threads")
                .because("no runtime could be started for the audit log's database")
        })?;
        let connector = Connector::new(&tls, loaded, CONNECT_TIMEOUT)?;
        let mut connection = Self {
            runtime,
            target: Target { connector, url },
            session: None,
            wait: LONG_WAIT,
            failed: None,
        };
        connection.share_out(LONG_WAIT);
        Ok(connection)
    }

    /// Limits how long a call takes.
    pub(super) fn limit_wait(&mut self, wait: Duration) -> Result<()> {
        let [shortest, longest] = WAITS;
        self.wait = wait.clamp(shortest, longest);
        self.share_out(self.wait);
        let limits = limits(self.wait);
        self.call(Expect::Log, &async |log| Ok(log.session.set_up(limits).await?))
    }

    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Leaves time for each of the hosts, and for the call itself.
    fn share_out(&mut self, wait: Duration) {
        let hosts = u32::try_from(self.target.url.hosts.len()).unwrap_or(u32::MAX);
        let share = (wait / hosts.saturating_add(1)).min(CONNECT_TIMEOUT);
        self.target.connector.set_timeouts(share, share);
    }

    /// Runs a call that can be repeated. One on a connection that turns out to be broken runs once more.
    pub(super) fn call<T>(
        &mut self,
        expect: Expect,
        run: &impl AsyncFn(&LogSession) -> Result<T, CallError>,
    ) -> Result<T> {
        let deadline = Instant::now() + self.wait;
        let had_session = self.session.is_some();
        let result = match self.call_once(expect, deadline, run) {
            Err(CallError::Database(Failure::Unreachable)) if had_session => {
                self.call_once(expect, deadline, run)
            }
            result => result,
        };
        Ok(result?)
    }

    /// Runs a call once.
    pub(super) fn call_once<T>(
        &mut self,
        expect: Expect,
        deadline: Instant,
        run: impl AsyncFnOnce(&LogSession) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.ensure_connected(expect, deadline)?;
        let Some(session) = self.session.take() else {
            return Err(Failure::Unreachable.into());
        };
        let run = async move {
            let result = run(&session).await;
            (session, result)
        };
        // When the time has passed, the connection is dropped with what is under way.
        let (session, result) = block_on(&self.runtime, deadline, Box::pin(run))?;
        if matches!(&result, Ok(_) | Err(CallError::Log(_))) {
            self.session = Some(session);
        }
        result
    }

    /// Connects if there is no connection, unless an attempt has just failed.
    fn ensure_connected(&mut self, expect: Expect, deadline: Instant) -> Result<(), CallError> {
        if let Some(log) = &self.session
            && !log.session.client.is_closed()
        {
            return Ok(());
        }
        if let Some((failure, not_before, _)) = &self.failed
            && Instant::now() < *not_before
        {
            return Err(failure.clone().into());
        }
        self.connect(expect, deadline)
    }

    /// Connects, also shortly after an attempt that failed.
    pub(super) fn connect(&mut self, expect: Expect, deadline: Instant) -> Result<(), CallError> {
        let wait = self.wait;
        let result = block_on(&self.runtime, deadline, Box::pin(self.target.connect(expect, wait)));
        let result = result.and_then(|result| result);
        self.failed = match &result {
            Err(CallError::Database(failure)) => {
                let [first, longest] = PAUSES;
                let pause = self.failed.as_ref().map_or(first, |(_, _, pause)| *pause);
                Some((failure.clone(), Instant::now() + pause, (pause * 2).min(longest)))
            }
            _ => None,
        };
        self.session = Some(result?);
        Ok(())
    }

    /// Closes the connection in order.
    pub(super) fn close(self) {
        if let Some(log) = self.session
            && Handle::try_current().is_err()
        {
            self.runtime.block_on(log.session.close());
        }
        // A server that does not answer keeps no thread waiting.
        self.runtime.shutdown_background();
    }
}

fn block_on<T>(
    runtime: &Runtime,
    deadline: Instant,
    run: impl Future<Output = T> + Unpin,
) -> Result<T, CallError> {
    if Handle::try_current().is_ok() {
        return Err(inside_runtime().into());
    }
    let left = deadline.saturating_duration_since(Instant::now());
    runtime
        .block_on(async { timeout(left, run).await })
        .map_err(|_| CallError::Database(Failure::TimedOut))
}

impl Target {
    /// Connects to the first host that is not a standby, and sets the session up.
    async fn connect(&self, expect: Expect, wait: Duration) -> Result<LogSession, CallError> {
        let (session, _) = self.connector.connect_to_primary(&self.url).await?;
        session.set_up(limits(wait)).await?;
        let process = session.process().await?;
        if expect == Expect::Log && schema::identify(&session).await? != schema::Content::Log {
            let removed =
                Error::new(ErrorKind::Unavailable, "open the rules again; nothing was written")
                    .because("the audit log's schema was removed from the database");
            return Err(removed.temporary(false).into());
        }
        Ok(LogSession { session, process, state: OnceCell::new() })
    }
}

impl LogSession {
    /// The id of the log, and its last record by the head.
    pub(super) async fn state(&self) -> Result<(LogId, u64), CallError> {
        let statement = if let Some(statement) = self.state.get() {
            statement
        } else {
            let sql = "SELECT log_id, last FROM strongroom_access.head WHERE id = 1";
            let statement = self.session.client.prepare(sql).await?;
            self.state.get_or_init(|| statement)
        };
        let row = self.session.client.query_opt(statement, &[]).await?;
        let row = row.ok_or_else(|| corrupt("the table `head` of the audit log is empty"))?;
        let id: &[u8] = row.try_get(0).map_err(unreadable)?;
        let last: i64 = row.try_get(1).map_err(unreadable)?;
        Ok((id.try_into().map_err(unreadable)?, u64::try_from(last).map_err(unreadable)?))
    }
}

/// The server gives up before this process does.
fn limits(wait: Duration) -> SessionLimits {
    SessionLimits { statement: wait / 2, lock: wait / 3, idle_in_transaction: wait }
}

/// How long the first attempt of an append takes, so that time is left to find out what came of it.
pub(super) fn attempt_time(wait: Duration) -> Duration {
    wait * 2 / 3
}
