//! `get`: prints a value.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueHint};
use serde::Serialize;
use strongroom::{ReadOptions, SecretPath, SecretValue, Version, VersionSelector};
use zeroize::Zeroizing;

use super::Run;
use crate::agent;
use crate::args::parse_path;
use crate::atomic_file;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::suggest;

/// Print a secret's value
#[derive(Args)]
#[command(
    after_help = "Example: strongroom get db/main --field password --output /run/app/password"
)]
pub(crate) struct Get {
    /// The path of the secret
    #[arg(value_parser = parse_path)]
    path: SecretPath,
    /// Only this member of a value that is a JSON object
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// An earlier version
    #[arg(long, value_name = "ID")]
    version: Option<String>,
    /// Write the value to a file that only its owner can read
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Show the value in a session of an AI agent, if the system's administrator allows it
    #[arg(long)]
    reveal: bool,
}

impl Run for Get {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        let version = self.version.as_deref().map(Version::new);
        let selector = version.map_or(VersionSelector::Active, VersionSelector::Exact);
        let options = ReadOptions::new().version(selector).never_stale();
        let secret = secrets.get_with(self.path.as_str(), options).await?;
        let value = match &self.field {
            Some(field) => secret.field(field).map_err(|error| {
                let names = secret.value().field_names().unwrap_or_default();
                let meant = suggest::nearest(field, names);
                let failure = Failure::from(error);
                match meant.filter(|_| !context.globals().quiet) {
                    Some(meant) => failure.suggest(format_args!("did you mean `{meant}`?")),
                    None => failure,
                }
            })?,
            None => secret.value().clone(),
        };
        let session = agent::session();
        let is_shown =
            session.as_ref().is_none_or(|session| session.may_reveal(self.reveal, secret.path()));
        if let Some(file) = &self.output {
            if let Some(session) = session.filter(|_| !is_shown) {
                return Err(session.refusal());
            }
            atomic_file::write(file, value.expose_bytes())?;
            return Ok(Exit::SUCCESS);
        }
        let mut stdout = Stdout::new()?;
        if context.is_json() {
            self.print_json(&mut stdout, secret.version(), &value, is_shown)?;
            // A script does not take a document without a value for success.
            return session
                .filter(|_| !is_shown)
                .map_or(Ok(Exit::SUCCESS), |session| Err(session.refusal()));
        }
        match session.filter(|_| !is_shown) {
            Some(session) => {
                stdout.write(agent::MASK.as_bytes())?;
                stdout.write(b"\n")?;
                Err(session.refusal())
            }
            None => print(&mut stdout, &value),
        }
    }
}

/// Prints exactly the bytes. A terminal gets a line break, so that the prompt begins on a line of its own.
fn print(stdout: &mut Stdout, value: &SecretValue) -> Outcome {
    stdout.write(value.expose_bytes())?;
    if stdout.is_terminal() && !value.expose_bytes().ends_with(b"\n") {
        stdout.write(b"\n")?;
    }
    Ok(Exit::SUCCESS)
}

impl Get {
    /// Prints the value as JSON; one that is not UTF-8 in base64.
    fn print_json(
        &self,
        stdout: &mut Stdout,
        version: &Version,
        value: &SecretValue,
        is_shown: bool,
    ) -> Result<(), Failure> {
        let bytes = Some(value.expose_bytes()).filter(|_| is_shown);
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let binary = bytes.filter(|_| text.is_none());
        let base64 = binary.map(|bytes| Zeroizing::new(STANDARD.encode(bytes)));
        stdout.document(Reading {
            path: self.path.as_str(),
            version: &version.text(),
            field: self.field.as_deref(),
            masked: !is_shown,
            value: text,
            value_base64: base64.as_ref().map(|text| text.as_str()),
        })
    }
}

#[derive(Serialize)]
struct Reading<'a> {
    path: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    masked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<&'a str>,
}
