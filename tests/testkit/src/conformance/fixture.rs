//! The store of one case, with short forms of the calls that cases make.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use strongroom_core::{
    Backend, Description, ErrorKind, ListOptions, MetadataPatch, PutOptions, Result, Secret,
    SecretPath, SecretValue, Version, VersionInfo, VersionSelector,
};

use super::witnessed::Witnessed;

/// The store of one case. All of its paths are below a prefix that no other case uses.
///
/// The methods with the names of a backend's methods take the part of a path below that prefix. Those that
/// return no `Result` panic if the backend returns an error.
pub struct Fixture {
    backend: Arc<dyn Backend>,
    prefix: SecretPath,
    kept: Vec<Box<dyn Any + Send + Sync>>,
    has_version_times: bool,
    principal: Option<String>,
}

impl Fixture {
    /// The prefix in a store that no other case uses.
    pub const DEFAULT_PREFIX: &'static str = "conformance";

    /// A backend for this case alone.
    #[must_use]
    pub fn new(backend: impl Backend) -> Self {
        let prefix = SecretPath::parse(Self::DEFAULT_PREFIX).unwrap();
        Self {
            backend: Arc::new(Witnessed::new(backend)),
            prefix,
            kept: Vec::new(),
            has_version_times: true,
            principal: None,
        }
    }

    /// Uses the paths below `prefix`, which differs for each case that shares a server.
    #[must_use]
    pub fn below(mut self, prefix: SecretPath) -> Self {
        self.prefix = prefix;
        self
    }

    /// Compares states without the times of versions: a server that gives the time of the request for
    /// them gives two times for one version.
    #[must_use]
    pub fn without_version_times(mut self) -> Self {
        self.has_version_times = false;
        self
    }

    /// Expects `principal` in metadata, whoever a write names: the store knows who acts.
    #[must_use]
    pub fn acting_as(mut self, principal: &str) -> Self {
        self.principal = Some(principal.to_owned());
        self
    }

    /// The principal that metadata names after a write that names `named`.
    #[must_use]
    pub fn principal<'a>(&'a self, named: Option<&'a str>) -> Option<&'a str> {
        self.principal.as_deref().or(named)
    }

    /// Keeps a value alive as long as the store, such as a temporary directory.
    #[must_use]
    pub fn keep(mut self, kept: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The backend, for other tasks.
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

    /// Undeletes.
    pub async fn undelete(&self, path: &str) {
        self.backend.undelete(&self.path(path)).await.unwrap();
    }

    /// Destroys.
    pub async fn destroy(&self, path: &str) {
        self.backend.destroy(&self.path(path)).await.unwrap();
    }

    /// Lists versions.
    pub async fn versions(&self, path: &str) -> Vec<VersionInfo> {
        self.try_versions(&self.path(path)).await.unwrap()
    }

    async fn try_versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        let mut versions = self.backend.versions(path).await;
        if !self.has_version_times {
            versions.iter_mut().flatten().for_each(|info| info.created_at = None);
        }
        versions
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

    /// Reads all about a secret, to detect whether a call changes it.
    pub async fn state(&self, path: &str) -> State {
        let path = self.path(path);
        let value = self.backend.get(&path, &VersionSelector::Active).await;
        let versions = self.try_versions(&path).await.map_err(|error| error.kind());
        State {
            value: value
                .map(|secret| (secret.version().clone(), secret.value().clone()))
                .map_err(|error| error.kind()),
            versions,
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

/// All that can be read about a secret. Operations that the backend does not support compare equal.
#[derive(Debug)]
pub struct State {
    value: Result<(Version, SecretValue), ErrorKind>,
    versions: Result<Vec<VersionInfo>, ErrorKind>,
    description: Result<Description, ErrorKind>,
}

impl State {
    /// Asserts that the list of versions is unchanged.
    #[track_caller]
    pub fn assert_same_versions(&self, later: &Self) {
        assert_eq!(self.versions, later.versions, "the versions have changed");
    }

    /// Asserts that the secret is unchanged.
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
