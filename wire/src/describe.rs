//! What is said about secrets and stores, without values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use strongroom_core::{
    Capabilities, Capability, Description, Error, ErrorKind, Health, HealthStatus, ListPage,
    PageToken, Result, SecretPath, Version, VersionInfo,
};

use crate::metadata::{MetadataBody, time};

/// The outcome of a write: the secret and its active version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Written {
    /// The path.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: SecretPath,
    /// The version.
    pub version: String,
}

/// The outcome of a rotation by the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rotated {
    /// The version that it has created, if the store says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Described {
    /// The path.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: SecretPath,
    /// The active version.
    pub version: String,
    /// The metadata.
    pub metadata: MetadataBody,
    /// Details that only this kind of store has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub details: BTreeMap<Cow<'static, str>, String>,
}

impl Described {
    /// In JSON, with the path by which the caller knows the secret.
    #[must_use]
    pub fn new(path: SecretPath, described: Description) -> Self {
        Self {
            path,
            version: described.version.text().into_owned(),
            metadata: MetadataBody::from(&described.metadata),
            details: described.details,
        }
    }
}

impl From<Described> for Description {
    fn from(body: Described) -> Self {
        let described = Self::new(body.path, Version::new(&body.version), body.metadata.into());
        body.details.into_iter().fold(described, |all, (name, value)| all.detail(name, value))
    }
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Listed {
    /// The paths.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub paths: Vec<SecretPath>,
    /// Where the listing continues; left out after the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<ListPage> for Listed {
    fn from(page: ListPage) -> Self {
        Self { paths: page.paths, next: page.next.map(|token| token.as_str().to_owned()) }
    }
}

impl From<Listed> for ListPage {
    fn from(body: Listed) -> Self {
        Self::new(body.paths, body.next.map(PageToken::new))
    }
}

/// The versions of a secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionList {
    /// The versions.
    pub versions: Vec<VersionEntry>,
}

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionEntry {
    /// Its id.
    pub version: String,
    /// When it was written, if the store knows.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub created_at: Option<SystemTime>,
    /// Whether it is the active one.
    pub active: bool,
    /// The labels that it carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
}

impl From<VersionInfo> for VersionEntry {
    fn from(version: VersionInfo) -> Self {
        Self {
            version: version.version.text().into_owned(),
            created_at: version.created_at,
            active: version.active,
            stages: version.stages,
        }
    }
}

impl From<VersionEntry> for VersionInfo {
    fn from(entry: VersionEntry) -> Self {
        let mut version = Self::new(Version::new(&entry.version), entry.created_at, entry.active);
        version.stages = entry.stages;
        version
    }
}

/// The store behind a server, as far as a client has to know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoreInfo {
    /// The kind of the store, such as `native`.
    pub backend: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Whether two paths always name two secrets.
    pub distinct_paths: bool,
}

/// Each capability with its name in JSON.
const CAPABILITIES: [(Capability, &str); 12] = [
    (Capability::Put, "put"),
    (Capability::Conditions, "conditions"),
    (Capability::Binary, "binary"),
    (Capability::Versions, "versions"),
    (Capability::Rollback, "rollback"),
    (Capability::Delete, "delete"),
    (Capability::Undelete, "undelete"),
    (Capability::List, "list"),
    (Capability::Metadata, "metadata"),
    (Capability::Rotate, "rotate"),
    (Capability::Stages, "stages"),
    (Capability::Scopes, "scopes"),
];

impl StoreInfo {
    /// In JSON.
    #[must_use]
    pub fn new(backend: &str, capabilities: Capabilities, distinct_paths: bool) -> Self {
        let had = CAPABILITIES.iter().filter(|(capability, _)| capabilities.has(*capability));
        let capabilities = had.map(|(_, name)| (*name).to_owned()).collect();
        Self { backend: backend.to_owned(), capabilities, distinct_paths }
    }

    /// The capabilities, without those of a later release.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let named = |name: &String| CAPABILITIES.iter().find(|(_, known)| known == name);
        self.capabilities
            .iter()
            .filter_map(named)
            .fold(Capabilities::none(), |all, (capability, _)| all.with(*capability))
    }
}

/// The health of the store behind a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthReport {
    /// `ready`, `degraded` or `unavailable`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub status: Cow<'static, str>,
    /// Facts for operators.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub details: BTreeMap<Cow<'static, str>, String>,
}

const STATUSES: [(HealthStatus, &str); 3] = [
    (HealthStatus::Ready, "ready"),
    (HealthStatus::Degraded, "degraded"),
    (HealthStatus::Unavailable, "unavailable"),
];

impl From<Health> for HealthReport {
    fn from(health: Health) -> Self {
        let name = STATUSES.iter().find(|(status, _)| *status == health.status);
        let status = name.map_or("unavailable", |(_, name)| name);
        Self { status: Cow::Borrowed(status), details: health.details }
    }
}

impl HealthReport {
    /// The health that was reported.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a status of a later release.
    pub fn into_health(self) -> Result<Health> {
        let status = STATUSES.iter().find(|(_, name)| *name == self.status).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "upgrade the client")
                .because("the server reports a health that this release does not know")
        })?;
        let health = Health::new(status.0);
        Ok(self.details.into_iter().fold(health, |all, (name, value)| all.detail(name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_has_a_name() {
        let all = Capabilities::none().with_all(Capability::ALL);
        let info = StoreInfo::new("native", all, true);
        assert_eq!(info.capabilities.len(), Capability::ALL.len());
        assert_eq!(info.capabilities(), all);
        let later = StoreInfo { capabilities: vec!["teleport".into(), "put".into()], ..info };
        assert_eq!(later.capabilities(), Capabilities::none().with(Capability::Put));
    }

    #[test]
    fn health_survives_json() {
        for status in [HealthStatus::Ready, HealthStatus::Degraded, HealthStatus::Unavailable] {
            let health = Health::new(status).detail("version", "1.0");
            let text = serde_json::to_string(&HealthReport::from(health.clone())).unwrap();
            let report: HealthReport = serde_json::from_str(&text).unwrap();
            assert_eq!(report.into_health().unwrap(), health);
        }
        let later = HealthReport { status: "dozing".into(), details: BTreeMap::new() };
        assert_eq!(later.into_health().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
