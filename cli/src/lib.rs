//! The command `strongroom`: a service's secrets from a command line, on every store.
//!
//! The binary calls [`main`]; the guide's chapter `command-line.md` describes the commands, their formats
//! and exit codes.
//!
//! A command is one file in `commands/`, with its arguments and an implementation of `Run`, and a line in
//! the table in `commands.rs`. It gets a `Context`, which opens the store, and answers with an exit status
//! or a `Failure`.

mod agent;
mod args;
mod atomic_file;
mod child;
mod commands;
mod context;
mod exit;
mod export;
mod failure;
mod import_file;
mod known;
mod listing;
mod log;
mod metadata_args;
mod output;
mod process;
mod progress;
mod prompt;
mod random;
mod scan;
mod shape;
mod suggest;
mod supervisor;
mod table;
mod transfer;
mod usage;
mod value_input;
mod variable;
mod when;
mod words;

use std::process::ExitCode;

use crate::args::Cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Runs the command that the arguments of this process name, and returns its exit status.
#[must_use]
pub fn main() -> ExitCode {
    process::harden();
    let (format, outcome) = match args::parse() {
        Ok(cli) => (cli.globals.format.map(args::Format::from), run(cli)),
        Err(failure) => (args::asked_format(), Err(failure)),
    };
    let exit: Exit = outcome.unwrap_or_else(|failure| failure.report(format));
    exit.into()
}

fn run(cli: Cli) -> Outcome {
    log::init(cli.globals.quiet);
    let mut runtime = match cli.command {
        #[cfg(feature = "server")]
        commands::Command::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("start the runtime", &error))?;
    runtime.block_on(async {
        let context = Context::new(cli.globals);
        let outcome = match Box::pin(cli.command.run(&context)).await {
            Err(failure) => Err(suggest::add_similar(failure, &context).await),
            outcome => outcome,
        };
        context.close().await;
        outcome
    })
}

/// Writes entries that a fuzzer makes up in every format, and reads each output back.
#[cfg(fuzzing)]
pub fn fuzz_export(bytes: &[u8]) {
    export::check::fuzz(bytes);
}
