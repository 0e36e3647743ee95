//! Requests to the KV engine, and which version of it is mounted.

use serde::Serialize;
use strongroom_core::{
    Error, ErrorKind, Metadata, Result, Secret, SecretPath, SecretValue, Version,
};
use strongroom_transport::{LARGE, run_blocking};

use crate::client::Client;
use crate::error::{RequiredPermission, not_found};
use crate::http::{MAX_LIST, MAX_VALUE, Method, Request};
use crate::metadata::{Changes, parse_custom_metadata};
use crate::mount::KvEngineVersion;
use crate::response::{KvData, KvMetadata, MountInfo, Response, WrittenVersion};
use crate::value::{KvValue, from_kv, to_kv};

/// How often a conditional change is repeated after another change has come first. One of several
/// concurrent changes always succeeds, so as many can run at once.
pub(crate) const MAX_CONFLICTS: usize = 32;

/// The name of the version of a secret in KV version 1, which keeps one.
const ONLY_VERSION: &str = "only";

/// The body of a write.
#[derive(Serialize)]
struct WriteBody<'a> {
    data: KvValue<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<WriteOptions>,
}

#[derive(Clone, Copy, Serialize)]
struct WriteOptions {
    /// The version that must be the current one; 0: there must be none.
    cas: u64,
}

#[derive(Serialize)]
struct VersionsBody {
    versions: Vec<u64>,
}

#[derive(Serialize)]
struct CustomMetadataBody<'a> {
    custom_metadata: &'a Changes,
    /// For OpenBao, where it requires a condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_cas: Option<u64>,
}

impl Client {
    /// Reads a secret: the active version, or the one with this number.
    pub(crate) async fn read(&self, path: &SecretPath, number: Option<u64>) -> Result<Secret> {
        if self.kv_version().await? == KvEngineVersion::V1 {
            return self.read_v1(path, number).await;
        }
        let response = self.read_v2(path, number).await?;
        let path = path.clone();
        let parse = move |response: &Response| {
            let KvData { data, metadata } = response.data()?;
            let version = metadata.version.into();
            let metadata = parse_custom_metadata(metadata.custom_metadata.as_ref())?;
            Ok(Secret::new(path, version, metadata, from_kv(data)?))
        };
        response.parse_with(parse).await
    }

    /// Reads a version as the server sends it.
    pub(crate) async fn read_v2(&self, path: &SecretPath, number: Option<u64>) -> Result<Response> {
        let api_path = self.api_path("data", path);
        let permission = RequiredPermission { capability: "read", path: &api_path };
        let request = match number {
            Some(number) => Request::get(format!("{api_path}?version={number}")),
            None => Request::get(api_path.as_str()),
        };
        self.execute(&request.with_max_response(MAX_VALUE), permission).await
    }

    async fn read_v1(&self, path: &SecretPath, number: Option<u64>) -> Result<Secret> {
        if number.is_some() {
            return Err(self.requires_v2());
        }
        let api_path = format!("{}/{}", self.mount, self.names.encoded(path));
        let permission = RequiredPermission { capability: "read", path: &api_path };
        let request = Request::get(api_path.as_str()).with_max_response(MAX_VALUE);
        let response = self.execute(&request, permission).await?;
        let path = path.clone();
        let parse = move |response: &Response| {
            let value = from_kv(response.data()?)?;
            Ok(Secret::new(path, Version::new(ONLY_VERSION), Metadata::default(), value))
        };
        response.parse_with(parse).await
    }

    /// The API path of a secret's data, metadata, and so on, for requests and policies.
    pub(crate) fn api_path(&self, part: &str, path: &SecretPath) -> String {
        format!("{}/{part}/{}", self.mount, self.names.encoded(path))
    }

    /// The metadata of a secret; `None` if it was never written or is destroyed.
    pub(crate) async fn metadata(&self, path: &SecretPath) -> Result<Option<KvMetadata>> {
        if self.kv_version().await? == KvEngineVersion::V1 {
            return Err(self.requires_v2());
        }
        let api_path = self.api_path("metadata", path);
        let request = Request::get(api_path.as_str()).with_max_response(MAX_LIST);
        let response = self.send(&request).await?;
        if response.is_not_found() {
            return Ok(None);
        }
        if !response.is_success() {
            let permission = RequiredPermission { capability: "read", path: &api_path };
            return Err(self.to_error(&response, permission));
        }
        let metadata: KvMetadata = response.parse_with(|response| response.data()).await?;
        // Metadata can be written before any value.
        Ok((metadata.current_version > 0).then_some(metadata))
    }

    /// The metadata of a secret whose active version can be read.
    pub(crate) async fn live_metadata(&self, path: &SecretPath) -> Result<KvMetadata> {
        self.metadata(path).await?.filter(KvMetadata::is_live).ok_or_else(not_found)
    }

    /// Writes a value, which it converts on a thread for blocking work if it is large. The response may be
    /// an error, for the caller to interpret.
    pub(crate) async fn write_value(
        &self,
        path: &SecretPath,
        value: &SecretValue,
        cas: Option<u64>,
    ) -> Result<Response> {
        let (api_path, size) = (self.api_path("data", path), value.len());
        let value = value.clone();
        let convert = move || {
            let body =
                WriteBody { data: to_kv(&value)?, options: cas.map(|cas| WriteOptions { cas }) };
            Request::post(api_path, &body)
        };
        let request = if size < LARGE { convert()? } else { run_blocking(convert).await? };
        self.send(&request).await
    }

    /// Writes data. The response may be an error, for the caller to interpret.
    pub(crate) async fn write_data(
        &self,
        path: &SecretPath,
        data: KvValue<'_>,
        cas: Option<u64>,
    ) -> Result<Response> {
        let body = WriteBody { data, options: cas.map(|cas| WriteOptions { cas }) };
        self.send(&Request::post(self.api_path("data", path), &body)?).await
    }

    /// The version that a write has made, or why it has made none.
    pub(crate) fn parse_written(
        &self,
        path: &SecretPath,
        response: &Response,
    ) -> Result<WrittenVersion> {
        if response.is_success() {
            return response.data();
        }
        let api_path = self.api_path("data", path);
        let permission = RequiredPermission { capability: "create` and `update", path: &api_path };
        Err(self.to_error(response, permission))
    }

    /// Deletes versions recoverably, or undeletes them.
    pub(crate) async fn change_versions(
        &self,
        part: &'static str,
        path: &SecretPath,
        versions: Vec<u64>,
    ) -> Result<()> {
        let api_path = self.api_path(part, path);
        let permission = RequiredPermission { capability: "update", path: &api_path };
        let request = Request::post(api_path.as_str(), &VersionsBody { versions })?;
        self.execute(&request, permission).await.map(drop)
    }

    /// Changes entries of the custom metadata and keeps all others.
    pub(crate) async fn patch_metadata(&self, path: &SecretPath, changes: &Changes) -> Result<()> {
        let api_path = self.api_path("metadata", path);
        let permission = RequiredPermission { capability: "patch", path: &api_path };
        let mut metadata_cas = None;
        for _ in 0..MAX_CONFLICTS {
            let body = CustomMetadataBody { custom_metadata: changes, metadata_cas };
            let response = self.send(&Request::patch(api_path.as_str(), &body)?).await?;
            if response.is_success() {
                return Ok(());
            }
            if !response.requires_metadata_cas() {
                return Err(self.to_error(&response, permission));
            }
            // The patch sets each entry by itself, so concurrent changes of others do not matter.
            let current = self.metadata(path).await?;
            metadata_cas = current.map(|metadata| metadata.current_metadata_version);
        }
        // Not `Conflict`, which would mean for a `put` that nothing was written.
        Err(Error::new(ErrorKind::Unavailable, "try again")
            .because("other clients change the secret's metadata all the time"))
    }

    /// Removes a secret with its metadata.
    pub(crate) async fn remove(&self, path: &SecretPath) -> Result<()> {
        let api_path = self.api_path("metadata", path);
        let permission = RequiredPermission { capability: "delete", path: &api_path };
        let response = self.send(&Request::new(Method::DELETE, api_path.as_str())).await?;
        if response.is_success() || response.is_not_found() {
            return Ok(());
        }
        Err(self.to_error(&response, permission))
    }

    /// The version of the KV engine, for a read. If the server does not tell it, assumes version 2:
    /// the server then denies the read, or answers it.
    pub(crate) async fn kv_version(&self) -> Result<KvEngineVersion> {
        let generation = self.session.generation();
        match self.mount_cache.get(generation) {
            Some(version) => Ok(version),
            None if self.mount_cache.is_refused(generation) => Ok(KvEngineVersion::V2),
            None => Ok(self.look_up_mount().await?.unwrap_or(KvEngineVersion::V2)),
        }
    }

    /// Refuses a write unless the server has said, within the last minute, that the mount has version
    /// 2: version 1 would store the body of a write for version 2 as a secret of that name.
    pub(crate) async fn ensure_writable(&self) -> Result<()> {
        let version = match self.mount_cache.get_for_write(self.session.generation()) {
            Some(version) => Some(version),
            None => self.look_up_mount().await?,
        };
        match version {
            Some(KvEngineVersion::V2) => Ok(()),
            Some(KvEngineVersion::V1) => Err(self.requires_v2()),
            None => Err(self.explain_unknown_mount().await?),
        }
    }

    /// The same, looked up again: for a write where no other response shows that the mount has
    /// version 2.
    pub(crate) async fn ensure_writable_now(&self) -> Result<()> {
        self.mount_cache.clear();
        self.ensure_writable().await
    }

    /// Looks the mount up; `None` if the server says nothing about it. A mount in a child namespace is
    /// known there, so segments in front of it may be those of a namespace.
    async fn look_up_mount(&self) -> Result<Option<KvEngineVersion>> {
        let slashes = self.mount.match_indices('/').map(|(at, _)| at + 1);
        for start in std::iter::once(0).chain(slashes) {
            let (namespace, mount) = self.mount.split_at(start);
            let path = format!("{namespace}sys/internal/ui/mounts/{mount}");
            let response = self.send(&Request::get(path.as_str())).await?;
            if matches!(response.status, 403 | 404) {
                continue;
            }
            if !response.is_success() {
                let permission = RequiredPermission { capability: "read", path: &path };
                return Err(response.to_error(permission));
            }
            let version = response.data::<MountInfo>()?.kv_version(mount)?;
            self.mount_cache.set(version, self.session.generation());
            return Ok(Some(version));
        }
        self.mount_cache.set_refused(self.session.generation());
        Ok(None)
    }

    /// The error for a mount about which the server says nothing.
    async fn explain_unknown_mount(&self) -> Result<Error> {
        let response = self.send(&Request::get(format!("{}/config", self.mount))).await?;
        if response.is_unmounted() {
            return Ok(response.to_server_error());
        }
        let advice = format!(
            "check `SECRETS_VAULT_MOUNT`, and grant this role or token a capability below `{}/data/`",
            self.mount
        );
        Ok(Error::new(ErrorKind::Denied, advice)
            .because("the server does not say whether a KV engine is mounted there"))
    }

    /// The error for an operation that version 1 does not support.
    pub(crate) fn requires_v2(&self) -> Error {
        let advice = format!(
            "upgrade the mount with `vault kv enable-versioning {}`, or set `SECRETS_VAULT_MOUNT` \
             to one of version 2",
            self.mount
        );
        Error::new(ErrorKind::Unsupported, advice)
            .because("the KV engine mounted there has version 1, which can only be read")
    }
}

/// The number of a version. Rejects 0, which the server takes for the active version, and numbers
/// that are too large for the server.
pub(crate) fn parse_version(version: &Version) -> Result<u64> {
    let valid = 1..=i64::MAX.unsigned_abs();
    version.number().filter(|number| valid.contains(number)).ok_or_else(no_such_version)
}

pub(crate) fn no_such_version() -> Error {
    not_found().because("no such version")
}
