//! `check`: the declared secrets against the store, for CI and start-up scripts. Prints no value.

use std::io::Write as _;

use clap::Args;
use serde::Serialize;
use strongroom::{DeclaredState, DeclaredStatus};
use strongroom_core::EscapedText;

use super::Run;
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{Document, Stderr, Stdout};
use crate::table;

/// Check that the store has the declared secrets; prints no value
#[derive(Args)]
#[command(after_help = "Example: strongroom check --config app.toml")]
pub(crate) struct Check;

impl Run for Check {
    async fn run(self, context: &Context) -> Outcome {
        let states = context.secrets().await?.check_declared().await?;
        if states.is_empty() {
            return Err(Failure::usage(
                "no secrets are declared: list them in a file, as in \
                 `declare = [{ path = \"openai/api-key\" }]`, and name it with `--config`",
            ));
        }
        let stdout = Stdout::new()?;
        let mut output = stdout.buffered();
        let result = match context.format() {
            Format::Text => {
                let rows: Vec<_> = states.iter().map(row).collect();
                table::write(&mut output, ["PATH", "STATUS"], &rows)
            }
            Format::Json => states.iter().try_for_each(|state| {
                output.write_all(&Document::new(Shape::new(state)).to_line()?)
            }),
        };
        result.and_then(|()| output.flush()).map_err(|error| Failure::output(&error))?;
        let problems: Vec<_> = states.iter().filter_map(|state| state.problem.as_ref()).collect();
        if context.format() == Format::Text {
            for problem in &problems {
                // A failure to write to standard error cannot be reported.
                let _ = writeln!(Stderr, "error: {}", EscapedText::clause(problem));
            }
        }
        Ok(if problems.is_empty() { Exit::SUCCESS } else { Exit::FAILURE })
    }
}

fn row(state: &DeclaredState) -> [String; 2] {
    [state.path.to_string(), name(state.status).to_owned()]
}

fn name(status: DeclaredStatus) -> &'static str {
    match status {
        DeclaredStatus::Present => "present",
        DeclaredStatus::Default => "default",
        DeclaredStatus::Absent => "absent",
        DeclaredStatus::Missing => "missing",
        DeclaredStatus::Malformed => "malformed",
        // `Unreadable`, and statuses of a later release.
        _ => "unreadable",
    }
}

#[derive(Serialize)]
struct Shape<'a> {
    path: &'a str,
    required: bool,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

impl<'a> Shape<'a> {
    fn new(state: &'a DeclaredState) -> Self {
        let reason = match state.status {
            DeclaredStatus::Unreadable(kind) => Some(Exit::of(kind).1),
            _ => None,
        };
        Self {
            path: state.path.as_str(),
            required: state.required,
            status: name(state.status),
            reason,
            problem: state.problem.as_deref(),
        }
    }
}
