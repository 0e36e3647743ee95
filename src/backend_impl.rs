//! A manager as a store: code over a [`Backend`] works over a manager as well.

use strongroom_core::{
    Backend, BackendInfo, ChangeFeed, Description, Health, ListOptions, ListPage, MetadataPatch,
    Operation, PutOptions, Result, RotateOutcome, Secret, SecretPath, SecretValue, Version,
    VersionInfo, VersionSelector, async_trait,
};

use crate::SecretsManager;
use crate::changes::FeedBelow;

/// The store behind the manager, with the manager's deadline and retries.
///
/// - A read asks the store, even if the cache holds the secret or the configuration declares a default. In
///   an outage it is an error, not a stale copy. Reads of one secret that begin while the store is being
///   asked for it share the next request.
/// - The cache and the handles take over the answer to [`get`](Backend::get), and the next read through the
///   manager sees each write, as after the manager's own methods. [`get_many`](Backend::get_many) leaves the
///   cache as it is.
/// - [`changes`](Backend::changes) tells of the changes of the store below the manager's namespace.
/// - Paths are relative to the manager's namespace. Errors and [`Secret::path`] name them in full.
/// - [`close`](Backend::close) closes the manager and all its clones.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Backend for SecretsManager {
    fn info(&self) -> &BackendInfo {
        self.backend()
    }

    fn locate(&self, path: &SecretPath) -> String {
        match self.full(path.as_str()) {
            Ok(full) => self.shared.backend.locate(&full),
            Err(_) => self.shared.backend.locate(path),
        }
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.read_fresh(path, version).await
    }

    async fn health(&self) -> Result<Health> {
        Self::health(self).await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        self.read_many_fresh(paths).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.put_with(path, value, options).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        Self::delete(self, path).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        Self::undelete(self, path).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        Self::destroy(self, path).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let prefix = match prefix {
            Some(prefix) => Some(self.resolve(prefix.as_str(), Operation::List)?),
            None => self.namespace.clone(),
        };
        let (paths, next) = self.page(prefix.as_ref(), options).await?;
        Ok(ListPage::new(paths, next))
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        Self::versions(self, path).await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        Self::rollback(self, path, version.clone()).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        Self::describe(self, path).await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        Self::annotate(self, path, patch.clone()).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        Self::rotate(self, path).await
    }

    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        let feed = self.shared.backend.changes()?;
        Some(match &self.namespace {
            Some(namespace) => Box::new(FeedBelow::new(feed, namespace.clone())),
            None => feed,
        })
    }

    async fn close(&self) -> Result<()> {
        Self::close(self).await
    }
}
