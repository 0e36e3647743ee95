//! Changes of the roles' passwords, in a transaction that holds the lock of both roles.

use strongroom_core::{ErrorKind, Result};
use strongroom_postgres::ConnectionUrl;

use super::admin::{AdminSession, PasswordStatus};
use super::error::{password_error, permanent, statement_error};
use super::fencing::{check_fencing_token, store_fencing_token};
use super::statements::{self, Verifier};

impl AdminSession {
    /// Gives `role` a new password while the current key works. Rejects a call that arrives too late, with an
    /// outdated fencing token or a revoked current key, because `role` may be in use again.
    pub(super) async fn change_password(
        &self,
        current: &ConnectionUrl,
        role: &str,
        new: &Verifier,
        fencing_token: u64,
    ) -> Result<()> {
        check_fencing_token(&self.session, &self.roles, fencing_token).await?;
        if self.password_status(current).await? == PasswordStatus::Rejected {
            return Err(permanent(
                ErrorKind::Unauthenticated,
                format!("the server does not accept the current password of `{}`", current.role),
                "find out what else changes the password; or set it by hand and store a URL with it",
            ));
        }
        let changed = statements::set_password(&self.session, role, new).await;
        changed.map_err(|error| password_error(error, role))?;
        let fenced = store_fencing_token(&self.session, &self.roles, fencing_token).await;
        fenced.map_err(statement_error)?;
        self.commit().await
    }

    /// Removes the password of a key from its role, unless the role has another password by now.
    pub(super) async fn revoke_password(
        &self,
        key: &ConnectionUrl,
        current: &ConnectionUrl,
        ends_sessions: bool,
    ) -> Result<()> {
        if self.password_status(key).await? == PasswordStatus::Rejected {
            return Ok(());
        }
        self.require_password_check(key).await?;
        if key.role == current.role {
            // A late call has overwritten the password in use with that of `key`: restore it.
            return self.replace_password(&key.role, &Verifier::of(&current.password)).await;
        }
        if ends_sessions {
            self.require_right_to_terminate(&key.role).await?;
        }
        self.replace_password(&key.role, &Verifier::none()).await?;
        if ends_sessions {
            // Terminate sessions only after the commit, so that no client of the role can reconnect.
            self.begin().await?;
            let terminated = statements::terminate_sessions(&self.session, &key.role).await;
            terminated.map_err(statement_error)?;
            self.commit().await?;
        }
        Ok(())
    }

    async fn replace_password(&self, role: &str, verifier: &Verifier) -> Result<()> {
        let changed = statements::set_password(&self.session, role, verifier).await;
        changed.map_err(|error| password_error(error, role))?;
        self.commit().await
    }

    async fn require_right_to_terminate(&self, role: &str) -> Result<()> {
        let allowed = statements::may_terminate_sessions(&self.session, role).await;
        if allowed.map_err(statement_error)? {
            return Ok(());
        }
        Err(permanent(
            ErrorKind::Denied,
            "the administrator may not end sessions",
            "grant it `pg_signal_backend`, or unset `end_sessions`",
        ))
    }
}
