//! Lists secrets folder by folder, in the order of whole paths, so that a page can begin anywhere.

use futures_util::{StreamExt as _, stream};
use strongroom_core::{ListOptions, ListPage, PageToken, Result, SecretKind, SecretPath};

use crate::client::Client;
use crate::error::RequiredPermission;
use crate::http::Request;
use crate::metadata::parse_custom_metadata;
use crate::mount::KvEngineVersion;
use crate::response::ListedKeys;

/// How many paths a page covers, before the filters of the options.
const PAGE_SIZE: usize = 100;
/// How many requests for metadata run at once.
const CONCURRENT_READS: usize = 16;

/// A folder that a listing walks through.
struct Folder {
    /// Empty for the root, else with a `/` at the end.
    path: String,
    /// Names that the listing has not reached yet, last first.
    names: Vec<String>,
}

impl Client {
    pub(crate) async fn list(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let version = self.kv_version().await?;
        let mut found = self.find_paths(version, prefix, options.page.as_ref()).await?;
        let next = (found.len() > PAGE_SIZE)
            .then(|| found.truncate(PAGE_SIZE))
            .and_then(|()| found.last().map(|path| PageToken::new(path.as_str())));
        let paths = match version {
            KvEngineVersion::V1 if matches_without_metadata(options) => found,
            KvEngineVersion::V1 => Vec::new(),
            KvEngineVersion::V2 => self.filter(found, options).await?,
        };
        Ok(ListPage::new(paths, next))
    }

    /// Up to one more path than a page has, below `prefix` and after the token.
    async fn find_paths(
        &self,
        version: KvEngineVersion,
        prefix: Option<&SecretPath>,
        token: Option<&PageToken>,
    ) -> Result<Vec<SecretPath>> {
        // A token of this backend is a path. Other text must not get into a URL.
        let token = token.map(|token| SecretPath::parse(token.as_str())).transpose()?;
        let after = token.as_ref().map_or("", SecretPath::as_str);
        let root = prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let mut folders = vec![self.open_folder(version, root, after).await?];
        let mut found = Vec::new();
        while let Some(folder) = folders.last_mut() {
            let Some(name) = folder.names.pop() else {
                folders.pop();
                continue;
            };
            let whole = [folder.path.as_str(), name.as_str()].concat();
            let Ok(path) = SecretPath::parse(whole.trim_end_matches('/')) else {
                tracing::debug!("left a name out of the list: it is not a valid path");
                continue;
            };
            if name.ends_with('/') {
                let below = self.open_folder(version, whole, after).await?;
                folders.push(below);
            } else {
                found.push(path);
                if found.len() > PAGE_SIZE {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Opens a folder at the first name that can lead to a path after `after`. OpenBao leaves out
    /// the names up to `?after=`; Vault returns all. The request sets no limit: OpenBao may hide
    /// names from a role, and then a page that is not full may not be the last.
    async fn open_folder(
        &self,
        version: KvEngineVersion,
        path: String,
        after: &str,
    ) -> Result<Folder> {
        let below = after.strip_prefix(path.as_str()).unwrap_or_default();
        let segment = below.split('/').next().unwrap_or_default();
        let api_path = match version {
            KvEngineVersion::V1 => format!("{}/{path}", self.mount),
            KvEngineVersion::V2 => format!("{}/metadata/{path}", self.mount),
        };
        let request = match segment {
            "" => Request::list(api_path.as_str()),
            // `+` is the only character of a path that means another one in a query.
            segment => Request::list(format!("{api_path}?after={}", segment.replace('+', "%2B"))),
        };
        let response = self.send(&request).await?;
        if response.is_not_found() {
            return Ok(Folder { path, names: Vec::new() });
        }
        if !response.is_success() {
            let permission = RequiredPermission { capability: "list", path: &api_path };
            return Err(self.to_error(&response, permission));
        }
        let ListedKeys { keys: mut names } = response.data()?;
        names.retain(|name| can_lead_past(&path, name, after));
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Folder { path, names })
    }

    /// The paths that the options select.
    async fn filter(
        &self,
        paths: Vec<SecretPath>,
        options: &ListOptions,
    ) -> Result<Vec<SecretPath>> {
        if options.include_deleted && options.tags.is_empty() && options.kind.is_none() {
            return Ok(paths);
        }
        let checks: Vec<_> = paths.iter().map(|path| self.is_selected(path, options)).collect();
        let checks: Vec<_> = stream::iter(checks).buffered(CONCURRENT_READS).collect().await;
        let mut selected = Vec::with_capacity(paths.len());
        for (path, is_selected) in paths.into_iter().zip(checks) {
            if is_selected? {
                selected.push(path);
            }
        }
        Ok(selected)
    }

    async fn is_selected(&self, path: &SecretPath, options: &ListOptions) -> Result<bool> {
        let Some(stored) = self.metadata(path).await.map_err(|error| error.at(path))? else {
            return Ok(false);
        };
        let is_visible = stored.is_live() || (options.include_deleted && stored.is_deleted());
        if !is_visible {
            return Ok(false);
        }
        if options.tags.is_empty() && options.kind.is_none() {
            return Ok(true);
        }
        let metadata = parse_custom_metadata(stored.custom_metadata.as_ref());
        let metadata = metadata.map_err(|error| error.at(path))?;
        let tags = &metadata.tags;
        Ok(options.kind.is_none_or(|kind| kind == metadata.kind)
            && options.tags.iter().all(|(name, text)| tags.get(name) == Some(text)))
    }
}

/// Whether the options select a secret without metadata.
fn matches_without_metadata(options: &ListOptions) -> bool {
    options.tags.is_empty() && options.kind.is_none_or(|kind| kind == SecretKind::default())
}

/// Whether a name in a folder is that of a secret after the path `after`, or of a folder that may
/// contain one.
fn can_lead_past(folder: &str, name: &str, after: &str) -> bool {
    let path = [folder, name].concat();
    path.as_str() > after || (name.ends_with('/') && after.starts_with(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_continues_after_its_token() {
        for (folder, name, after, leads) in [
            ("", "a", "", true),
            ("", "a", "a", false),
            ("", "a/", "a", true),
            ("", "a/", "a/b", true),
            ("a/", "b", "a/b", false),
            ("a/", "c", "a/b", true),
            ("", "a-x", "a/b", false),
            ("", "a0", "a/b", true),
            ("", "a/", "a0", false),
        ] {
            assert_eq!(can_lead_past(folder, name, after), leads, "{folder}{name} after {after}");
        }
    }
}
