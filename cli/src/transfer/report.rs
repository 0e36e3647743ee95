//! What a copy has done.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde::Serialize;
use strongroom::{Error, SecretPath};

use super::secret::{Outcome as Copied, SecretReport};
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{Document, Stdout};

pub(super) struct Report<'a> {
    context: &'a Context,
    stdout: &'a Stdout,
    dry_run: bool,
    counts: BTreeMap<Copied, usize>,
    failure: Option<Error>,
    /// Whether the report could be printed so far.
    output: io::Result<()>,
}

impl<'a> Report<'a> {
    pub(super) fn new(context: &'a Context, stdout: &'a Stdout, dry_run: bool) -> Self {
        Self { context, stdout, dry_run, counts: BTreeMap::new(), failure: None, output: Ok(()) }
    }

    /// Tells of one secret. If that fails, the copy goes on, and fails at its end.
    pub(super) fn add(&mut self, path: &SecretPath, secret: SecretReport) {
        *self.counts.entry(secret.outcome).or_default() += 1;
        if self.output.is_ok() {
            self.output = self.print(path, &secret);
        }
        if secret.outcome == Copied::Failed {
            self.failure = self.failure.take().or(secret.problem);
        }
    }

    fn print(&self, path: &SecretPath, secret: &SecretReport) -> io::Result<()> {
        let problem = secret.problem.as_ref().map(ToString::to_string);
        let outcome = secret.outcome.as_str();
        let mut output = self.stdout.buffered();
        match self.context.format() {
            Format::Json => {
                let document = Document::new(CopiedShape {
                    path: path.as_str(),
                    outcome,
                    versions: secret.versions,
                    left_out: secret.left_out,
                    dry_run: self.dry_run,
                    problem: problem.as_deref(),
                });
                output.write_all(&document.to_line()?)?;
            }
            Format::Text => {
                let after = if problem.is_some() { "after " } else { "" };
                let versions = match secret.versions {
                    0 => String::new(),
                    1 => format!("  {after}1 version"),
                    count => format!("  {after}{count} versions"),
                };
                let problem = problem.map_or_else(String::new, |problem| format!("  {problem}"));
                writeln!(output, "{outcome:<11}  {path}{versions}{problem}")?;
            }
        }
        output.flush()
    }

    /// Prints how many secrets came to which end. A failure of the stores comes before one of the output.
    pub(super) fn finish(mut self) -> Outcome {
        if !self.context.is_json() {
            self.context.note(self.text());
        } else if self.output.is_ok() {
            self.output = self.print_summary();
        }
        if let Some(error) = self.failure {
            self.context.note("the copy ended midway; run it again, and it does the rest");
            return Err(error.into());
        }
        self.output.map_err(|error| Failure::output(&error))?;
        let is_refused = self.counts.contains_key(&Copied::Refused);
        Ok(if is_refused { Exit::FAILURE } else { Exit::SUCCESS })
    }

    fn text(&self) -> String {
        let counts = self.counts.iter().map(|(outcome, count)| {
            let hint = match outcome {
                Copied::Skipped => {
                    ", since their values differ or have expired (`--overwrite` replaces them)"
                }
                _ => "",
            };
            format!("{count} {}{hint}", outcome.as_str())
        });
        let text = counts.collect::<Vec<_>>().join(", ");
        let text = if text.is_empty() { "nothing to copy".to_owned() } else { text };
        if self.dry_run { format!("dry run, nothing was written: {text}") } else { text }
    }

    fn print_summary(&self) -> io::Result<()> {
        let count = |outcome| self.counts.get(&outcome).copied().unwrap_or_default();
        let summary = Summary {
            created: count(Copied::Created),
            continued: count(Copied::Continued),
            overwritten: count(Copied::Overwritten),
            completed: count(Copied::Completed),
            unchanged: count(Copied::Unchanged),
            skipped: count(Copied::Skipped),
            refused: count(Copied::Refused),
            failed: count(Copied::Failed),
            complete: self.failure.is_none(),
            dry_run: self.dry_run,
        };
        let mut output = self.stdout.buffered();
        output.write_all(&Document::new(SummaryDocument { summary }).to_line()?)?;
        output.flush()
    }
}

#[derive(Serialize)]
struct CopiedShape<'a> {
    path: &'a str,
    outcome: &'static str,
    versions: usize,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize)]
struct SummaryDocument {
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    created: usize,
    continued: usize,
    overwritten: usize,
    completed: usize,
    unchanged: usize,
    skipped: usize,
    refused: usize,
    failed: usize,
    complete: bool,
    dry_run: bool,
}
