//! `store`: maintains an encrypted store on this machine.

#[cfg(feature = "native")]
mod maintenance;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::Run;
use crate::context::Context;
use crate::failure::Outcome;

/// Maintain a native store: check it, back it up, restore it, give room back
#[derive(Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "Example: strongroom store backup /mnt/backup/secrets.db"
)]
pub(crate) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Authenticate every record and open every value; no value is printed
    #[command(after_help = "Exit code 1 if something is damaged. Example: strongroom store verify")]
    Verify,
    /// Write the whole store, without its key, to a new file, and check it
    Backup {
        /// The new file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make a store of a backup where the configuration says, if none is there
    Restore {
        /// A file that `backup` has written
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Accept the secrets that the store has, after a restore or when its anchor was lost
    #[command(
        after_help = "What was removed or replaced until then is not found any more, so check the secrets \
                            first. Exit code 1 if some are damaged. Example: strongroom store accept --yes"
    )]
    Accept {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Remove the versions that the settings do not keep, of all secrets
    Sweep,
    /// Rewrite the file without empty pages; writes of others wait meanwhile
    Vacuum,
    /// Replace the key-encryption key, and wrap every data key with the new one
    RotateKek,
}

impl Run for Store {
    #[cfg(feature = "native")]
    async fn run(self, context: &Context) -> Outcome {
        self.action.run(context).await
    }

    #[cfg(not(feature = "native"))]
    async fn run(self, _context: &Context) -> Outcome {
        Err(crate::failure::Failure::usage(
            "this build has no native store: build it with the feature `native`",
        ))
    }
}
