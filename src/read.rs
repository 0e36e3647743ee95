//! Reading secrets and what is known about them.

use std::time::Duration;

use arrayvec::ArrayString;
use futures_util::stream;
use serde::de::DeserializeOwned;
use strongroom_core::{
    Capability, Description, ErrorKind, ListOptions, Metadata, Operation, PageToken, Result,
    Secret, SecretPath, SecretValue, Version, VersionInfo, VersionSelector,
};

use crate::cache::{Hit, Terms};
use crate::{Listing, ReadOptions, SecretsManager, clock, expiry, load};

impl SecretsManager {
    /// Reads the active version of a secret.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it was never written, is deleted or destroyed,
    /// [`ErrorKind::Expired`] if its expiry has passed, [`ErrorKind::Corrupt`] if what is stored
    /// fails authentication, and whatever keeps the store from answering.
    pub async fn get(&self, path: impl AsRef<str>) -> Result<Secret> {
        let path = path.as_ref();
        match self.cached(path, &VersionSelector::Active, Terms::ANY) {
            Some(secret) => Ok(secret),
            None => Box::pin(self.read(path, &VersionSelector::Active, Terms::ANY, None)).await,
        }
    }

    /// Reads a secret with options for this read alone: another version, a bound on its age or on
    /// the time that the read takes.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::Unsupported`] if the store has no versions or labels.
    pub async fn get_with(&self, path: impl AsRef<str>, options: ReadOptions) -> Result<Secret> {
        let (path, terms) = (path.as_ref(), options.terms());
        match self.cached(path, &options.version, terms) {
            Some(secret) => Ok(secret),
            None => Box::pin(self.read(path, &options.version, terms, options.timeout)).await,
        }
    }

    /// Asks the store for the active version of a secret, whatever the cache has. Calls that come
    /// while the store is being asked wait for one more request, which they share.
    ///
    /// # Errors
    /// As [`get`](Self::get). While the store is unavailable, it is an error and no stale copy.
    pub async fn refresh(&self, path: impl AsRef<str>) -> Result<Secret> {
        self.get_with(path, ReadOptions::new().max_age(Duration::ZERO)).await
    }

    /// Forgets what is cached of a secret. Its value is wiped as soon as the last reader lets go.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not a path, [`ErrorKind::Closed`].
    pub fn invalidate(&self, path: impl AsRef<str>) -> Result<()> {
        let path = self.resolve(path.as_ref(), Operation::Get)?;
        if let Some(cache) = &self.shared.cache {
            cache.invalidate(&path);
        }
        self.shared.watches.ring(&path);
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
        let resolve = |path: P| self.resolve(path.as_ref(), Operation::Get);
        let resolved: Vec<_> = paths.into_iter().map(resolve).collect();
        self.read_many(resolved).await
    }

    /// The one entrance of every read of several secrets.
    async fn read_many(&self, resolved: Vec<Result<SecretPath>>) -> Vec<Result<Secret>> {
        let valid: Vec<_> =
            resolved.iter().filter_map(|path| path.as_ref().ok().cloned()).collect();
        let mut results = self.shared.load_many(&valid).await.into_iter();
        resolved
            .into_iter()
            .map(|path| {
                let path = path?;
                // There is one for each valid path.
                let result = results.next().unwrap_or_else(|| Err(load::closed()));
                self.judge(&path, result, &VersionSelector::Active)
            })
            .collect()
    }

    /// The value of a secret, or `default` if it is [`NotFound`](ErrorKind::NotFound). Any other
    /// error remains one: a secret that is expired or may not be read has no default.
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

    /// Whether there is a secret at this path, be it an expired one.
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

    /// One member of a secret that is a JSON object; see [`SecretValue::field`].
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::WrongType`] if the value is no JSON object,
    /// [`ErrorKind::FieldNotFound`] if it has no such member.
    pub async fn get_field(&self, path: impl AsRef<str>, name: &str) -> Result<SecretValue> {
        let secret = self.get(path).await?;
        secret.field(name).map_err(|error| self.named(error, Operation::Get, secret.path()))
    }

    /// A secret as `T`, from its JSON; see [`SecretValue::parse_json`].
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
        let secret = self.get(path).await?;
        secret.parse_json().map_err(|error| self.named(error, Operation::Get, secret.path()))
    }

    /// Lists the versions of a secret, newest first.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Unsupported`], and whatever keeps the store from
    /// answering.
    pub async fn versions(&self, path: impl AsRef<str>) -> Result<Vec<VersionInfo>> {
        let path = self.resolve(path.as_ref(), Operation::Versions)?;
        self.require(Capability::Versions, Operation::Versions, &path)?;
        let result = self.shared.repeat(|| self.shared.backend.versions(&path)).await;
        result.map_err(|error| self.named(error, Operation::Versions, &path))
    }

    /// Reads what is known about a secret, also an expired one, without its value.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Unsupported`], and whatever keeps the store from
    /// answering.
    pub async fn describe(&self, path: impl AsRef<str>) -> Result<Description> {
        let path = self.resolve(path.as_ref(), Operation::Describe)?;
        self.require(Capability::Metadata, Operation::Describe, &path)?;
        let result = self.shared.repeat(|| self.shared.backend.describe(&path)).await;
        result.map_err(|error| self.named(error, Operation::Describe, &path))
    }

    /// Lists the paths below `prefix`, at any depth; everything if it is empty. Whole segments
    /// count, and a `/` at the end is ignored. Paths are relative to the namespace.
    #[must_use]
    pub fn list(&self, prefix: impl AsRef<str>) -> Listing {
        self.list_with(prefix, ListOptions::new())
    }

    /// Lists those paths below `prefix` whose secrets have a tag or kind, or also deleted ones.
    ///
    /// # Examples
    /// ```
    /// # async fn run(secrets: strongroom::SecretsManager) -> strongroom::Result<()> {
    /// use strongroom::ListOptions;
    ///
    /// let options = ListOptions::new().tag("team", "payments");
    /// for path in secrets.list_with("production", options).all().await? {
    ///     println!("{path}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn list_with(&self, prefix: impl AsRef<str>, options: ListOptions) -> Listing {
        let prefix = prefix.as_ref();
        let prefix = match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" => Ok(self.namespace.clone()),
            prefix => self.resolve(prefix, Operation::List).map(Some),
        };
        let state = Some((self.clone(), prefix, options));
        Listing::new(stream::try_unfold(state, |state| async move {
            let Some((manager, prefix, options)) = state else { return Ok(None) };
            let prefix = prefix?;
            let (paths, next) = manager.page(prefix.as_ref(), &options).await?;
            // A local store never waits, however many pages there are.
            tokio::task::yield_now().await;
            let rest = next.map(|token| (manager, Ok(prefix), options.page(Some(token))));
            Ok(Some((paths, rest)))
        }))
    }

    pub(crate) async fn page(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<(Vec<SecretPath>, Option<PageToken>)> {
        let info = self.ready(Operation::List)?;
        if !info.capabilities.has(Capability::List) {
            return Err(info.unsupported(Operation::List));
        }
        let page = self
            .shared
            .repeat(|| self.shared.backend.list(prefix, options))
            .await
            .map_err(|error| error.during(Operation::List).from_backend(info.kind))?;
        let Some(namespace) = &self.namespace else { return Ok((page.paths, page.next)) };
        let relative = |path: &SecretPath| path.below(namespace).map(SecretPath::parse);
        let paths = page.paths.iter().filter_map(relative).collect::<Result<_>>()?;
        Ok((paths, page.next))
    }

    /// What the cache has, if that is a secret.
    #[inline]
    fn cached(&self, path: &str, version: &VersionSelector, terms: Terms) -> Option<Secret> {
        let shared = &self.shared;
        let cache = shared.cache.as_ref().filter(|_| !self.is_closing())?;
        let hit = match &self.namespace {
            None => cache.look(path, version, terms)?,
            Some(namespace) => {
                let mut full = ArrayString::<{ SecretPath::MAX_LEN }>::new();
                full.try_push_str(namespace.as_str()).ok()?;
                full.try_push('/').ok()?;
                full.try_push_str(path).ok()?;
                cache.look(&full, version, terms)?
            }
        };
        match hit {
            // What is remembered as missing may have a default.
            Hit::Missing(_) => None,
            Hit::Secret { .. } => {
                let key = || Some(cache.key(&self.full(path).ok()?, version));
                shared.take(cache, hit, key)?.ok()
            }
        }
    }

    /// The one entrance of every read of a single secret that the cache does not have.
    async fn read(
        &self,
        path: &str,
        version: &VersionSelector,
        terms: Terms,
        timeout: Option<Duration>,
    ) -> Result<Secret> {
        let path = self.resolve_version(path, version)?;
        let result = self.shared.load(&path, version, terms, timeout).await;
        self.judge(&path, result, version)
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

    /// Reads one version from the store, whatever the cache holds and whatever defaults are declared.
    pub(crate) async fn read_fresh(
        &self,
        path: &SecretPath,
        version: &VersionSelector,
    ) -> Result<Secret> {
        let path = self.resolve_version(path.as_str(), version)?;
        let fresh = Terms { max_age: Some(Duration::ZERO), accepts_stale: false };
        let result = self.shared.load(&path, version, fresh, None).await;
        self.finish_fresh(&path, result)
    }

    /// Reads several secrets from the store, as [`read_fresh`](Self::read_fresh) does, but leaves the cache
    /// as it is.
    pub(crate) async fn read_many_fresh(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let resolve = |path: &SecretPath| self.resolve(path.as_str(), Operation::Get);
        let resolved: Vec<_> = paths.iter().map(resolve).collect();
        let valid: Vec<_> =
            resolved.iter().filter_map(|path| path.as_ref().ok().cloned()).collect();
        let results = match valid.as_slice() {
            // A closed manager has no valid paths, and must not ask its closed store.
            [] => Vec::new(),
            valid => self.shared.ask_many(valid, self.shared.policy.timeout).await,
        };
        let mut results = results.into_iter();
        resolved
            .into_iter()
            .map(|path| {
                let path = path?;
                // There is one for each valid path.
                self.finish_fresh(&path, results.next().unwrap_or_else(|| Err(load::closed())))
            })
            .collect()
    }

    fn finish_fresh(&self, path: &SecretPath, result: Result<Secret>) -> Result<Secret> {
        let checked = result.and_then(|secret| {
            secret.metadata().ensure_not_expired(clock::wall()).map(|()| secret)
        });
        checked.map_err(|error| self.named(error, Operation::Get, path))
    }

    /// Reads a secret for a handle, of any age or of less than this.
    pub(crate) async fn look_again(
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

    /// What becomes of a backend's answer: expiry is checked, a default may take its place.
    fn judge(
        &self,
        path: &SecretPath,
        result: Result<Secret>,
        version: &VersionSelector,
    ) -> Result<Secret> {
        let now = clock::wall();
        let checked =
            result.and_then(|secret| secret.metadata().ensure_not_expired(now).map(|()| secret));
        match checked {
            Ok(secret) => {
                expiry::warn_ahead(&secret, self.backend(), now);
                Ok(secret)
            }
            Err(error) => match self.shared.default_of(path) {
                Some(value)
                    if error.kind() == ErrorKind::NotFound
                        && *version == VersionSelector::Active =>
                {
                    let version = Version::new("default");
                    Ok(Secret::new(path.clone(), version, Metadata::default(), value.clone()))
                }
                _ => Err(self.named(error, Operation::Get, path)),
            },
        }
    }
}
