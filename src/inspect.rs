//! Versions, metadata and lists: what a store tells about secrets without their values.

use futures_util::stream;
#[cfg(doc)]
use strongroom_core::ErrorKind;
use strongroom_core::{
    Capability, Description, ListOptions, Operation, PageToken, Result, SecretPath, VersionInfo,
};

use crate::listing::Listing;
use crate::manager::SecretsManager;

impl SecretsManager {
    /// Lists the versions of a secret, newest first.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Unsupported`], and the errors of a store
    /// that cannot answer.
    pub async fn versions(&self, path: impl AsRef<str>) -> Result<Vec<VersionInfo>> {
        let path = self.resolve(path.as_ref(), Operation::Versions)?;
        self.require(Capability::Versions, Operation::Versions, &path)?;
        let result = self.shared.request(|| self.shared.backend.versions(&path)).await;
        result.map_err(|error| self.add_context(error, Operation::Versions, &path))
    }

    /// Reads the metadata of a secret, even an expired one, without its value.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Unsupported`], and the errors of a store
    /// that cannot answer.
    pub async fn describe(&self, path: impl AsRef<str>) -> Result<Description> {
        let path = self.resolve(path.as_ref(), Operation::Describe)?;
        self.require(Capability::Metadata, Operation::Describe, &path)?;
        let result = self.shared.request(|| self.shared.backend.describe(&path)).await;
        result.map_err(|error| self.add_context(error, Operation::Describe, &path))
    }

    /// Lists the paths below `prefix`, at any depth; everything if it is empty. Whole segments
    /// count, and a `/` at the end is ignored. Paths are relative to the namespace.
    #[must_use]
    pub fn list(&self, prefix: impl AsRef<str>) -> Listing {
        self.list_with(prefix, ListOptions::new())
    }

    /// Lists the paths below `prefix` whose secrets have a tag or a kind; includes deleted secrets on request.
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
            // A local store never waits, so other tasks get their turn here.
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
            .request(|| self.shared.backend.list(prefix, options))
            .await
            .map_err(|error| error.during(Operation::List).from_backend(info.kind))?;
        let Some(namespace) = &self.namespace else { return Ok((page.paths, page.next)) };
        let relative = |path: &SecretPath| path.below(namespace).map(SecretPath::parse);
        let paths = page.paths.iter().filter_map(relative).collect::<Result<_>>()?;
        Ok((paths, page.next))
    }
}
