//! Reads one secret: a request for the value, and a second one for metadata that is not cached.

use std::ops::RangeInclusive;
use std::time::SystemTime;

use futures_util::future::join;
use strongroom_core::{
    Error, ErrorKind, Metadata, Result, Secret, SecretPath, SecretValue, Version, VersionSelector,
};

use crate::client::Client;
use crate::describe::CURRENT_LABEL;
use crate::error::{Failure, Reason, no_such_version, unexpected_answer};
use crate::metadata_cache::CachedMetadata;
use crate::request::{RequiredPermission, send};
use crate::settings::READ_METADATA;
use crate::value::decode;

/// The length of version ids.
const VERSION_ID_LENGTHS: RangeInclusive<usize> = 32..=64;
/// The length of staging labels.
const LABEL_LENGTHS: RangeInclusive<usize> = 1..=256;
/// The most times that a value and its metadata are read again because their versions differ.
const MAX_REREADS: usize = 2;

/// A value and its version.
pub(crate) struct VersionedValue {
    pub(crate) value: SecretValue,
    pub(crate) version: Version,
}

impl Client {
    pub(crate) async fn read(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
    ) -> Result<Secret> {
        let (value, metadata) = join(self.get_value(path, selector), self.metadata(path)).await;
        self.finish_read(path, selector, value, metadata?).await
    }

    /// The metadata of a secret, from the cache or from the service; `None` if reads do without.
    ///
    /// # Errors
    /// [`ErrorKind::Expired`] if the service has just reported that the secret is expired.
    pub(crate) async fn metadata(&self, path: &SecretPath) -> Result<Option<CachedMetadata>> {
        if !self.config.read_metadata {
            return Ok(None);
        }
        if let Some(cached) = self.metadata_cache.get(path) {
            return Ok(Some(cached));
        }
        let fetched = self.fetch_metadata(path).await?;
        fetched.metadata.ensure_not_expired(SystemTime::now())?;
        Ok(Some(fetched))
    }

    async fn fetch_metadata(&self, path: &SecretPath) -> Result<CachedMetadata> {
        let described = self.describe_live(path).await;
        described.map_err(suggest_no_metadata)?.cacheable_metadata()
    }

    /// Puts a value and its metadata together. Metadata that is expired or belongs to another
    /// version may be outdated, so both are read again until they match. If the service does not
    /// give matching answers, the latest of each count.
    pub(crate) async fn finish_read(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
        value: Result<VersionedValue, Failure>,
        metadata: Option<CachedMetadata>,
    ) -> Result<Secret> {
        let mut value = match value {
            Ok(value) => value,
            Err(failure) => return Err(self.explain_failure(path, selector, failure).await),
        };
        let Some(mut metadata) = metadata else {
            return Ok(Secret::new(path.clone(), value.version, Metadata::default(), value.value));
        };
        let is_expired = metadata.metadata.ensure_not_expired(SystemTime::now()).is_err();
        if is_expired || !matches(selector, &metadata, &value) {
            metadata = self.fetch_metadata(path).await?;
            for _ in 0..MAX_REREADS {
                if matches(selector, &metadata, &value) {
                    break;
                }
                value = self.get_value(path, selector).await?;
                metadata = self.fetch_metadata(path).await?;
            }
            metadata.metadata.ensure_not_expired(SystemTime::now())?;
        }
        Ok(Secret::new(path.clone(), value.version, metadata.metadata, value.value))
    }

    /// The error of a read. If the secret's state does not allow reading, the secret may be deleted.
    async fn explain_failure(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
        failure: Failure,
    ) -> Error {
        if failure.concerns_state() && *selector == VersionSelector::Active {
            self.metadata_cache.remove(path);
        }
        if failure.reason == Reason::InvalidRequest
            && let Err(error) = self.describe_live(path).await
            && error.kind() == ErrorKind::NotFound
        {
            return error;
        }
        failure.into()
    }

    async fn get_value(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
    ) -> Result<VersionedValue, Failure> {
        let name = self.names.id(path)?;
        let request = self.sdk()?.get_secret_value().secret_id(&name);
        let request = match selector {
            VersionSelector::Exact(version) => request.version_id(version_id(version)?),
            VersionSelector::Stage(label) => {
                LABEL_LENGTHS.contains(&label.len()).then_some(()).ok_or_else(no_such_version)?;
                request.version_stage(&**label)
            }
            // AWS takes this label if a request names none. Other servers of this API do not always.
            _ => request.version_stage(CURRENT_LABEL),
        };
        let permission = RequiredPermission { action: "GetSecretValue", secret: Some(&name) };
        let answer = send(request.send(), permission).await?;
        let value = decode(answer.secret_string, answer.secret_binary);
        let value = value.ok_or_else(unexpected_answer)?;
        let version = Version::new(&answer.version_id.ok_or_else(unexpected_answer)?);
        Ok(VersionedValue { value, version })
    }
}

/// Whether the metadata was read while this version was active. Another version than the active one
/// has the metadata of the secret.
fn matches(selector: &VersionSelector, metadata: &CachedMetadata, value: &VersionedValue) -> bool {
    *selector != VersionSelector::Active || metadata.current_version == value.version
}

/// Adds to a denied `DescribeSecret` how to read without it.
fn suggest_no_metadata(error: Error) -> Error {
    if error.kind() != ErrorKind::Denied {
        return error;
    }
    let advice = format!("{}, or set `{READ_METADATA}` to `false`", error.advice());
    Error::new(ErrorKind::Denied, advice).because("reads need the secret's metadata")
}

/// The id of a version, if the service could have given it.
pub(crate) fn version_id(version: &Version) -> Result<String> {
    let id = version.text().into_owned();
    let is_id = VERSION_ID_LENGTHS.contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    is_id.then_some(id).ok_or_else(no_such_version)
}
