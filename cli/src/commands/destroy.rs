//! `destroy`: removes a secret for ever.

use clap::Args;
use strongroom::{Backend as _, Capability, ErrorKind, Operation, SecretPath, SecretsManager};

use super::Run;
use crate::args::parse_path;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::prompt;
use crate::shape::Written;

/// Remove secrets and all their versions for ever
#[derive(Args)]
#[command(after_help = "Example: strongroom destroy staging/db --yes")]
pub(crate) struct Destroy {
    /// The paths of the secrets
    #[arg(value_name = "PATH", required = true, value_parser = parse_path)]
    paths: Vec<SecretPath>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Run for Destroy {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        let info = secrets.backend();
        if !info.capabilities.has(Capability::Delete) {
            return Err(info.unsupported(Operation::Destroy).into());
        }
        if !self.yes {
            if !context.is_interactive() {
                return Err(Failure::usage(
                    "`destroy` cannot be undone: if you are sure, add `--yes`",
                ));
            }
            let locations = self.paths.iter().map(|path| secrets.locate(path));
            let locations = locations.collect::<Vec<_>>().join(", ");
            if !prompt::confirm(format_args!("destroy {locations} with all versions, for ever?"))? {
                return Err(Failure::usage("nothing was destroyed"));
            }
        }
        for path in &self.paths {
            // Only a note tells it.
            let has_note = !context.is_json() && !context.globals().quiet;
            let is_missing = has_note && is_missing(secrets, path).await;
            secrets.destroy(path.as_str()).await?;
            if context.is_json() {
                Stdout::new()?.document(Written::new(path.as_str(), None))?;
            } else if is_missing {
                context.note(format_args!(
                    "`{path}`: there was no secret, or a deleted one, which is destroyed now"
                ));
            } else {
                context.note(format_args!("destroyed `{path}`"));
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// Whether the store says that there is no secret, or a deleted one: a misspelt path is no error, since a second
/// `destroy` finds nothing either. The right to destroy does not include the one to read versions.
async fn is_missing(secrets: &SecretsManager, path: &SecretPath) -> bool {
    let versions = secrets.versions(path.as_str()).await;
    versions.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
