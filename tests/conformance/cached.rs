//! The application methods of a manager as a backend: the contract must hold through the cache, too.

use strongroom::{
    Backend, BackendInfo, Description, Health, ListOptions, ListPage, MetadataPatch, PutOptions,
    ReadOptions, Result, RotateOutcome, Secret, SecretPath, SecretValue, SecretsManager, Version,
    VersionInfo, VersionSelector, async_trait,
};

/// Reads through the cache of a manager. The manager's own `Backend` implementation bypasses the cache.
#[derive(Debug)]
pub(crate) struct Cached {
    secrets: SecretsManager,
}

impl Cached {
    pub(crate) fn new(secrets: SecretsManager) -> Self {
        Self { secrets }
    }
}

#[async_trait]
impl Backend for Cached {
    fn info(&self) -> &BackendInfo {
        self.secrets.backend()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.secrets.get_with(path, ReadOptions::new().version(version.clone())).await
    }

    async fn health(&self) -> Result<Health> {
        self.secrets.health().await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        self.secrets.get_many(paths).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.secrets.put_with(path, value, options).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.secrets.delete(path).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.secrets.undelete(path).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.secrets.destroy(path).await
    }

    /// `Listing` fetches all pages, so its paths are one page here.
    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let prefix = prefix.map_or("", SecretPath::as_str);
        let paths = self.secrets.list_with(prefix, options.clone()).all().await?;
        Ok(ListPage::new(paths, None))
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.secrets.versions(path).await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.secrets.rollback(path, version.clone()).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.secrets.describe(path).await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.secrets.annotate(path, patch.clone()).await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        self.secrets.rotate(path).await
    }

    async fn close(&self) -> Result<()> {
        self.secrets.close().await
    }
}
