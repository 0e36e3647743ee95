//! Listing paths.

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretListEntry, SortOrderType};
use strongroom_core::{ListOptions, ListPage, PageToken, Result, SecretPath};

use crate::client::Client;
use crate::describe::CURRENT;
use crate::metadata::from_tags;
use crate::name::LONGEST;
use crate::refusal::{Needs, answered, unreadable};

/// The most secrets on a page.
const PAGE: i32 = 100;

impl Client {
    /// One page of the service's own list, of which only what is asked for is kept.
    pub(crate) async fn list(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let needs = Needs { action: "ListSecrets", secret: None };
        let mut request = self
            .sdk()?
            .list_secrets()
            .max_results(PAGE)
            .sort_order(SortOrderType::Asc)
            .include_planned_deletion(options.include_deleted)
            .set_next_token(options.page.as_ref().map(|page| page.as_str().to_owned()));
        let mut beginning = self.names.beginning(prefix);
        if prefix.is_some() {
            beginning.push('/');
        }
        // No name is longer.
        if beginning.len() > LONGEST {
            return Ok(ListPage::default());
        }
        if !beginning.is_empty() {
            let filter = Filter::builder().key(FilterNameStringType::Name).values(beginning);
            request = request.filters(filter.build());
        }
        let answer = answered(request.send(), needs).await?;
        let mut paths = Vec::new();
        for entry in answer.secret_list.ok_or_else(unreadable)? {
            let path = entry.name().and_then(|name| self.names.path(name));
            let Some(path) = path else { continue };
            let is_below = prefix.is_none_or(|prefix| path.below(prefix).is_some());
            if is_below && is_wanted(&path, &entry, options) {
                paths.push(path);
            }
        }
        let next = answer.next_token.filter(|token| !token.is_empty()).map(PageToken::new);
        Ok(ListPage::new(paths, next))
    }
}

fn is_wanted(path: &SecretPath, entry: &SecretListEntry, options: &ListOptions) -> bool {
    let stages = entry.secret_versions_to_stages();
    let has_value =
        stages.is_some_and(|versions| versions.values().flatten().any(|stage| stage == CURRENT));
    let is_shown = has_value && (options.include_deleted || entry.deleted_date().is_none());
    if !is_shown || (options.tags.is_empty() && options.kind.is_none()) {
        return is_shown;
    }
    let metadata = match from_tags(entry.tags()) {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::warn!(%path, %error, "a secret is left out of a list by tag or kind");
            return false;
        }
    };
    let tags = &metadata.tags;
    options.kind.is_none_or(|kind| kind == metadata.kind)
        && options.tags.iter().all(|(name, text)| tags.get(name) == Some(text))
}
