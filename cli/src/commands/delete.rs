//! `delete`: hides a secret, recoverably where the store can.

use clap::Args;
use strongroom::{Capability, ErrorKind, SecretPath, SecretsManager};

use super::Run;
use crate::args::parse_path;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::shape::Written;

/// Delete secrets, recoverably where the store can
#[derive(Args)]
#[command(after_help = "Example: strongroom delete staging/db staging/cache")]
pub(crate) struct Delete {
    /// The paths of the secrets
    #[arg(value_name = "PATH", required = true, value_parser = parse_path)]
    paths: Vec<SecretPath>,
    /// A secret that does not exist is no error
    #[arg(long)]
    if_exists: bool,
}

impl Run for Delete {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        for path in &self.paths {
            if !self.if_exists {
                require(secrets, path).await?;
            }
            secrets.delete(path.as_str()).await?;
            if context.is_json() {
                Stdout::new()?.document(Written::new(path.as_str(), None))?;
            } else {
                context.note(format_args!("deleted `{path}`"));
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// Fails if there is no such secret: stores delete what does not exist without an error, and a misspelt path
/// would stay unnoticed. A caller who may not read metadata is not stopped.
async fn require(secrets: &SecretsManager, path: &SecretPath) -> Result<(), Failure> {
    let capabilities = secrets.backend().capabilities;
    if !capabilities.has(Capability::Metadata) || !capabilities.has(Capability::Delete) {
        return Ok(());
    }
    match secrets.describe(path.as_str()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
