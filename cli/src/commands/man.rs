//! `man`: the manual, one page per command.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use strongroom_core::FilePath;

use super::Run;
use crate::args;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Write the manual's pages into a folder
#[derive(Args)]
#[command(hide = true, after_help = "Example: strongroom man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// The folder
    #[arg(value_hint = ValueHint::DirPath)]
    folder: PathBuf,
}

impl Run for Man {
    async fn run(self, context: &Context) -> Outcome {
        let name = FilePath::new(&self.folder);
        let write = || {
            fs::create_dir_all(&self.folder)?;
            clap_mangen::generate_to(args::command(), &self.folder)
        };
        write().map_err(|error| Failure::io(format_args!("write pages into {name}"), &error))?;
        context.note(format_args!("wrote the pages into {name}"));
        Ok(Exit::SUCCESS)
    }
}
