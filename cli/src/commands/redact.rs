//! `redact`: masks the store's values in a stream, or in the output of a command that gets none.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueHint};
use rustix::process::Signal;
use strongroom::SecretPath;
use strongroom_redact::Redactor;

use super::Run;
use super::run::{MaskChoice, redactor};
use crate::args::parse_prefix;
use crate::child::{FilePlace, Files, Inheritance, Program};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::known::{self, Changes, Filter, Scope};
use crate::output::open_stream;
use crate::supervisor::{self, Ignored, OnChange, Plan, Pump, PumpError};

/// Mask the store's values in standard input, or in the output of a command
#[derive(Args)]
#[command(after_help = "Example: kubectl logs -f app | strongroom redact")]
pub(crate) struct Redact {
    /// Only secrets below this prefix; may be given several times
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    prefix: Vec<SecretPath>,
    /// What replaces a value: its path, or as many `*` as it has characters (the default on a terminal)
    #[arg(long, value_name = "MASK")]
    mask: Option<MaskChoice>,
    #[command(flatten)]
    filter: Filter,
    /// Pass the text on if there are no secrets
    #[arg(long)]
    allow_empty: bool,
    /// A command and its arguments, after `--`; it gets no secrets and no credentials of the store
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

impl Run for Redact {
    async fn run(self, context: &Context) -> Outcome {
        let options = self.filter.masking();
        let redactor = redactor(self.mask, options.clone());
        let load = async {
            let scope = Scope::new(context, &self.prefix, &self.filter).await?;
            let values = match scope.values(context).await {
                Err(failure) if self.allow_empty && failure.is_not_found() => Vec::new(),
                values => values?,
            };
            let values =
                values.into_iter().map(|known| (known.path, known.value)).collect::<Vec<_>>();
            let paths: Vec<_> = values.iter().map(|(path, _)| path.clone()).collect();
            let skipped = redactor.add(values.clone());
            known::warn_of_masks(context, &options, &values, &skipped);
            known::follow(context.secrets().await?, paths, Some(scope)).await
        };
        if self.command.is_empty() {
            let changes = load.await?;
            return filter(&redactor, &self.filter, changes).await;
        }
        let inheritance = Inheritance::WithoutCredentials;
        let prepare = async {
            Ok(Plan {
                program: Program::new(&self.command, inheritance)?,
                inheritance,
                bindings: Vec::new(),
                files: Files::new(&FilePlace::Memory)?,
                changes: load.await?,
                redactor: Some(redactor.clone()),
                must_mask: false,
                filter: self.filter.clone(),
                on_change: OnChange::Nothing,
                grace: Duration::ZERO,
            })
        };
        let plan =
            prepare.await.map_err(|failure: Failure| failure.with_exit(Exit::NOT_STARTED))?;
        supervisor::run(plan, context).await
    }
}

/// Copies standard input to standard output.
async fn filter(redactor: &Redactor, filter: &Filter, changes: Changes) -> Outcome {
    let fail = |error: &io::Error| Failure::io("copy standard input", error);
    if !io::stdin().is_terminal() && !Ignored::read().has(Signal::INT) {
        // Ctrl-C reaches the whole pipeline: what its writer says at its end is masked, too. The second one ends
        // a filter whose writer goes on.
        let (signal, has_come) = (Signal::INT.as_raw(), Arc::<AtomicBool>::default());
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&has_come))
            .and_then(|_| signal_hook::flag::register(signal, has_come))
            .map_err(|error| fail(&error))?;
    }
    let stdin = rustix::stdio::stdin().try_clone_to_owned().map_err(|error| fail(&error))?;
    let stdout = open_stream(rustix::stdio::stdout()).map_err(|error| Failure::output(&error))?;
    let keyboard = supervisor::no_keyboard();
    let mut pump = Pump::start(stdin, stdout, redactor.stream(), Duration::ZERO, keyboard)
        .map_err(|error| fail(&error))?;
    tokio::select! {
        result = pump.wait() => result.map_err(|error| match error {
            PumpError::Read(error) => fail(&error),
            PumpError::Write(error) => Failure::output(&error),
        })?,
        () = known::learn(redactor, filter, changes) => {}
    }
    Ok(Exit::SUCCESS)
}
