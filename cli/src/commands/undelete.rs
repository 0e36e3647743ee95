//! `undelete`: restores a deleted secret.

use clap::Args;
use strongroom::SecretPath;

use super::Run;
use crate::args::parse_path;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::Stdout;
use crate::shape::Written;

/// Restore deleted secrets
#[derive(Args)]
#[command(after_help = "Example: strongroom undelete staging/db")]
pub(crate) struct Undelete {
    /// The paths of the secrets
    #[arg(value_name = "PATH", required = true, value_parser = parse_path)]
    paths: Vec<SecretPath>,
}

impl Run for Undelete {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        for path in &self.paths {
            secrets.undelete(path.as_str()).await?;
            if context.is_json() {
                Stdout::new()?.document(Written::new(path.as_str(), None))?;
            } else {
                context.note(format_args!("restored `{path}`"));
            }
        }
        Ok(Exit::SUCCESS)
    }
}
