//! `__remove-folder`: removes a folder with files of a child once the process that created it has ended.

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::Run;
use crate::child;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::supervisor;

/// Wait for the end of standard input, and remove a folder of `run`
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct RemoveFolder {
    folder: PathBuf,
}

impl Run for RemoveFolder {
    async fn run(self, _context: &Context) -> Outcome {
        let fail = |error: &io::Error| Failure::io("remove the folder", error);
        supervisor::survive_signals().map_err(|error| fail(&error))?;
        Stdout::new()?.write(b"\n")?;
        io::copy(&mut io::stdin().lock(), &mut io::sink()).map_err(|error| fail(&error))?;
        child::remove_folder(&self.folder).map_err(|error| fail(&error))?;
        Ok(Exit::SUCCESS)
    }
}
