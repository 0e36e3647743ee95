//! Lists secrets folder by folder, in the order of whole paths, so that a page can begin anywhere.

mod folder;

use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, stream};
use strongroom_core::{
    Error, ErrorKind, ListOptions, ListPage, Metadata, PageToken, Result, SecretPath,
};

use self::folder::Folder;
use crate::client::Client;
use crate::error::RequiredPermission;
use crate::http::{MAX_LIST, Request};
use crate::metadata::parse_custom_metadata;
use crate::mount::KvEngineVersion;
use crate::names::encode_query;

/// How many paths a page covers, before the filters of the options.
const PAGE_SIZE: usize = 100;
/// How many requests for metadata run at once.
const CONCURRENT_READS: usize = 16;

/// How large the answers for one page may be together, in bytes.
const MAX_PAGE_BYTES: usize = 64 * 1024 * 1024;

/// The names that a listing leaves out, because no path can have them.
#[derive(Clone, Copy, Default)]
struct LeftOut {
    secrets: usize,
    folders: usize,
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
        // A path that stands for another name hides a secret of its own name.
        found.retain(|path| self.names.get(path).is_none());
        let mut paths = match version {
            KvEngineVersion::V1 if matches_without_metadata(options) => found,
            KvEngineVersion::V1 => Vec::new(),
            KvEngineVersion::V2 => self.filter(found, options).await?,
        };
        if options.page.is_none() {
            paths.extend(self.find_named(version, prefix, options).await?);
        }
        Ok(ListPage::new(paths, next))
    }

    /// The paths below `prefix` that stand for other names, and whose secrets the options select.
    async fn find_named(
        &self,
        version: KvEngineVersion,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<Vec<SecretPath>> {
        let below = |path: &&SecretPath| prefix.is_none_or(|prefix| path.below(prefix).is_some());
        let mut selected = Vec::new();
        for path in self.names.paths().filter(below) {
            let is_selected = match version {
                KvEngineVersion::V2 => self.is_selected(path, options).await?,
                KvEngineVersion::V1 if !matches_without_metadata(options) => false,
                KvEngineVersion::V1 => match self.read(path, None).await {
                    Ok(_) => true,
                    Err(error) if error.kind() == ErrorKind::NotFound => false,
                    Err(error) => return Err(error.at(path)),
                },
            };
            if is_selected {
                selected.push(path.clone());
            }
        }
        Ok(selected)
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
        let mut bytes = 0;
        let mut folders = vec![self.open_folder(version, root, after, &mut bytes).await?];
        let (mut found, mut left_out) = (Vec::new(), LeftOut::default());
        while let Some(folder) = folders.last_mut() {
            let Some(name) = folder.names.pop() else {
                if let Some(last) = folder.continues_after.take() {
                    let path = std::mem::take(&mut folder.path);
                    let after = [path.as_str(), last.as_str()].concat();
                    *folder = self.open_folder(version, path, &after, &mut bytes).await?;
                } else {
                    folders.pop();
                }
                continue;
            };
            let whole = [folder.path.as_str(), name.as_str()].concat();
            let Ok(path) = SecretPath::parse(whole.trim_end_matches('/')) else {
                self.count_left_out(&whole, &mut left_out);
                continue;
            };
            if name.ends_with('/') {
                let below = self.open_folder(version, whole, after, &mut bytes).await?;
                folders.push(below);
            } else if !self.names.contains_name(&whole) {
                found.push(path);
                if found.len() > PAGE_SIZE {
                    break;
                }
            }
        }
        self.report_left_out(left_out);
        Ok(found)
    }

    /// Counts a name that is no path, unless a path stands for it or for names below it.
    fn count_left_out(&self, whole: &str, left_out: &mut LeftOut) {
        if !whole.ends_with('/') {
            left_out.secrets += usize::from(!self.names.contains_name(whole));
        } else if !self.names.has_names_below(whole) {
            left_out.folders += 1;
        }
    }

    /// Warns once about names that are no paths; later only at DEBUG.
    fn report_left_out(&self, left_out: LeftOut) {
        let LeftOut { secrets, folders } = left_out;
        if secrets + folders == 0 {
            return;
        }
        let advice = self.setting_names.rename_text(
            "a list leaves out names that are no paths, such as those with blanks; to read them, map a \
             path to each with `SECRETS_VAULT_NAMES`",
        );
        if self.has_warned_of_names.swap(true, Ordering::Relaxed) {
            tracing::debug!(secrets, folders, "{advice}");
        } else {
            tracing::warn!(secrets, folders, "{advice}");
        }
    }

    /// Opens a folder at the first name that can lead to a path after `after`. OpenBao leaves out
    /// the names up to `?after=`; Vault returns all. The request sets no limit: OpenBao may hide
    /// names from a role, and then a page that is not full may not be the last.
    async fn open_folder(
        &self,
        version: KvEngineVersion,
        path: String,
        after: &str,
        bytes: &mut usize,
    ) -> Result<Folder> {
        let below = after.strip_prefix(path.as_str()).unwrap_or_default();
        let segment = below.split('/').next().unwrap_or_default();
        let api_path = match version {
            KvEngineVersion::V1 => format!("{}/{path}", self.mount),
            KvEngineVersion::V2 => format!("{}/metadata/{path}", self.mount),
        };
        let request = match segment {
            "" => Request::list(api_path.as_str()),
            segment => Request::list(format!("{api_path}?after={}", encode_query(segment))),
        };
        let response = self.send(&request.with_max_response(MAX_LIST)).await?;
        if response.is_not_found() {
            return Ok(Folder::empty(path));
        }
        if !response.is_success() {
            let permission = RequiredPermission { capability: "list", path: &api_path };
            return Err(self.to_error(&response, permission));
        }
        *bytes += response.body().len();
        if *bytes > MAX_PAGE_BYTES {
            return Err(Error::new(ErrorKind::InvalidInput, "list below a longer prefix")
                .because("the folders of this page have over 64 MiB of names together"));
        }
        let after = after.to_owned();
        response.parse_with(move |response| Folder::parse(response, path, &after)).await
    }

    /// The paths that the options select.
    async fn filter(
        &self,
        paths: Vec<SecretPath>,
        options: &ListOptions,
    ) -> Result<Vec<SecretPath>> {
        if options.include_deleted && !options.needs_metadata() {
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
        if !options.needs_metadata() {
            return Ok(true);
        }
        let metadata = parse_custom_metadata(stored.custom_metadata.as_ref());
        let metadata = metadata.map_err(|error| error.at(path))?;
        Ok(options.matches(&metadata))
    }
}

/// Whether the options select a secret without metadata.
fn matches_without_metadata(options: &ListOptions) -> bool {
    options.matches(&Metadata::default())
}
