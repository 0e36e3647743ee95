//! Exports of the record: JSON lines and OCSF events, with secret references in the clear or hashed.

mod ocsf;
mod reference;

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use self::reference::References;
use crate::access::Access;
use crate::{AuditQuery, AuditRecord, TenantName};

/// In which form records are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// [`AuditRecord::to_json_line`].
    #[default]
    JsonLines,
    /// [`AuditRecord::to_ocsf`], one event per line.
    Ocsf,
}

/// How records are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    format: ExportFormat,
    hashes_references: bool,
}

impl ExportOptions {
    /// JSON lines with secret references in the clear.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports in this form.
    #[must_use]
    pub fn format(mut self, format: ExportFormat) -> Self {
        self.format = format;
        self
    }

    /// Replaces tenants and paths, also in the rules that a record holds, by `hmac-sha256:` and HMAC-SHA-256 under a
    /// key of this log. Without the key they cannot be guessed, but equal references stay equal, and
    /// [`Access::reference`] tells which one to look for. Texts that may name a path, such as reasons, are hashed as a
    /// whole. The principal stays, apart from the segment that is its tenant, and so do the number, the event, the
    /// time, the ids and the decision.
    #[must_use]
    pub fn hash_references(mut self) -> Self {
        self.hashes_references = true;
        self
    }
}

/// A page of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Export {
    /// One JSON text per record, without line breaks.
    pub lines: Vec<String>,
    /// The number of the last record: [`AuditQuery::after`] continues there. `None` if no record is left.
    pub last: Option<u64>,
}

impl Access {
    /// Exports the records of all tenants, oldest first: a page of at most 1,000. No line holds the value of a secret, a
    /// token or its hash, or a key.
    ///
    /// # Errors
    /// Those of a log that cannot be read.
    ///
    /// # Examples
    /// ```
    /// # async fn run() -> strongroom_core::Result<()> {
    /// use strongroom_access::{Access, AccessConfig, AuditQuery, ExportFormat, ExportOptions};
    ///
    /// let access = Access::open(AccessConfig::in_memory()).await?;
    /// let options = ExportOptions::new().format(ExportFormat::Ocsf).hash_references();
    /// let mut last = 0;
    /// loop {
    ///     let page = access.export(AuditQuery::new().after(last), &options).await?;
    ///     for line in page.lines {
    ///         println!("{line}");
    ///     }
    ///     match page.last {
    ///         Some(seq) => last = seq,
    ///         None => break,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn export(&self, query: AuditQuery, options: &ExportOptions) -> Result<Export> {
        let records = self.audit(query).await?;
        let references = References::new(self.0.keys.reference());
        let to_line = |record: &AuditRecord| {
            let hashed = options.hashes_references.then(|| references.hash_record(record));
            let record = hashed.as_ref().unwrap_or(record);
            match options.format {
                ExportFormat::JsonLines => record.to_json_line(),
                ExportFormat::Ocsf => Ok(record.to_ocsf().to_string()),
            }
        };
        let lines = records.iter().map(to_line).collect::<Result<_>>()?;
        Ok(Export { lines, last: records.last().map(|record| record.seq) })
    }

    /// How an export with [`ExportOptions::hash_references`] shows a secret, or the tenant itself.
    #[must_use]
    pub fn reference(&self, tenant: &TenantName, path: Option<&SecretPath>) -> String {
        let references = References::new(self.0.keys.reference());
        match path {
            Some(path) => references.path(Some(tenant.as_str()), path.as_str()),
            None => references.tenant(tenant.as_str()),
        }
    }
}

impl AuditRecord {
    /// The record as one line of JSON: `seq`, `time` (RFC 3339, in milliseconds), `event`, `tenant`, `principal`, `path`,
    /// `request_id`, `reason`, `token` and `details`, in this order; what is absent is left out.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the time cannot be written as RFC 3339.
    pub fn to_json_line(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|_| {
            Error::new(ErrorKind::Internal, "report this").because("a record has no JSON form")
        })
    }
}

#[cfg(test)]
mod tests;
