//! Imports of many secrets, such as those of a `.env` file.
//!
//! What an import does with one secret depends on what the store has at its path; the table is in `decide.rs`. A
//! secret is created under the condition that there is none, and replaced under the condition that it is the
//! version that was read, so an import does not take back what another process has written meanwhile. There is no
//! condition where the version cannot be read: with `overwrite`, for a secret that is deleted or may not be read. A
//! store that has no conditions is asked before.
//!
//! An import that ended midway, also by a kill, is finished by running it again: what it had created is unchanged
//! then. A store that writes metadata after the value may have been left without it; that is completed.

mod decide;
mod entry;
mod options;
mod report;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use strongroom_core::{
    Capability, Error, ErrorKind, Metadata, MetadataPatch, Operation, PutOptions, Result,
    SecretValue, Version,
};

use self::decide::{Action, Existing, decide};
use self::entry::Entry;
pub use self::options::ImportOptions;
pub use self::report::{ImportOutcome, ImportReport, ImportedSecret};
use crate::{ReadOptions, SecretsManager};

/// How many secrets are imported at a time.
const CONCURRENT: usize = 8;

impl SecretsManager {
    /// Imports the variables of a `.env` file, in the grammar of [`env::dotenv`](crate::env::dotenv). Of two
    /// assignments to one name the last counts.
    ///
    /// `DB_HOST` becomes the secret `db-host`; [`ImportOptions`] can keep names as they stand. Secrets that exist are
    /// skipped, so the import can be repeated.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the text is not such a file, with the number of the line; otherwise as
    /// [`import`](Self::import).
    ///
    /// # Examples
    /// ```
    /// # async fn run(secrets: strongroom::SecretsManager) -> strongroom::Result<()> {
    /// use strongroom::{ImportOptions, Tier};
    ///
    /// let options = ImportOptions::new().tier_prefix("DB_", Tier::Critical).tag("team", "payments");
    /// let report = secrets.import_env("DB_HOST=db.internal\nLOG_LEVEL=info\n", options).await?;
    /// for secret in &report.secrets {
    ///     println!("{} ({})", secret.path, secret.tier); // db-host (critical), log-level (sensitive)
    /// }
    /// assert_eq!((report.created, report.skipped), (2, 0));
    /// report.ensure_complete()?;
    /// # Ok(())
    /// # }
    /// # let secrets = strongroom::SecretsManager::with_backend(strongroom::MemoryBackend::new());
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(secrets)).unwrap();
    /// ```
    #[cfg(feature = "env")]
    pub async fn import_env(&self, text: &str, options: ImportOptions) -> Result<ImportReport> {
        self.import(crate::env::dotenv::parse_values(text)?.values, options).await
    }

    /// Imports named values. Secrets that exist are skipped unless the options say otherwise.
    ///
    /// A secret that the store refuses, such as one that is too large, does not stop the import. An error that
    /// concerns the store does. Both are in the report; [`ImportReport::ensure_complete`] makes them an error.
    ///
    /// # Errors
    /// Before anything is written: [`ErrorKind::InvalidInput`] if a name gives no path, or two names give the same
    /// path; [`ErrorKind::Unsupported`] if the store cannot be written to.
    pub async fn import(
        &self,
        values: impl IntoIterator<Item = (String, SecretValue)>,
        options: ImportOptions,
    ) -> Result<ImportReport> {
        self.import_each(values, options, |_| {}).await
    }

    /// Imports named values, and tells `observe` of each in the order of the values, once it and all before it are
    /// imported. Some are imported at a time, so a process that is killed may have imported a few more than it told.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub async fn import_each(
        &self,
        values: impl IntoIterator<Item = (String, SecretValue)>,
        options: ImportOptions,
        mut observe: impl FnMut(&ImportedSecret),
    ) -> Result<ImportReport> {
        let entries = entry::resolve(values, &options)?;
        self.ensure_importable(&entries)?;
        let (is_stopped, options) = (AtomicBool::new(false), &options);
        let import = |entry: Entry| {
            let is_stopped = &is_stopped;
            async move {
                if is_stopped.load(Ordering::Relaxed) {
                    return None;
                }
                let result = self.import_one(&entry, options).await;
                if result.is_err() {
                    is_stopped.store(true, Ordering::Relaxed);
                }
                Some((entry, result))
            }
        };
        let mut results = stream::iter(entries).map(import).buffered(CONCURRENT);
        let mut report = ImportReport::default();
        while let Some(result) = results.next().await {
            let secret = match result {
                Some((entry, Ok(result))) => entry.report(result),
                Some((entry, Err(error))) => {
                    report.failure.get_or_insert_with(|| error.clone());
                    let outcome = ImportOutcome::Failed;
                    entry.report(EntryReport { outcome, problem: Some(error) })
                }
                None => continue,
            };
            observe(&secret);
            report.add(secret);
        }
        Ok(report)
    }

    /// Refuses an import that the store cannot take, before anything is written.
    fn ensure_importable(&self, entries: &[Entry]) -> Result<()> {
        self.ready(Operation::Put)?;
        let Some(first) = entries.first() else { return Ok(()) };
        let path = self.full(first.path.as_str())?;
        self.require(Capability::Put, Operation::Put, &path)?;
        match entries.iter().find(|entry| !entry.metadata.is_empty()) {
            Some(entry) => {
                let path = self.full(entry.path.as_str())?;
                self.require(Capability::Metadata, Operation::Put, &path)
            }
            None => Ok(()),
        }
    }

    /// Imports one secret. An error means that the import cannot go on; a refusal of this secret is none.
    async fn import_one(&self, entry: &Entry, options: &ImportOptions) -> Result<EntryReport> {
        match self.import_entry(entry, options).await {
            Err(error) if error.is_refusal() => Ok(EntryReport::refused(error)),
            result => result,
        }
    }

    async fn import_entry(&self, entry: &Entry, options: &ImportOptions) -> Result<EntryReport> {
        let creates_first = self.has_conditions() && !options.dry_run;
        if creates_first {
            match self.put_entry(entry, PutOptions::new().must_not_exist()).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result.map(|()| ImportOutcome::Created.into()),
            }
        }
        let existing = match self.existing(entry, options).await? {
            // It could not be created, so there is a secret that can be undeleted.
            Existing::Missing if creates_first => Existing::Deleted,
            existing => existing,
        };
        let action = decide(&entry.value, &entry.metadata, &existing, options.overwrite);
        if !options.dry_run {
            self.perform(entry, &action).await?;
        }
        Ok(action.report())
    }

    async fn perform(&self, entry: &Entry, action: &Action) -> Result<()> {
        match action {
            Action::Create => self.put_entry(entry, PutOptions::new()).await,
            Action::Replace(version) => {
                self.put_entry(entry, self.only_after(version.as_ref())).await
            }
            Action::Renew(version) => {
                let metadata = with_new_expiry(&entry.metadata);
                let options = self.only_after(Some(version)).metadata(metadata);
                self.put_with(&entry.path, entry.value.clone(), options).await.map(drop)
            }
            Action::Complete | Action::Annotate => {
                self.annotate(&entry.path, entry.metadata.clone()).await
            }
            Action::Keep | Action::Skip | Action::Refuse => Ok(()),
        }
    }

    /// Options for a write after this version, if the store has conditions.
    fn only_after(&self, version: Option<&Version>) -> PutOptions {
        match version.filter(|_| self.has_conditions()) {
            Some(version) => PutOptions::new().must_be_version(version),
            None => PutOptions::new(),
        }
    }

    fn has_conditions(&self) -> bool {
        self.backend().capabilities.has(Capability::Conditions)
    }

    async fn put_entry(&self, entry: &Entry, options: PutOptions) -> Result<()> {
        let options = options.metadata(entry.metadata.clone());
        self.put_with(&entry.path, entry.value.clone(), options).await.map(drop)
    }

    /// What the store has at the path of an entry.
    async fn existing(&self, entry: &Entry, options: &ImportOptions) -> Result<Existing> {
        let fresh = ReadOptions::new().max_age(Duration::ZERO).never_stale();
        match self.get_with(&entry.path, fresh).await {
            Ok(secret) if options.without_comparison => {
                Ok(Existing::Uncompared(secret.version().clone()))
            }
            Ok(secret) => Ok(Existing::Readable(secret)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(Existing::Missing),
                ErrorKind::Expired => match self.describe(&entry.path).await {
                    Ok(found) => Ok(Existing::Expired(found.version)),
                    Err(error) if error.is_refusal() => Ok(Existing::Unreadable),
                    Err(error) => Err(error),
                },
                ErrorKind::Denied | ErrorKind::ApprovalRequired | ErrorKind::Corrupt => {
                    Ok(Existing::Unreadable)
                }
                _ => Err(error),
            },
        }
    }
}

/// What became of one secret.
struct EntryReport {
    outcome: ImportOutcome,
    problem: Option<Error>,
}

impl EntryReport {
    fn refused(error: Error) -> Self {
        Self { outcome: ImportOutcome::Refused, problem: Some(error) }
    }
}

impl From<ImportOutcome> for EntryReport {
    fn from(outcome: ImportOutcome) -> Self {
        Self { outcome, problem: None }
    }
}

/// The same patch, which removes the expiry unless it sets one.
fn with_new_expiry(patch: &MetadataPatch) -> MetadataPatch {
    let mut set = Metadata::default();
    match patch.apply(&mut set) {
        Ok(()) if set.expires_at.is_none() => patch.clone().clear_expires_at(),
        // The store tells what is wrong with a patch over a limit.
        _ => patch.clone(),
    }
}
