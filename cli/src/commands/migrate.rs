//! `migrate`: moves a service to another store.

use clap::Args;
use strongroom::SecretPath;

use super::Run;
use crate::args::parse_prefix;
use crate::context::Context;
use crate::failure::Outcome;
use crate::transfer::{Selection, TransferArgs};

/// Copy all secrets with their versions to another store
#[derive(Args)]
#[command(
    after_help = "The source stays as it is. A migration that ended midway is finished by running it again.\n\
                  Example: strongroom migrate --from native --to vault.toml --dry-run"
)]
pub(crate) struct Migrate {
    /// Only secrets below this prefix
    #[arg(value_parser = parse_prefix)]
    prefix: Option<SecretPath>,
    #[command(flatten)]
    transfer: TransferArgs,
}

impl Run for Migrate {
    async fn run(self, context: &Context) -> Outcome {
        self.transfer.run(context, Selection::Prefix(self.prefix), true).await
    }
}
