//! Everything that changes secrets in KV version 2.
//!
//! One operation here can take several requests. Their order is such that whoever loses a race has
//! changed nothing, and that what was interrupted can be repeated.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use strongroom_core::{
    Condition, Error, ErrorKind, Metadata, MetadataPatch, PutOptions, Result, SecretPath,
    SecretValue, Version,
};

use crate::answer::{KvData, KvMetadata};
use crate::client::Client;
use crate::http::Request;
use crate::kv::{no_such_version, number_of};
use crate::metadata::{Entries, difference, to_entries};
use crate::refusal::not_found;
use crate::value::{KvValue, to_kv};

/// How often a write on a mount that demands conditions, or a rollback, is tried again because
/// another writer came between.
const RACES: usize = 8;
/// How often changing metadata is tried after the value was written.
const METADATA_ATTEMPTS: usize = 3;

/// What a write has to know about the secret as it is.
struct Before {
    current_version: u64,
    /// The versions that a write has to bring back, since it makes a deleted secret live again.
    hidden: Vec<u64>,
    entries: (Entries, Entries),
}

impl Client {
    pub(crate) async fn put(
        &self,
        path: &SecretPath,
        value: &SecretValue,
        options: &PutOptions,
    ) -> Result<Version> {
        self.ensure_writable().await?;
        let before = self.before(path, options).await?;
        if before.current_version == 0 {
            self.ensure_writable_now().await?;
        }
        let cas = condition(&options.condition)?;
        let (old, new) = &before.entries;
        let changes = difference(old, new)?;
        if !changes.is_empty() {
            self.ensure_metadata_can_change(path).await?;
        }
        let version = self.write(path, || to_kv(value), cas, before.current_version).await?;
        if !before.hidden.is_empty() {
            self.mark("undelete", path, before.hidden).await.map_err(|error| {
                half_done(&error, version, "earlier versions stay deleted; call `undelete`")
            })?;
        }
        if !changes.is_empty() {
            self.describe_written(path, &changes, version).await?;
        }
        Ok(version.into())
    }

    async fn before(&self, path: &SecretPath, options: &PutOptions) -> Result<Before> {
        let metadata = match self.metadata(path).await {
            Ok(metadata) => metadata,
            // Whoever may write but not look can write all the same.
            Err(error) if error.kind() == ErrorKind::Denied && options.metadata.is_empty() => None,
            Err(error) => return Err(error),
        };
        let hidden = metadata.as_ref().filter(|metadata| metadata.is_deleted());
        Ok(Before {
            current_version: metadata.as_ref().map_or(0, |metadata| metadata.current_version),
            hidden: hidden.map(|metadata| metadata.deleted().collect()).unwrap_or_default(),
            entries: patched(metadata.as_ref(), &options.metadata)?,
        })
    }

    /// Writes a version; on a mount that demands conditions with the one it was going to have.
    async fn write<'a>(
        &self,
        path: &SecretPath,
        data: impl Fn() -> Result<KvValue<'a>>,
        cas: Option<u64>,
        current: u64,
    ) -> Result<u64> {
        let response = self.try_write(path, data()?, cas).await?;
        if cas.is_some() || !response.wants_condition() {
            return self.written(path, &response);
        }
        let mut current = current;
        for _ in 0..RACES {
            let response = self.try_write(path, data()?, Some(current)).await?;
            if !response.is_conflict() {
                return self.written(path, &response);
            }
            current = self.metadata(path).await?.map_or(0, |now| now.current_version);
        }
        Err(overtaken())
    }

    /// Refuses a write whose second half would be refused. If the server does not tell, the write
    /// goes on.
    async fn ensure_metadata_can_change(&self, path: &SecretPath) -> Result<()> {
        #[derive(Serialize)]
        struct Paths<'a> {
            paths: [&'a str; 1],
        }
        let policy_path = self.path_of("metadata", path);
        let request = Request::post("sys/capabilities-self", &Paths { paths: [&policy_path] })?;
        let response = self.send(&request).await?;
        if !response.is_success() {
            return Ok(());
        }
        let capabilities: BTreeMap<String, Value> = response.data()?;
        let granted = capabilities.get("capabilities").and_then(Value::as_array);
        let can_patch = granted.is_none_or(|granted| {
            granted.iter().any(|capability| capability == "patch" || capability == "root")
        });
        if can_patch {
            return Ok(());
        }
        Err(denied_to_patch(&policy_path))
    }

    async fn describe_written(
        &self,
        path: &SecretPath,
        changes: &BTreeMap<&str, Option<&str>>,
        version: u64,
    ) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.patch_metadata(path, changes).await {
                Err(error) if error.is_temporary() && attempt < METADATA_ATTEMPTS => attempt += 1,
                Err(error) => {
                    return Err(half_done(&error, version, "set its metadata with `annotate`"));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    pub(crate) async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.ensure_writable().await?;
        let Some(metadata) = self.metadata(path).await? else { return Ok(()) };
        let versions: Vec<_> = metadata.readable().map(|(number, _)| number).collect();
        if versions.is_empty() { Ok(()) } else { self.mark("delete", path, versions).await }
    }

    pub(crate) async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.ensure_writable().await?;
        let metadata = self.metadata(path).await?.ok_or_else(not_found)?;
        if metadata.is_live() {
            return Ok(());
        }
        if !metadata.is_deleted() {
            return Err(not_found().because("the active version is destroyed"));
        }
        self.mark("undelete", path, metadata.deleted().collect()).await?;
        // The server does not count this as a change. A patch of nothing is one.
        if let Err(error) = self.patch_metadata(path, &BTreeMap::new()).await {
            tracing::debug!(%error, "the time of the last change was not advanced");
        }
        Ok(())
    }

    pub(crate) async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.ensure_writable_now().await?;
        self.remove(path).await
    }

    /// Writes the value of an earlier version as a new one, as the store's own tools do.
    pub(crate) async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.ensure_writable().await?;
        for _ in 0..RACES {
            let metadata = self.live_metadata(path).await?;
            let number = number_of(version)?;
            if metadata.readable().all(|(readable, _)| readable != number) {
                return Err(no_such_version());
            }
            let earlier = self.read_v2(path, Some(number)).await?;
            let KvData { data, .. } = earlier.data()?;
            let cas = Some(metadata.current_version);
            let response = self.try_write(path, KvValue::Whole(data), cas).await?;
            if !response.is_conflict() {
                return Ok(self.written(path, &response)?.into());
            }
        }
        Err(overtaken())
    }

    pub(crate) async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.ensure_writable().await?;
        let metadata = self.live_metadata(path).await?;
        let (old, new) = patched(Some(&metadata), patch)?;
        let changes = difference(&old, &new)?;
        self.patch_metadata(path, &changes).await
    }
}

/// The entries of the custom metadata before and after a patch.
fn patched(metadata: Option<&KvMetadata>, patch: &MetadataPatch) -> Result<(Entries, Entries)> {
    if patch.is_empty() {
        return Ok(Default::default());
    }
    let mut described = metadata.map_or_else(|| Ok(Metadata::default()), KvMetadata::metadata)?;
    let old = to_entries(&described);
    patch.apply(&mut described)?;
    Ok((old, to_entries(&described)))
}

/// The version that must be the current one; 0: there must be none.
fn condition(condition: &Condition) -> Result<Option<u64>> {
    match condition {
        Condition::None => Ok(None),
        Condition::MustNotExist => Ok(Some(0)),
        Condition::MustBeVersion(version) => number_of(version).map(Some).map_err(|_| overtaken()),
        _ => Err(Error::new(ErrorKind::Unsupported, "use another condition")
            .because("this backend does not know the condition")),
    }
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "read the secret again and decide anew")
        .because("another version is active")
}

fn denied_to_patch(policy_path: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("grant `patch` on `{policy_path}` to this role or token"))
        .because("its metadata may not be changed; nothing was written")
}

/// The second of two requests failed. Repeating the whole would write another version.
fn half_done(error: &Error, version: u64, advice: &'static str) -> Error {
    Error::new(error.kind(), advice)
        .because(format!("version {version} was written, but the rest was not done: {error}"))
        .temporary(false)
}
