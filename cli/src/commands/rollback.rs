//! `rollback`: makes an earlier version the active one.

use clap::Args;
use strongroom::SecretPath;

use super::Run;
use crate::args::parse_path;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::Stdout;
use crate::shape::Written;

/// Make an earlier version the active one
#[derive(Args)]
#[command(after_help = "Example: strongroom rollback openai/api-key 3")]
pub(crate) struct Rollback {
    /// The path of the secret
    #[arg(value_parser = parse_path)]
    path: SecretPath,
    /// The version, as `versions` shows it
    #[arg(value_name = "VERSION")]
    version: String,
}

impl Run for Rollback {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        let active = secrets.rollback(self.path.as_str(), self.version.as_str()).await?;
        if context.is_json() {
            Stdout::new()?.document(Written::new(self.path.as_str(), Some(&active)))?;
        } else {
            context
                .note(format_args!("rolled `{}` back; the active version is {active}", self.path));
        }
        Ok(Exit::SUCCESS)
    }
}
