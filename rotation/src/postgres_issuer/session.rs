//! Connections to a server.

use std::io;
use std::time::Duration;

use strongroom_core::{ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Principal, permanent};
use super::guarded_stream::GuardedStream;
use super::host::Host;
use super::url::{ConnectionUrl, TlsMode};
use crate::tls::ReloadingClient;

/// How long a server may take to close a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The role and the password of a login.
pub(super) struct Login<'a> {
    pub(super) role: &'a str,
    pub(super) password: Option<&'a [u8]>,
    pub(super) database: Option<&'a str>,
    pub(super) options: Option<&'a str>,
}

impl<'a> Login<'a> {
    pub(super) fn of(url: &'a ConnectionUrl) -> Self {
        Self {
            role: &url.role,
            password: Some(&url.password),
            database: url.database.as_deref(),
            options: url.options.as_deref(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The server cannot be reached.
    Io(io::Error),
    /// The driver, or the server, refuses.
    Driver(tokio_postgres::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

impl ConnectError {
    /// The code of the server's answer, if it answered.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Io(_) => None,
            Self::Driver(error) => error.code(),
        }
    }
}

/// Opens connections.
pub(super) struct Connector {
    pub(super) tls: ReloadingClient<MakeRustlsConnect>,
    pub(super) connect_timeout: Duration,
    pub(super) allow_plaintext: bool,
}

impl Connector {
    /// Rejects a URL that would send passwords unencrypted. Connections to other hosts use TLS, unless both
    /// the URL and the configuration turn it off.
    pub(super) fn require_tls(&self, url: &ConnectionUrl, principal: Principal) -> Result<()> {
        let is_remote = |host: &Host| !host.is_local();
        if url.tls == TlsMode::Disable && !self.allow_plaintext && url.hosts.iter().any(is_remote) {
            return Err(permanent(
                ErrorKind::InvalidInput,
                format!("{} turns TLS off towards another host", principal.url()),
                "use `sslmode=verify-full`; or set `tls.allow_plaintext` if you accept that anyone on the way \
                 can read what is sent",
            ));
        }
        Ok(())
    }

    pub(super) async fn connect(
        &self,
        host: &Host,
        tls: TlsMode,
        login: &Login<'_>,
    ) -> Result<Session, ConnectError> {
        let is_plaintext = match tls {
            _ if host.is_socket() => true,
            TlsMode::Require => false,
            TlsMode::Prefer => host.is_local(),
            TlsMode::Disable => host.is_local() || self.allow_plaintext,
        };
        let mut config = Config::new();
        config.user(login.role).application_name("strongroom").ssl_mode(if is_plaintext {
            SslMode::Disable
        } else {
            SslMode::Require
        });
        if let Some(password) = login.password {
            config.password(password);
        }
        if let Some(database) = login.database {
            config.dbname(database);
        }
        if let Some(options) = login.options {
            config.options(options);
        }
        let stream = timeout(self.connect_timeout, GuardedStream::connect(host, is_plaintext));
        let stream = stream.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let mut tls = self.tls.current().await;
        let tls = MakeTlsConnect::<GuardedStream>::make_tls_connect(&mut tls, &host.name)
            .map_err(io::Error::other)?;
        let (client, connection) = config.connect_raw(stream, tls).await?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // The client returns the error to the caller that waits for an answer.
            drop(connection.await);
        });
        Ok(Session { client, task })
    }
}

/// A connection. When it is dropped, the server rolls back what was not committed.
pub(super) struct Session {
    pub(super) client: Client,
    /// Reads and writes for the client until it is dropped.
    task: JoinSet<()>,
}

impl Session {
    /// Closes the connection in order, so that no server logs a broken one.
    pub(super) async fn close(mut self) {
        drop(self.client);
        // If the server does not answer in time, the task is dropped.
        let _ = timeout(CLOSE_TIMEOUT, self.task.join_next()).await;
    }
}
