//! The versions of a secret, and rotation by the service.

use std::sync::Arc;

use aws_sdk_secretsmanager::types::SecretVersionsListEntry;
use futures_util::future::try_join;
use strongroom_core::{Error, ErrorKind, Result, RotateOutcome, SecretPath, Version, VersionInfo};

use crate::client::Client;
use crate::describe::CURRENT;
use crate::metadata::time;
use crate::put::RACES;
use crate::refusal::{Code, Needs, answered, no_such_version, not_found, overtaken, unreadable};

/// The most versions on a page.
const PAGE: i32 = 100;
/// The most pages that are asked for.
const MOST_PAGES: usize = 100;

impl Client {
    /// All versions, newest first, those without a label included.
    pub(crate) async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        // A deleted secret may tell its versions all the same.
        let (_, entries) = try_join(self.look_at_live(path), self.entries(path)).await?;
        let mut versions: Vec<_> = entries.into_iter().filter_map(info).collect();
        if versions.is_empty() {
            return Err(not_found());
        }
        // Ids of ours sort by time, too, should the service's clock not tell two apart.
        versions.sort_by(|a, b| (b.created_at, &b.version).cmp(&(a.created_at, &a.version)));
        Ok(versions)
    }

    async fn entries(&self, path: &SecretPath) -> Result<Vec<SecretVersionsListEntry>> {
        let name = self.names.name(path)?;
        let needs = Needs { action: "ListSecretVersionIds", secret: Some(&name) };
        let mut entries = Vec::new();
        let mut next = None;
        for _ in 0..MOST_PAGES {
            let request = self.sdk()?.list_secret_version_ids().secret_id(&name);
            let request = request.include_deprecated(true).max_results(PAGE).set_next_token(next);
            let answer = answered(request.send(), needs).await?;
            entries.extend(answer.versions.ok_or_else(unreadable)?);
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(entries);
            }
        }
        // The service keeps about a hundred.
        Err(unreadable())
    }

    /// Makes an earlier version the active one by giving it the label.
    pub(crate) async fn rollback(self: Arc<Self>, path: SecretPath, id: String) -> Result<Version> {
        for _ in 0..RACES {
            let found = self.look_at_live(&path).await?;
            let current = found.live();
            if current == Some(&id) {
                return Ok(Version::new(&id));
            }
            match self.move_label(&path, CURRENT, current, Some(&id)).await {
                Ok(()) => return Ok(Version::new(&id)),
                Err(failure) if failure.is_about_state() => {
                    let now = self.look_at_live(&path).await?;
                    if now.live() == current {
                        return Err(match failure.code {
                            Code::InvalidRequest => failure.into(),
                            _ => no_such_version(),
                        });
                    }
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(overtaken())
    }

    /// Has the service rotate a secret now. It goes on after the answer.
    pub(crate) async fn rotate(self: Arc<Self>, path: SecretPath) -> Result<RotateOutcome> {
        let name = self.names.name(&path)?;
        let needs = Needs { action: "RotateSecret", secret: Some(&name) };
        let request = self.sdk()?.rotate_secret().secret_id(&name).rotate_immediately(true);
        let failure = match answered(request.send(), needs).await {
            Ok(answer) => {
                let mut rotated = RotateOutcome::default();
                answer.name.ok_or_else(unreadable)?;
                rotated.version = answer.version_id.as_deref().map(Version::new);
                return Ok(rotated);
            }
            Err(failure) => failure,
        };
        if !matches!(failure.code, Code::InvalidRequest | Code::NotFound | Code::InvalidParameter) {
            return Err(failure.into());
        }
        let found = self.look_at_live(&path).await?;
        Err(if !found.rotates() {
            Error::new(ErrorKind::Config, "set up rotation for it in AWS, with a Lambda function")
                .because("no rotation is configured for the secret")
        } else if failure.code == Code::InvalidRequest {
            Error::new(
                ErrorKind::Unavailable,
                "try again later; if it lasts, look at the log of its rotation function",
            )
            .because("a rotation of the secret is under way, or has failed halfway")
        } else {
            Error::new(ErrorKind::Config, "check the secret's rotation function in AWS")
                .because("AWS does not find the secret's rotation function, or may not call it")
        })
    }
}

fn info(entry: SecretVersionsListEntry) -> Option<VersionInfo> {
    let stages = entry.version_stages.unwrap_or_default();
    let active = stages.iter().any(|stage| stage == CURRENT);
    let version = Version::new(&entry.version_id?);
    let mut info = VersionInfo::new(version, time(entry.created_date.as_ref()), active);
    info.stages = stages;
    info.stages.sort_unstable();
    Some(info)
}
