//! Everything that changes secrets in KV version 2.
//!
//! One operation here can take several requests. Their order is such that whoever loses a race has
//! changed nothing, and that what was interrupted can be repeated.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use strongroom_core::{
    Condition, Error, ErrorKind, Metadata, MetadataPatch, PutOptions, Result, SecretPath,
    SecretValue, Version,
};
use tokio::sync::oneshot;

use crate::answer::{KvData, KvMetadata, Written};
use crate::client::Client;
use crate::http::Request;
use crate::kv::{RACES, no_such_version, number_of, overtaken};
use crate::metadata::{Changes, Entries, difference, to_entries};
use crate::refusal::not_found;
use crate::value::{KvValue, to_kv};

/// How often changing metadata is tried after the value was written.
const METADATA_ATTEMPTS: usize = 3;

/// What a write has to do, found out before anything is written.
struct Plan {
    cas: Option<u64>,
    current_version: u64,
    changes: Changes,
    /// The versions to bring back, since the write makes a deleted secret live again.
    hidden: Vec<u64>,
}

impl Client {
    /// Writes. A write that takes one request is sent or not; one that takes more goes on by itself
    /// if the caller goes away meanwhile.
    pub(crate) async fn put(
        self: &Arc<Self>,
        path: &SecretPath,
        value: SecretValue,
        options: &PutOptions,
    ) -> Result<Version> {
        let plan = self.plan(path, options).await?;
        if plan.changes.is_empty() && plan.hidden.is_empty() {
            return self.carry_out(path, &value, plan).await;
        }
        let (client, path) = (Arc::clone(self), path.clone());
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let _writing = client.writing();
            let result = client.carry_out(&path, &value, plan).await;
            if let Err(Err(error)) = sender.send(result) {
                tracing::warn!(%error, %path, "a write failed after its caller had gone");
            }
        });
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "read the secret to see whether it was written")
                .because("the task that writes was stopped"))
        })
    }

    async fn plan(&self, path: &SecretPath, options: &PutOptions) -> Result<Plan> {
        self.ensure_writable().await?;
        let metadata = match self.metadata(path).await {
            Ok(metadata) => metadata,
            // Whoever may write but not look can write all the same.
            Err(error) if error.kind() == ErrorKind::Denied && options.metadata.is_empty() => None,
            Err(error) => return Err(error),
        };
        if metadata.is_none() {
            self.ensure_writable_now().await?;
        }
        let cas = condition(&options.condition)?;
        let changes = changes(metadata.as_ref(), &options.metadata)?;
        let hidden = metadata.as_ref().map(KvMetadata::to_bring_back).unwrap_or_default();
        self.ensure_all_granted(path, !changes.is_empty(), !hidden.is_empty()).await?;
        let current_version = metadata.map_or(0, |metadata| metadata.current_version);
        Ok(Plan { cas, current_version, changes, hidden })
    }

    async fn carry_out(
        &self,
        path: &SecretPath,
        value: &SecretValue,
        plan: Plan,
    ) -> Result<Version> {
        let written = self.write(path, || to_kv(value), plan.cas, plan.current_version).await?;
        let version = written.version;
        let mut described = Ok(());
        if !plan.changes.is_empty() {
            described = self.describe_written(path, &plan.changes, version).await;
        }
        // Where versions have an age, nobody can tell which were deleted and which have reached it.
        if !plan.hidden.is_empty() && written.deletion_time.is_empty() {
            self.bring_back(path, plan.hidden, version).await?;
        }
        described.map(|()| version.into())
    }

    /// Brings earlier versions of a deleted secret back, now that it lives again, unless somebody
    /// has deleted it meanwhile: their delete meant those as well.
    async fn bring_back(&self, path: &SecretPath, hidden: Vec<u64>, version: u64) -> Result<()> {
        self.mark("undelete", path, hidden.clone())
            .await
            .map_err(|error| half_done(&error, version, "earlier versions stay deleted"))?;
        let again = async {
            let now = self.metadata(path).await?;
            let state = now.as_ref().and_then(|now| now.versions.get(&version));
            // Any moment here is that of a delete: the version was written without one.
            if state.is_some_and(|state| state.deletion_time.is_empty()) {
                return Ok(());
            }
            self.mark("delete", path, hidden).await
        };
        again.await.map_err(|error| {
            half_done(&error, version, "if the secret was deleted meanwhile, delete it again")
        })
    }

    /// Writes a version; on a mount that demands conditions with the one it was going to have.
    async fn write<'a>(
        &self,
        path: &SecretPath,
        data: impl Fn() -> Result<KvValue<'a>>,
        cas: Option<u64>,
        current: u64,
    ) -> Result<Written> {
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

    /// Refuses a write of which a later part would be refused. If the server does not tell, the
    /// write goes on.
    async fn ensure_all_granted(
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
        let paths: Vec<_> = needed.iter().map(|(_, part, _)| self.path_of(part, path)).collect();
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
                return Err(not_granted(capability, path));
            }
        }
        Ok(())
    }

    async fn describe_written(
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
                    return Err(half_done(&error, version, "set its metadata with `annotate`"));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    pub(crate) async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.ensure_writable().await?;
        let Some(metadata) = self.metadata(path).await? else { return Ok(()) };
        let versions = metadata.to_delete();
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
        self.mark("undelete", path, metadata.deleted()).await?;
        // The server does not count this as a change. A patch of nothing is one.
        if let Err(error) = self.patch_metadata(path, &Changes::new()).await {
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
                return Ok(self.written(path, &response)?.version.into());
            }
        }
        Err(overtaken())
    }

    pub(crate) async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.ensure_writable().await?;
        let metadata = self.live_metadata(path).await?;
        let changes = changes(Some(&metadata), patch)?;
        self.patch_metadata(path, &changes).await
    }
}

/// What a patch changes in the custom metadata.
fn changes(metadata: Option<&KvMetadata>, patch: &MetadataPatch) -> Result<Changes> {
    if patch.is_empty() {
        return Ok(Changes::new());
    }
    let mut described = metadata.map_or_else(|| Ok(Metadata::default()), KvMetadata::metadata)?;
    let old = to_entries(&described);
    patch.apply(&mut described)?;
    let none = Entries::new();
    let stored = metadata.and_then(|metadata| metadata.custom_metadata.as_ref());
    difference(stored.unwrap_or(&none), &old, &to_entries(&described))
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

fn not_granted(capability: &str, policy_path: &str) -> Error {
    let advice = format!("grant `{capability}` on `{policy_path}` to this role or token");
    Error::new(ErrorKind::Denied, advice)
        .because("a part of the write would fail; nothing was written")
}

/// The second of two requests failed. Repeating the whole would write another version.
fn half_done(error: &Error, version: u64, advice: &'static str) -> Error {
    Error::new(error.kind(), advice)
        .because(format!("version {version} was written, but the rest was not done: {error}"))
        .temporary(false)
}
