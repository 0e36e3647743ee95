//! Lists paths.

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretListEntry, SortOrderType};
use strongroom_core::{ListOptions, ListPage, PageToken, Result, SecretPath};

use crate::client::Client;
use crate::describe::CURRENT_LABEL;
use crate::error::unexpected_answer;
use crate::metadata::from_tags;
use crate::name::MAX_LENGTH;
use crate::request::{RequiredPermission, send};

/// The most secrets on a page.
const PAGE_SIZE: i32 = 100;

impl Client {
    /// One page of the service's own list, filtered by `prefix` and `options`.
    pub(crate) async fn list(
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
            let filter = Filter::builder().key(FilterNameStringType::Name).values(beginning);
            request = request.filters(filter.build());
        }
        let answer = send(request.send(), permission).await?;
        let mut paths = Vec::new();
        for entry in answer.secret_list.ok_or_else(unexpected_answer)? {
            let path = entry.name().and_then(|name| self.names.path(name));
            let Some(path) = path else { continue };
            let is_below = prefix.is_none_or(|prefix| path.below(prefix).is_some());
            if is_below && is_match(&path, &entry, options) {
                paths.push(path);
            }
        }
        let next = answer.next_token.filter(|token| !token.is_empty()).map(PageToken::new);
        Ok(ListPage::new(paths, next))
    }
}

/// Whether a secret is readable and has the kind and tags of `options`.
fn is_match(path: &SecretPath, entry: &SecretListEntry, options: &ListOptions) -> bool {
    let stages = entry.secret_versions_to_stages();
    let has_value = stages
        .is_some_and(|versions| versions.values().flatten().any(|stage| stage == CURRENT_LABEL));
    let is_visible = has_value && (options.include_deleted || entry.deleted_date().is_none());
    if !is_visible || (options.tags.is_empty() && options.kind.is_none()) {
        return is_visible;
    }
    let metadata = match from_tags(entry.tags()) {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::warn!(%path, %error, "a list by tag or kind leaves out a secret with malformed tags");
            return false;
        }
    };
    let tags = &metadata.tags;
    options.kind.is_none_or(|kind| kind == metadata.kind)
        && options.tags.iter().all(|(name, text)| tags.get(name) == Some(text))
}
