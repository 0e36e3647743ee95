//! The trait that a store implements.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use crate::{
    Capabilities, ChangeFeed, Description, Error, ErrorKind, EscapedText, ListOptions, ListPage,
    MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret, SecretPath, SecretValue,
    Version, VersionInfo, VersionSelector,
};

/// How many reads the default [`Backend::get_many`] keeps under way at once.
const CONCURRENT_READS: usize = 16;
/// How many reads it makes before it yields to other tasks.
const READS_PER_YIELD: usize = 64;

/// A store behind the API.
///
/// The contract, which the conformance suite in `tests/testkit` checks for every backend:
///
/// - A secret that was never written, is deleted or destroyed is [`ErrorKind::NotFound`]; one whose
///   expiry has passed is [`ErrorKind::Expired`]. Nothing is deleted by expiring. An empty value is
///   a value.
/// - [`put`](Self::put) gives each write a new version, which never changes again. Metadata belongs
///   to the secret, not to a version. A `put` on a deleted secret makes it live again.
/// - [`delete`](Self::delete) makes all reads of the secret, also by version, answer `NotFound`.
///   It and [`destroy`](Self::destroy) are idempotent; after `destroy` the secret is as if it had
///   never existed.
/// - A failed call has changed nothing. Dropping a future midway leaves no half-written secret.
/// - A call that needs a [`Capability`](crate::Capability) that the backend does not declare fails with
///   [`ErrorKind::Unsupported`], as the default methods do. Without
///   [`Capability::Scopes`](crate::Capability::Scopes), `put` begins with
///   [`options.refuse_scope()?`](PutOptions::refuse_scope).
///
/// No error may carry a value or anything that a client library said; build an [`Error`] from its
/// kind and text of your own.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// The kind of this store and its capabilities.
    fn info(&self) -> &BackendInfo;

    /// The location of a secret in the store's own terms, for messages to operators: the name of an
    /// environment variable, a path with its mount.
    fn locate(&self, path: &SecretPath) -> String {
        format!("`{path}` in {}", self.info().instance)
    }

    /// Reads one version of a secret. Where a store would need a second request for them, the
    /// times of creation and of the last change are left out; [`describe`](Self::describe) has them.
    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret>;

    /// Checks the health of the store. A store that does not answer is an error; one that answers that
    /// it cannot serve is a [`HealthStatus`].
    async fn health(&self) -> Result<Health>;

    /// Reads the active versions of several secrets: one result per path, in their order. Unless
    /// the backend has a better way, at most 16 reads run at once, and the call yields to other tasks
    /// after every 64.
    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let reads: Vec<_> =
            paths.iter().map(|path| self.get(path, &VersionSelector::Active)).collect();
        let mut reads = stream::iter(reads).buffered(CONCURRENT_READS);
        let mut results = Vec::with_capacity(paths.len());
        while let Some(result) = reads.next().await {
            results.push(result);
            if results.len().is_multiple_of(READS_PER_YIELD) {
                yield_now().await;
            }
        }
        results
    }

    /// Writes a new version, makes it the active one and returns it.
    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let _ = (value, options);
        Err(self.info().unsupported(Operation::Put).at(path))
    }

    /// Makes reads answer `NotFound`, recoverably where the store can.
    async fn delete(&self, path: &SecretPath) -> Result<()> {
        Err(self.info().unsupported(Operation::Delete).at(path))
    }

    /// Restores a deleted secret. Succeeds on a live one; `NotFound` if the path holds none.
    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        Err(self.info().unsupported(Operation::Undelete).at(path))
    }

    /// Removes a secret and all its versions irreversibly.
    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        Err(self.info().unsupported(Operation::Destroy).at(path))
    }

    /// Returns a page of the paths below `prefix` (of all paths without one), at any depth, not
    /// `prefix` itself. All pages together hold every secret that existed throughout.
    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let _ = (prefix, options);
        Err(self.info().unsupported(Operation::List))
    }

    /// Lists the versions of a secret, newest first.
    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        Err(self.info().unsupported(Operation::Versions).at(path))
    }

    /// Makes the value of an earlier version the active one and returns the active version, which
    /// may be `version` itself or a new one with its value.
    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        let _ = version;
        Err(self.info().unsupported(Operation::Rollback).at(path))
    }

    /// Reads the version and the metadata of a secret, also of an expired one, without its value.
    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        Err(self.info().unsupported(Operation::Describe).at(path))
    }

    /// Changes metadata without writing a version.
    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        let _ = patch;
        Err(self.info().unsupported(Operation::Annotate).at(path))
    }

    /// Makes the store rotate a secret.
    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        Err(self.info().unsupported(Operation::Rotate).at(path))
    }

    /// Follows the changes of the store, also those that other processes make. It does not wait: a feed of a store on
    /// another machine connects when it is first asked.
    ///
    /// `None` if the store does not tell of changes, now or later. A cache then has to read again after a time.
    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        None
    }

    /// Releases connections, tokens and keys. Later calls fail with [`ErrorKind::Closed`].
    ///
    /// It may be called again: after it has returned, while an earlier call is running, or after the
    /// future of one was dropped midway. Each call returns when everything is released.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Yields to other tasks once, in long loops over calls that never wait.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Forwards every method, so that a pointer to a backend is a backend.
macro_rules! forward {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<B: Backend + ?Sized> Backend for $pointer<B> {
            fn info(&self) -> &BackendInfo {
                (**self).info()
            }

            fn locate(&self, path: &SecretPath) -> String {
                (**self).locate(path)
            }

            async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
                (**self).get(path, version).await
            }

            async fn health(&self) -> Result<Health> {
                (**self).health().await
            }

            async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
                (**self).get_many(paths).await
            }

            async fn put(
                &self,
                path: &SecretPath,
                value: SecretValue,
                options: PutOptions,
            ) -> Result<Version> {
                (**self).put(path, value, options).await
            }

            async fn delete(&self, path: &SecretPath) -> Result<()> {
                (**self).delete(path).await
            }

            async fn undelete(&self, path: &SecretPath) -> Result<()> {
                (**self).undelete(path).await
            }

            async fn destroy(&self, path: &SecretPath) -> Result<()> {
                (**self).destroy(path).await
            }

            async fn list(
                &self,
                prefix: Option<&SecretPath>,
                options: &ListOptions,
            ) -> Result<ListPage> {
                (**self).list(prefix, options).await
            }

            async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
                (**self).versions(path).await
            }

            async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
                (**self).rollback(path, version).await
            }

            async fn describe(&self, path: &SecretPath) -> Result<Description> {
                (**self).describe(path).await
            }

            async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
                (**self).annotate(path, patch).await
            }

            async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
                (**self).rotate(path).await
            }

            fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
                (**self).changes()
            }

            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);

/// The kind of a store and its capabilities.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackendInfo {
    /// The kind: its name in `SECRETS_BACKEND`.
    pub kind: &'static str,
    /// The store, without credentials: a file's path, an address.
    pub instance: String,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// How long a read may be served from a cache, unless the operator says otherwise. `None`: the
    /// store is local and needs no cache.
    pub default_cache_ttl: Option<Duration>,
    /// Whether the backend itself retries failed requests, so that its callers should not.
    pub retries: bool,
    /// Whether two paths always name two secrets. It is not so where a store folds paths into names of another
    /// form, such as environment variables; then a path cannot separate one tenant from another.
    pub distinct_paths: bool,
    /// The backends that have what this one lacks, for the advice in errors.
    pub alternatives: Cow<'static, str>,
    /// The backends that rotate secrets themselves, if they are others than `alternatives`.
    pub rotation_alternatives: Option<Cow<'static, str>>,
}

impl BackendInfo {
    /// Describes a local store; the remaining fields can be set afterwards.
    #[must_use]
    pub fn new(
        kind: &'static str,
        instance: impl Into<String>,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            kind,
            instance: EscapedText::clause(&instance.into()).to_string(),
            capabilities,
            default_cache_ttl: None,
            retries: false,
            distinct_paths: true,
            alternatives: Cow::Borrowed("a backend whose capabilities include it"),
            rotation_alternatives: None,
        }
    }

    /// The error for an operation that this backend lacks.
    #[must_use]
    pub fn unsupported(&self, operation: Operation) -> Error {
        let for_rotation = self.rotation_alternatives.as_ref();
        let for_rotation = for_rotation.filter(|_| operation == Operation::Rotate);
        let alternatives = for_rotation.unwrap_or(&self.alternatives);
        Error::new(ErrorKind::Unsupported, format!("use {alternatives}"))
            .because("this backend cannot do that")
            .during(operation)
            .from_backend(self.kind)
    }
}

/// The health of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether the store serves requests.
    pub status: HealthStatus,
    /// Facts for operators, such as the version of the store. Never a secret.
    pub details: BTreeMap<Cow<'static, str>, String>,
}

/// Whether a store serves requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthStatus {
    /// It serves reads and, if it can, writes.
    Ready,
    /// It serves, but something needs attention; see the details.
    Degraded,
    /// It answers, but cannot serve requests; see the details.
    Unavailable,
}

impl Health {
    /// A report without details.
    #[must_use]
    pub fn new(status: HealthStatus) -> Self {
        Self { status, details: BTreeMap::new() }
    }

    /// Adds a fact for operators. Control characters in it are escaped, and it is cut after 1,000
    /// characters.
    #[must_use]
    pub fn detail(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.details.insert(name.into(), EscapedText::clause(&value.into()).to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::MemoryBackend;

    #[test]
    fn many_reads_yield_to_other_tasks() {
        let paths: Vec<_> = (0..640).map(|i| SecretPath::parse(&i.to_string()).unwrap()).collect();
        let store = MemoryBackend::new();
        let mut reads = pin!(store.get_many(&paths));
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 1;
        let results = loop {
            match reads.as_mut().poll(&mut context) {
                Poll::Ready(results) => break results,
                Poll::Pending => polls += 1,
            }
        };
        assert_eq!((results.len(), polls), (640, 11));
    }
}
