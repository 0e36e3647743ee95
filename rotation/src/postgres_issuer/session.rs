//! One connection to one server, which ends with its value.

use std::time::Duration;

use strongroom_core::{ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Whose, lasting};
use super::host::Host;
use super::url::{ConnectionUrl, Tls};

/// How long a connection may take to end well.
const FAREWELL: Duration = Duration::from_secs(1);

/// Who logs in.
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

/// How to connect.
pub(super) struct Connector {
    pub(super) tls: MakeRustlsConnect,
    pub(super) connect_timeout: Duration,
    pub(super) allow_plain: bool,
}

impl Connector {
    /// Refuses a URL that would have passwords sent in the open. Other hosts than this machine's are
    /// spoken to with TLS, unless both the URL and the configuration say no.
    pub(super) fn check(&self, url: &ConnectionUrl, whose: Whose) -> Result<()> {
        let is_open = |host: &Host| !host.is_local();
        if url.tls == Tls::Off && !self.allow_plain && url.hosts.iter().any(is_open) {
            return Err(lasting(
                ErrorKind::InvalidInput,
                format!("{} turns TLS off towards another host", whose.url()),
                "use `sslmode=verify-full`; or set `allow_plain` if you accept that anyone on the way \
                 can read what is sent",
            ));
        }
        Ok(())
    }

    pub(super) async fn connect(
        &self,
        host: &Host,
        tls: Tls,
        login: &Login<'_>,
    ) -> Result<Session, tokio_postgres::Error> {
        let is_plain = match tls {
            _ if host.is_socket() => true,
            Tls::On => false,
            Tls::Open => host.is_local(),
            Tls::Off => host.is_local() || self.allow_plain,
        };
        let mut config = Config::new();
        config
            .host(&host.name)
            .port(host.port)
            .user(login.role)
            .application_name("strongroom")
            .ssl_mode(if is_plain { SslMode::Disable } else { SslMode::Require })
            .connect_timeout(self.connect_timeout);
        if let Some(password) = login.password {
            config.password(password);
        }
        if let Some(database) = login.database {
            config.dbname(database);
        }
        if let Some(options) = login.options {
            config.options(options);
        }
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Whoever waits for an answer is told of it.
            drop(connection.await);
        });
        Ok(Session { client, task })
    }
}

/// A connection. If its value is dropped, the server undoes what was not committed.
pub(super) struct Session {
    pub(super) client: Client,
    /// Reads and writes for the client, and is ended with this value.
    task: JoinSet<()>,
}

impl Session {
    /// Says goodbye, so that no server logs a broken connection.
    pub(super) async fn close(mut self) {
        drop(self.client);
        // A server that does not take the goodbye is left all the same.
        let _ = timeout(FAREWELL, self.task.join_next()).await;
    }
}
