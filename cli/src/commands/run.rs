//! `run`: a command with secrets in its environment or as files.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use rustix::process::Signal;
use strongroom::SecretPath;
use strongroom_redact::{Mask, RedactOptions, Redactor};
use tokio::sync::mpsc;

use crate::child::{Binding, FilePlace, Files, Inheritance, Program, Selection, forbid_core_dumps};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::known::{self, Filter, Scope};
use crate::supervisor::{self, OnChange, Plan};
use crate::{agent, when};

/// Run a command with secrets in its environment or as files
#[derive(Args)]
#[command(
    visible_alias = "exec",
    after_help = "Example: strongroom run --only db/password --file TLS_KEY=tls/key -- ./server"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct Run {
    #[command(flatten)]
    selection: Selection,
    /// Put the files into a private folder in memory, for programs that close inherited descriptors
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true,
        default_missing_value = "", value_hint = ValueHint::DirPath)]
    file_dir: Option<OsString>,
    /// Inherit no variables
    #[arg(long)]
    pristine: bool,
    /// Inherit also the variables with the credentials of the store
    #[arg(long, conflicts_with = "pristine")]
    keep_credentials: bool,
    /// Mask values in the output: those that the command gets, or all of the store
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true,
        default_missing_value = "given")]
    redact: Option<Redact>,
    /// What replaces a value: its path, or as many `*` as it has characters (the default on a terminal)
    #[arg(long, value_name = "MASK")]
    mask: Option<MaskChoice>,
    #[command(flatten)]
    filter: Filter,
    /// Start the command again when a secret changes
    #[arg(long)]
    watch: bool,
    /// Send this signal when a secret changes, in place of starting again
    #[arg(long, value_name = "SIGNAL", requires = "watch", value_parser = supervisor::parse_signal)]
    signal: Option<Signal>,
    /// How long the command has to end before it starts again
    #[arg(long, value_name = "10s", default_value = "10s", requires = "watch",
        value_parser = when::parse_duration)]
    grace: Duration,
    /// Show values in a session of an AI agent, if the system's administrator allows it
    #[arg(long, conflicts_with = "redact")]
    reveal: bool,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND",
        value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// Which values are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Redact {
    Given,
    All,
}

/// What replaces a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MaskChoice {
    Path,
    Fill,
}

impl super::Run for Run {
    async fn run(self, context: &Context) -> Outcome {
        let inheritance = match (self.pristine, self.keep_credentials) {
            (true, _) => Inheritance::Nothing,
            (false, true) => Inheritance::All,
            (false, false) => Inheritance::WithoutCredentials,
        };
        // Every failure before the command begins has a status of its own, that of `env`.
        let prepare = async {
            let program = Program::new(&self.command, inheritance)?;
            self.check()?;
            let bindings = self.selection.read(context).await?;
            let must_mask = self.must_mask(context, &bindings);
            if must_mask {
                // What is left out of the masks would be shown.
                if let Some(session) = agent::session().filter(|_| !self.filter.is_empty()) {
                    return Err(session.refusal());
                }
                bindings.iter().try_for_each(|binding| binding.check_mask(&binding.value))?;
            }
            Ok((program, bindings, must_mask))
        };
        let (program, bindings, must_mask) =
            prepare.await.map_err(|failure: Failure| failure.with_exit(Exit::NOT_STARTED))?;
        let redact = self.redact.or(Some(Redact::Given).filter(|_| must_mask));
        if redact.is_none() && self.file_dir.is_none() && !self.watch {
            return execute(&program, inheritance, &bindings, context).await;
        }
        let plan = self.plan(program, inheritance, bindings, redact, context).await;
        let mut plan = plan.map_err(|failure| failure.with_exit(Exit::NOT_STARTED))?;
        plan.must_mask = must_mask;
        supervisor::run(plan, context).await
    }
}

impl Run {
    fn check(&self) -> Result<(), Failure> {
        let has_files = self.selection.has_files();
        if self.file_dir.is_some() && !has_files {
            return Err(Failure::usage(
                "`--file-dir` is for files: name one with `--file NAME=PATH`",
            ));
        }
        if !self.filter.is_empty() && self.redact.is_none() {
            return Err(Failure::usage(
                "`--exclude` and `--min-length` say what is not masked: add `--redact`",
            ));
        }
        if self.signal.is_some() && has_files && self.file_dir.is_none() {
            return Err(Failure::usage(
                "a file in memory never changes, so that `--signal` announces nothing: add `--file-dir`, whose \
                 files are replaced",
            ));
        }
        Ok(())
    }

    /// Whether every value has to be masked: in a session of an AI agent, output ends up in a transcript.
    fn must_mask(&self, context: &Context, bindings: &[Binding]) -> bool {
        let namespace = context.globals().namespace.as_ref();
        let paths = bindings.iter().map(Binding::path);
        agent::session()
            .is_some_and(|session| !session.may_reveal_all(self.reveal, namespace, paths))
    }

    async fn plan(
        &self,
        program: Program,
        inheritance: Inheritance,
        bindings: Vec<Binding>,
        redact: Option<Redact>,
        context: &Context,
    ) -> Result<Plan, Failure> {
        let place = match &self.file_dir {
            Some(parent) => {
                let parent = Some(parent).filter(|parent| !parent.is_empty());
                FilePlace::Folder(parent.map(PathBuf::from))
            }
            None => FilePlace::Memory,
        };
        let mut paths: Vec<_> = bindings.iter().map(|binding| binding.path().clone()).collect();
        let options = self.filter.masking();
        let redactor = redact.is_some().then(|| redactor(self.mask, options.clone()));
        let mut scope = None;
        if let Some(redactor) = &redactor {
            let given = bindings.iter().filter(|binding| !self.filter.excludes(binding.path()));
            let mut values: Vec<_> = given.map(known_value).collect();
            if redact == Some(Redact::All) {
                let all = Scope::new(context, &[], &self.filter).await?;
                let known = all.values(context).await?;
                paths.extend(known.iter().map(|known| known.path.clone()));
                values.extend(known.into_iter().map(|known| (known.path, known.value)));
                scope = Some(all);
            }
            let skipped = redactor.add(values.clone());
            known::warn_of_masks(context, &options, &values, &skipped);
        }
        let changes = if self.watch || redactor.is_some() {
            known::follow(context.secrets().await?, paths, scope).await?
        } else {
            mpsc::unbounded_channel().1
        };
        let on_change = match (self.watch, self.signal) {
            (false, _) => OnChange::Nothing,
            (true, None) => OnChange::Restart,
            (true, Some(signal)) => OnChange::Signal(signal),
        };
        let files = Files::new(&place)?;
        let (filter, grace) = (self.filter.clone(), self.grace);
        Ok(Plan {
            program,
            inheritance,
            bindings,
            files,
            redactor,
            must_mask: false,
            filter,
            on_change,
            grace,
            changes,
        })
    }
}

fn known_value(binding: &Binding) -> (SecretPath, strongroom::SecretValue) {
    (binding.path().clone(), binding.value.clone())
}

/// A redactor without values. A mask of another length would break the layout of a terminal.
pub(crate) fn redactor(mask: Option<MaskChoice>, options: RedactOptions) -> Redactor {
    let is_terminal = rustix::termios::isatty(rustix::stdio::stdout());
    let default = if is_terminal { MaskChoice::Fill } else { MaskChoice::Path };
    Redactor::with_options(options.mask(match mask.unwrap_or(default) {
        MaskChoice::Path => Mask::Path,
        MaskChoice::Fill => Mask::Fill('*'),
    }))
}

/// Becomes the command: it has the id, the parent, the terminal and the streams of this process.
async fn execute(
    program: &Program,
    inheritance: Inheritance,
    bindings: &[Binding],
    context: &Context,
) -> Outcome {
    let prepare = || {
        let mut files = Files::new(&FilePlace::Memory)?;
        Ok((supervisor::variables(bindings, &mut files)?, files))
    };
    // The files stay open until the command has them.
    let (variables, _files) =
        prepare().map_err(|failure: Failure| failure.with_exit(Exit::NOT_STARTED))?;
    let mut command = program.command();
    inheritance.apply(&mut command);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    context.close().await;
    forbid_core_dumps();
    let error = command.exec();
    Err(program.failure(&error))
}
