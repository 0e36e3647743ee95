//! Listing: folder by folder, in the order of whole paths, so that a page can begin anywhere.

use futures_util::{StreamExt as _, stream};
use strongroom_core::{ListOptions, ListPage, PageToken, Result, SecretKind, SecretPath};

use crate::answer::Keys;
use crate::client::{Client, KvVersion};
use crate::http::Request;
use crate::metadata::from_entries;
use crate::refusal::Needs;

/// How many paths are looked at for a page.
const PAGE: usize = 100;
/// How many secrets' metadata are read at once.
const CONCURRENT_READS: usize = 16;

/// A folder that is being gone through.
struct Folder {
    /// Empty for the root, else with a `/` at the end.
    path: String,
    /// Names that are still to be looked at, last first.
    names: Vec<String>,
}

impl Client {
    pub(crate) async fn list(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        let version = self.version_for_read().await?;
        let mut found = self.paths(version, prefix, options.page.as_ref()).await?;
        let next = (found.len() > PAGE)
            .then(|| found.truncate(PAGE))
            .and_then(|()| found.last().map(|path| PageToken::new(path.as_str())));
        let paths = match version {
            KvVersion::V1 if may_match_without_metadata(options) => found,
            KvVersion::V1 => Vec::new(),
            KvVersion::V2 => self.wanted(found, options).await?,
        };
        Ok(ListPage::new(paths, next))
    }

    /// Up to one more than a page of paths below `prefix`, behind the token.
    async fn paths(
        &self,
        version: KvVersion,
        prefix: Option<&SecretPath>,
        token: Option<&PageToken>,
    ) -> Result<Vec<SecretPath>> {
        // A token of ours is a path. Whatever else is given for one goes nowhere near a URL.
        let token = token.map(|token| SecretPath::parse(token.as_str())).transpose()?;
        let after = token.as_ref().map_or("", SecretPath::as_str);
        let root = prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let mut folders = vec![self.open(version, root, after).await?];
        let mut found = Vec::new();
        while let Some(folder) = folders.last_mut() {
            let Some(name) = folder.names.pop() else {
                folders.pop();
                continue;
            };
            let whole = [folder.path.as_str(), name.as_str()].concat();
            let Ok(path) = SecretPath::parse(whole.trim_end_matches('/')) else {
                tracing::debug!("a name in the store is left out of the list: it is not a path");
                continue;
            };
            if name.ends_with('/') {
                let below = self.open(version, whole, after).await?;
                folders.push(below);
            } else {
                found.push(path);
                if found.len() > PAGE {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Opens a folder at the first name that can lead behind the path `after`. OpenBao leaves out
    /// the names up to `?after=`; Vault gives all. No limit is set: OpenBao may hide names from a
    /// role, and then a page that is not full may not be the last.
    async fn open(&self, version: KvVersion, path: String, after: &str) -> Result<Folder> {
        let behind = after.strip_prefix(path.as_str()).unwrap_or_default();
        let segment = behind.split('/').next().unwrap_or_default();
        let policy_path = match version {
            KvVersion::V1 => format!("{}/{path}", self.mount()),
            KvVersion::V2 => format!("{}/metadata/{path}", self.mount()),
        };
        let request = match segment {
            "" => Request::list(policy_path.as_str()),
            // The only character of a path that means another one in a query.
            segment => {
                Request::list(format!("{policy_path}?after={}", segment.replace('+', "%2B")))
            }
        };
        let response = self.send(&request).await?;
        if response.is_absent() {
            return Ok(Folder { path, names: Vec::new() });
        }
        if !response.is_success() {
            return Err(self.refusal(&response, Needs { capability: "list", path: &policy_path }));
        }
        let Keys { keys: mut names } = response.data()?;
        names.retain(|name| leads_behind(&path, name, after));
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Folder { path, names })
    }

    /// Those of the paths that the options ask for.
    async fn wanted(
        &self,
        paths: Vec<SecretPath>,
        options: &ListOptions,
    ) -> Result<Vec<SecretPath>> {
        if options.include_deleted && options.tags.is_empty() && options.kind.is_none() {
            return Ok(paths);
        }
        let checks: Vec<_> = paths.iter().map(|path| self.is_wanted(path, options)).collect();
        let checks: Vec<_> = stream::iter(checks).buffered(CONCURRENT_READS).collect().await;
        let mut wanted = Vec::with_capacity(paths.len());
        for (path, is_wanted) in paths.into_iter().zip(checks) {
            if is_wanted? {
                wanted.push(path);
            }
        }
        Ok(wanted)
    }

    async fn is_wanted(&self, path: &SecretPath, options: &ListOptions) -> Result<bool> {
        let Some(kept) = self.metadata(path).await.map_err(|error| error.at(path))? else {
            return Ok(false);
        };
        let is_shown = kept.is_live() || (options.include_deleted && kept.is_deleted());
        if !is_shown {
            return Ok(false);
        }
        if options.tags.is_empty() && options.kind.is_none() {
            return Ok(true);
        }
        let metadata = from_entries(kept.custom_metadata.as_ref());
        let metadata = metadata.map_err(|error| error.at(path))?;
        let tags = &metadata.tags;
        Ok(options.kind.is_none_or(|kind| kind == metadata.kind)
            && options.tags.iter().all(|(name, text)| tags.get(name) == Some(text)))
    }
}

/// Whether a secret that has no metadata can be meant.
fn may_match_without_metadata(options: &ListOptions) -> bool {
    options.tags.is_empty() && options.kind.is_none_or(|kind| kind == SecretKind::default())
}

/// Whether a name in a folder is that of a secret behind the path `after`, or of a folder that may
/// hold one.
fn leads_behind(folder: &str, name: &str, after: &str) -> bool {
    let path = [folder, name].concat();
    path.as_str() > after || (name.ends_with('/') && after.starts_with(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_behind_its_token() {
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
            assert_eq!(leads_behind(folder, name, after), leads, "{folder}{name} after {after}");
        }
    }
}
