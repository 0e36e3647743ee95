//! What an import has done.

use std::fmt;

use strongroom_core::{Error, Result, SecretPath, Tier};

/// What an import did with each secret, in the order of the values.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use = "an import that ended midway says so here"]
pub struct ImportReport {
    /// How many secrets did not exist.
    pub created: usize,
    /// How many had the value, and lacked the metadata: an earlier import had ended midway.
    pub completed: usize,
    /// How many got a new version, or other metadata.
    pub overwritten: usize,
    /// How many had the value already.
    pub unchanged: usize,
    /// How many exist with another value, and were left as they are.
    pub skipped: usize,
    /// How many the store refused.
    pub refused: usize,
    /// For how many the store failed. It may have written the value of each, without its metadata.
    pub failed: usize,
    /// Each secret.
    pub secrets: Vec<ImportedSecret>,
    /// Why the import ended midway, if it did. What was done is in [`secrets`](Self::secrets); the same import again
    /// does the rest.
    pub failure: Option<Error>,
}

impl ImportReport {
    pub(super) fn add(&mut self, secret: ImportedSecret) {
        let count = match secret.outcome {
            ImportOutcome::Created => &mut self.created,
            ImportOutcome::Completed => &mut self.completed,
            ImportOutcome::Overwritten => &mut self.overwritten,
            ImportOutcome::Unchanged => &mut self.unchanged,
            ImportOutcome::Skipped => &mut self.skipped,
            ImportOutcome::Refused => &mut self.refused,
            ImportOutcome::Failed => &mut self.failed,
        };
        *count += 1;
        self.secrets.push(secret);
    }

    /// Fails unless the import came to its end and the store refused nothing.
    ///
    /// # Errors
    /// Why the import ended midway, or else the first refusal.
    pub fn ensure_complete(&self) -> Result<()> {
        let refusals = self.secrets.iter().filter_map(|secret| secret.problem.as_ref());
        self.failure.iter().chain(refusals).next().cloned().map_or(Ok(()), Err)
    }
}

/// One secret of an import.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportedSecret {
    /// The name that was imported.
    pub name: String,
    /// The path, below the namespace.
    pub path: SecretPath,
    /// The tier that the import gives it. One that is unchanged or skipped keeps its own.
    pub tier: Tier,
    /// What became of it.
    pub outcome: ImportOutcome,
    /// Why it was refused, or why the store failed.
    pub problem: Option<Error>,
}

/// What became of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImportOutcome {
    /// It did not exist.
    Created,
    /// It had the value, and lacked the metadata.
    Completed,
    /// It got a new version, or other metadata.
    Overwritten,
    /// It had the value already.
    Unchanged,
    /// It exists with another value, and was left as it is.
    Skipped,
    /// The store refused it.
    Refused,
    /// The store failed, so the import ended.
    Failed,
}

impl ImportOutcome {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Completed => "completed",
            Self::Overwritten => "overwritten",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for ImportOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
