//! What the server's answers hold, read in place: nothing is copied that could be a secret.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use strongroom_core::{Error, ErrorKind, Result};

use crate::http::Response;

/// The frame around every answer.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) auth: Option<AuthInfo<'a>>,
}

/// A token that was made or renewed.
#[derive(Deserialize)]
pub(crate) struct AuthInfo<'a> {
    #[serde(borrow)]
    pub(crate) client_token: Cow<'a, str>,
    /// Seconds.
    pub(crate) lease_duration: u64,
    pub(crate) renewable: bool,
}

/// What a token says about itself.
#[derive(Deserialize)]
pub(crate) struct LookedUp {
    /// Seconds.
    pub(crate) ttl: u64,
    #[serde(default)]
    pub(crate) renewable: bool,
}

/// The answer to an unwrapping.
#[derive(Deserialize)]
pub(crate) struct Unwrapped<'a> {
    #[serde(borrow)]
    pub(crate) secret_id: Cow<'a, str>,
}

/// One version of a secret in KV version 2.
#[derive(Deserialize)]
pub(crate) struct KvData<'a> {
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
    pub(crate) metadata: KvVersion,
}

/// What comes with a version when it is read.
#[derive(Deserialize)]
pub(crate) struct KvVersion {
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) custom_metadata: Option<BTreeMap<String, String>>,
}

/// The version that a write made.
#[derive(Deserialize)]
pub(crate) struct Written {
    pub(crate) version: u64,
    /// Empty, unless the store gives versions an age.
    #[serde(default)]
    pub(crate) deletion_time: String,
}

/// What KV version 2 keeps about a secret besides its values.
#[derive(Deserialize)]
pub(crate) struct KvMetadata {
    pub(crate) created_time: String,
    pub(crate) updated_time: String,
    pub(crate) current_version: u64,
    /// OpenBao counts changes of the metadata, too, and can demand the count as a condition.
    #[serde(default)]
    pub(crate) current_metadata_version: u64,
    #[serde(default)]
    pub(crate) custom_metadata: Option<BTreeMap<String, String>>,
    pub(crate) versions: BTreeMap<u64, VersionState>,
}

#[derive(Deserialize)]
pub(crate) struct VersionState {
    pub(crate) created_time: String,
    /// Empty unless it is deleted; it may lie ahead.
    pub(crate) deletion_time: String,
    pub(crate) destroyed: bool,
}

/// Why a request was refused, and what the server has to say besides.
#[derive(Default, Deserialize)]
pub(crate) struct Remarks<'a> {
    #[serde(borrow, default)]
    pub(crate) errors: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    pub(crate) warnings: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
}

/// What a wrapping token says about itself.
#[derive(Deserialize)]
pub(crate) struct Wrapping {
    pub(crate) creation_path: String,
}

/// The names in a folder; those of folders end in `/`.
#[derive(Deserialize)]
pub(crate) struct Keys {
    pub(crate) keys: Vec<String>,
}

/// What a mount says about itself.
#[derive(Deserialize)]
pub(crate) struct MountInfo {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) engine: String,
    #[serde(default)]
    pub(crate) options: Option<BTreeMap<String, String>>,
}

/// What a static role says besides its password.
#[derive(Deserialize)]
pub(crate) struct StaticRole {
    pub(crate) last_vault_rotation: String,
    /// Seconds; absent for roles with a schedule.
    #[serde(default)]
    pub(crate) rotation_period: u64,
    /// Seconds until the password is replaced.
    #[serde(default)]
    pub(crate) ttl: Option<u64>,
}

impl Response {
    /// Reads the frame.
    pub(crate) fn envelope(&self) -> Result<Envelope<'_>> {
        serde_json::from_slice(&self.body).map_err(|_| unreadable())
    }

    /// Reads why it is no success; `None` if it is not in the form of a server.
    pub(crate) fn remarks(&self) -> Option<Remarks<'_>> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Reads the `data` of the answer as `T`.
    pub(crate) fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        let data = self.envelope()?.data.ok_or_else(unreadable)?;
        // The library's error may quote what it found.
        serde_json::from_str(data.get()).map_err(|_| unreadable())
    }

    /// Reads the `auth` of the answer.
    pub(crate) fn auth(&self) -> Result<AuthInfo<'_>> {
        self.envelope()?.auth.ok_or_else(unreadable)
    }
}

pub(crate) fn unreadable() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "check that `VAULT_ADDR` is a Vault or OpenBao, and what lies between here and there",
    )
    .because("the answer is not what such a server sends")
}
