//! Lists versions, rolls back, and starts the rotation of the service.

use std::sync::Arc;

use aws_sdk_secretsmanager::types::SecretVersionsListEntry;
use futures_util::future::try_join;
use strongroom_core::{Error, ErrorKind, Result, RotateOutcome, SecretPath, Version, VersionInfo};

use crate::client::Client;
use crate::describe::CURRENT_LABEL;
use crate::error::{Conflict, Reason, no_such_version, not_found, unexpected_answer};
use crate::metadata::time;
use crate::put::MAX_RACES;
use crate::request::{RequiredPermission, send};

/// The most versions on a page.
const PAGE_SIZE: i32 = 100;
/// The most pages that are requested.
const MAX_PAGES: usize = 100;

impl Client {
    /// All versions, newest first, including those without a staging label.
    pub(crate) async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        // The service may list the versions of a deleted secret, so the description decides.
        let (_, entries) = try_join(self.describe_live(path), self.list_versions(path)).await?;
        let mut versions: Vec<_> = entries.into_iter().filter_map(version_info).collect();
        if versions.is_empty() {
            return Err(not_found());
        }
        // Ids of this backend sort by time, which orders versions with the same creation time.
        versions.sort_by(|a, b| (b.created_at, &b.version).cmp(&(a.created_at, &a.version)));
        Ok(versions)
    }

    async fn list_versions(&self, path: &SecretPath) -> Result<Vec<SecretVersionsListEntry>> {
        let name = self.names.id(path)?;
        let permission = RequiredPermission { action: "ListSecretVersionIds", secret: Some(&name) };
        let mut entries = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let request = self.sdk()?.list_secret_version_ids().secret_id(&name);
            let request =
                request.include_deprecated(true).max_results(PAGE_SIZE).set_next_token(next);
            let answer = send(request.send(), permission).await?;
            entries.extend(answer.versions.ok_or_else(unexpected_answer)?);
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(entries);
            }
        }
        // The service keeps about a hundred versions, so a server that sends more pages does not end.
        Err(unexpected_answer())
    }

    /// Whether a version exists, with a staging label or without.
    async fn has_version(&self, path: &SecretPath, id: &str) -> Result<bool> {
        let versions = self.list_versions(path).await.map_err(|error| match error.kind() {
            ErrorKind::Denied => error.because("a rollback looks for the version first"),
            _ => error,
        })?;
        Ok(versions.iter().any(|version| version.version_id() == Some(id)))
    }

    /// Makes an earlier version the active one by moving the staging label to it.
    pub(crate) async fn rollback(self: Arc<Self>, path: SecretPath, id: String) -> Result<Version> {
        let mut is_known = false;
        for _ in 0..MAX_RACES {
            let found = self.describe_live(&path).await?;
            let current = found.live_version();
            if current == Some(&id) {
                return Ok(Version::new(&id));
            }
            // AWS refuses to move the label to a missing version. Other servers of this API may take the
            // label from the active version first, and the secret then has none.
            if !is_known && !found.has_label(&id) && !self.has_version(&path, &id).await? {
                return Err(no_such_version());
            }
            is_known = true;
            match self.move_label(&path, CURRENT_LABEL, current, Some(&id)).await {
                Ok(()) => return Ok(Version::new(&id)),
                Err(failure) if failure.concerns_state() => {
                    let now = self.describe_live(&path).await?;
                    if now.live_version() == current {
                        return Err(match failure.reason {
                            Reason::InvalidRequest => failure.into(),
                            _ => no_such_version(),
                        });
                    }
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Conflict::OtherVersion.error())
    }

    /// Starts the rotation that is configured in the service. It goes on after the answer.
    pub(crate) async fn rotate(self: Arc<Self>, path: SecretPath) -> Result<RotateOutcome> {
        let name = self.names.id(&path)?;
        let permission = RequiredPermission { action: "RotateSecret", secret: Some(&name) };
        let request = self.sdk()?.rotate_secret().secret_id(&name).rotate_immediately(true);
        let failure = match send(request.send(), permission).await {
            Ok(answer) => {
                let mut outcome = RotateOutcome::default();
                answer.name.ok_or_else(unexpected_answer)?;
                outcome.version = answer.version_id.as_deref().map(Version::new);
                return Ok(outcome);
            }
            Err(failure) => failure,
        };
        if !matches!(
            failure.reason,
            Reason::InvalidRequest | Reason::NotFound | Reason::InvalidParameter
        ) {
            return Err(failure.into());
        }
        let found = self.describe_live(&path).await?;
        Err(if !found.has_rotation() {
            Error::new(
                ErrorKind::Config,
                "set up rotation for the secret in AWS, with a Lambda function",
            )
            .because("no rotation is configured for the secret")
        } else if failure.reason == Reason::InvalidRequest {
            Error::new(
                ErrorKind::Unavailable,
                "try again later; if it lasts, look at the log of its rotation function",
            )
            .because("a rotation of the secret is in progress, or has failed halfway")
        } else {
            Error::new(ErrorKind::Config, "check the secret's rotation function in AWS")
                .because("AWS does not find the secret's rotation function, or may not call it")
        })
    }
}

fn version_info(entry: SecretVersionsListEntry) -> Option<VersionInfo> {
    let stages = entry.version_stages.unwrap_or_default();
    let active = stages.iter().any(|stage| stage == CURRENT_LABEL);
    let version = Version::new(&entry.version_id?);
    let mut info = VersionInfo::new(version, time(entry.created_date.as_ref()), active);
    info.stages = stages;
    info.stages.sort_unstable();
    Some(info)
}
