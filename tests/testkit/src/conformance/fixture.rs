//! A fresh store for one case, with the calls that cases make in a readable form.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use strongroom_core::{
    Backend, Description, ErrorKind, ListOptions, MetadataPatch, PutOptions, Result, Secret,
    SecretPath, SecretValue, Version, VersionInfo, VersionSelector,
};

use super::witnessed::Witnessed;

/// A fresh store for one case. All paths that cases use lie below a prefix of its own.
///
/// The methods named like a backend's take text below that prefix for a path. Those that give no
/// `Result` panic if the backend refuses.
pub struct Fixture {
    backend: Arc<dyn Backend>,
    prefix: SecretPath,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// The prefix of a store that no other case uses.
    pub const DEFAULT_PREFIX: &'static str = "conformance";

    /// A case has this backend to itself.
    #[must_use]
    pub fn new(backend: impl Backend) -> Self {
        let prefix = SecretPath::parse(Self::DEFAULT_PREFIX).unwrap();
        Self { backend: Arc::new(Witnessed::new(backend)), prefix, kept: Vec::new() }
    }

    /// Cases share a server and use the paths below `prefix`, which differs for each.
    #[must_use]
    pub fn below(mut self, prefix: SecretPath) -> Self {
        self.prefix = prefix;
        self
    }

    /// Keeps something alive for as long as the store is used, such as a temporary directory.
    #[must_use]
    pub fn keep(mut self, kept: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    /// The backend itself.
    #[must_use]
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The backend itself, for other tasks.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    /// The prefix of all paths of this case.
    #[must_use]
    pub fn prefix(&self) -> &SecretPath {
        &self.prefix
    }

    /// The path that is `below` the prefix.
    #[must_use]
    pub fn path(&self, below: &str) -> SecretPath {
        self.prefix.join(below).unwrap()
    }

    /// Writes without a condition.
    pub async fn put(&self, path: &str, value: impl Into<SecretValue>) -> Version {
        self.put_with(path, value, PutOptions::new()).await.unwrap()
    }

    /// Writes and sets metadata.
    pub async fn put_described(
        &self,
        path: &str,
        value: impl Into<SecretValue>,
        metadata: MetadataPatch,
    ) -> Version {
        self.put_with(path, value, PutOptions::new().metadata(metadata)).await.unwrap()
    }

    /// Writes.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn put_with(
        &self,
        path: &str,
        value: impl Into<SecretValue>,
        options: PutOptions,
    ) -> Result<Version> {
        self.backend.put(&self.path(path), value.into(), options).await
    }

    /// Reads the active version.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn get(&self, path: &str) -> Result<Secret> {
        self.backend.get(&self.path(path), &VersionSelector::Active).await
    }

    /// Reads one version.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn get_version(&self, path: &str, version: &Version) -> Result<Secret> {
        self.backend.get(&self.path(path), &VersionSelector::Exact(version.clone())).await
    }

    /// Deletes, recoverably where the store can.
    pub async fn delete(&self, path: &str) {
        self.backend.delete(&self.path(path)).await.unwrap();
    }

    /// Takes a delete back.
    pub async fn undelete(&self, path: &str) {
        self.backend.undelete(&self.path(path)).await.unwrap();
    }

    /// Removes for good.
    pub async fn destroy(&self, path: &str) {
        self.backend.destroy(&self.path(path)).await.unwrap();
    }

    /// Lists versions.
    pub async fn versions(&self, path: &str) -> Vec<VersionInfo> {
        self.backend.versions(&self.path(path)).await.unwrap()
    }

    /// Makes an earlier version the active one.
    pub async fn rollback(&self, path: &str, version: &Version) -> Version {
        self.backend.rollback(&self.path(path), version).await.unwrap()
    }

    /// Reads metadata.
    pub async fn describe(&self, path: &str) -> Description {
        self.backend.describe(&self.path(path)).await.unwrap()
    }

    /// Changes metadata.
    pub async fn annotate(&self, path: &str, patch: MetadataPatch) {
        self.backend.annotate(&self.path(path), &patch).await.unwrap();
    }

    /// The paths on all pages below `prefix`, sorted, as text below the fixture's prefix.
    pub async fn list_below(&self, prefix: &str, options: ListOptions) -> Vec<String> {
        self.all_pages(&self.path(prefix), options).await
    }

    /// The paths on all pages below the fixture's prefix, sorted, as text below it.
    pub async fn list(&self, options: ListOptions) -> Vec<String> {
        self.all_pages(&self.prefix, options).await
    }

    async fn all_pages(&self, prefix: &SecretPath, mut options: ListOptions) -> Vec<String> {
        let mut paths = Vec::new();
        loop {
            let page = self.backend.list(Some(prefix), &options).await.unwrap();
            paths.extend(page.paths.iter().map(|path| self.relative(path)));
            if page.next.is_none() {
                break;
            }
            options = options.page(page.next);
        }
        paths.sort();
        paths
    }

    fn relative(&self, path: &SecretPath) -> String {
        path.below(&self.prefix).expect("a listed path lies below the prefix").to_owned()
    }

    /// Everything that can be read about a secret, to see whether a call changed it.
    pub async fn state(&self, path: &str) -> State {
        let path = self.path(path);
        let value = self.backend.get(&path, &VersionSelector::Active).await;
        State {
            value: value
                .map(|secret| (secret.version().clone(), secret.value().clone()))
                .map_err(|error| error.kind()),
            versions: self.backend.versions(&path).await.map_err(|error| error.kind()),
            description: self.backend.describe(&path).await.map_err(|error| error.kind()),
        }
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, prefix, .. } = self;
        f.debug_struct("Fixture").field("backend", backend).field("prefix", prefix).finish()
    }
}

/// Everything that can be read about a secret. What the backend does not support is recorded as
/// such and so compares equal.
#[derive(Debug)]
pub struct State {
    value: Result<(Version, SecretValue), ErrorKind>,
    versions: Result<Vec<VersionInfo>, ErrorKind>,
    description: Result<Description, ErrorKind>,
}

impl State {
    /// Panics unless the list of versions still is as it was.
    #[track_caller]
    pub fn assert_same_versions(&self, later: &Self) {
        assert_eq!(self.versions, later.versions, "the versions have changed");
    }

    /// Panics unless the secret still is as it was.
    #[track_caller]
    pub fn assert_same(&self, later: &Self) {
        let same_value = match (&self.value, &later.value) {
            (Ok((version, value)), Ok((later_version, later_value))) => {
                version == later_version && value.constant_time_eq(later_value)
            }
            (Err(kind), Err(later_kind)) => kind == later_kind,
            _ => false,
        };
        assert!(same_value, "the value has changed from {:?} to {:?}", self.value, later.value);
        self.assert_same_versions(later);
        assert_eq!(self.description, later.description, "the metadata has changed");
    }
}
