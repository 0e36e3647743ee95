//! The copy of one secret.

use std::time::Duration;

use strongroom::{
    Capability, Error, ErrorKind, Metadata, MetadataPatch, PutOptions, ReadOptions, Result,
    SecretPath, SecretValue, SecretsManager, Version, VersionSelector,
};

use super::has;
use super::plan::{Plan, plan};

/// Two stores, and how secrets are copied from one to the other.
pub(super) struct Copy {
    pub(super) from: SecretsManager,
    pub(super) to: SecretsManager,
    pub(super) with_versions: bool,
    pub(super) overwrite: bool,
    pub(super) dry_run: bool,
}

/// What became of one secret.
pub(super) struct SecretReport {
    pub(super) outcome: Outcome,
    /// How many versions were written, also before an error, or would be.
    pub(super) versions: usize,
    /// How many of the source's versions cannot be read any more.
    pub(super) left_out: usize,
    pub(super) problem: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// The target did not have it.
    Created,
    /// The target had the first versions.
    Continued,
    /// The target had other values.
    Overwritten,
    /// The target had all versions and lacked metadata.
    Completed,
    /// The target had everything.
    Unchanged,
    /// The target has other values, which stay.
    Skipped,
    /// One of the stores refused it.
    Refused,
    /// One of the stores failed, so the copy ends.
    Failed,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Continued => "continued",
            Self::Overwritten => "overwritten",
            Self::Completed => "completed",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The versions of a secret in one store, oldest first and the active one last.
#[derive(Default)]
struct History {
    values: Vec<SecretValue>,
    active: Option<Version>,
    metadata: Metadata,
    left_out: usize,
    /// Whether no value can be read since the expiry has passed.
    is_expired: bool,
}

impl Copy {
    /// Copies one secret.
    pub(super) async fn run(&self, path: &SecretPath) -> SecretReport {
        let mut report =
            SecretReport { outcome: Outcome::Failed, versions: 0, left_out: 0, problem: None };
        match self.copy(path, &mut report).await {
            Ok(outcome) => report.outcome = outcome,
            Err(error) => {
                if error.is_refusal() {
                    report.outcome = Outcome::Refused;
                }
                report.problem = Some(error);
            }
        }
        report
    }

    async fn copy(&self, path: &SecretPath, report: &mut SecretReport) -> Result<Outcome> {
        let source = self.history(&self.from, path).await?;
        report.left_out = source.left_out;
        let target = self.target(path).await?;
        if target.is_expired && !self.overwrite {
            return Ok(Outcome::Skipped);
        }
        let plan = plan(&source.values, &target.values, self.overwrite, SecretValue::is_equivalent);
        let Plan::WriteFrom(start) = plan else { return Ok(Outcome::Skipped) };
        let missing = source.values.get(start..).unwrap_or_default();
        let outcome = match (&target.active, start) {
            _ if missing.is_empty() => Outcome::Unchanged,
            (None, _) => Outcome::Created,
            (Some(_), 0) => Outcome::Overwritten,
            (Some(_), _) => Outcome::Continued,
        };
        let patch = self.metadata_patch(&source.metadata, target.is_expired);
        let lacks_metadata = if self.dry_run {
            report.versions = missing.len();
            changes(&patch, &target.metadata)?
        } else {
            self.write(path, missing, target.active, &patch, &mut report.versions).await?;
            self.verify(path, source.values.last()).await?;
            self.complete_metadata(path, &patch).await?
        };
        let is_completed = lacks_metadata && missing.is_empty();
        Ok(if is_completed { Outcome::Completed } else { outcome })
    }

    /// What the target has. The values of an expired secret cannot be compared, so they count as other ones.
    async fn target(&self, path: &SecretPath) -> Result<History> {
        match self.history(&self.to, path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(History::default()),
            Err(error) if error.kind() == ErrorKind::Expired => {
                let found = self.to.describe(path).await?;
                Ok(History {
                    active: Some(found.version),
                    metadata: found.metadata,
                    is_expired: true,
                    ..History::default()
                })
            }
            result => result,
        }
    }

    /// Reads the versions that can be read. A secret without the active one is an error.
    async fn history(&self, store: &SecretsManager, path: &SecretPath) -> Result<History> {
        let secret = store.get_with(path, fresh(VersionSelector::Active)).await?;
        let mut history = History {
            active: Some(secret.version().clone()),
            metadata: secret.metadata().clone(),
            ..History::default()
        };
        let both_have = |capability| has(&self.from, capability) && has(&self.to, capability);
        if self.with_versions && both_have(Capability::Versions) {
            let versions = store.versions(path).await?;
            // They are given newest first.
            for info in versions.iter().rev().filter(|info| info.version != *secret.version()) {
                let selector = VersionSelector::Exact(info.version.clone());
                match store.get_with(path, fresh(selector)).await {
                    Ok(earlier) => history.values.push(earlier.value().clone()),
                    // It was deleted, or dropped meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => history.left_out += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        history.values.push(secret.value().clone());
        Ok(history)
    }

    /// Writes versions, each under the condition that the one before it is still the active one, and counts those
    /// that the target has taken. The metadata comes with the first.
    async fn write(
        &self,
        path: &SecretPath,
        values: &[SecretValue],
        active: Option<Version>,
        patch: &MetadataPatch,
        count: &mut usize,
    ) -> Result<()> {
        let mut before = active;
        for (index, value) in values.iter().enumerate() {
            let mut options = PutOptions::new();
            if has(&self.to, Capability::Conditions) {
                options = match &before {
                    Some(version) => options.must_be_version(version),
                    // A deleted secret could be undeleted, so it stays unless the caller wants it replaced.
                    None if self.overwrite => options,
                    None => options.must_not_exist(),
                };
            }
            if index == 0 {
                options = options.metadata(patch.clone());
            }
            let version = self.to.put_with(path, value.clone(), options).await?;
            *count += 1;
            if has(&self.to, Capability::Versions) {
                let selector = VersionSelector::Exact(version.clone());
                self.compare(path, selector, value).await?;
            }
            before = Some(version);
        }
        Ok(())
    }

    /// Reads the active version back.
    async fn verify(&self, path: &SecretPath, expected: Option<&SecretValue>) -> Result<()> {
        match expected {
            Some(value) => self.compare(path, VersionSelector::Active, value).await,
            None => Ok(()),
        }
    }

    async fn compare(
        &self,
        path: &SecretPath,
        selector: VersionSelector,
        expected: &SecretValue,
    ) -> Result<()> {
        let found = self.to.get_with(path, fresh(selector)).await?;
        if found.value().is_equivalent(expected) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, "look who else writes to the target, and run it again")
            .because("the target gives another value than was written")
            .at(path)
            .from_backend(self.to.backend().kind))
    }

    /// Sets metadata that the target lacks. Returns whether there was any.
    async fn complete_metadata(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<bool> {
        if patch.is_empty() || !changes(patch, &self.to.describe(path).await?.metadata)? {
            return Ok(false);
        }
        self.to.annotate(path, patch.clone()).await?;
        Ok(true)
    }

    /// The metadata that the target is to have. Tags that are reserved for stores stay behind. An expiry of the
    /// target that has passed goes: with it, the copy could not be read.
    fn metadata_patch(&self, metadata: &Metadata, is_expired: bool) -> MetadataPatch {
        let mut patch = MetadataPatch::new();
        if is_expired {
            patch = patch.clear_expires_at();
        }
        if !has(&self.from, Capability::Metadata) || !has(&self.to, Capability::Metadata) {
            return patch;
        }
        patch = patch.kind(metadata.kind).tier(metadata.tier);
        for (name, value) in &metadata.tags {
            if !name.starts_with("aws:") && !name.starts_with("strongroom") {
                patch = patch.tag(name, value);
            }
        }
        if let Some(description) = &metadata.description {
            patch = patch.description(description);
        }
        if let Some(time) = metadata.expires_at {
            patch = patch.expires_at(time);
        }
        if let Some(interval) = metadata.rotation_interval {
            patch = patch.rotation_interval(interval);
        }
        patch
    }
}

/// A read that asks the store.
fn fresh(selector: VersionSelector) -> ReadOptions {
    ReadOptions::new().version(selector).max_age(Duration::ZERO).never_stale()
}

/// Whether a patch changes metadata.
fn changes(patch: &MetadataPatch, metadata: &Metadata) -> Result<bool> {
    let mut changed = metadata.clone();
    patch.apply(&mut changed)?;
    Ok(changed != *metadata)
}
