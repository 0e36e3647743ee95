//! The KV engine's requests.

use serde::Serialize;
use strongroom_core::{Error, ErrorKind, Metadata, Result, Secret, SecretPath, Version};

use crate::answer::{KvData, KvMetadata, Written, unreadable};
use crate::client::{Client, KvVersion};
use crate::http::{Method, Request, Response};
use crate::metadata::{Changes, from_entries};
use crate::refusal::{Needs, not_found};
use crate::value::{KvValue, from_kv};

/// How often a change that demands a condition is tried again because another one came between.
/// One of those that meet always succeeds: as many can meet.
pub(crate) const RACES: usize = 32;

/// What a version is called where there are none.
const ONLY_VERSION: &str = "only";

/// What a write sends.
#[derive(Serialize)]
pub(crate) struct Write<'a> {
    pub(crate) data: KvValue<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<WriteOptions>,
}

#[derive(Clone, Copy, Serialize)]
pub(crate) struct WriteOptions {
    /// The version that must be the current one; 0: there must be none.
    pub(crate) cas: u64,
}

#[derive(Serialize)]
struct Versions {
    versions: Vec<u64>,
}

#[derive(Serialize)]
struct CustomMetadata<'a> {
    custom_metadata: &'a Changes,
    /// For OpenBao, where it demands one.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_cas: Option<u64>,
}

impl Client {
    /// The path of a secret's data, its metadata, and so on, for requests and policies.
    pub(crate) fn path_of(&self, part: &str, path: &SecretPath) -> String {
        format!("{}/{part}/{path}", self.mount())
    }

    /// Reads a secret: the active version, or the one of this number.
    pub(crate) async fn read(&self, path: &SecretPath, number: Option<u64>) -> Result<Secret> {
        if self.version_for_read().await? == KvVersion::V1 {
            return self.read_v1(path, number).await;
        }
        let response = self.read_v2(path, number).await?;
        let KvData { data, metadata } = response.data()?;
        let version = metadata.version.into();
        let metadata = from_entries(metadata.custom_metadata.as_ref())?;
        Ok(Secret::new(path.clone(), version, metadata, from_kv(data)?))
    }

    /// Reads a version as the server sends it.
    pub(crate) async fn read_v2(&self, path: &SecretPath, number: Option<u64>) -> Result<Response> {
        let policy_path = self.path_of("data", path);
        let needs = Needs { capability: "read", path: &policy_path };
        let request = match number {
            Some(number) => Request::get(format!("{policy_path}?version={number}")),
            None => Request::get(policy_path.as_str()),
        };
        self.expect(&request, needs).await
    }

    async fn read_v1(&self, path: &SecretPath, number: Option<u64>) -> Result<Secret> {
        if number.is_some() {
            return Err(self.needs_v2());
        }
        let policy_path = format!("{}/{path}", self.mount());
        let needs = Needs { capability: "read", path: &policy_path };
        let response = self.expect(&Request::get(policy_path.as_str()), needs).await?;
        let data = response.envelope()?.data.ok_or_else(unreadable)?;
        let value = from_kv(data)?;
        Ok(Secret::new(path.clone(), Version::new(ONLY_VERSION), Metadata::default(), value))
    }

    /// What is kept about a secret; `None` if it was never written or is destroyed.
    pub(crate) async fn metadata(&self, path: &SecretPath) -> Result<Option<KvMetadata>> {
        if self.version_for_read().await? == KvVersion::V1 {
            return Err(self.needs_v2());
        }
        let policy_path = self.path_of("metadata", path);
        let response = self.send(&Request::get(policy_path.as_str())).await?;
        if response.is_absent() {
            return Ok(None);
        }
        if !response.is_success() {
            let needs = Needs { capability: "read", path: &policy_path };
            return Err(self.refusal(&response, needs));
        }
        let metadata: KvMetadata = response.data()?;
        // Metadata can be written before any value.
        Ok((metadata.current_version > 0).then_some(metadata))
    }

    /// What is kept about a secret that can be read.
    pub(crate) async fn live_metadata(&self, path: &SecretPath) -> Result<KvMetadata> {
        self.metadata(path).await?.filter(KvMetadata::is_live).ok_or_else(not_found)
    }

    /// Writes data. The answer may be a refusal that the caller understands.
    pub(crate) async fn try_write(
        &self,
        path: &SecretPath,
        data: KvValue<'_>,
        cas: Option<u64>,
    ) -> Result<Response> {
        let write = Write { data, options: cas.map(|cas| WriteOptions { cas }) };
        self.send(&Request::post(self.path_of("data", path), &write)?).await
    }

    /// The version that a write made, or why it made none.
    pub(crate) fn written(&self, path: &SecretPath, response: &Response) -> Result<Written> {
        if response.is_success() {
            return response.data();
        }
        let policy_path = self.path_of("data", path);
        let needs = Needs { capability: "create` and `update", path: &policy_path };
        Err(self.refusal(response, needs))
    }

    /// Deletes versions, recoverably, or brings them back.
    pub(crate) async fn mark(
        &self,
        part: &'static str,
        path: &SecretPath,
        versions: Vec<u64>,
    ) -> Result<()> {
        let policy_path = self.path_of(part, path);
        let needs = Needs { capability: "update", path: &policy_path };
        let request = Request::post(policy_path.as_str(), &Versions { versions })?;
        self.expect(&request, needs).await.map(drop)
    }

    /// Changes entries of the custom metadata and leaves all others alone.
    pub(crate) async fn patch_metadata(&self, path: &SecretPath, changes: &Changes) -> Result<()> {
        let policy_path = self.path_of("metadata", path);
        let needs = Needs { capability: "patch", path: &policy_path };
        let mut metadata_cas = None;
        for _ in 0..RACES {
            let body = CustomMetadata { custom_metadata: changes, metadata_cas };
            let response = self.send(&Request::patch(policy_path.as_str(), &body)?).await?;
            if response.is_success() {
                return Ok(());
            }
            if !response.wants_metadata_condition() {
                return Err(self.refusal(&response, needs));
            }
            // Each entry is set for itself, so what others change meanwhile does not matter.
            let now = self.metadata(path).await?;
            metadata_cas = now.map(|now| now.current_metadata_version);
        }
        // No conflict: that would say of a `put` that nothing was written.
        Err(Error::new(ErrorKind::Unavailable, "try again")
            .because("the secret's metadata changes all the time"))
    }

    /// Removes a secret with all that is kept about it.
    pub(crate) async fn remove(&self, path: &SecretPath) -> Result<()> {
        let policy_path = self.path_of("metadata", path);
        let needs = Needs { capability: "delete", path: &policy_path };
        let response = self.send(&Request::new(Method::DELETE, policy_path.as_str())).await?;
        if response.is_success() || response.is_absent() {
            return Ok(());
        }
        Err(self.refusal(&response, needs))
    }
}

/// The number of a version. 0, which the server takes for the active one, names nothing, and
/// neither does what it cannot count to.
pub(crate) fn number_of(version: &Version) -> Result<u64> {
    let known = 1..=i64::MAX.unsigned_abs();
    version.number().filter(|number| known.contains(number)).ok_or_else(no_such_version)
}

pub(crate) fn no_such_version() -> Error {
    not_found().because("no such version")
}

pub(crate) fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "read the secret again and decide anew")
        .because("another version is active")
}
