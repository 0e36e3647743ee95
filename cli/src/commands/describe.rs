//! `describe`: the metadata of a secret, without its value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use strongroom::{Description, SecretPath};
use strongroom_core::EscapedText;

use super::Run;
use super::list::Described;
use crate::args::{Format, parse_path};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::{shape, when};

/// Show the metadata of a secret, never its value
#[derive(Args)]
#[command(after_help = "Example: strongroom describe openai/api-key")]
pub(crate) struct Describe {
    /// The path of the secret
    #[arg(value_parser = parse_path)]
    path: SecretPath,
}

impl Run for Describe {
    async fn run(self, context: &Context) -> Outcome {
        let found = context.secrets().await?.describe(self.path.as_str()).await?;
        let now = SystemTime::now();
        let mut stdout = Stdout::new()?;
        match context.format() {
            Format::Json => stdout.document(Shape {
                described: Described::new(&self.path, &found, now),
                details: &found.details,
            })?,
            Format::Text => {
                let mut output = stdout.buffered();
                lines(&self.path, &found, now)
                    .into_iter()
                    .try_for_each(|(name, text)| {
                        writeln!(output, "{name:<18} {}", EscapedText::clause(&text))
                    })
                    .and_then(|()| output.flush())
                    .map_err(|error| Failure::output(&error))?;
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// The lines for people; what is not set has none.
fn lines<'a>(path: &SecretPath, found: &'a Description, now: SystemTime) -> Vec<(&'a str, String)> {
    let metadata = &found.metadata;
    let time = |time| format!("{} ({})", shape::time(time), when::distance(time, now));
    let interval = metadata.rotation_interval;
    let mut lines = vec![
        ("path", path.to_string()),
        ("version", found.version.to_string()),
        ("kind", metadata.kind.to_string()),
        ("tier", metadata.tier.to_string()),
    ];
    for (name, text) in [
        ("description", metadata.description.clone()),
        ("created", metadata.created_at.map(time)),
        ("created by", metadata.created_by.clone()),
        ("updated", metadata.updated_at.map(time)),
        ("updated by", metadata.updated_by.clone()),
        ("expires", metadata.expires_at.map(time)),
        ("rotation interval", interval.map(|time| humantime::format_duration(time).to_string())),
    ] {
        lines.extend(text.map(|text| (name, text)));
    }
    lines.extend(metadata.tags.iter().map(|(name, value)| ("tag", format!("{name}={value}"))));
    lines.extend(found.details.iter().map(|(name, text)| (&**name, text.clone())));
    lines
}

#[derive(Serialize)]
struct Shape<'a> {
    #[serde(flatten)]
    described: Described<'a>,
    details: &'a BTreeMap<Cow<'static, str>, String>,
}
