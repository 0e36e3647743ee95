//! The secret of a rotating key in its store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom_core::{
    Backend, Capability, Error, ErrorKind, MetadataPatch, Operation, PutOptions, Result, Secret,
    SecretPath, SecretValue, Version, VersionSelector,
};

use super::calls::with_timeout;

/// One secret in its store. Errors name the secret and the store.
#[derive(Debug)]
pub(crate) struct StoredSecret {
    backend: Arc<dyn Backend>,
    pub(crate) path: SecretPath,
    is_closed: AtomicBool,
}

impl StoredSecret {
    pub(crate) fn new(backend: Arc<dyn Backend>, path: SecretPath) -> Self {
        Self { backend, path, is_closed: AtomicBool::new(false) }
    }

    /// Whether the store has been closed, so that no later call can succeed.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Fails if the store does not offer an operation.
    pub(crate) fn require(&self, capability: Capability) -> Result<()> {
        let info = self.backend.info();
        if info.capabilities.has(capability) {
            return Ok(());
        }
        Err(info.unsupported(Operation::Rotate).at(&self.path))
    }

    pub(crate) async fn read(&self, limit: Duration) -> Result<Secret> {
        let read = self.backend.get(&self.path, &VersionSelector::Active);
        with_timeout(limit, read)
            .await
            .map_err(|error| self.add_error_context(error, Operation::Get))
    }

    /// Writes a new version if the active one still is `version`, or else returns `None`.
    pub(crate) async fn write(
        &self,
        version: &Version,
        value: SecretValue,
        patch: MetadataPatch,
        limit: Duration,
    ) -> Result<Option<Version>> {
        let options = PutOptions::new().must_be_version(version).metadata(patch);
        match with_timeout(limit, self.backend.put(&self.path, value, options)).await {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(self.add_error_context(error, Operation::Put)),
        }
    }

    /// Asks the store to replace the secret itself.
    pub(crate) async fn rotate(&self, limit: Duration) -> Result<()> {
        let rotated = with_timeout(limit, self.backend.rotate(&self.path)).await;
        rotated.map(drop).map_err(|error| self.add_error_context(error, Operation::Rotate))
    }

    /// When the secret was last changed, as its metadata says: many stores do not return times with a read.
    pub(crate) async fn describe_change(&self, limit: Duration) -> Option<std::time::SystemTime> {
        let described = with_timeout(limit, self.backend.describe(&self.path)).await.ok()?;
        described.metadata.updated_at.or(described.metadata.created_at)
    }

    /// Adds the secret and the store to an error that does not name them.
    pub(crate) fn add_error_context(&self, error: Error, operation: Operation) -> Error {
        if error.kind() == ErrorKind::Closed {
            self.is_closed.store(true, Ordering::Relaxed);
        }
        error.during(operation).at(&self.path).from_backend(self.backend.info().kind)
    }
}
