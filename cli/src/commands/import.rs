//! `import`: stores the values of a file.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde::Serialize;
use strongroom::{ImportOptions, ImportOutcome, ImportReport, ImportedSecret, MetadataPatch, Tier};
use strongroom_core::FilePath;

use super::Run;
use crate::agent;
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::import_file::{self, FileFormat};
use crate::metadata_args::MetadataArgs;
use crate::output::{Document, Stdout, open_stream};
use crate::progress::Progress;
use crate::value_input::read_all;
use strongroom_core::WipedBuffer;

/// Store the values of a .env, JSON or YAML file
#[derive(Args)]
#[command(
    after_help = "Example: strongroom import .env --namespace production --tier-prefix DB_=critical --dry-run"
)]
pub(crate) struct Import {
    /// The file; standard input without one
    #[arg(value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// The format of the file, if its name does not say it
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<FileFormat>,
    /// Keep names as they stand, without lower case and dashes
    #[arg(long)]
    keep_names: bool,
    /// The tier of names with this prefix; the longest one wins
    #[arg(long, value_name = "PREFIX=TIER", value_parser = parse_tier_prefix, value_delimiter = ',')]
    tier_prefix: Vec<(String, Tier)>,
    /// Replace values that differ
    #[arg(long)]
    overwrite: bool,
    /// Show what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl Run for Import {
    async fn run(self, context: &Context) -> Outcome {
        let parsed = import_file::parse(self.format(), &self.read()?)?;
        for name in &parsed.repeated {
            context.note(format_args!("warning: `{name}` is assigned twice; the last one counts"));
        }
        let secrets = context.secrets().await?;
        let stdout = Stdout::new()?;
        let mut output = stdout.buffered();
        let mut printed = Ok(());
        let options = self.options(context, parsed.values.iter().map(|(name, _)| name));
        let mut progress = Progress::new(context, &stdout, parsed.values.len());
        let observe = |secret: &ImportedSecret| {
            progress.advance();
            // Each secret is flushed: a later failure or a kill leaves the list of what was done. A failure of the
            // output does not end the import midway.
            if printed.is_ok() {
                printed = write_secret(&mut output, context.format(), self.dry_run, secret);
            }
        };
        let report = secrets.import_each(parsed.values, options, observe).await?;
        drop(progress);
        self.finish(context, &report, printed)
    }
}

impl Import {
    fn format(&self) -> FileFormat {
        let of_file = || self.file.as_deref().map_or(FileFormat::Dotenv, FileFormat::of);
        self.input_format.unwrap_or_else(of_file)
    }

    fn read(&self) -> Result<Text, Failure> {
        let bytes = match &self.file {
            Some(file) if file.as_os_str() != "-" => {
                let name = FilePath::new(file);
                File::open(file)
                    .and_then(read_all)
                    .map_err(|error| Failure::io(format_args!("read {name}"), &error))?
            }
            _ if io::stdin().is_terminal() => {
                return Err(Failure::usage("there is nothing to import: name a file, or pipe it"));
            }
            _ => open_stream(rustix::stdio::stdin())
                .and_then(read_all)
                .map_err(|error| Failure::io("read standard input", &error))?,
        };
        Text::new(bytes)
    }

    /// The options for these names. An agent that may not read the secrets learns nothing about their values: if the
    /// report told those that are the same, it could test guesses.
    fn options<'a>(
        &self,
        context: &Context,
        names: impl Iterator<Item = &'a String>,
    ) -> ImportOptions {
        let options = self.named_options();
        let Some(session) = agent::session() else { return options };
        // The import tells of a name that gives no path.
        let paths: Vec<_> = names.filter_map(|name| options.path_of(name).ok()).collect();
        let namespace = context.globals().namespace.as_ref();
        let may_compare = session.may_reveal_all(true, namespace, &paths);
        if may_compare { options } else { options.without_comparison() }
    }

    fn named_options(&self) -> ImportOptions {
        let metadata = self.metadata.add_to(MetadataPatch::new());
        let mut options = ImportOptions::new().metadata(metadata);
        for (prefix, tier) in &self.tier_prefix {
            options = options.tier_prefix(prefix, *tier);
        }
        if let Some(tier) = self.metadata.tier() {
            options = options.tier(tier);
        }
        if self.keep_names {
            options = options.keep_names();
        }
        if self.overwrite {
            options = options.overwrite();
        }
        if self.dry_run {
            options = options.dry_run();
        }
        options
    }

    /// Prints the counts. A failure of the store comes before one of the output.
    fn finish(&self, context: &Context, report: &ImportReport, printed: io::Result<()>) -> Outcome {
        let summary = Summary::new(report, self.dry_run);
        let mut printed = printed.map_err(|error| Failure::output(&error));
        if !context.is_json() {
            context.note(summary.text());
        } else if printed.is_ok() {
            let document = SummaryDocument { summary: &summary };
            printed = Stdout::new().and_then(|mut stdout| stdout.document(document));
        }
        if let Some(error) = &report.failure {
            context.note("the import ended midway; run it again, and it does the rest");
            return Err(error.clone().into());
        }
        printed?;
        Ok(if report.refused > 0 { Exit::FAILURE } else { Exit::SUCCESS })
    }
}

/// Text in a buffer that is wiped.
struct Text(WipedBuffer);

impl Text {
    fn new(bytes: WipedBuffer) -> Result<Self, Failure> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(Failure::usage("the file is not UTF-8 text")),
        }
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn write_secret(
    output: &mut impl io::Write,
    format: Format,
    dry_run: bool,
    secret: &ImportedSecret,
) -> io::Result<()> {
    let problem = secret.problem.as_ref().map(ToString::to_string);
    let ImportedSecret { name, path, tier, outcome, .. } = secret;
    match format {
        Format::Json => {
            let document = ImportedShape {
                name,
                path: path.as_str(),
                tier: *tier,
                outcome: outcome.as_str(),
                dry_run,
                problem: problem.as_deref(),
            };
            output.write_all(&Document::new(document).to_line()?)?;
        }
        Format::Text => {
            let mark = match outcome {
                ImportOutcome::Created => '+',
                ImportOutcome::Overwritten | ImportOutcome::Completed => '~',
                ImportOutcome::Refused | ImportOutcome::Failed => '!',
                _ => ' ',
            };
            write!(output, "{mark} {:<11}  {path}  {tier}", outcome.as_str())?;
            problem.map_or(Ok(()), |problem| write!(output, "  {problem}"))?;
            writeln!(output)?;
        }
    }
    output.flush()
}

fn parse_tier_prefix(text: &str) -> Result<(String, Tier), &'static str> {
    let (prefix, tier) = text.split_once('=').ok_or("write it as `DB_=critical`")?;
    let tier = tier.parse().map_err(|_| "a tier is standard, sensitive or critical")?;
    Ok((prefix.to_owned(), tier))
}

#[derive(Serialize)]
struct ImportedShape<'a> {
    name: &'a str,
    path: &'a str,
    tier: Tier,
    outcome: &'static str,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

#[derive(Serialize)]
struct SummaryDocument<'a> {
    summary: &'a Summary,
}

#[derive(Serialize)]
struct Summary {
    created: usize,
    completed: usize,
    overwritten: usize,
    unchanged: usize,
    skipped: usize,
    refused: usize,
    failed: usize,
    complete: bool,
    dry_run: bool,
}

impl Summary {
    fn new(report: &ImportReport, dry_run: bool) -> Self {
        Self {
            created: report.created,
            completed: report.completed,
            overwritten: report.overwritten,
            unchanged: report.unchanged,
            skipped: report.skipped,
            refused: report.refused,
            failed: report.failed,
            complete: report.failure.is_none(),
            dry_run,
        }
    }

    fn text(&self) -> String {
        let counts = [
            (self.created, "created"),
            (self.completed, "completed"),
            (self.overwritten, "overwritten"),
            (self.unchanged, "unchanged"),
            (
                self.skipped,
                "skipped, since their values differ or cannot be read (`--overwrite` replaces them)",
            ),
            (self.refused, "refused"),
            (self.failed, "failed"),
        ];
        let shown = counts.iter().filter(|(count, _)| *count > 0);
        let shown: Vec<_> = shown.map(|(count, what)| format!("{count} {what}")).collect();
        let text = if shown.is_empty() { "nothing to import".to_owned() } else { shown.join(", ") };
        if self.dry_run { format!("dry run, nothing was written: {text}") } else { text }
    }
}
