//! `copy`: copies secrets to another store.

use clap::Args;
use strongroom::SecretPath;

use super::Run;
use crate::args::{parse_path, parse_prefix};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::transfer::{Selection, TransferArgs};

/// Copy secrets to another store
#[derive(Args)]
#[command(after_help = "Example: strongroom copy db/main openai/api-key --to staging.toml")]
pub(crate) struct Copy {
    /// The paths of the secrets
    #[arg(value_parser = parse_path, required_unless_present = "prefix")]
    paths: Vec<SecretPath>,
    /// All secrets below this prefix
    #[arg(long, value_parser = parse_prefix, conflicts_with = "paths")]
    prefix: Option<SecretPath>,
    /// Copy earlier versions, too
    #[arg(long)]
    versions: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

impl Run for Copy {
    async fn run(self, context: &Context) -> Outcome {
        let selection = match self.prefix {
            Some(prefix) => Selection::Prefix(Some(prefix)),
            None if self.paths.is_empty() => return Err(Failure::usage("name a secret to copy")),
            None => Selection::Paths(self.paths),
        };
        self.transfer.run(context, selection, self.versions).await
    }
}
