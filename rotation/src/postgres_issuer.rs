//! An issuer of passwords for two PostgreSQL roles, which take turns.
//!
//! Passwords are masked and wiped as far as this library holds them. The driver below copies those that it
//! logs in with into buffers of its own, which it frees without wiping.

mod config;
mod error;
mod host;
mod session;
mod statements;
mod url;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use strongroom_core::{
    Backend, Error, ErrorKind, Result, Secret, SecretPath, SecretValue, VersionSelector,
    async_trait,
};
use tokio_postgres::error::SqlState;

use self::config::Checked;
use self::error::{Whose, lasting, not_done, not_let_in, too_slow};
use self::host::Host;
use self::session::{Connector, Login, Session};
use self::statements::Verifier;
use self::url::ConnectionUrl;
use super::issuer::{IssueAttempt, IssuedKey, KeyIssuer};
use super::password::PasswordIssuer;

pub use self::config::PostgresIssuerConfig;

/// Gives two roles of a PostgreSQL server (10 or newer) new passwords in turn: while one is in use, the
/// other gets its next password.
///
/// The key is a connection URL, `postgresql://role:password@host:5432/database`, which a service gives
/// to its driver as it is. A new key differs in role and password and stays the same byte for byte
/// otherwise, with several hosts and all parameters. `name=value` pairs are not accepted.
///
/// The passwords are changed by an administrator, a third role with CREATEROLE that has both roles
/// WITH ADMIN OPTION. Its own URL is a secret, too, which is read for each call, so its password can
/// rotate as well. All that use one pair of roles name the same
/// database in it: a lock there keeps their changes apart.
///
/// Servers on other hosts are spoken to with TLS, whatever `sslmode` says, and their certificates are
/// always checked in full; towards this host, TLS is used if `sslmode` asks for it. Each call opens its own
/// connections and closes them. A server gets a verifier (SCRAM-SHA-256) in place of the new password,
/// as a parameter of a statement: no log of statements shows the password. `VALID UNTIL`, LOGIN
/// and the rights of roles are left alone.
///
/// | what happens | error |
/// |---|---|
/// | a key or URL of another form, or a third role's | [`InvalidInput`](ErrorKind::InvalidInput) |
/// | 28P01, 28000: a password or login is refused | [`Unauthenticated`](ErrorKind::Unauthenticated) |
/// | 42501: the administrator may not | [`Denied`](ErrorKind::Denied) |
/// | 42704, 3D000: a role or database is missing | [`Config`](ErrorKind::Config) |
/// | 53300, 57P03, a standby, a broken connection | [`Unavailable`](ErrorKind::Unavailable), temporary |
/// | TLS fails, or is not offered | [`Unavailable`](ErrorKind::Unavailable), lasting |
/// | no answer in time | [`Timeout`](ErrorKind::Timeout) |
///
/// # Examples
/// ```
/// # async fn run(store: strongroom_core::MemoryBackend) -> strongroom_core::Result<()> {
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
    backend: Arc<dyn Backend>,
    admin_path: SecretPath,
    config: PostgresIssuerConfig,
    passwords: PasswordIssuer,
    connector: Connector,
    lock: i64,
}

/// An administrator's session, and the server that it is at: no standby.
struct Admin {
    session: Session,
    url: ConnectionUrl,
    host: Host,
}

/// What a server says of a key's password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Accepted,
    Refused,
}

impl PostgresIssuer {
    /// An issuer for the roles that `config` names, whose passwords the administrator changes with the
    /// URL at `admin_path`. Nothing is read or sent yet.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every problem of the configuration;
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `admin_path` is no path.
    pub fn new(
        backend: impl Backend,
        admin_path: impl AsRef<str>,
        config: &PostgresIssuerConfig,
    ) -> Result<Self> {
        let Checked { passwords, connector } = config.checked()?;
        let admin_path = SecretPath::parse(admin_path.as_ref())?;
        let (config, lock) = (config.clone(), lock_of(&config.roles));
        Ok(Self { backend: Arc::new(backend), admin_path, config, passwords, connector, lock })
    }

    /// Reads a key of one of the two roles.
    fn key(&self, key: &SecretValue) -> Result<ConnectionUrl> {
        let url = ConnectionUrl::parse(key, Whose::Key)?;
        if !self.config.roles.contains(&url.role) {
            return Err(lasting(
                ErrorKind::InvalidInput,
                format!("the key's role `{}` is none of the two that take turns", url.role),
                "store a URL with one of the `roles`, or correct `roles`",
            ));
        }
        self.connector.check(&url, Whose::Key)?;
        Ok(url)
    }

    /// The role whose turn is next.
    fn other(&self, role: &str) -> &str {
        let [one, other] = &self.config.roles;
        if role == one { other } else { one }
    }

    /// Logs in as the administrator, with the URL that the store holds now.
    async fn admin(&self) -> Result<Admin> {
        let secret = self.backend.get(&self.admin_path, &VersionSelector::Active).await?;
        self.admin_by(&secret).await
    }

    async fn admin_by(&self, secret: &Secret) -> Result<Admin> {
        let value = secret.value();
        let field = value.field_names().ok().map(|_| secret.field(&self.config.admin_field));
        let url = match field.transpose()? {
            Some(url) => ConnectionUrl::parse(&url, Whose::Administrator)?,
            None => ConnectionUrl::parse(value, Whose::Administrator)?,
        };
        if self.config.roles.contains(&url.role) {
            return Err(lasting(
                ErrorKind::Config,
                format!("the administrator's role `{}` is one of those that take turns", url.role),
                "have a third role change their passwords",
            ));
        }
        self.connector.check(&url, Whose::Administrator)?;
        let mut failure = None;
        for host in &url.hosts {
            match self.primary(host, &url).await {
                Ok(session) => return Ok(Admin { session, host: host.clone(), url }),
                Err(error) => note(&mut failure, error),
            }
        }
        Err(failure.unwrap_or_else(too_slow))
    }

    /// A session at this server, unless it is a standby: passwords cannot be changed there, and may be
    /// outdated.
    async fn primary(&self, host: &Host, url: &ConnectionUrl) -> Result<Session> {
        let connected = self.connector.connect(host, url.tls, &Login::of(url)).await;
        let session = connected.map_err(|error| not_let_in(&error, Whose::Administrator))?;
        let is_standby = session.is_standby().await.map_err(|error| not_done(&error))?;
        if !is_standby {
            return Ok(session);
        }
        session.close().await;
        Err(error::standby())
    }

    /// Whether the administrator's server accepts a key's password. It is asked at that server, and not
    /// where the key leads: that may be a standby, which learns of a new password later.
    async fn standing(&self, admin: &Admin, key: &ConnectionUrl) -> Result<Standing> {
        let login = Login { options: admin.url.options.as_deref(), ..Login::of(key) };
        match self.connector.connect(&admin.host, admin.url.tls, &login).await {
            Ok(session) => {
                session.close().await;
                Ok(Standing::Accepted)
            }
            Err(error) => match error.code() {
                Some(code) if *code == SqlState::INVALID_PASSWORD => Ok(Standing::Refused),
                // These come after the password was accepted.
                Some(code)
                    if [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_CATALOG_NAME]
                        .contains(code) =>
                {
                    Ok(Standing::Accepted)
                }
                _ => Err(not_let_in(&error, Whose::Key)),
            },
        }
    }

    /// Makes sure that the server asks for passwords at all: that it accepts one says nothing otherwise.
    async fn must_ask(&self, admin: &Admin, key: &ConnectionUrl) -> Result<()> {
        let login =
            Login { password: None, options: admin.url.options.as_deref(), ..Login::of(key) };
        match self.connector.connect(&admin.host, admin.url.tls, &login).await {
            Err(error) if error::has_asked(&error) => Ok(()),
            Err(error) => Err(not_let_in(&error, Whose::Key)),
            Ok(session) => {
                session.close().await;
                Err(lasting(
                    ErrorKind::Config,
                    format!("the server lets `{}` in without a password", key.role),
                    "use the method scram-sha-256 for it in `pg_hba.conf`",
                ))
            }
        }
    }

    /// Does something as the administrator, while nobody else does anything to these roles.
    async fn alone(&self, act: impl AsyncFnOnce(&Admin) -> Result<()>) -> Result<()> {
        let admin = self.admin().await?;
        let result = match admin.session.begin(self.lock).await {
            Ok(()) => act(&admin).await,
            Err(error) => Err(not_done(&error)),
        };
        // What was not committed is undone.
        admin.session.close().await;
        result
    }

    /// Gives a role a new password, while the key that is in use works. A call that comes too late, when
    /// that key has been replaced and revoked, is refused: the role may be in use again.
    async fn change(
        &self,
        admin: &Admin,
        current: &ConnectionUrl,
        role: &str,
        new: &Verifier,
    ) -> Result<()> {
        if self.standing(admin, current).await? == Standing::Refused {
            return Err(lasting(
                ErrorKind::Unauthenticated,
                format!("the server does not accept the current password of `{}`", current.role),
                "see who else changes it; if nobody did, set it by hand and store a URL with it",
            ));
        }
        admin.session.set_password(role, new).await.map_err(|error| not_done(&error))?;
        admin.session.commit().await.map_err(|error| not_done(&error))
    }

    /// Makes a key stop working, if it works: never another password of its role.
    async fn end(&self, admin: &Admin, key: &ConnectionUrl, current: &ConnectionUrl) -> Result<()> {
        if self.standing(admin, key).await? == Standing::Refused {
            return Ok(());
        }
        self.must_ask(admin, key).await?;
        self.take_password(&admin.session, key, current).await
    }

    async fn take_password(
        &self,
        session: &Session,
        key: &ConnectionUrl,
        current: &ConnectionUrl,
    ) -> Result<()> {
        let wrong = |error| not_done(&error);
        // Then a call that came too late has set it over the one that is in use, which is put back.
        let is_in_use = key.role == current.role;
        let ends_sessions = self.config.end_sessions && !is_in_use;
        if ends_sessions && !session.may_end(&key.role).await.map_err(wrong)? {
            return Err(lasting(
                ErrorKind::Denied,
                "the administrator may not end sessions",
                "grant it `pg_signal_backend`, or unset `end_sessions`",
            ));
        }
        let next = if is_in_use { Verifier::of(&current.password) } else { Verifier::none() };
        session.set_password(&key.role, &next).await.map_err(wrong)?;
        session.commit().await.map_err(wrong)?;
        if ends_sessions {
            // Only now nobody can come back.
            session.begin(self.lock).await.map_err(wrong)?;
            session.end_sessions(&key.role).await.map_err(wrong)?;
            session.commit().await.map_err(wrong)?;
        }
        Ok(())
    }

    async fn try_out(&self, key: &ConnectionUrl) -> Result<()> {
        let mut failure = None;
        for host in &key.hosts {
            match self.connector.connect(host, key.tls, &Login::of(key)).await {
                Ok(session) => {
                    session.ping().await.map_err(|error| not_done(&error))?;
                    session.close().await;
                    return Ok(());
                }
                Err(error) => note(&mut failure, not_let_in(&error, Whose::Key)),
            }
        }
        Err(failure.unwrap_or_else(too_slow))
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let call = tokio::time::timeout(self.config.timeout, Box::pin(call));
        call.await.unwrap_or_else(|_| Err(too_slow()))
    }
}

/// Of what goes wrong at several servers, what lasts says more than that one of them is down.
fn note(failure: &mut Option<Error>, error: Error) {
    if failure.as_ref().is_none_or(Error::is_temporary) {
        *failure = Some(error);
    }
}

/// What all that use these two roles lock, in whichever order they name them.
fn lock_of(roles: &[String; 2]) -> i64 {
    let mut roles = roles.clone();
    roles.sort();
    // No name holds a NUL.
    let hash = Sha256::digest(format!("strongroom\0{}", roles.join("\0")));
    hash.first_chunk().copied().map_or(0, i64::from_be_bytes)
}

impl fmt::Debug for PostgresIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresIssuer")
            .field("admin_path", &self.admin_path)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyIssuer for PostgresIssuer {
    /// Gives the role that `current` does not use a new password. An earlier one of that role stops
    /// working.
    async fn issue(&self, current: &SecretValue, _attempt: &IssueAttempt) -> Result<IssuedKey> {
        let current = self.key(current)?;
        let role = self.other(&current.role);
        let password = self.passwords.generate()?;
        let key = current.with(role, &password)?;
        let verifier = Verifier::of(password.expose_bytes());
        let change = async |admin: &Admin| self.change(admin, &current, role, &verifier).await;
        self.in_time(self.alone(change)).await?;
        Ok(IssuedKey::new(key))
    }

    /// Takes the password from the role of `key`, if it still is that one. Sessions that are open go on,
    /// unless [`end_sessions`](PostgresIssuerConfig::end_sessions) is set. If `current` is a key of the
    /// same role and `key` works, `current` does not: its password is set again.
    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        let (key, current) = (self.key(key)?, self.key(current)?);
        let is_same = SecretValue::from(key.password.as_slice())
            .constant_time_eq(&SecretValue::from(current.password.as_slice()));
        if key.role == current.role && is_same {
            return Err(lasting(
                ErrorKind::InvalidInput,
                "the key to revoke has role and password of the current one",
                "replace the current key first",
            ));
        }
        let end = async |admin: &Admin| self.end(admin, &key, &current).await;
        self.in_time(self.alone(end)).await
    }

    /// Logs in with `key`, at the first of its hosts that lets it in.
    async fn verify(&self, key: &SecretValue) -> Result<()> {
        let key = self.key(key)?;
        self.in_time(self.try_out(&key)).await
    }

    /// Another attempt gives another key, but makes the earlier one stop working: none is left behind.
    fn is_idempotent(&self) -> bool {
        true
    }
}
