//! The administrator, who changes the passwords of both roles.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use strongroom_core::{Backend, ErrorKind, Result, Secret, SecretPath, VersionSelector};
use strongroom_postgres::{ConnectionUrl, Connector, Failure, Host, Login, Session};
use tokio_postgres::error::SqlState;

use super::error::{Principal, login_error, permanent, statement_error};
use super::{statements, url};

/// Where the administrator's URL is stored, and which roles the administrator manages.
pub(super) struct Administrator {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) path: SecretPath,
    /// The field with the URL, if the secret has fields.
    pub(super) field: String,
    pub(super) roles: [String; 2],
}

/// A session of the administrator at a primary server.
pub(super) struct AdminSession {
    pub(super) session: Session,
    pub(super) roles: [String; 2],
    connector: Arc<Connector>,
    url: ConnectionUrl,
    host: Host,
}

/// Whether a server accepts a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordStatus {
    Accepted,
    Rejected,
}

impl Administrator {
    /// Runs `change` in a transaction that holds the lock of both roles. The server rolls back what
    /// `change` has not committed.
    pub(super) async fn run_locked(
        &self,
        connector: &Arc<Connector>,
        change: impl AsyncFnOnce(&AdminSession) -> Result<()>,
    ) -> Result<()> {
        let admin = self.log_in(connector).await?;
        let result = match admin.begin().await {
            Ok(()) => change(&admin).await,
            Err(error) => Err(error),
        };
        admin.session.close().await;
        result
    }

    /// Logs in with the URL that the store holds now, at the first primary that answers.
    async fn log_in(&self, connector: &Arc<Connector>) -> Result<AdminSession> {
        let secret = self.backend.get(&self.path, &VersionSelector::Active).await?;
        let url = self.parse_url(&secret)?;
        url::require_tls(connector, &url, Principal::Administrator)?;
        let connected = connector.connect_to_primary(&url).await;
        let (session, host) =
            connected.map_err(|failure| login_error(&failure, Principal::Administrator, None))?;
        let (roles, connector) = (self.roles.clone(), Arc::clone(connector));
        Ok(AdminSession { session, roles, connector, url, host })
    }

    fn parse_url(&self, secret: &Secret) -> Result<ConnectionUrl> {
        let value = secret.value();
        let field = value.field_names().ok().map(|_| secret.field(&self.field)).transpose()?;
        let url = url::parse(field.as_ref().unwrap_or(value), Principal::Administrator)?;
        if self.roles.contains(&url.role) {
            return Err(permanent(
                ErrorKind::Config,
                "the administrator's role is one of the two that take turns",
                "let a third role change their passwords",
            ));
        }
        Ok(url)
    }
}

impl AdminSession {
    /// Begins a transaction that holds the lock of both roles.
    pub(super) async fn begin(&self) -> Result<()> {
        let lock = lock_id(&self.roles);
        statements::begin(&self.session, lock).await.map_err(statement_error)
    }

    pub(super) async fn commit(&self) -> Result<()> {
        statements::commit(&self.session).await.map_err(statement_error)
    }

    /// Whether the server accepts the password of a key. This asks the administrator's server, because the
    /// key may lead to a standby, which gets a new password later.
    pub(super) async fn password_status(&self, key: &ConnectionUrl) -> Result<PasswordStatus> {
        let login = Login { options: self.url.options.as_deref(), ..Login::of(key) };
        match self.connector.connect(&self.host, self.url.tls, &login).await {
            Ok(session) => {
                session.close().await;
                Ok(PasswordStatus::Accepted)
            }
            Err(error) => match error.code() {
                Some(code) if *code == SqlState::INVALID_PASSWORD => Ok(PasswordStatus::Rejected),
                // The server checks these after it has accepted the password.
                Some(code)
                    if [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_CATALOG_NAME]
                        .contains(code) =>
                {
                    Ok(PasswordStatus::Accepted)
                }
                _ => Err(login_error(&error, Principal::Key, Some(&key.role))),
            },
        }
    }

    /// Fails if the server lets the role of a key in without a password, because accepting the key's password
    /// proves nothing then.
    pub(super) async fn require_password_check(&self, key: &ConnectionUrl) -> Result<()> {
        let options = self.url.options.as_deref();
        let login = Login { password: None, options, ..Login::of(key) };
        match self.connector.connect(&self.host, self.url.tls, &login).await {
            Err(Failure::PasswordMissing) => Ok(()),
            Err(error) => Err(login_error(&error, Principal::Key, Some(&key.role))),
            Ok(session) => {
                session.close().await;
                Err(permanent(
                    ErrorKind::Config,
                    format!("the server lets `{}` in without a password", key.role),
                    "use the method scram-sha-256 for it in `pg_hba.conf`",
                ))
            }
        }
    }
}

/// The advisory lock of two roles, regardless of their order in the configuration.
fn lock_id(roles: &[String; 2]) -> i64 {
    let mut roles = roles.clone();
    roles.sort();
    // No name holds a NUL.
    let hash = Sha256::digest(format!("strongroom\0{}", roles.join("\0")));
    hash.first_chunk().copied().map_or(0, i64::from_be_bytes)
}
