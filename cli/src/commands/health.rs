//! `health`: whether the store serves requests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use clap::Args;
use serde::Serialize;
use strongroom::HealthStatus;

use super::Run;
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;

/// Ask the store whether it serves requests
#[derive(Args)]
#[command(after_help = "Example: strongroom health --backend hashicorp")]
pub(crate) struct Health;

impl Run for Health {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        let health = secrets.health().await?;
        let info = secrets.backend();
        let status = name(health.status);
        let mut stdout = Stdout::new()?;
        match context.format() {
            Format::Json => {
                let (backend, instance) = (info.kind, info.instance.as_str());
                stdout.document(Shape { backend, instance, status, details: &health.details })?;
            }
            Format::Text => {
                let mut output = stdout.buffered();
                writeln!(output, "{}, {}: {status}", info.kind, info.instance)
                    .and_then(|()| {
                        let mut details = health.details.iter();
                        details.try_for_each(|(name, text)| writeln!(output, "  {name}: {text}"))
                    })
                    .and_then(|()| output.flush())
                    .map_err(|error| Failure::output(&error))?;
            }
        }
        Ok(Exit::SUCCESS)
    }
}

fn name(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Ready => "ready",
        HealthStatus::Degraded => "degraded",
        // `Unavailable` is an error; this is for statuses of a later release.
        _ => "unavailable",
    }
}

#[derive(Serialize)]
struct Shape<'a> {
    backend: &'static str,
    instance: &'a str,
    status: &'static str,
    details: &'a BTreeMap<Cow<'static, str>, String>,
}
