//! Changes secrets in KV version 2.
//!
//! An operation may take several requests. Their order makes sure that an operation that loses a
//! race has changed nothing, and that an interrupted one can be repeated.

mod conflict;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use strongroom_core::{
    Condition, Error, ErrorKind, MetadataPatch, PutOptions, Result, SecretPath, SecretValue,
    Version,
};
use tokio::sync::oneshot;

use self::conflict::Conflict;
use crate::client::Client;
use crate::error::{not_found, version_conflict};
use crate::http::Request;
use crate::kv::{MAX_CONFLICTS, no_such_version, parse_version};
use crate::metadata::{Changes, Entries, diff, to_entries};
use crate::names::decode;
use crate::response::{KvData, KvMetadata, WrittenVersion};
use crate::value::KvValue;

/// How often a change of metadata is attempted after the value was written.
const METADATA_ATTEMPTS: usize = 3;

/// The steps of a write, determined before the first of them.
struct WritePlan {
    cas: Option<u64>,
    current_version: u64,
    metadata_changes: Changes,
    /// Whether these only say who writes: then the value is written without them rather than not at all.
    names_only_principal: bool,
    /// What a failed condition means.
    conflict: Conflict,
    /// The versions to undelete, because the write makes a deleted secret live again.
    undelete: Vec<u64>,
}

impl Client {
    /// Writes a value. A write of one request is atomic. One of several requests runs on a separate task,
    /// which completes even if the caller is cancelled.
    pub(crate) async fn put(
        self: &Arc<Self>,
        path: &SecretPath,
        value: SecretValue,
        options: &PutOptions,
    ) -> Result<Version> {
        options.refuse_scope()?;
        let plan = self.plan(path, options).await?;
        if plan.metadata_changes.is_empty() && plan.undelete.is_empty() {
            return self.execute_plan(path, &value, plan).await;
        }
        let (client, path) = (Arc::clone(self), path.clone());
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let _in_flight = client.begin_write();
            let result = client.execute_plan(&path, &value, plan).await;
            if let Err(Err(error)) = sender.send(result) {
                tracing::warn!(%error, %path, "a write failed after its caller was cancelled");
            }
        });
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "read the secret to see whether it was written")
                .because("the task of the write was stopped"))
        })
    }

    async fn plan(&self, path: &SecretPath, options: &PutOptions) -> Result<WritePlan> {
        self.ensure_writable().await?;
        let names_only_principal = options.metadata.only_names_principal();
        let mut may_describe = true;
        let metadata = match self.metadata(path).await {
            Ok(metadata) => metadata,
            // A role may write without the permission to read metadata.
            Err(error) if error.kind() == ErrorKind::Denied && names_only_principal => {
                may_describe = false;
                None
            }
            Err(error) => return Err(error),
        };
        if metadata.is_none() {
            self.ensure_writable_now().await?;
        }
        let cas = to_cas(&options.condition)?;
        let mut metadata_changes = if may_describe {
            plan_metadata_changes(metadata.as_ref(), &options.metadata)?
        } else {
            Changes::new()
        };
        let undelete = metadata.as_ref().map(KvMetadata::versions_to_undelete).unwrap_or_default();
        let has_changes = !metadata_changes.is_empty();
        match self.check_permissions(path, has_changes, !undelete.is_empty()).await {
            Err(error)
                if error.kind() == ErrorKind::Denied && has_changes && names_only_principal =>
            {
                self.check_permissions(path, false, !undelete.is_empty()).await?;
                tracing::warn!(%path, %error, "a value is written, but not who writes it");
                metadata_changes.clear();
            }
            checked => checked?,
        }
        let conflict = Conflict::new(cas, metadata.as_ref());
        let current_version = metadata.map_or(0, |metadata| metadata.current_version);
        Ok(WritePlan {
            cas,
            current_version,
            metadata_changes,
            names_only_principal,
            conflict,
            undelete,
        })
    }

    async fn execute_plan(
        &self,
        path: &SecretPath,
        value: &SecretValue,
        plan: WritePlan,
    ) -> Result<Version> {
        let written = self.write(path, value, plan.cas, plan.current_version).await;
        let written = written.map_err(|error| plan.conflict.explain(error))?;
        let version = written.version;
        let mut metadata_result = Ok(());
        if !plan.metadata_changes.is_empty() {
            metadata_result = self.write_metadata(path, &plan.metadata_changes, version).await;
        }
        if let Err(error) = &metadata_result
            && plan.names_only_principal
        {
            tracing::warn!(%path, %error, "a value was written, but not who wrote it");
            metadata_result = Ok(());
        }
        // With `delete_version_after`, expired versions look like deleted ones: undelete none.
        if !plan.undelete.is_empty() && written.deletion_time.is_empty() {
            self.undelete_versions(path, plan.undelete, version).await?;
        }
        metadata_result.map(|()| version.into())
    }

    /// Undeletes earlier versions of a secret after a write has made it live again. If another client
    /// has deleted the secret meanwhile, deletes them again: that delete included them.
    async fn undelete_versions(
        &self,
        path: &SecretPath,
        versions: Vec<u64>,
        version: u64,
    ) -> Result<()> {
        self.change_versions("undelete", path, versions.clone())
            .await
            .map_err(|error| partial_write(&error, version, "earlier versions stay deleted"))?;
        let delete_again = async {
            let metadata = self.metadata(path).await?;
            let state = metadata.as_ref().and_then(|now| now.versions.get(&version));
            // The write has set no deletion time, so any other one is that of a delete.
            if state.is_some_and(|state| state.deletion_time.is_empty()) {
                return Ok(());
            }
            self.change_versions("delete", path, versions).await
        };
        delete_again.await.map_err(|error| {
            partial_write(&error, version, "if the secret was deleted meanwhile, delete it again")
        })
    }

    /// Writes a version. If the mount requires a condition and the caller has none, writes after the
    /// version that is current.
    async fn write(
        &self,
        path: &SecretPath,
        value: &SecretValue,
        cas: Option<u64>,
        current: u64,
    ) -> Result<WrittenVersion> {
        let response = self.write_value(path, value, cas).await?;
        if cas.is_some() || !response.requires_cas() {
            return self.parse_written(path, &response);
        }
        let mut current = current;
        for _ in 0..MAX_CONFLICTS {
            let response = self.write_value(path, value, Some(current)).await?;
            if !response.is_cas_mismatch() {
                return self.parse_written(path, &response);
            }
            current = self.metadata(path).await?.map_or(0, |now| now.current_version);
        }
        Err(version_conflict())
    }

    /// Fails if the server would deny a later request of the write. If the server does not tell, the
    /// write continues.
    async fn check_permissions(
        &self,
        path: &SecretPath,
        metadata: bool,
        undelete: bool,
    ) -> Result<()> {
        #[derive(Serialize)]
        struct Paths<'a> {
            paths: &'a [String],
        }
        let needed = [
            (metadata, "metadata", "patch"),
            (undelete, "undelete", "update"),
            (undelete, "delete", "update"),
        ];
        let needed: Vec<_> = needed.iter().filter(|(is_needed, ..)| *is_needed).collect();
        let paths: Vec<_> = needed
            .iter()
            .map(|(_, part, _)| decode(&self.api_path(part, path)).into_owned())
            .collect();
        if paths.is_empty() {
            return Ok(());
        }
        let request = Request::post("sys/capabilities-self", &Paths { paths: &paths })?;
        let response = self.send(&request).await?;
        if !response.is_success() {
            return Ok(());
        }
        let granted: BTreeMap<String, Value> = response.data()?;
        for ((.., capability), path) in needed.into_iter().zip(&paths) {
            let list = granted.get(path).and_then(Value::as_array);
            let is_granted = |list: &Vec<Value>| {
                list.iter().any(|granted| granted == capability || granted == "root")
            };
            if !list.is_none_or(is_granted) {
                return Err(permission_missing(capability, path));
            }
        }
        Ok(())
    }

    async fn write_metadata(
        &self,
        path: &SecretPath,
        changes: &Changes,
        version: u64,
    ) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.patch_metadata(path, changes).await {
                Err(error) if error.is_temporary() && attempt < METADATA_ATTEMPTS => attempt += 1,
                Err(error) => {
                    return Err(partial_write(&error, version, "set its metadata with `annotate`"));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    pub(crate) async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.ensure_writable().await?;
        let Some(metadata) = self.metadata(path).await? else { return Ok(()) };
        let versions = metadata.versions_to_delete();
        if versions.is_empty() {
            return Ok(());
        }
        self.change_versions("delete", path, versions).await
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
        self.change_versions("undelete", path, metadata.deleted_with_active()).await?;
        // An undelete does not advance the server's `updated_time`. An empty patch does.
        if let Err(error) = self.patch_metadata(path, &Changes::new()).await {
            tracing::debug!(%error, "could not advance the time of the last change");
        }
        Ok(())
    }

    pub(crate) async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.ensure_writable_now().await?;
        self.remove(path).await
    }

    /// Writes the value of an earlier version as a new version, as the server's own tools do.
    pub(crate) async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.ensure_writable().await?;
        for _ in 0..MAX_CONFLICTS {
            let metadata = self.live_metadata(path).await?;
            let number = parse_version(version)?;
            if metadata.readable().all(|(readable, _)| readable != number) {
                return Err(no_such_version());
            }
            let earlier = self.read_v2(path, Some(number)).await?;
            let KvData { data, .. } = earlier.data()?;
            let cas = Some(metadata.current_version);
            let response = self.write_data(path, KvValue::Raw(data), cas).await?;
            if !response.is_cas_mismatch() {
                return Ok(self.parse_written(path, &response)?.version.into());
            }
        }
        Err(version_conflict())
    }

    pub(crate) async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.ensure_writable().await?;
        let metadata = self.live_metadata(path).await?;
        let changes = plan_metadata_changes(Some(&metadata), patch)?;
        self.patch_metadata(path, &changes).await
    }
}

/// The changes of the custom metadata that a patch makes. The name of a principal is left out if there is no room for its
/// entry.
fn plan_metadata_changes(metadata: Option<&KvMetadata>, patch: &MetadataPatch) -> Result<Changes> {
    plan_all_changes(metadata, patch)
        .or_else(|_| plan_all_changes(metadata, &patch.clone().without_principal()))
}

fn plan_all_changes(metadata: Option<&KvMetadata>, patch: &MetadataPatch) -> Result<Changes> {
    if patch.is_empty() {
        return Ok(Changes::new());
    }
    let none = Entries::new();
    let Some(metadata) = metadata else {
        return diff(&none, &none, &to_entries(&patch.for_new_secret()?));
    };
    let mut new = metadata.metadata()?;
    let old = to_entries(&new);
    patch.apply(&mut new)?;
    diff(metadata.custom_metadata.as_ref().unwrap_or(&none), &old, &to_entries(&new))
}

/// The check-and-set parameter: the version that must be the current one; 0: there must be none.
fn to_cas(condition: &Condition) -> Result<Option<u64>> {
    match condition {
        Condition::None => Ok(None),
        Condition::MustNotExist => Ok(Some(0)),
        Condition::MustBeVersion(version) => {
            parse_version(version).map(Some).map_err(|_| version_conflict())
        }
        _ => Err(Error::new(ErrorKind::Unsupported, "use another condition")
            .because("this backend does not support the condition")),
    }
}

fn permission_missing(capability: &str, api_path: &str) -> Error {
    let advice = format!("grant `{capability}` on `{api_path}` to this role or token");
    Error::new(ErrorKind::Denied, advice)
        .because("a later part of the write would be denied; nothing was written")
}

/// The error for a write whose later part failed. It is permanent: repeating the whole would write
/// another version.
fn partial_write(error: &Error, version: u64, advice: &'static str) -> Error {
    Error::new(error.kind(), advice)
        .because(format!(
            "version {version} was written, but a later part of the write failed: {error}"
        ))
        .temporary(false)
}
