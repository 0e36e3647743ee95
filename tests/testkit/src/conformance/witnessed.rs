//! A backend that writes its results to the captured output.

use std::fmt;

use strongroom_core::{
    Backend, BackendInfo, ChangeFeed, Description, Error, Health, ListOptions, ListPage,
    MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret, SecretPath, SecretValue,
    Version, VersionInfo, VersionSelector, async_trait,
};

use crate::canary;

/// Forwards calls and writes each result in every format, so that the canary search covers them. Panics on
/// an error that does not name its origin.
pub(super) struct Witnessed<B: Backend>(B);

impl<B: Backend> Witnessed<B> {
    pub(super) fn new(backend: B) -> Self {
        canary::witness(backend.info());
        canary::witness(&backend);
        Self(backend)
    }

    fn record<T: fmt::Debug>(
        &self,
        operation: Operation,
        path: Option<&SecretPath>,
        answer: Result<T>,
    ) -> Result<T> {
        match &answer {
            Ok(answer) => canary::witness(answer),
            Err(error) => self.inspect(operation, path, error),
        }
        answer
    }

    fn inspect(&self, operation: Operation, path: Option<&SecretPath>, error: &Error) {
        canary::witness_error(error);
        assert_eq!(error.operation(), Some(operation), "the operation is not named: {error}");
        assert_eq!(error.backend(), Some(self.info().kind), "the backend is not named: {error}");
        if let Some(path) = path {
            assert_eq!(error.path(), Some(path), "the path is not named: {error}");
            assert!(error.to_string().contains(path.as_str()), "the path is not shown: {error}");
        }
        assert!(!error.advice().is_empty(), "the error gives no next step: {error}");
        assert!(std::error::Error::source(error).is_none(), "a client library's error is kept");
    }
}

impl<B: Backend> Drop for Witnessed<B> {
    fn drop(&mut self) {
        canary::witness(&self.0);
    }
}

impl<B: Backend> fmt::Debug for Witnessed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Backend> Backend for Witnessed<B> {
    fn info(&self) -> &BackendInfo {
        self.0.info()
    }

    fn locate(&self, path: &SecretPath) -> String {
        let place = self.0.locate(path);
        canary::witness(&place);
        place
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.record(Operation::Get, Some(path), self.0.get(path, version).await)
    }

    async fn health(&self) -> Result<Health> {
        self.record(Operation::Health, None, self.0.health().await)
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let answers = self.0.get_many(paths).await;
        assert_eq!(answers.len(), paths.len(), "one answer per path");
        let pairs = paths.iter().zip(answers);
        pairs.map(|(path, answer)| self.record(Operation::Get, Some(path), answer)).collect()
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        canary::witness(&value);
        canary::witness(&options);
        self.record(Operation::Put, Some(path), self.0.put(path, value, options).await)
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.record(Operation::Delete, Some(path), self.0.delete(path).await)
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.record(Operation::Undelete, Some(path), self.0.undelete(path).await)
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.record(Operation::Destroy, Some(path), self.0.destroy(path).await)
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        self.record(Operation::List, None, self.0.list(prefix, options).await)
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.record(Operation::Versions, Some(path), self.0.versions(path).await)
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.record(Operation::Rollback, Some(path), self.0.rollback(path, version).await)
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.record(Operation::Describe, Some(path), self.0.describe(path).await)
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.record(Operation::Annotate, Some(path), self.0.annotate(path, patch).await)
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        self.record(Operation::Rotate, Some(path), self.0.rotate(path).await)
    }

    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        let feed = self.0.changes();
        canary::witness(&feed);
        feed
    }

    async fn close(&self) -> Result<()> {
        self.record(Operation::Close, None, self.0.close().await)
    }
}
