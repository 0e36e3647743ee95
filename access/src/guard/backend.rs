//! The calls of a store, each decided and recorded.

use std::sync::atomic::Ordering;

use strongroom_core::{
    Backend, BackendInfo, Capability, ChangeFeed, Description, Health, ListOptions, ListPage,
    MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret, SecretPath, SecretValue,
    Version, VersionInfo, VersionSelector, async_trait,
};

use super::Guarded;
use crate::Action;

/// The end of a principal's name that is too long for metadata.
const CUT: &str = "...";

impl Guarded {
    /// Deletes or destroys a secret, and its rules before it: if this fails midway, no rule is left for a secret
    /// that is created there later.
    async fn remove(&self, action: Action, path: &SecretPath) -> Result<()> {
        let full = self.full(path)?;
        let is_live = self.authorize_change(action, path, &full, None).await?;
        let has = |capability| self.info.capabilities.has(capability);
        // A store that finds nothing or cannot delete fails, and the path keeps its rules.
        if has(Capability::Delete) && (is_live || !has(Capability::Metadata)) {
            self.delete_rules(path).await?;
        }
        if action == Action::Destroy {
            self.inner.destroy(&full).await?;
        } else {
            self.inner.delete(&full).await?;
        }
        // Those that were made meanwhile, or after an earlier deletion.
        self.delete_rules(path).await
    }

    /// Decides, records and makes a write.
    async fn write(
        &self,
        path: &SecretPath,
        full: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let patch = Some(&options.metadata);
        if self.authorize_change(Action::Write, path, full, patch).await? {
            self.inner.put(full, value, options).await
        } else {
            self.put_new(full, value, options).await
        }
    }

    /// Names the principal in a change of metadata, over any other name, if the store keeps metadata.
    fn name_principal(&self, patch: MetadataPatch) -> MetadataPatch {
        if !self.info.capabilities.has(Capability::Metadata) {
            return patch;
        }
        let name = self.actor.principal();
        if name.len() <= MetadataPatch::MAX_PRINCIPAL {
            return patch.updated_by(name);
        }
        // Names are ASCII. The audit has this one whole.
        let beginning: String =
            name.chars().take(MetadataPatch::MAX_PRINCIPAL - CUT.len()).collect();
        patch.updated_by(beginning + CUT)
    }

    /// Deletes the grants on exactly this path, and ends its requests and approvals.
    async fn delete_rules(&self, path: &SecretPath) -> Result<()> {
        let rules = self.actor.rules();
        if rules.has_rules_on(path) { rules.delete_rules_on(path).await } else { Ok(()) }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Backend for Guarded {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn locate(&self, path: &SecretPath) -> String {
        match self.full(path) {
            Ok(full) => self.inner.locate(&full),
            Err(_) => format!("`{path}`"),
        }
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let result = self.get_one(path, version).await;
        self.context(result, Operation::Get, Some(path))
    }

    /// The health of the store, without the details, which are about all tenants.
    async fn health(&self) -> Result<Health> {
        let health = match self.check_open() {
            Ok(()) => self.inner.health().await.map(|health| Health::new(health.status)),
            Err(closed) => Err(closed),
        };
        self.context(health, Operation::Health, None)
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let results = self.get_all(paths).await.into_iter().zip(paths);
        results.map(|(result, path)| self.context(result, Operation::Get, Some(path))).collect()
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        mut options: PutOptions,
    ) -> Result<Version> {
        options.metadata = self.name_principal(options.metadata);
        let write = async {
            let full = self.full(path)?;
            let Some(role) = options.scope.take() else {
                return self.write(path, &full, value, options).await;
            };
            let grant = self.prepare_scope(path, &role).await?;
            let version = self.write(path, &full, value, options).await?;
            self.create_scope(grant, &version).await?;
            Ok(version)
        };
        let result = write.await;
        self.context(result, Operation::Put, Some(path))
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        let result = self.remove(Action::Delete, path).await;
        self.context(result, Operation::Delete, Some(path))
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        let undelete = async {
            let full = self.full(path)?;
            self.authorize_change(Action::Delete, path, &full, None).await?;
            self.inner.undelete(&full).await
        };
        let result = undelete.await;
        self.context(result, Operation::Undelete, Some(path))
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        let result = self.remove(Action::Destroy, path).await;
        self.context(result, Operation::Destroy, Some(path))
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let result = self.list_all(prefix, options).await;
        let page = self.context(result, Operation::List, prefix)?;
        // Paths are relative to the root, as in other calls.
        let Some(root) = &self.root else { return Ok(page) };
        let relative = page.paths.iter().filter_map(|path| path.below(root));
        Ok(ListPage::new(relative.map(SecretPath::parse).collect::<Result<_>>()?, None))
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        let read = |full| async move { self.inner.versions(&full).await };
        let result = self.inspect(path, read, |_| None).await;
        self.context(result, Operation::Versions, Some(path))
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        let rollback = async {
            let full = self.full(path)?;
            self.authorize_change(Action::Write, path, &full, None).await?;
            self.inner.rollback(&full, version).await
        };
        let result = rollback.await;
        self.context(result, Operation::Rollback, Some(path))
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        let read = |full| async move { self.inner.describe(&full).await };
        let result = self.inspect(path, read, |described| Some(described.metadata.tier)).await;
        self.context(result, Operation::Describe, Some(path))
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        let annotate = async {
            let full = self.full(path)?;
            let patch = self.name_principal(patch.clone());
            self.authorize_change(Action::Write, path, &full, Some(&patch)).await?;
            self.inner.annotate(&full, &patch).await
        };
        let result = annotate.await;
        self.context(result, Operation::Annotate, Some(path))
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        let rotate = async {
            let full = self.full(path)?;
            self.authorize_change(Action::Write, path, &full, None).await?;
            self.inner.rotate(&full).await
        };
        let result = rotate.await;
        self.context(result, Operation::Rotate, Some(path))
    }

    /// None: the store's feed names secrets of all tenants, and tells when secrets change that this principal may not
    /// read.
    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        None
    }

    /// Ends this view. The store itself stays open for others.
    async fn close(&self) -> Result<()> {
        self.is_closed.store(true, Ordering::Release);
        Ok(())
    }
}
