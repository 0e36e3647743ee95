//! Reads of secrets.

use std::time::Duration;

use arrayvec::ArrayString;
use futures_util::stream::{self, StreamExt as _};
use serde::de::DeserializeOwned;
use strongroom_core::{
    Capability, Error, ErrorKind, Metadata, Operation, Result, Secret, SecretPath, SecretValue,
    Version, VersionSelector,
};

use crate::cache::{Freshness, Lookup};
use crate::clock;
use crate::error::closed;
use crate::manager::SecretsManager;
use crate::options::ReadOptions;
use crate::retry::Deadline;

/// How many reads of versions other than the active one are under way at once for `get_many_with`, as many as
/// [`Backend::get_many`](strongroom_core::Backend::get_many) has.
const MAX_CONCURRENT_READS: usize = 16;

impl SecretsManager {
    /// Reads the active version of a secret.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it was never written, is deleted or destroyed,
    /// [`ErrorKind::Expired`] if its expiry has passed, [`ErrorKind::Corrupt`] if what is stored
    /// fails authentication, and the errors of a store that cannot answer.
    pub async fn get(&self, path: impl AsRef<str>) -> Result<Secret> {
        let path = path.as_ref();
        if let Some(secret) = self.lookup(path, &VersionSelector::Active, Freshness::ANY) {
            return Ok(secret);
        }
        let options = ReadOptions::new();
        Box::pin(self.read(path, &options, self.deadline(&options))).await
    }

    /// Reads a secret with options for this read alone: another version, a limit to its age or to
    /// the time that the read takes.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::Unsupported`] if the store has no versions or labels.
    pub async fn get_with(&self, path: impl AsRef<str>, options: ReadOptions) -> Result<Secret> {
        let path = path.as_ref();
        match self.lookup(path, &options.version, options.freshness()) {
            Some(secret) => Ok(secret),
            None => Box::pin(self.read(path, &options, self.deadline(&options))).await,
        }
    }

    /// Asks the store for the active version of a secret, even if the cache holds it. Calls that come
    /// while the store is being asked share one further request.
    ///
    /// # Errors
    /// As [`get`](Self::get). While the store is unavailable, the call fails and gives no stale copy.
    pub async fn refresh(&self, path: impl AsRef<str>) -> Result<Secret> {
        self.get_with(path, ReadOptions::new().max_age(Duration::ZERO)).await
    }

    /// Removes a secret from the cache. Its value is wiped when the last reader drops it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not a path, [`ErrorKind::Closed`].
    pub fn invalidate(&self, path: impl AsRef<str>) -> Result<()> {
        let path = self.resolve(path.as_ref(), Operation::Get)?;
        if let Some(cache) = &self.shared.cache {
            cache.invalidate(&path);
        }
        self.shared.watches.notify(&path);
        Ok(())
    }

    /// Reads one version of a secret.
    ///
    /// # Errors
    /// As [`get`](Self::get); `NotFound` also if the secret has no such version.
    pub async fn get_version(
        &self,
        path: impl AsRef<str>,
        version: impl Into<Version>,
    ) -> Result<Secret> {
        let version = VersionSelector::Exact(version.into());
        self.get_with(path, ReadOptions::new().version(version)).await
    }

    /// Reads the version of a secret that carries a label, such as `AWSPREVIOUS`, the one before the
    /// active one, in AWS Secrets Manager.
    ///
    /// # Errors
    /// As [`get`](Self::get); `NotFound` also if no version carries it, [`ErrorKind::Unsupported`]
    /// if the store has no such labels.
    pub async fn get_stage(&self, path: impl AsRef<str>, stage: &str) -> Result<Secret> {
        let stage = VersionSelector::Stage(stage.into());
        self.get_with(path, ReadOptions::new().version(stage)).await
    }

    /// Reads several secrets at once: one result per path, in the order of the paths. A store that
    /// has no call for many has at most 16 reads under way at once.
    pub async fn get_many<P: AsRef<str>>(
        &self,
        paths: impl IntoIterator<Item = P>,
    ) -> Vec<Result<Secret>> {
        self.get_many_with(paths, ReadOptions::new()).await
    }

    /// Reads several secrets at once, with options for these reads alone. Only active versions are
    /// read in one call to the store.
    pub async fn get_many_with<P: AsRef<str>>(
        &self,
        paths: impl IntoIterator<Item = P>,
        options: ReadOptions,
    ) -> Vec<Result<Secret>> {
        if options.version != VersionSelector::Active {
            let paths: Vec<_> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
            let (options, deadline) = (&options, self.deadline(&options));
            let read = |(index, path): (usize, String)| async move {
                match self.lookup(&path, &options.version, options.freshness()) {
                    Some(secret) => Ok(secret),
                    None => self
                        .read(&path, options, deadline)
                        .await
                        .map_err(|error| name_index(error, index)),
                }
            };
            return stream::iter(paths.into_iter().enumerate())
                .map(read)
                .buffered(MAX_CONCURRENT_READS)
                .collect()
                .await;
        }
        let resolve = |(index, path): (usize, P)| {
            let resolved = self.resolve(path.as_ref(), Operation::Get);
            resolved.map_err(|error| name_index(error, index))
        };
        let resolved = paths.into_iter().enumerate().map(resolve).collect();
        let complete = |path: &SecretPath, result| self.complete(path, result, &options.version);
        self.read_many(resolved, &options, complete).await
    }

    /// The one entrance of every read of several secrets.
    async fn read_many(
        &self,
        resolved: Vec<Result<SecretPath>>,
        options: &ReadOptions,
        complete: impl Fn(&SecretPath, Result<Secret>) -> Result<Secret>,
    ) -> Vec<Result<Secret>> {
        let valid: Vec<_> =
            resolved.iter().filter_map(|path| path.as_ref().ok().cloned()).collect();
        // A closed manager resolves no path, and does not ask its closed store.
        let mut results = match valid.as_slice() {
            [] => Vec::new(),
            valid => {
                let deadline = self.deadline(options);
                self.shared.load_many(valid, options.freshness(), deadline).await
            }
        }
        .into_iter();
        resolved
            .into_iter()
            .map(|path| {
                let path = path?;
                // There is one for each valid path.
                complete(&path, results.next().unwrap_or_else(|| Err(closed())))
            })
            .collect()
    }

    /// The value of a secret, or `default` if it is [`NotFound`](ErrorKind::NotFound). Any other
    /// error stays an error, for example if the secret has expired or the service may not read it.
    ///
    /// # Errors
    /// As [`get`](Self::get), without `NotFound`.
    pub async fn get_or(
        &self,
        path: impl AsRef<str>,
        default: impl Into<SecretValue>,
    ) -> Result<SecretValue> {
        let default = default.into();
        match self.get(path).await {
            Ok(secret) => Ok(secret.value().clone()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(default),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a secret at this path, even an expired one.
    ///
    /// # Errors
    /// As [`get`](Self::get), without `NotFound` and `Expired`.
    pub async fn exists(&self, path: impl AsRef<str>) -> Result<bool> {
        match self.get(path).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(false),
                ErrorKind::Expired => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// Reads one member of a secret that is a JSON object; see [`SecretValue::field`].
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::WrongType`] if the value is not a JSON object,
    /// [`ErrorKind::FieldNotFound`] if it has no such member.
    pub async fn get_field(&self, path: impl AsRef<str>, name: &str) -> Result<SecretValue> {
        self.get_field_with(path, name, ReadOptions::new()).await
    }

    /// Reads one member of a secret, with options for this read alone.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with) and [`get_field`](Self::get_field).
    pub async fn get_field_with(
        &self,
        path: impl AsRef<str>,
        name: &str,
        options: ReadOptions,
    ) -> Result<SecretValue> {
        let secret = self.get_with(path, options).await?;
        secret.field(name).map_err(|error| self.add_context(error, Operation::Get, secret.path()))
    }

    /// Reads a secret as `T`, from its JSON; see [`SecretValue::parse_json`].
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::WrongType`] if the value is not JSON of this type.
    ///
    /// # Examples
    /// ```
    /// # async fn run(secrets: strongroom::SecretsManager) -> strongroom::Result<()> {
    /// #[derive(serde::Deserialize)]
    /// struct Database {
    ///     user: String,
    ///     port: u16,
    /// }
    /// let database: Database = secrets.get_json("db/main").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_json<T: DeserializeOwned>(&self, path: impl AsRef<str>) -> Result<T> {
        self.get_json_with(path, ReadOptions::new()).await
    }

    /// Reads a secret as `T`, from its JSON, with options for this read alone.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with) and [`get_json`](Self::get_json).
    pub async fn get_json_with<T: DeserializeOwned>(
        &self,
        path: impl AsRef<str>,
        options: ReadOptions,
    ) -> Result<T> {
        let secret = self.get_with(path, options).await?;
        secret.parse_json().map_err(|error| self.add_context(error, Operation::Get, secret.path()))
    }

    /// The secret that the cache holds.
    #[inline]
    fn lookup(
        &self,
        path: &str,
        version: &VersionSelector,
        freshness: Freshness,
    ) -> Option<Secret> {
        let shared = &self.shared;
        let cache = shared.cache.as_ref().filter(|_| !shared.is_closing())?;
        let found = match &self.namespace {
            None => cache.lookup(path, version, freshness),
            Some(namespace) => {
                let mut full = ArrayString::<{ SecretPath::MAX_LEN }>::new();
                full.try_push_str(namespace.as_str()).ok()?;
                full.try_push('/').ok()?;
                full.try_push_str(path).ok()?;
                cache.lookup(&full, version, freshness)
            }
        };
        match found {
            // A declared default may take the place of a secret that does not exist.
            Lookup::Hit { result: Err(_), .. } | Lookup::Miss { .. } => None,
            found => {
                let key = || Some(cache.key(&self.full(path).ok()?, version));
                shared.take(cache, found, key)?.ok()
            }
        }
    }

    /// The one entrance of every read of a single secret that the cache does not hold.
    async fn read(&self, path: &str, options: &ReadOptions, deadline: Deadline) -> Result<Secret> {
        let version = &options.version;
        let path = self.resolve_version(path, version)?;
        let result = self.shared.load(&path, version, options.freshness(), deadline).await;
        self.complete(&path, result, version)
    }

    fn deadline(&self, options: &ReadOptions) -> Deadline {
        Deadline::after(options.timeout.unwrap_or(self.shared.policy.timeout))
    }

    /// The full path, if the store has versions of this kind.
    fn resolve_version(&self, path: &str, version: &VersionSelector) -> Result<SecretPath> {
        let path = self.resolve(path, Operation::Get)?;
        match version {
            VersionSelector::Exact(_) => {
                self.require(Capability::Versions, Operation::Get, &path)?;
            }
            VersionSelector::Stage(_) => self.require(Capability::Stages, Operation::Get, &path)?,
            _ => {}
        }
        Ok(path)
    }

    /// Reads one version from the store, even if the cache holds it, and without declared defaults.
    pub(crate) async fn read_fresh(
        &self,
        path: &SecretPath,
        version: &VersionSelector,
    ) -> Result<Secret> {
        let path = self.resolve_version(path.as_str(), version)?;
        let deadline = Deadline::after(self.shared.policy.timeout);
        let result = self.shared.load(&path, version, Freshness::NOW, deadline).await;
        result.map_err(|error| self.add_context(error, Operation::Get, &path))
    }

    /// As [`read_fresh`](Self::read_fresh), for several secrets.
    pub(crate) async fn read_many_fresh(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let resolve = |path: &SecretPath| self.resolve(path.as_str(), Operation::Get);
        let resolved = paths.iter().map(resolve).collect();
        let options = ReadOptions::new().max_age(Duration::ZERO).never_stale();
        let complete = |path: &SecretPath, result: Result<Secret>| {
            result.map_err(|error| self.add_context(error, Operation::Get, path))
        };
        self.read_many(resolved, &options, complete).await
    }

    /// Reads a secret for a handle, of any age or of less than `max_age`.
    pub(crate) async fn read_for_handle(
        &self,
        path: &SecretPath,
        max_age: Option<Duration>,
    ) -> Result<Secret> {
        let asked_at = clock::instant();
        let secret = self.get_with(path, ReadOptions { max_age, ..ReadOptions::new() }).await?;
        // The cache knows when the store was asked.
        let is_cached = self.shared.cache.is_some();
        Ok(if is_cached { secret } else { secret.reissue(asked_at, false) })
    }

    /// Completes a read: a declared default takes the place of a secret that does not exist, and an
    /// error names operation, path and backend.
    fn complete(
        &self,
        path: &SecretPath,
        result: Result<Secret>,
        version: &VersionSelector,
    ) -> Result<Secret> {
        result.or_else(|error| match self.shared.default_of(path) {
            Some(value)
                if error.kind() == ErrorKind::NotFound && *version == VersionSelector::Active =>
            {
                let version = Version::new("default");
                Ok(Secret::new(path.clone(), version, Metadata::default(), value.clone()))
            }
            _ => Err(self.add_context(error, Operation::Get, path)),
        })
    }
}

/// Adds the index in a batch to the error of an invalid path, which itself is not shown.
fn name_index(error: Error, index: usize) -> Error {
    if error.kind() != ErrorKind::InvalidInput || error.path().is_some() {
        return error;
    }
    let cause = format!("at index {index} of the batch (counted from 0), {}", error.cause());
    error.because(cause)
}
