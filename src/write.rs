//! Writes of secrets and of their metadata.

use serde::Serialize;
#[cfg(doc)]
use strongroom_core::ErrorKind;
use strongroom_core::{
    Capability, Condition, MetadataPatch, Operation, PutOptions, Result, RotateOutcome, SecretPath,
    SecretValue, ValueFormat, Version,
};

use crate::SecretsManager;
use crate::write_guard::WriteGuard;

impl SecretsManager {
    /// Writes a new version of a secret, leaving its metadata as it is, and returns the version. A
    /// secret that has expired stays so until its expiry is changed, with [`put_with`](Self::put_with)
    /// in the same write or with [`annotate`](Self::annotate).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a read-only store, [`ErrorKind::InvalidInput`] if the value is
    /// over the store's limit, and the errors of a store that cannot answer. Nothing was written then.
    pub async fn put(
        &self,
        path: impl AsRef<str>,
        value: impl Into<SecretValue>,
    ) -> Result<Version> {
        self.put_with(path, value, PutOptions::new()).await
    }

    /// Writes a new version under a condition, with a change to the metadata in the same write.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`ErrorKind::Conflict`] if the condition does not hold.
    ///
    /// # Examples
    /// ```
    /// # async fn run(secrets: strongroom::SecretsManager) -> strongroom::Result<()> {
    /// use strongroom::{MetadataPatch, PutOptions};
    ///
    /// let options = PutOptions::new()
    ///     .must_not_exist()
    ///     .metadata(MetadataPatch::new().tag("team", "payments"));
    /// let version = secrets.put_with("stripe/api-key", "sk_live_1", options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_with(
        &self,
        path: impl AsRef<str>,
        value: impl Into<SecretValue>,
        options: PutOptions,
    ) -> Result<Version> {
        let value = value.into();
        let path = self.resolve(path.as_ref(), Operation::Put)?;
        self.write(&path, value, options).await
    }

    async fn write(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let require = |capability| self.require(capability, Operation::Put, path);
        require(Capability::Put)?;
        if options.condition != Condition::None {
            require(Capability::Conditions)?;
        }
        if !options.metadata.is_empty() {
            require(Capability::Metadata)?;
        }
        if options.scope.is_some() {
            require(Capability::Scopes)?;
        }
        if value.format() == ValueFormat::Binary {
            require(Capability::Binary)?;
        }
        let guard = WriteGuard::new(&self.shared, path);
        let result = guard.run(|| self.shared.backend.put(path, value, options)).await;
        result.map_err(|error| self.add_context(error, Operation::Put, path))
    }

    /// Writes `source` as JSON.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`ErrorKind::WrongType`] if `source` has no JSON form.
    pub async fn put_json<T: Serialize + ?Sized>(
        &self,
        path: impl AsRef<str>,
        source: &T,
    ) -> Result<Version> {
        self.put_json_with(path, source, PutOptions::new()).await
    }

    /// Writes `source` as JSON, under a condition or with a change to the metadata.
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with); [`ErrorKind::WrongType`] if `source` has no JSON form.
    pub async fn put_json_with<T: Serialize + ?Sized>(
        &self,
        path: impl AsRef<str>,
        source: &T,
        options: PutOptions,
    ) -> Result<Version> {
        let path = self.resolve(path.as_ref(), Operation::Put)?;
        let value = SecretValue::json(source)
            .map_err(|error| self.add_context(error, Operation::Put, &path))?;
        self.write(&path, value, options).await
    }

    /// Makes reads of a secret answer `NotFound`, until [`undelete`](Self::undelete). Succeeds if
    /// there is nothing to delete.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a read-only store, and the errors of a store that cannot answer.
    pub async fn delete(&self, path: impl AsRef<str>) -> Result<()> {
        let path = self.resolve(path.as_ref(), Operation::Delete)?;
        self.require(Capability::Delete, Operation::Delete, &path)?;
        let guard = WriteGuard::new(&self.shared, &path);
        let result = guard.run(|| self.shared.backend.delete(&path)).await;
        result.map_err(|error| self.add_context(error, Operation::Delete, &path))
    }

    /// Undoes a delete. Succeeds on a secret that is not deleted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the path holds no secret, [`ErrorKind::Unsupported`] if the
    /// store cannot, and the errors of a store that cannot answer.
    pub async fn undelete(&self, path: impl AsRef<str>) -> Result<()> {
        let path = self.resolve(path.as_ref(), Operation::Undelete)?;
        self.require(Capability::Undelete, Operation::Undelete, &path)?;
        let guard = WriteGuard::new(&self.shared, &path);
        let result = guard.run(|| self.shared.backend.undelete(&path)).await;
        result.map_err(|error| self.add_context(error, Operation::Undelete, &path))
    }

    /// Removes a secret and all its versions for good. Succeeds if there is nothing to destroy.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn destroy(&self, path: impl AsRef<str>) -> Result<()> {
        let path = self.resolve(path.as_ref(), Operation::Destroy)?;
        self.require(Capability::Delete, Operation::Destroy, &path)?;
        let guard = WriteGuard::new(&self.shared, &path);
        let result = guard.run(|| self.shared.backend.destroy(&path)).await;
        result.map_err(|error| self.add_context(error, Operation::Destroy, &path))
    }

    /// Makes the value of an earlier version the active one. Returns the active version: `version`
    /// itself, or on some stores a new one with its value.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the secret or the version does not exist,
    /// [`ErrorKind::Unsupported`], and the errors of a store that cannot answer.
    pub async fn rollback(
        &self,
        path: impl AsRef<str>,
        version: impl Into<Version>,
    ) -> Result<Version> {
        let version = version.into();
        let path = self.resolve(path.as_ref(), Operation::Rollback)?;
        self.require(Capability::Rollback, Operation::Rollback, &path)?;
        let guard = WriteGuard::new(&self.shared, &path);
        let result = guard.run(|| self.shared.backend.rollback(&path, &version)).await;
        result.map_err(|error| self.add_context(error, Operation::Rollback, &path))
    }

    /// Changes metadata, tags or expiry without writing a version.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidInput`] if a limit of [`MetadataPatch`] is
    /// exceeded, [`ErrorKind::Unsupported`], and the errors of a store that cannot answer.
    pub async fn annotate(&self, path: impl AsRef<str>, patch: MetadataPatch) -> Result<()> {
        let path = self.resolve(path.as_ref(), Operation::Annotate)?;
        self.require(Capability::Metadata, Operation::Annotate, &path)?;
        let guard = WriteGuard::new(&self.shared, &path);
        let result = guard.run(|| self.shared.backend.annotate(&path, &patch)).await;
        result.map_err(|error| self.add_context(error, Operation::Annotate, &path))
    }

    /// Makes the store rotate a secret itself.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the store cannot rotate, [`ErrorKind::NotFound`], and the errors of
    /// a store that cannot answer.
    pub async fn rotate(&self, path: impl AsRef<str>) -> Result<RotateOutcome> {
        let path = self.resolve(path.as_ref(), Operation::Rotate)?;
        self.require(Capability::Rotate, Operation::Rotate, &path)?;
        let guard = WriteGuard::new(&self.shared, &path);
        let result = guard.start(|| self.shared.backend.rotate(&path)).await;
        result.map_err(|error| self.add_context(error, Operation::Rotate, &path))
    }
}
