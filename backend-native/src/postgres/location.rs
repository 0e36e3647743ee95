//! Where the database is, and how to connect to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use strongroom_core::{Error, ErrorKind, Problems, Result};
use strongroom_postgres::{ConnectionUrl, Connector, Explain, Failure, Session, SessionLimits};

use super::error::{self, EXPLAIN, EXPLAIN_REPLICA};
use crate::config::NativeConfig;
use crate::settings::CA_CERT;

/// How long a connection to one address may take to establish, and connecting and logging in at one host.
const CONNECT_TIMES: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(5)];
/// The server gives up before this process does.
const LIMITS: SessionLimits = SessionLimits {
    statement: Duration::from_secs(8),
    lock: Duration::from_secs(7),
    idle_in_transaction: Duration::from_secs(10),
};

/// A plan is kept with its statement. One that was made while a table was small must not read all of it when it has grown.
/// A statement that needs all of it reads it all the same: the cost that the server adds then must not make it compile the plan.
const PLANNING: &str = "SET enable_seqscan = off; SET jit = off";

/// How old the answers of a replica may be, unless the configuration says so.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(10);

/// The server of a database, which a URL names, and what connects to it.
pub(crate) struct Endpoint {
    connector: Connector,
    url: ConnectionUrl,
    /// How errors speak of it.
    explain: Explain,
    role: Role,
}

/// What a server is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The primary, which alone accepts writes.
    Primary,
    /// Any server, for reads alone.
    Replica,
}

/// A replica for reads.
pub(crate) struct ReplicaLocation {
    pub(super) endpoint: Arc<Endpoint>,
    /// How old its answers may be.
    pub(super) max_age: Duration,
}

/// A database: its primary, and a replica if one is configured.
pub(crate) struct DatabaseLocation {
    pub(super) primary: Arc<Endpoint>,
    pub(super) replica: Option<ReplicaLocation>,
    name: String,
}

/// Adds a problem if the URL of the primary cannot be used.
pub(crate) fn check(url: &SecretString, problems: &mut Problems) {
    EXPLAIN.parse_url(url.expose_secret(), problems);
}

/// The same for the URL of the replica.
pub(crate) fn check_replica(url: &SecretString, problems: &mut Problems) {
    EXPLAIN_REPLICA.parse_url(url.expose_secret(), problems);
}

impl Endpoint {
    fn new(config: &NativeConfig, url: &SecretString, role: Role) -> Result<Self> {
        let explain = match role {
            Role::Primary => EXPLAIN,
            Role::Replica => EXPLAIN_REPLICA,
        };
        let mut problems = Problems::new();
        let url = explain.parse_url(url.expose_secret(), &mut problems);
        let tls = explain.load_tls(config.ca_cert.as_deref(), &mut problems);
        problems.into_result()?;
        let (Some(url), Some((tls, loaded))) = (url, tls) else {
            let advice = format!("check `{}` and `{CA_CERT}`", explain.url);
            return Err(Error::new(ErrorKind::Config, advice)
                .because("the TLS client of the store's database cannot be set up"));
        };
        let [connect, login] = CONNECT_TIMES;
        let mut connector = Connector::new(&tls, loaded, connect)?;
        connector.set_timeouts(connect, login);
        Ok(Self { connector, url, explain, role })
    }

    /// Connects to the first host that answers and has the role, and sets the session up.
    pub(super) async fn connect(&self) -> Result<Session, Failure> {
        let session = match self.role {
            Role::Primary => self.connector.connect_to_primary(&self.url).await?.0,
            Role::Replica => self.connector.connect_to_any(&self.url).await?,
        };
        session.set_up(LIMITS).await?;
        session.client.batch_execute(PLANNING).await?;
        if self.role == Role::Replica {
            // It may be the primary, or become it.
            session.client.batch_execute("SET default_transaction_read_only = on").await?;
        }
        Ok(session)
    }

    pub(super) fn is_replica(&self) -> bool {
        self.role == Role::Replica
    }

    pub(super) fn error(&self, failure: &Failure) -> Error {
        error::explained(&self.explain, failure)
    }
}

impl DatabaseLocation {
    /// Checks the settings, and loads the certificates. Does not connect. `url` is that of the primary.
    pub(crate) fn new(config: &NativeConfig, url: &SecretString) -> Result<Self> {
        let primary = Arc::new(Endpoint::new(config, url, Role::Primary)?);
        let replica = match &config.replica_url {
            None => None,
            Some(url) => Some(ReplicaLocation {
                endpoint: Arc::new(Endpoint::new(config, url, Role::Replica)?),
                max_age: config.replica_max_age.unwrap_or(DEFAULT_MAX_AGE),
            }),
        };
        let name = name_of(&primary.url);
        Ok(Self { primary, replica, name })
    }

    /// What errors call the database: its hosts and its name, without role and password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects to the first host that is not a standby, and sets the session up.
    pub(crate) async fn connect(&self) -> Result<Session, Failure> {
        self.primary.connect().await
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
