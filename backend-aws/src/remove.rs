//! Deleting, taking it back, and destroying.

use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::client::Client;
use crate::refusal::{Code, Failure, Needs, answered, not_found, unreadable};

impl Client {
    /// Marks a secret for deletion at the end of the recovery window.
    pub(crate) async fn delete(self: Arc<Self>, path: SecretPath) -> Result<()> {
        match self.try_delete(&path).await {
            Ok(()) => Ok(()),
            Err(failure) => match failure.code {
                Code::NotFound | Code::Deleted => Ok(()),
                _ => self.unless_deleted(&path, failure).await,
            },
        }
    }

    pub(crate) async fn try_delete(&self, path: &SecretPath) -> Result<(), Failure> {
        let name = self.names.name(path)?;
        let days = self.config.recovery_window_days.into();
        let request = self.sdk()?.delete_secret().secret_id(&name).recovery_window_in_days(days);
        answered(request.send(), Needs { action: "DeleteSecret", secret: Some(&name) })
            .await?
            .name()
            .map(drop)
            .ok_or_else(|| unreadable().into())
    }

    /// Removes a secret at once. The service takes that for done if there is none.
    pub(crate) async fn destroy(self: Arc<Self>, path: SecretPath) -> Result<()> {
        let name = self.names.name(&path)?;
        let request =
            self.sdk()?.delete_secret().secret_id(&name).force_delete_without_recovery(true);
        let needs = Needs { action: "DeleteSecret", secret: Some(&name) };
        match answered(request.send(), needs).await {
            Ok(answer) => answer.name().map(drop).ok_or_else(unreadable),
            Err(failure) if failure.code == Code::NotFound => Ok(()),
            // As documented, a deleted secret is removed like any other.
            Err(failure) if failure.code == Code::Deleted => match self.look(&path).await? {
                None => Ok(()),
                Some(_) => {
                    Err(Error::new(ErrorKind::Unavailable, "try again, or undelete it first")
                        .because("AWS refuses to remove the deleted secret now"))
                }
            },
            Err(failure) => Err(self.replicated(&path, failure).await),
        }
    }

    pub(crate) async fn undelete(self: Arc<Self>, path: SecretPath) -> Result<()> {
        match self.look(&path).await? {
            Some(found) if found.is_deleted() => Ok(self.restore(&path).await.map(drop)?),
            Some(_) => Ok(()),
            None => Err(not_found()),
        }
    }

    /// Takes a delete back; whether it was this call that did, and not somebody else's.
    pub(crate) async fn restore(&self, path: &SecretPath) -> Result<bool, Failure> {
        let name = self.names.name(path)?;
        let request = self.sdk()?.restore_secret().secret_id(&name);
        let needs = Needs { action: "RestoreSecret", secret: Some(&name) };
        match answered(request.send(), needs).await {
            Ok(answer) => answer.name().map(|_| true).ok_or_else(|| unreadable().into()),
            Err(failure) if failure.code == Code::InvalidRequest => match self.look(path).await {
                Ok(Some(now)) if now.is_deleted() => Err(failure),
                Ok(Some(_)) => Ok(false),
                Ok(None) => Err(not_found().into()),
                Err(error) if error.kind() == ErrorKind::Denied => Err(failure),
                Err(error) => Err(error.into()),
            },
            Err(failure) => Err(failure),
        }
    }

    async fn unless_deleted(&self, path: &SecretPath, failure: Failure) -> Result<()> {
        if failure.code == Code::InvalidRequest
            && let Ok(found) = self.look(path).await
            && found.is_none_or(|found| found.is_deleted())
        {
            return Ok(());
        }
        Err(self.replicated(path, failure).await)
    }

    /// Says so if a secret cannot be deleted because it has replicas.
    async fn replicated(&self, path: &SecretPath, failure: Failure) -> Error {
        if failure.code == Code::InvalidRequest
            && let Ok(Some(found)) = self.look(path).await
            && found.is_replicated()
        {
            return Error::new(ErrorKind::InvalidInput, "remove its replicas in AWS first")
                .because("the secret is replicated to other regions");
        }
        failure.into()
    }
}
