//! Describes secrets without their values.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::types::{ReplicationStatusType, Tag};
use strongroom_core::{Description, Metadata, Result, Rfc3339, SecretPath, Version};

use crate::client::Client;
use crate::error::{Reason, deleted_secret, not_found, unexpected_answer};
use crate::metadata::{from_tags, time};
use crate::metadata_cache::CachedMetadata;
use crate::request::{RequiredPermission, send};

/// The staging label of the active version.
pub(crate) const CURRENT_LABEL: &str = "AWSCURRENT";
/// The staging label of the version that was active before.
const PREVIOUS_LABEL: &str = "AWSPREVIOUS";

/// The description of a secret that exists, live or deleted.
#[derive(Debug)]
pub(crate) struct StoredSecret(DescribeSecretOutput);

impl StoredSecret {
    pub(crate) fn is_deleted(&self) -> bool {
        self.0.deleted_date().is_some()
    }

    /// The id of the active version; `None` if no value was ever written.
    pub(crate) fn current_version(&self) -> Option<&str> {
        let versions = self.0.version_ids_to_stages()?.iter();
        let is_current = |labels: &Vec<String>| labels.iter().any(|label| label == CURRENT_LABEL);
        versions.filter(|(_, labels)| is_current(labels)).map(|(id, _)| id.as_str()).next()
    }

    /// Whether a version is the active one or the one before it.
    pub(crate) fn is_current_or_previous(&self, id: &str) -> bool {
        let labels = self.0.version_ids_to_stages().and_then(|versions| versions.get(id));
        labels.is_some_and(|labels| {
            labels.iter().any(|label| label == CURRENT_LABEL || label == PREVIOUS_LABEL)
        })
    }

    /// Whether a version exists and has a staging label.
    pub(crate) fn has_label(&self, id: &str) -> bool {
        let labels = self.0.version_ids_to_stages().and_then(|versions| versions.get(id));
        labels.is_some_and(|labels| !labels.is_empty())
    }

    /// The id of the active version, if the secret is not deleted.
    pub(crate) fn live_version(&self) -> Option<&str> {
        self.current_version().filter(|_| !self.is_deleted())
    }

    pub(crate) fn tags(&self) -> &[Tag] {
        self.0.tags()
    }

    pub(crate) fn has_rotation(&self) -> bool {
        self.0.rotation_enabled().unwrap_or_default() || self.0.rotation_lambda_arn().is_some()
    }

    pub(crate) fn is_replicated(&self) -> bool {
        !self.0.replication_status().is_empty()
    }

    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let mut metadata = from_tags(self.0.tags())?;
        let description = self.0.description().filter(|text| !text.is_empty());
        metadata.description = description.map(str::to_owned);
        metadata.created_at = time(self.0.created_date());
        metadata.updated_at = time(self.0.last_changed_date());
        Ok(metadata)
    }

    /// The metadata for reads, without the time of the last change, which would soon be outdated.
    pub(crate) fn cacheable_metadata(&self) -> Result<CachedMetadata> {
        let mut metadata = self.metadata()?;
        metadata.updated_at = None;
        let current_version = Version::new(self.current_version().unwrap_or_default());
        Ok(CachedMetadata { metadata, current_version })
    }

    fn add_details(&self, mut description: Description) -> Description {
        let answer = &self.0;
        let date = |date| time(date).map(|time| Rfc3339::seconds(time).to_string());
        let replicas: Vec<_> = answer.replication_status().iter().filter_map(replica).collect();
        for (name, detail) in [
            ("arn", answer.arn().map(str::to_owned)),
            ("kms_key", answer.kms_key_id().map(str::to_owned)),
            ("owning_service", answer.owning_service().map(str::to_owned)),
            ("primary_region", answer.primary_region().map(str::to_owned)),
            ("replicas", (!replicas.is_empty()).then(|| replicas.join(", "))),
            ("rotation_function", answer.rotation_lambda_arn().map(str::to_owned)),
            ("last_rotated_at", date(answer.last_rotated_date())),
            ("next_rotation_at", date(answer.next_rotation_date())),
        ] {
            if let Some(detail) = detail {
                description = description.detail(name, detail);
            }
        }
        description
    }
}

/// Such as `eu-west-1 (InSync)`.
fn replica(status: &ReplicationStatusType) -> Option<String> {
    let region = status.region()?;
    Some(match status.status() {
        Some(status) => format!("{region} ({})", status.as_str()),
        None => region.to_owned(),
    })
}

impl Client {
    /// The secret at a path; `None` if it does not exist or is destroyed.
    pub(crate) async fn describe_stored(&self, path: &SecretPath) -> Result<Option<StoredSecret>> {
        let name = self.names.id(path)?;
        let permission = RequiredPermission { action: "DescribeSecret", secret: Some(&name) };
        let lookup = self.metadata_cache.start_lookup(path);
        let request = self.sdk()?.describe_secret().secret_id(&name);
        let found = match send(request.send(), permission).await {
            Ok(output) if output.name().is_none() => return Err(unexpected_answer()),
            Ok(output) => StoredSecret(output),
            Err(failure) if failure.reason == Reason::NotFound => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        if found.live_version().is_some()
            && let Ok(metadata) = found.cacheable_metadata()
        {
            lookup.store(metadata);
        }
        Ok(Some(found))
    }

    /// The secret at a path, if it has an active version and is not deleted.
    pub(crate) async fn describe_live(&self, path: &SecretPath) -> Result<StoredSecret> {
        match self.describe_stored(path).await? {
            Some(found) if found.live_version().is_some() => Ok(found),
            Some(found) if found.is_deleted() => Err(deleted_secret()),
            _ => Err(not_found()),
        }
    }

    pub(crate) async fn describe(&self, path: &SecretPath) -> Result<Description> {
        let found = self.describe_live(path).await?;
        let version = Version::new(found.live_version().unwrap_or_default());
        let description = Description::new(path.clone(), version, found.metadata()?);
        Ok(found.add_details(description))
    }
}
