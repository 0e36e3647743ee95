//! The JSON shapes that several commands have in common.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use strongroom::{Metadata, SecretKind, Tier, Version};
use strongroom_core::Rfc3339;

/// The outcome of a write: the secret and its active version.
#[derive(Serialize)]
pub(crate) struct Written<'a> {
    pub(crate) path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}

impl<'a> Written<'a> {
    pub(crate) fn new(path: &'a str, version: Option<&Version>) -> Self {
        Self { path, version: version.map(|version| version.text().into_owned()) }
    }
}

/// The metadata of a secret.
#[derive(Serialize)]
pub(crate) struct MetadataShape<'a> {
    kind: SecretKind,
    tier: Tier,
    tags: &'a BTreeMap<String, String>,
    description: Option<&'a str>,
    created_at: Option<String>,
    updated_at: Option<String>,
    created_by: Option<&'a str>,
    updated_by: Option<&'a str>,
    expires_at: Option<String>,
    expired: bool,
    rotation_interval_seconds: Option<u64>,
}

impl<'a> MetadataShape<'a> {
    pub(crate) fn new(metadata: &'a Metadata, now: SystemTime) -> Self {
        Self {
            kind: metadata.kind,
            tier: metadata.tier,
            tags: &metadata.tags,
            description: metadata.description.as_deref(),
            created_at: metadata.created_at.map(time),
            updated_at: metadata.updated_at.map(time),
            created_by: metadata.created_by.as_deref(),
            updated_by: metadata.updated_by.as_deref(),
            expires_at: metadata.expires_at.map(time),
            expired: metadata.expires_at.is_some_and(|expiry| expiry <= now),
            rotation_interval_seconds: metadata
                .rotation_interval
                .map(|interval| interval.as_secs()),
        }
    }
}

/// A time as text.
pub(crate) fn time(time: SystemTime) -> String {
    Rfc3339::millis(time).to_string()
}
