//! Where the database is, and how to connect to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use strongroom_core::{Error, ErrorKind, Problems, Result};
use strongroom_postgres::{ConnectionUrl, Connector, Failure, Session, SessionLimits};

use super::error::EXPLAIN;
use crate::settings::{CA_CERT, URL};

/// How long a connection to one address may take to establish, and connecting and logging in at one host.
const CONNECT_TIMES: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(5)];
/// The server gives up before this process does.
const LIMITS: SessionLimits = SessionLimits {
    statement: Duration::from_secs(8),
    lock: Duration::from_secs(7),
    idle_in_transaction: Duration::from_secs(10),
};

/// A plan is kept with its statement. One that was made while a table was small must not read all of it when it has grown.
const PLANNING: &str = "SET enable_seqscan = off";

/// A database, and what connects to it.
pub(crate) struct DatabaseLocation {
    connector: Connector,
    url: ConnectionUrl,
    name: String,
}

/// Adds a problem if the URL cannot be used.
pub(crate) fn check(url: &SecretString, problems: &mut Problems) {
    EXPLAIN.parse_url(url.expose_secret(), problems);
}

impl DatabaseLocation {
    /// Checks the settings, and loads the certificates. Does not connect.
    pub(crate) fn new(url: &SecretString, ca_cert: Option<&PathBuf>) -> Result<Self> {
        let mut problems = Problems::new();
        let url = EXPLAIN.parse_url(url.expose_secret(), &mut problems);
        let tls = EXPLAIN.load_tls(ca_cert.map(PathBuf::as_path), &mut problems);
        problems.into_result()?;
        let (Some(url), Some((tls, loaded))) = (url, tls) else {
            return Err(Error::new(ErrorKind::Config, format!("check `{URL}` and `{CA_CERT}`"))
                .because("the TLS client of the store's database cannot be set up"));
        };
        let [connect, login] = CONNECT_TIMES;
        let mut connector = Connector::new(&tls, loaded, connect)?;
        connector.set_timeouts(connect, login);
        let name = name_of(&url);
        Ok(Self { connector, url, name })
    }

    /// What errors call the database: its hosts and its name, without role and password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects to the first host that is not a standby, and sets the session up.
    pub(crate) async fn connect(&self) -> Result<Session, Failure> {
        let (session, _) = self.connector.connect_to_primary(&self.url).await?;
        session.set_up(LIMITS).await?;
        session.client.batch_execute(PLANNING).await?;
        Ok(session)
    }
}

fn name_of(url: &ConnectionUrl) -> String {
    let hosts: Vec<_> =
        url.hosts.iter().map(|host| format!("{}:{}", host.name, host.port)).collect();
    let database = url.database.as_ref().unwrap_or(&url.role);
    format!("postgresql://{}/{database}", hosts.join(","))
}

impl fmt::Debug for DatabaseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseLocation").field("name", &self.name).finish_non_exhaustive()
    }
}
