//! An issuer of passwords for two PostgreSQL roles, which alternate.
//!
//! Passwords are masked and wiped as far as this library holds them. The driver below copies those that it
//! logs in with into buffers of its own, which it frees without wiping.

mod admin;
mod config;
mod error;
mod fencing;
mod passwords;
mod statements;
mod url;

use std::fmt;
use std::sync::Arc;

use strongroom_core::{
    Backend, ErrorKind, Operation, Result, SecretPath, SecretValue, async_trait,
};
use strongroom_postgres::{ConnectionUrl, Connector, Login};

use self::admin::{AdminSession, Administrator};
use self::config::CheckedConfig;
use self::error::{
    BACKEND, Principal, keep_permanent, login_error, permanent, statement_error, timeout_error,
};
use self::statements::Verifier;
use super::issuer::{IssueAttempt, IssuedKey, KeyIssuer};
use super::password::PasswordIssuer;

pub use self::config::PostgresIssuerConfig;

/// Rotates the passwords of two roles of a PostgreSQL server (10 or newer) alternately: while one is in use,
/// the other gets its next password.
///
/// The key is a connection URL, `postgresql://role:password@host:5432/database`, which a service passes
/// to its driver as it is. A new key has another role and password and stays the same byte for byte
/// otherwise, with several hosts and all parameters. `name=value` pairs are not accepted.
///
/// An administrator changes the passwords: a third role with CREATEROLE that has both roles WITH ADMIN
/// OPTION. Its own URL is a secret, too. The issuer reads it from the store for each call, so that its
/// password can rotate as well. All instances that use one pair of roles name the same database in it: a
/// lock in that database keeps their changes apart.
///
/// The comments of both roles hold the fencing token of the newest attempt, as
/// `[strongroom: fencing token 17]` behind your own text. An attempt with a smaller one is rejected: its
/// instance was paused while another one went on, and would replace the password in use. If you set up the
/// secret again with smaller tokens, remove that text with `COMMENT ON ROLE`.
///
/// Connections to other hosts use TLS regardless of `sslmode`, and always check the certificate in full;
/// connections to this host use TLS if `sslmode` asks for it. [`tls`](PostgresIssuerConfig::tls) names the
/// authorities and the client certificate; files are read again when they change. Each call opens its own
/// connections and closes them. The server gets a verifier (SCRAM-SHA-256) instead of the new password, as a parameter of
/// a statement: no log of statements shows the password. `VALID UNTIL`, LOGIN and the rights of roles
/// stay as they are.
///
/// | what happens | error |
/// |---|---|
/// | the key or URL has another form, or names a third role | [`InvalidInput`](ErrorKind::InvalidInput) |
/// | 28P01, 28000: the server rejects a password or a login | [`Unauthenticated`](ErrorKind::Unauthenticated) |
/// | 42501: the administrator lacks a right | [`Denied`](ErrorKind::Denied) |
/// | 42704, 3D000: a role or database is missing | [`Config`](ErrorKind::Config) |
/// | another instance has made a newer attempt | [`Conflict`](ErrorKind::Conflict), permanent |
/// | 53300, 57P03, a standby, a broken connection | [`Unavailable`](ErrorKind::Unavailable), temporary |
/// | TLS fails, or the server does not offer it | [`Unavailable`](ErrorKind::Unavailable), permanent |
/// | no answer in time | [`Timeout`](ErrorKind::Timeout) |
///
/// # Examples
/// ```
/// # async fn run(store: std::sync::Arc<strongroom_core::MemoryBackend>) -> strongroom_core::Result<()> {
/// use strongroom_rotation::{PostgresIssuer, PostgresIssuerConfig, ManagedKey, RotationEngine};
///
/// let config = PostgresIssuerConfig::new("orders_a", "orders_b");
/// let issuer = PostgresIssuer::new(store.clone(), "db/administrator", &config)?;
/// let engine = RotationEngine::new(store);
/// let key = engine.add(ManagedKey::new("db/orders", issuer)).await?;
/// connect(key.acquire().expose_text()?); // for each new connection
/// # Ok(())
/// # }
/// # fn connect(_url: &str) {}
/// ```
pub struct PostgresIssuer {
    config: PostgresIssuerConfig,
    administrator: Administrator,
    passwords: PasswordIssuer,
    connector: Arc<Connector>,
}

impl PostgresIssuer {
    /// An issuer for the roles that `config` names, whose passwords the administrator changes with the
    /// URL at `admin_path`. This neither reads the URL nor connects.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every problem of the configuration;
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `admin_path` is not a path.
    pub fn new(
        backend: impl Backend,
        admin_path: impl AsRef<str>,
        config: &PostgresIssuerConfig,
    ) -> Result<Self> {
        let CheckedConfig { passwords, connector } = config.check()?;
        let administrator = Administrator {
            backend: Arc::new(backend),
            path: parse_admin_path(admin_path.as_ref())?,
            field: config.admin_field.clone(),
            roles: config.roles.clone(),
        };
        let connector = Arc::new(connector);
        Ok(Self { config: config.clone(), administrator, passwords, connector })
    }

    /// Parses a key of one of the two roles.
    fn parse_key(&self, key: &SecretValue) -> Result<ConnectionUrl> {
        let url = url::parse(key, Principal::Key)?;
        if !self.config.roles.contains(&url.role) {
            return Err(permanent(
                ErrorKind::InvalidInput,
                "the key's role is none of the two that take turns",
                "store a URL with one of the `roles`, or correct `roles`",
            ));
        }
        url::require_tls(&self.connector, &url, Principal::Key)?;
        Ok(url)
    }

    /// The role that gets the next password.
    fn next_role(&self, current: &str) -> &str {
        let [one, other] = &self.config.roles;
        if current == one { other } else { one }
    }

    /// Logs in with a key, at the first of its hosts that accepts it.
    async fn log_in(&self, key: &ConnectionUrl) -> Result<()> {
        let mut failure = None;
        for host in &key.hosts {
            match self.connector.connect(host, key.tls, &Login::of(key)).await {
                Ok(session) => {
                    statements::ping(&session).await.map_err(statement_error)?;
                    session.close().await;
                    return Ok(());
                }
                Err(error) => {
                    keep_permanent(
                        &mut failure,
                        login_error(&error, Principal::Key, Some(&key.role)),
                    );
                }
            }
        }
        Err(failure.unwrap_or_else(timeout_error))
    }

    async fn within_timeout<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let call = tokio::time::timeout(self.config.timeouts.call, Box::pin(call));
        call.await.unwrap_or_else(|_| Err(timeout_error()))
    }
}

fn parse_admin_path(path: &str) -> Result<SecretPath> {
    SecretPath::parse(path).map_err(|error| {
        let advice = format!("correct `admin_path`: {}", error.advice());
        error.advise(advice).during(Operation::Rotate).from_backend(BACKEND)
    })
}

impl fmt::Debug for PostgresIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresIssuer")
            .field("admin_path", &self.administrator.path)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyIssuer for PostgresIssuer {
    /// Gives the role that `current` does not use a new password. An earlier password of that role stops
    /// working. An attempt with a smaller fencing token than the newest one fails with a permanent
    /// [`Conflict`](ErrorKind::Conflict).
    async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        let current = self.parse_key(current)?;
        let role = self.next_role(&current.role);
        let password = self.passwords.generate()?;
        let key = current.with_credentials(role, &password)?;
        let verifier = Verifier::of(password.expose_bytes());
        let change = async |admin: &AdminSession| {
            admin.change_password(&current, role, &verifier, attempt.fencing_token).await
        };
        self.within_timeout(self.administrator.run_locked(&self.connector, change)).await?;
        Ok(IssuedKey::new(key))
    }

    /// Removes the password from the role of `key`, if it still is that one. Open sessions go on, unless
    /// [`end_sessions`](PostgresIssuerConfig::end_sessions) is set. If `current` is a key of the same role
    /// and `key` works, `current` does not: its password is set again.
    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        let (key, current) = (self.parse_key(key)?, self.parse_key(current)?);
        let is_same = SecretValue::from(key.password.as_slice())
            .constant_time_eq(&SecretValue::from(current.password.as_slice()));
        if key.role == current.role && is_same {
            return Err(permanent(
                ErrorKind::InvalidInput,
                "the key to revoke has role and password of the current one",
                "replace the current key first",
            ));
        }
        let revoke = async |admin: &AdminSession| {
            admin.revoke_password(&key, &current, self.config.end_sessions).await
        };
        self.within_timeout(self.administrator.run_locked(&self.connector, revoke)).await
    }

    /// Logs in with `key`, at the first of its hosts that accepts it.
    async fn verify(&self, key: &SecretValue) -> Result<()> {
        let key = self.parse_key(key)?;
        self.within_timeout(self.log_in(&key)).await
    }

    /// A repeated attempt gives another key and makes the earlier one stop working: none is left behind.
    fn is_idempotent(&self) -> bool {
        true
    }
}
