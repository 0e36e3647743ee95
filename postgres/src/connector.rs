//! Opens connections.

use std::fmt;
use std::io;
use std::time::Duration;

use strongroom_core::Result;
use strongroom_transport::{LoadedTls, ReloadingClient, TlsConfig};
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::failure::Failure;
use crate::guarded_stream::GuardedStream;
use crate::host::Host;
use crate::session::Session;
use crate::url::{ConnectionUrl, TlsMode};

/// The role and the password of a login. It has no `Debug`: it holds a password.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The role.
    pub role: &'a str,
    /// The password; `None` logs in without one.
    pub password: Option<&'a [u8]>,
    /// The database; `None` is the one with the name of the role.
    pub database: Option<&'a str>,
    /// The server's settings for the session, as in `options` of a URL.
    pub options: Option<&'a str>,
}

impl<'a> Login<'a> {
    /// The login that a URL names.
    #[must_use]
    pub fn of(url: &'a ConnectionUrl) -> Self {
        Self {
            role: &url.role,
            password: Some(&url.password),
            database: url.database.as_deref(),
            options: url.options.as_deref(),
        }
    }
}

/// Opens connections.
///
/// Connections to other hosts use TLS regardless of `sslmode`, and always check the certificate in full; connections to
/// this host use TLS if `sslmode` asks for it.
pub struct Connector {
    tls: ReloadingClient<MakeRustlsConnect>,
    allow_plaintext: bool,
    connect_timeout: Duration,
    login_timeout: Option<Duration>,
    max_received: Option<usize>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector with what was loaded from `tls`. `connect_timeout` limits how long a connection to one address may
    /// take to establish.
    ///
    /// # Errors
    /// If the TLS client cannot be built.
    pub fn new(tls: &TlsConfig, loaded: LoadedTls, connect_timeout: Duration) -> Result<Self> {
        Ok(Self {
            tls: ReloadingClient::new(tls, loaded, |config| Ok(MakeRustlsConnect::new(config)))?,
            allow_plaintext: tls.allow_plaintext,
            connect_timeout,
            login_timeout: None,
            max_received: None,
        })
    }

    /// Limits how long a connection to one address may take to establish, and how long connecting and logging in at one
    /// host may take.
    pub fn set_timeouts(&mut self, connect: Duration, login: Duration) {
        self.connect_timeout = connect;
        self.login_timeout = Some(login);
    }

    /// Limits how many bytes a server may send in one session.
    #[must_use]
    pub fn max_received(mut self, bytes: usize) -> Self {
        self.max_received = Some(bytes);
        self
    }

    /// Whether a URL would send passwords unencrypted: it turns TLS off towards another host, and the configuration
    /// does not allow that.
    #[must_use]
    pub fn is_exposed(&self, url: &ConnectionUrl) -> bool {
        !self.allow_plaintext && url.is_exposed()
    }

    /// Connects to a host and logs in.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn connect(
        &self,
        host: &Host,
        tls: TlsMode,
        login: &Login<'_>,
    ) -> Result<Session, Failure> {
        let connect = Box::pin(self.connect_and_log_in(host, tls, login));
        match self.login_timeout {
            None => connect.await,
            Some(limit) => timeout(limit, connect).await.unwrap_or(Err(Failure::TimedOut)),
        }
    }

    /// Connects to the first of a URL's hosts that accepts the login and is not a standby.
    ///
    /// # Errors
    /// What went wrong with one of the hosts, rather something permanent than that another host is down.
    pub async fn connect_to_primary(
        &self,
        url: &ConnectionUrl,
    ) -> Result<(Session, Host), Failure> {
        let mut kept = None;
        for host in &url.hosts {
            match self.connect_unless_standby(host, url).await {
                Ok(session) => return Ok((session, host.clone())),
                Err(failure) => Failure::keep_permanent(&mut kept, failure),
            }
        }
        Err(kept.unwrap_or(Failure::TimedOut))
    }

    /// Connects to the first of a URL's hosts that accepts the login, be it a primary or a standby.
    ///
    /// # Errors
    /// What went wrong with one of the hosts, rather something permanent than that another host is down.
    pub async fn connect_to_any(&self, url: &ConnectionUrl) -> Result<Session, Failure> {
        let mut kept = None;
        for host in &url.hosts {
            match self.connect(host, url.tls, &Login::of(url)).await {
                Ok(session) => return Ok(session),
                Err(failure) => Failure::keep_permanent(&mut kept, failure),
            }
        }
        Err(kept.unwrap_or(Failure::TimedOut))
    }

    async fn connect_unless_standby(
        &self,
        host: &Host,
        url: &ConnectionUrl,
    ) -> Result<Session, Failure> {
        let session = self.connect(host, url.tls, &Login::of(url)).await?;
        if session.is_standby().await? {
            session.close().await;
            return Err(Failure::ReadOnly);
        }
        Ok(session)
    }

    async fn connect_and_log_in(
        &self,
        host: &Host,
        tls: TlsMode,
        login: &Login<'_>,
    ) -> Result<Session, Failure> {
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
        let stream = GuardedStream::connect(host, is_plaintext, self.max_received);
        let stream = timeout(self.connect_timeout, stream);
        let stream = stream.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let mut tls = self.tls.current().await;
        let tls = MakeTlsConnect::<GuardedStream>::make_tls_connect(&mut tls, &host.name)
            .map_err(io::Error::other)?;
        let (client, connection) = config.connect_raw(stream, tls).await?;
        Ok(Session::new(client, connection))
    }
}
