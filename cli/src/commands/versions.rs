//! `versions`: the versions of a secret, without their values.

use std::io::Write as _;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use strongroom::{SecretPath, VersionInfo};

use super::Run;
use crate::args::{Format, parse_path};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{Document, Stdout};
use crate::{shape, table, when};

/// List the versions of a secret, newest first
#[derive(Args)]
#[command(visible_alias = "history")]
#[command(after_help = "Example: strongroom versions openai/api-key")]
pub(crate) struct Versions {
    /// The path of the secret
    #[arg(value_parser = parse_path)]
    path: SecretPath,
}

impl Run for Versions {
    async fn run(self, context: &Context) -> Outcome {
        let versions = context.secrets().await?.versions(self.path.as_str()).await?;
        let stdout = Stdout::new()?;
        let mut output = stdout.buffered();
        let result = match context.format() {
            Format::Text => {
                let rows: Vec<_> = versions.iter().map(row).collect();
                table::write(&mut output, ["VERSION", "CREATED", "AGE", "ACTIVE", "LABELS"], &rows)
            }
            Format::Json => versions.iter().try_for_each(|version| {
                output.write_all(&Document::new(Shape::new(&self.path, version)).to_line()?)
            }),
        };
        result.and_then(|()| output.flush()).map_err(|error| Failure::output(&error))?;
        Ok(Exit::SUCCESS)
    }
}

fn row(version: &VersionInfo) -> [String; 5] {
    let created = version.created_at;
    [
        version.version.to_string(),
        created.map_or_else(String::new, shape::time),
        created.map_or_else(String::new, |time| when::distance(time, SystemTime::now())),
        if version.active { "active".to_owned() } else { String::new() },
        version.stages.join(","),
    ]
}

#[derive(Serialize)]
struct Shape<'a> {
    path: &'a str,
    version: String,
    created_at: Option<String>,
    active: bool,
    labels: &'a [String],
}

impl<'a> Shape<'a> {
    fn new(path: &'a SecretPath, version: &'a VersionInfo) -> Self {
        Self {
            path: path.as_str(),
            version: version.version.text().into_owned(),
            created_at: version.created_at.map(shape::time),
            active: version.active,
            labels: &version.stages,
        }
    }
}
