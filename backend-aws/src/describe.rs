//! What the service tells about a secret without its value.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::types::{ReplicationStatusType, Tag};
use strongroom_core::{Description, Metadata, Result, SecretPath, Version};

use crate::client::Client;
use crate::known::Fact;
use crate::metadata::{from_tags, time};
use crate::refusal::{Code, Needs, answered, not_found, unreadable};

/// The label of the active version.
pub(crate) const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was active before.
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret that exists, be it deleted.
#[derive(Debug)]
pub(crate) struct Described(DescribeSecretOutput);

impl Described {
    pub(crate) fn is_deleted(&self) -> bool {
        self.0.deleted_date().is_some()
    }

    /// The id of the active version; `None` if no value was ever written.
    pub(crate) fn current(&self) -> Option<&str> {
        let versions = self.0.version_ids_to_stages()?.iter();
        let is_current = |stages: &Vec<String>| stages.iter().any(|stage| stage == CURRENT);
        versions.filter(|(_, stages)| is_current(stages)).map(|(id, _)| id.as_str()).next()
    }

    /// Whether a version is or has just been the active one.
    pub(crate) fn was_active(&self, id: &str) -> bool {
        let labels = self.0.version_ids_to_stages().and_then(|versions| versions.get(id));
        labels
            .is_some_and(|labels| labels.iter().any(|label| label == CURRENT || label == PREVIOUS))
    }

    /// The id of the active version of a secret that can be read.
    pub(crate) fn live(&self) -> Option<&str> {
        self.current().filter(|_| !self.is_deleted())
    }

    pub(crate) fn tags(&self) -> &[Tag] {
        self.0.tags()
    }

    pub(crate) fn rotates(&self) -> bool {
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

    /// What reads need to know. A time of the last change would soon be out of date.
    pub(crate) fn fact(&self) -> Result<Fact> {
        let mut metadata = self.metadata()?;
        metadata.updated_at = None;
        Ok(Fact { metadata, current: Version::new(self.current().unwrap_or_default()) })
    }

    fn details(&self, mut description: Description) -> Description {
        let told = &self.0;
        let moment = |moment| {
            time(moment).map(|moment| humantime::format_rfc3339_seconds(moment).to_string())
        };
        let replicas: Vec<_> = told.replication_status().iter().filter_map(replica).collect();
        for (name, fact) in [
            ("arn", told.arn().map(str::to_owned)),
            ("kms_key", told.kms_key_id().map(str::to_owned)),
            ("owning_service", told.owning_service().map(str::to_owned)),
            ("primary_region", told.primary_region().map(str::to_owned)),
            ("replicas", (!replicas.is_empty()).then(|| replicas.join(", "))),
            ("rotation_function", told.rotation_lambda_arn().map(str::to_owned)),
            ("last_rotated_at", moment(told.last_rotated_date())),
            ("next_rotation_at", moment(told.next_rotation_date())),
        ] {
            if let Some(fact) = fact {
                description = description.detail(name, fact);
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
    /// What there is at a path; `None` if nothing ever was, or it is destroyed.
    pub(crate) async fn look(&self, path: &SecretPath) -> Result<Option<Described>> {
        let name = self.names.name(path)?;
        let needs = Needs { action: "DescribeSecret", secret: Some(&name) };
        let ticket = self.known.ticket();
        let request = self.sdk()?.describe_secret().secret_id(&name);
        let described = match answered(request.send(), needs).await {
            Ok(output) if output.name().is_none() => return Err(unreadable()),
            Ok(output) => Described(output),
            Err(failure) if failure.code == Code::NotFound => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        if described.live().is_some()
            && let Ok(fact) = described.fact()
        {
            self.known.learn(path, fact, ticket);
        }
        Ok(Some(described))
    }

    /// What there is at a path, if it can be read.
    pub(crate) async fn look_at_live(&self, path: &SecretPath) -> Result<Described> {
        let described = self.look(path).await?;
        described.filter(|described| described.live().is_some()).ok_or_else(not_found)
    }

    pub(crate) async fn describe(&self, path: &SecretPath) -> Result<Description> {
        let described = self.look_at_live(path).await?;
        let version = Version::new(described.live().unwrap_or_default());
        let description = Description::new(path.clone(), version, described.metadata()?);
        Ok(described.details(description))
    }
}
