//! The bodies of responses, parsed in place: no field that could be a secret is copied.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use strongroom_core::Result;
use strongroom_transport::{LARGE, run_blocking};
use zeroize::Zeroizing;

use crate::error::{ErrorBody, invalid_response};

/// A response of the server, with any status. The body is wiped on drop.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
    /// What an error says; `None` for a success, and if a server of this kind has not written it.
    pub(crate) error: Option<ErrorBody>,
}

/// A response with `data`.
#[derive(Deserialize)]
struct DataBody<T> {
    data: Option<T>,
}

/// A response with `auth`.
#[derive(Deserialize)]
struct AuthBody<'a> {
    #[serde(borrow, default)]
    auth: Option<AuthInfo<'a>>,
}

/// A token that was issued or renewed.
#[derive(Deserialize)]
pub(crate) struct AuthInfo<'a> {
    #[serde(borrow)]
    pub(crate) client_token: Cow<'a, str>,
    /// Seconds.
    pub(crate) lease_duration: u64,
    pub(crate) renewable: bool,
    /// The names of its policies.
    #[serde(default)]
    pub(crate) policies: Option<Vec<String>>,
}

/// The answer to `lookup-self`.
#[derive(Deserialize)]
pub(crate) struct TokenInfo {
    /// Seconds.
    pub(crate) ttl: u64,
    #[serde(default)]
    pub(crate) renewable: bool,
    /// The names of its policies.
    #[serde(default)]
    pub(crate) policies: Option<Vec<String>>,
}

/// The answer to `sys/wrapping/lookup`.
#[derive(Deserialize)]
pub(crate) struct WrappingInfo {
    pub(crate) creation_path: String,
}

/// The answer to `sys/wrapping/unwrap`.
#[derive(Deserialize)]
pub(crate) struct UnwrappedSecretId<'a> {
    #[serde(borrow)]
    pub(crate) secret_id: Cow<'a, str>,
}

/// One version of a secret in KV version 2.
#[derive(Deserialize)]
pub(crate) struct KvData<'a> {
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
    pub(crate) metadata: VersionMetadata,
}

/// What a read of a version returns besides its data.
#[derive(Deserialize)]
pub(crate) struct VersionMetadata {
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) custom_metadata: Option<BTreeMap<String, String>>,
}

/// The version that a write has made.
#[derive(Deserialize)]
pub(crate) struct WrittenVersion {
    pub(crate) version: u64,
    /// Empty, unless `delete_version_after` is set.
    #[serde(default)]
    pub(crate) deletion_time: String,
}

/// The metadata of a secret in KV version 2.
#[derive(Deserialize)]
pub(crate) struct KvMetadata {
    pub(crate) created_time: String,
    pub(crate) updated_time: String,
    pub(crate) current_version: u64,
    /// OpenBao also counts changes of the metadata, and can require the count as a condition.
    #[serde(default)]
    pub(crate) current_metadata_version: u64,
    #[serde(default)]
    pub(crate) custom_metadata: Option<BTreeMap<String, String>>,
    pub(crate) versions: BTreeMap<u64, VersionState>,
}

#[derive(Deserialize)]
pub(crate) struct VersionState {
    pub(crate) created_time: String,
    /// Empty unless it is deleted or will be.
    pub(crate) deletion_time: String,
    pub(crate) destroyed: bool,
}

/// The names in a folder; those of folders end in `/`.
#[derive(Deserialize)]
pub(crate) struct ListedKeys<'a> {
    #[serde(borrow)]
    pub(crate) keys: &'a RawValue,
}

/// The answer to `sys/internal/ui/mounts/<path>`.
#[derive(Deserialize)]
pub(crate) struct MountInfo {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) engine: String,
    #[serde(default)]
    pub(crate) options: Option<BTreeMap<String, String>>,
}

/// What `static-creds` returns besides the user name and the password.
#[derive(Deserialize)]
pub(crate) struct StaticRoleInfo {
    pub(crate) last_vault_rotation: String,
    /// Seconds; absent for roles with a schedule.
    #[serde(default)]
    pub(crate) rotation_period: u64,
    /// Seconds until the server replaces the password.
    #[serde(default)]
    pub(crate) ttl: Option<u64>,
}

impl Response {
    pub(crate) fn new(
        status: u16,
        retry_after: Option<Duration>,
        body: Zeroizing<Vec<u8>>,
    ) -> Self {
        let is_success = (200..300).contains(&status);
        let error = if is_success { None } else { ErrorBody::parse(&body) };
        Self { status, retry_after, body, error }
    }

    /// The body as the server sent it.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Parses the response, on a thread for blocking work if its body is large.
    pub(crate) async fn parse_with<T: Send + 'static>(
        self,
        parse: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.body.len() < LARGE {
            return parse(&self);
        }
        run_blocking(move || parse(&self)).await
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Parses the `data` of the body.
    pub(crate) fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        // The library's error may quote the body.
        let body: DataBody<T> =
            serde_json::from_slice(&self.body).map_err(|_| invalid_response())?;
        body.data.ok_or_else(invalid_response)
    }

    /// Parses the `auth` of the body.
    pub(crate) fn auth(&self) -> Result<AuthInfo<'_>> {
        let body: AuthBody<'_> =
            serde_json::from_slice(&self.body).map_err(|_| invalid_response())?;
        body.auth.ok_or_else(invalid_response)
    }
}
