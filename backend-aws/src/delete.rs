//! Deletes, restores and destroys secrets.

use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::client::Client;
use crate::error::{Failure, Reason, not_found, unexpected_answer};
use crate::request::{RequiredPermission, send};

impl Client {
    /// Schedules a secret for deletion at the end of the recovery window.
    pub(crate) async fn delete(self: Arc<Self>, path: SecretPath) -> Result<()> {
        match self.try_delete(&path).await {
            Ok(()) => Ok(()),
            Err(failure) => match failure.reason {
                Reason::NotFound | Reason::Deleted => Ok(()),
                _ => self.confirm_deleted(&path, failure).await,
            },
        }
    }

    pub(crate) async fn try_delete(&self, path: &SecretPath) -> Result<(), Failure> {
        let name = self.names.id(path)?;
        let days = self.config.recovery_window_days.into();
        let request = self.sdk()?.delete_secret().secret_id(&name).recovery_window_in_days(days);
        let permission = RequiredPermission { action: "DeleteSecret", secret: Some(&name) };
        let answer = send(request.send(), permission).await?;
        answer.name().map(drop).ok_or_else(|| unexpected_answer().into())
    }

    /// Removes a secret immediately. The service reports success if there is none.
    pub(crate) async fn destroy(self: Arc<Self>, path: SecretPath) -> Result<()> {
        let name = self.names.id(&path)?;
        let request =
            self.sdk()?.delete_secret().secret_id(&name).force_delete_without_recovery(true);
        let permission = RequiredPermission { action: "DeleteSecret", secret: Some(&name) };
        match send(request.send(), permission).await {
            Ok(answer) => answer.name().map(drop).ok_or_else(unexpected_answer),
            Err(failure) if failure.reason == Reason::NotFound => Ok(()),
            // The documentation says that the service removes a deleted secret like any other.
            Err(failure) if failure.reason == Reason::Deleted => {
                match self.describe_stored(&path).await? {
                    None => Ok(()),
                    Some(_) => {
                        Err(Error::new(ErrorKind::Unavailable, "try again, or undelete it first")
                            .because("AWS refuses to remove the deleted secret now"))
                    }
                }
            }
            Err(failure) => Err(self.explain_replicas(&path, failure).await),
        }
    }

    pub(crate) async fn undelete(self: Arc<Self>, path: SecretPath) -> Result<()> {
        match self.describe_stored(&path).await? {
            Some(found) if found.is_deleted() => Ok(self.restore(&path).await.map(drop)?),
            Some(_) => Ok(()),
            None => Err(not_found()),
        }
    }

    /// Restores a deleted secret; `false` if another client has already restored it.
    pub(crate) async fn restore(&self, path: &SecretPath) -> Result<bool, Failure> {
        let name = self.names.id(path)?;
        let request = self.sdk()?.restore_secret().secret_id(&name);
        let permission = RequiredPermission { action: "RestoreSecret", secret: Some(&name) };
        match send(request.send(), permission).await {
            Ok(answer) => answer.name().map(|_| true).ok_or_else(|| unexpected_answer().into()),
            Err(failure) if failure.reason == Reason::InvalidRequest => {
                match self.describe_stored(path).await {
                    Ok(Some(now)) if now.is_deleted() => Err(failure),
                    Ok(Some(_)) => Ok(false),
                    Ok(None) => Err(not_found().into()),
                    Err(error) if error.kind() == ErrorKind::Denied => Err(failure),
                    Err(error) => Err(error.into()),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Succeeds if the secret is deleted or missing; fails with `failure` otherwise.
    async fn confirm_deleted(&self, path: &SecretPath, failure: Failure) -> Result<()> {
        if failure.reason == Reason::InvalidRequest
            && let Ok(found) = self.describe_stored(path).await
            && found.is_none_or(|found| found.is_deleted())
        {
            return Ok(());
        }
        Err(self.explain_replicas(path, failure).await)
    }

    /// The error of a failed deletion, which names the secret's replicas if they are the reason.
    async fn explain_replicas(&self, path: &SecretPath, failure: Failure) -> Error {
        if failure.reason == Reason::InvalidRequest
            && let Ok(Some(found)) = self.describe_stored(path).await
            && found.is_replicated()
        {
            return Error::new(ErrorKind::InvalidInput, "remove its replicas in AWS first")
                .because("the secret is replicated to other regions");
        }
        failure.into()
    }
}
