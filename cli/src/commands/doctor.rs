//! `doctor`: what is set up and what is not, in the order in which things fail.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use strongroom::{
    Capability, Config, ErrorKind, Health, HealthStatus, ReadOptions, SecretPath, SecretsManager,
};
use strongroom_core::{EscapedText, FilePath};

use super::Run;
use crate::args::{Format, parse_path};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::random::random;

/// The path that is read to find out about rights, unless the caller names one. It need not exist.
const PROBE: &str = "strongroom/doctor";
/// From this difference on, stores begin to refuse signatures and tokens; AWS does at 5 minutes.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Find out why a store cannot be used
#[derive(Args)]
#[command(after_help = "Example: strongroom doctor openai/api-key")]
pub(crate) struct Doctor {
    /// Also find out whether this secret can be read; prints no value
    #[arg(value_parser = parse_path)]
    path: Option<SecretPath>,
    /// Also write a secret at a random path below `strongroom`, and destroy it
    #[arg(long)]
    write: bool,
}

impl Run for Doctor {
    async fn run(self, context: &Context) -> Outcome {
        let mut report = Report { stdout: Stdout::new()?, format: context.format(), is_well: true };
        self.examine(context, &mut report).await?;
        Ok(if report.is_well { Exit::SUCCESS } else { Exit::FAILURE })
    }
}

impl Doctor {
    /// Goes on until a step fails that the others need.
    async fn examine(&self, context: &Context, report: &mut Report) -> Result<(), Failure> {
        let config = match context.config() {
            Ok(config) => config,
            Err(failure) => return report.problem("settings", failure.message()),
        };
        report_settings(&config, report)?;
        report_files(&config, report)?;
        let secrets = match context.secrets().await {
            Ok(secrets) => secrets,
            Err(failure) => return report.problem("store", failure.message()),
        };
        let info = secrets.backend();
        report.ok("store", format!("{}, {}", info.kind, info.instance))?;
        match secrets.health().await {
            Ok(health) => report_health(&health, report)?,
            Err(error) if error.kind() == ErrorKind::Unauthenticated => {
                return report.problem("credentials", error.to_string());
            }
            Err(error) => return report.problem("connection", error.to_string()),
        }
        if self.report_read(secrets, report).await? {
            report_list(secrets, report).await?;
            if self.write {
                report_write(secrets, report).await?;
            }
        }
        Ok(())
    }

    /// Reads a secret. Returns whether the store accepts the credentials.
    async fn report_read(
        &self,
        secrets: &SecretsManager,
        report: &mut Report,
    ) -> Result<bool, Failure> {
        let path = self.path.as_ref().map_or(PROBE, SecretPath::as_str);
        let result = secrets.get_with(path, ReadOptions::new().never_stale()).await;
        let is_probe = self.path.is_none();
        match result {
            Ok(_) => report.ok("read", format!("`{path}` can be read"))?,
            Err(error) => match error.kind() {
                ErrorKind::Unauthenticated => {
                    report.problem("credentials", error.to_string())?;
                    return Ok(false);
                }
                ErrorKind::NotFound if is_probe => report.ok("read", "allowed")?,
                ErrorKind::Denied | ErrorKind::ApprovalRequired if is_probe => report.warning(
                    "read",
                    format!("`{PROBE}` may not be read; name a secret to be sure ({error})"),
                )?,
                _ => report.problem("read", error.to_string())?,
            },
        }
        Ok(true)
    }
}

fn report_settings(config: &Config, report: &mut Report) -> Result<(), Failure> {
    let names: Vec<_> = config.names().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => report.ok("settings", "none; the store is `env`"),
        names => report.ok("settings", names.join(", ")),
    }
}

/// Tells which files exist, and whether others can read those with keys.
fn report_files(config: &Config, report: &mut Report) -> Result<(), Failure> {
    // A native store may be shared with a group.
    let has_group = config.names().any(|name| name.to_ascii_lowercase().ends_with("native_group"));
    let others = if has_group { 0o007 } else { 0o077 };
    for (setting, file) in config.files() {
        let name = FilePath::new(file);
        match fs::metadata(file) {
            Ok(found) if found.mode() & others != 0 && is_private(&setting, file) => report.warning(
                "file",
                format!(
                    "`{setting}`: others can read {name} (mode {:04o}); take their rights away with `chmod`",
                    found.mode() & 0o7777
                ),
            )?,
            Ok(found) => {
                report.ok(
                    "file",
                    format!("`{setting}`: {name}, mode {:04o}", found.mode() & 0o7777),
                )?;
            }
            Err(error) => {
                report.warning("file", format!("`{setting}`: {name}: {}", error.kind()))?;
            }
        }
    }
    Ok(())
}

/// Whether only its owner should read a file. Certificates are public.
fn is_private(setting: &str, file: &Path) -> bool {
    let setting = setting.to_ascii_lowercase();
    let is_public = |name: &&str| setting.ends_with(name);
    file.is_file() && !["cacert", "ca_bundle", "client_cert"].iter().any(is_public)
}

fn report_health(health: &Health, report: &mut Report) -> Result<(), Failure> {
    let details = health.details.iter().map(|(name, text)| format!("{name}: {text}"));
    let details = details.collect::<Vec<_>>().join(", ");
    match health.status {
        HealthStatus::Ready => report.ok("connection", details)?,
        _ => report.warning("connection", details)?,
    }
    let time =
        health.details.get("server_time").and_then(|text| humantime::parse_rfc3339(text).ok());
    let Some(time) = time else { return Ok(()) };
    let skew = SystemTime::now().duration_since(time).unwrap_or_else(|error| error.duration());
    // The store gives whole seconds, and the answer takes time.
    if skew > MAX_CLOCK_SKEW {
        let seconds = skew.as_secs();
        return report.warning(
            "clock",
            format!("{seconds}s apart from the store's; set this machine's clock"),
        );
    }
    report.ok("clock", "agrees with the store's")
}

async fn report_list(secrets: &SecretsManager, report: &mut Report) -> Result<(), Failure> {
    if !secrets.backend().capabilities.has(Capability::List) {
        return report.ok("list", "not a part of this store");
    }
    match secrets.list("").next().await {
        None | Some(Ok(_)) => report.ok("list", "allowed"),
        Some(Err(error)) => report.warning("list", error.to_string()),
    }
}

/// Writes a secret at a random path, and destroys it. An error of either names the path.
async fn report_write(secrets: &SecretsManager, report: &mut Report) -> Result<(), Failure> {
    let path = format!("{PROBE}-{:032x}", random()?);
    match secrets.put(path.as_str(), "written by `strongroom doctor --write`").await {
        Ok(_) => report.ok("write", "allowed")?,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return report.ok("write", "not a part of this store");
        }
        Err(error) => return report.problem("write", error.to_string()),
    }
    match secrets.destroy(path.as_str()).await {
        Ok(()) => report.ok("destroy", "allowed"),
        Err(error) => report.problem("destroy", format!("`{path}` stays in the store: {error}")),
    }
}

/// Prints each step as soon as its outcome is known.
struct Report {
    stdout: Stdout,
    format: Format,
    is_well: bool,
}

impl Report {
    fn ok(&mut self, step: &'static str, text: impl Into<String>) -> Result<(), Failure> {
        self.print("ok", step, &text.into())
    }

    fn warning(&mut self, step: &'static str, text: impl Into<String>) -> Result<(), Failure> {
        self.print("warning", step, &text.into())
    }

    fn problem(&mut self, step: &'static str, text: impl Into<String>) -> Result<(), Failure> {
        self.is_well = false;
        self.print("problem", step, &text.into())
    }

    fn print(
        &mut self,
        status: &'static str,
        step: &'static str,
        text: &str,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.stdout.document(Finding { step, status, text }),
            Format::Text => {
                let text = EscapedText::clause(text);
                self.stdout.write(format!("{status:<8} {step:<12} {text}\n").as_bytes())
            }
        }
    }
}

#[derive(Serialize)]
struct Finding<'a> {
    step: &'static str,
    status: &'static str,
    text: &'a str,
}
