//! Lists paths.

use aws_sdk_secretsmanager::types::{
    Filter, FilterNameStringType, SecretListEntry, SortOrderType, Tag,
};
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use strongroom_core::{ErrorKind, ListOptions, ListPage, PageToken, Result, SecretPath};

use crate::batch::CONCURRENT_READS;
use crate::client::Client;
use crate::describe::CURRENT_LABEL;
use crate::error::unexpected_answer;
use crate::metadata::from_tags;
use crate::name::{ListedName, MAX_LENGTH};
use crate::request::{RequiredPermission, send};

/// The most secrets on a page.
const PAGE_SIZE: i32 = 100;

impl Client {
    /// One page of the service's own list, filtered by `prefix` and `options`. The first page has the
    /// paths of the configuration, too: the service's list lacks secrets of other accounts.
    pub(crate) async fn list(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let mapped = async {
            match options.page {
                None => self.list_names_of_config(prefix, options).await,
                Some(_) => Ok(Vec::new()),
            }
        };
        let (mut page, mapped) = try_join(self.list_names(prefix, options), mapped).await?;
        page.paths.extend(mapped);
        Ok(page)
    }

    /// The paths of the configuration whose secrets exist and match.
    async fn list_names_of_config(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<Vec<SecretPath>> {
        let paths = self.names.mapped_paths(prefix).into_iter();
        let matches = paths.map(|path| async {
            self.is_listed(&path, options).await.map(|is| is.then_some(path))
        });
        let paths: Vec<_> = stream::iter(matches.collect::<Vec<_>>())
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await?;
        Ok(paths.into_iter().flatten().collect())
    }

    async fn is_listed(&self, path: &SecretPath, options: &ListOptions) -> Result<bool> {
        match self.describe_stored(path).await {
            Ok(Some(found)) => {
                let is_visible = found.current_version().is_some()
                    && (options.include_deleted || !found.is_deleted());
                Ok(is_visible && is_match(path, found.tags(), options))
            }
            Ok(None) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::warn!(%path, %error, "a list leaves out a secret that may not be described");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn list_names(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let permission = RequiredPermission { action: "ListSecrets", secret: None };
        let mut request = self
            .sdk()?
            .list_secrets()
            .max_results(PAGE_SIZE)
            .sort_order(SortOrderType::Asc)
            .include_planned_deletion(options.include_deleted)
            .set_next_token(options.page.as_ref().map(|page| page.as_str().to_owned()));
        let mut beginning = self.names.starting_with(prefix);
        if prefix.is_some() {
            beginning.push('/');
        }
        // No name is longer than that.
        if beginning.len() > MAX_LENGTH {
            return Ok(ListPage::default());
        }
        if !beginning.is_empty() {
            let filter = Filter::builder().key(FilterNameStringType::Name).values(&beginning);
            request = request.filters(filter.build());
        }
        let answer = send(request.send(), permission).await?;
        let (mut paths, mut omitted) = (Vec::new(), Vec::new());
        for entry in answer.secret_list.ok_or_else(unexpected_answer)? {
            let name = entry.name().unwrap_or_default();
            match self.names.classify(name, entry.arn()) {
                ListedName::Path(path) => {
                    let is_below = prefix.is_none_or(|prefix| path.below(prefix).is_some());
                    if is_below
                        && is_visible(&entry, options)
                        && is_match(&path, entry.tags(), options)
                    {
                        paths.push(path);
                    }
                }
                ListedName::NotAPath => {
                    if name.starts_with(&beginning) && is_visible(&entry, options) {
                        omitted.push(name.to_owned());
                    }
                }
                ListedName::Mapped | ListedName::OutsidePrefix => {}
            }
        }
        self.omitted_names.report(&omitted, self.names.setting());
        let next = answer.next_token.filter(|token| !token.is_empty()).map(PageToken::new);
        Ok(ListPage::new(paths, next))
    }
}

/// Whether a secret is readable, or deleted and asked for.
fn is_visible(entry: &SecretListEntry, options: &ListOptions) -> bool {
    let stages = entry.secret_versions_to_stages();
    let has_value = stages
        .is_some_and(|versions| versions.values().flatten().any(|stage| stage == CURRENT_LABEL));
    has_value && (options.include_deleted || entry.deleted_date().is_none())
}

/// Whether a secret has the tags, the kind and the tier of `options`.
fn is_match(path: &SecretPath, stored: &[Tag], options: &ListOptions) -> bool {
    if !options.needs_metadata() {
        return true;
    }
    match from_tags(stored) {
        Ok(metadata) => options.matches(&metadata),
        Err(error) => {
            tracing::warn!(%path, %error, "a list by tag, kind or tier leaves out a secret with malformed tags");
            false
        }
    }
}
