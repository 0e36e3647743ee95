//! `audit`: verifies the audit of the access rules, signs where it ends, and exports its records.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;
use strongroom::SecretPath;
use strongroom::access::{
    Access, AuditMode, AuditQuery, ExportFormat, ExportOptions, SignedCheckpoint, TenantName,
    Verification,
};
use strongroom_core::FilePath;

use super::Run;
use crate::args::{Format, parse_path, parse_prefix, parse_tenant};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::when::parse_time;

/// The largest file of checkpoints, in bytes.
const MAX_CHECKPOINTS: u64 = 64 * 1024 * 1024;
/// The records of one page.
const PAGE: usize = 1_000;

/// Verify, sign and export the audit of the access rules
#[derive(Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "Example: strongroom audit verify --checkpoints /mnt/archive/checkpoints\n\n\
                  SECRETS_ACCESS_PATH, or SECRETS_ACCESS_URL for PostgreSQL, and SECRETS_ACCESS_KEY_FILE name the \
                  audit and its key."
)]
pub(crate) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Verify(Verify),
    Checkpoint(Checkpoint),
    Export(Export),
}

/// Check that no record was changed, removed, moved or added from outside
#[derive(Args)]
#[command(after_help = "Without a checkpoint, nothing tells that the end was cut off.")]
struct Verify {
    /// Checkpoints that were kept elsewhere; may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    checkpoints: Vec<PathBuf>,
}

/// Sign where the audit ends, and print the signed text to keep elsewhere
#[derive(Args)]
#[command(after_help = "Example: strongroom audit checkpoint >> /mnt/archive/checkpoints")]
struct Checkpoint;

/// Print records, one JSON text per line
#[derive(Args)]
#[command(after_help = "Example: strongroom audit export --event vault.denied --since 2027-01-31")]
struct Export {
    /// Records about the secret at this path, below the root of its tenant
    #[arg(long, value_name = "PATH", value_parser = parse_path, conflicts_with = "below")]
    path: Option<SecretPath>,
    /// Records about secrets below this prefix
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    below: Option<SecretPath>,
    /// Records about this tenant
    #[arg(long, value_name = "NAME", value_parser = parse_tenant)]
    tenant: Option<TenantName>,
    /// Records of this principal
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Records of this event, such as `vault.denied`; may be repeated
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Records from this date or time on
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<SystemTime>,
    /// Records before this date or time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<SystemTime>,
    /// Records after the one with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// At most so many records
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// As events of OCSF 1.1.0
    #[arg(long)]
    ocsf: bool,
    /// Replace tenants, paths and texts that may name one by hashes
    #[arg(long)]
    hash_references: bool,
}

impl Run for Audit {
    async fn run(self, context: &Context) -> Outcome {
        // A misspelt path creates no audit, and a command that decides nothing needs no policy and delivers nothing.
        let config = context.config()?.access_config()?.create(false);
        let config = config.without_policy().without_webhooks();
        let access = Access::open(config.audit_mode(AuditMode::Durable)).await?;
        let result = match self.action {
            Action::Verify(verify) => verify.run(&access, context).await,
            Action::Checkpoint(checkpoint) => checkpoint.run(&access, context).await,
            Action::Export(export) => export.run(&access).await,
        };
        access.close().await;
        result
    }
}

impl Verify {
    async fn run(self, access: &Access, context: &Context) -> Outcome {
        let mut checkpoints = Vec::new();
        for file in &self.checkpoints {
            checkpoints.extend(read_checkpoints(file, context)?);
        }
        let found = access.verify_audit(checkpoints).await?;
        let mut stdout = Stdout::new()?;
        match context.format() {
            Format::Json => stdout.document(VerificationShape::new(&found))?,
            Format::Text => stdout.write(describe(&found).as_bytes())?,
        }
        if found.checkpoints_checked == 0 {
            context.note(
                "no checkpoint was checked, so this does not show whether the end was cut off; see \
                 `strongroom audit checkpoint`",
            );
        }
        Ok(Exit::SUCCESS)
    }
}

impl Checkpoint {
    async fn run(self, access: &Access, context: &Context) -> Outcome {
        let (checkpoint, key) = access.sign_checkpoint().await?;
        let key = key.to_string();
        let mut stdout = Stdout::new()?;
        if context.is_json() {
            stdout.document(CheckpointShape { checkpoint: checkpoint.as_str(), key: &key })?;
        } else {
            stdout.write(checkpoint.as_str().as_bytes())?;
            context.note(format_args!("public key: {key}"));
        }
        Ok(Exit::SUCCESS)
    }
}

impl Export {
    async fn run(self, access: &Access) -> Outcome {
        let mut options = ExportOptions::new();
        if self.ocsf {
            options = options.format(ExportFormat::Ocsf);
        }
        if self.hash_references {
            options = options.hash_references();
        }
        let (query, mut after) = (self.query(), self.after);
        let mut left = self.limit.unwrap_or(usize::MAX);
        let stdout = Stdout::new()?;
        let mut output = stdout.buffered();
        while left > 0 {
            let page = query.clone().after(after).at_most(left.min(PAGE));
            let page = access.export(page, &options).await?;
            page.lines
                .iter()
                .try_for_each(|line| writeln!(output, "{line}"))
                .and_then(|()| output.flush())
                .map_err(|error| Failure::output(&error))?;
            let Some(last) = page.last else { break };
            after = last;
            left = left.saturating_sub(page.lines.len());
        }
        Ok(Exit::SUCCESS)
    }

    fn query(&self) -> AuditQuery {
        let mut query = AuditQuery::new();
        if let Some(path) = &self.path {
            query = query.path(path);
        }
        if let Some(prefix) = &self.below {
            query = query.below(prefix);
        }
        if let Some(tenant) = &self.tenant {
            query = query.tenant(tenant.clone());
        }
        if let Some(principal) = &self.principal {
            query = query.principal(principal);
        }
        if let Some(time) = self.since {
            query = query.since(time);
        }
        if let Some(time) = self.until {
            query = query.until(time);
        }
        self.event.iter().fold(query, AuditQuery::event)
    }
}

fn read_checkpoints(file: &Path, context: &Context) -> Result<Vec<SignedCheckpoint>, Failure> {
    let name = FilePath::new(file);
    let content = name
        .read(MAX_CHECKPOINTS)
        .map_err(|error| Failure::io(format_args!("read `--checkpoints` ({name})"), &error))?;
    let text = std::str::from_utf8(&content)
        .map_err(|_| Failure::usage(format!("`--checkpoints` ({name}) is not UTF-8 text")))?;
    let (checkpoints, malformed) = SignedCheckpoint::parse_all(text);
    if checkpoints.is_empty() {
        return Err(Failure::usage(format!("`--checkpoints` ({name}) has no checkpoint")));
    }
    if malformed > 0 {
        context.alert(format_args!(
            "warning: {malformed} parts of `--checkpoints` ({name}) are no checkpoints, and were left out"
        ));
    }
    Ok(checkpoints)
}

fn describe(found: &Verification) -> String {
    let records = match found.rows {
        0 => "the audit has no records\n".to_owned(),
        _ => format!("the audit is authentic: records {} to {}\n", found.first, found.last),
    };
    match found.last_checkpointed {
        None => records,
        Some(last) => format!(
            "{records}checkpoints: {} checked, the newest is of record {last}\n",
            found.checkpoints_checked
        ),
    }
}

#[derive(Serialize)]
struct VerificationShape {
    first: u64,
    last: u64,
    records: u64,
    checkpoints_checked: usize,
    last_checkpointed: Option<u64>,
}

impl VerificationShape {
    fn new(found: &Verification) -> Self {
        Self {
            first: found.first,
            last: found.last,
            records: found.rows,
            checkpoints_checked: found.checkpoints_checked,
            last_checkpointed: found.last_checkpointed,
        }
    }
}

#[derive(Serialize)]
struct CheckpointShape<'a> {
    checkpoint: &'a str,
    key: &'a str,
}
