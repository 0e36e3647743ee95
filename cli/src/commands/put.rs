//! `put`: stores a value.

use std::time::SystemTime;

use clap::Args;
use strongroom::{Backend as _, Capability, MetadataPatch, PutOptions, SecretPath, SecretsManager};

use super::Run;
use crate::args::parse_path;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::metadata_args::MetadataArgs;
use crate::output::Stdout;
use crate::shape::Written;
use crate::value_input::ValueInput;

/// Store a value from a file, standard input or a prompt
#[derive(Args)]
#[command(visible_alias = "set")]
#[command(after_help = "Example: strongroom put openai/api-key --expires-in 90d < key.txt")]
pub(crate) struct Put {
    /// The path of the secret
    #[arg(value_parser = parse_path)]
    path: SecretPath,
    #[command(flatten)]
    value: ValueInput,
    /// Only if there is no such secret yet
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Only if this is the active version
    #[arg(long, value_name = "ID")]
    if_version: Option<String>,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl Run for Put {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        let location = secrets.locate(&self.path);
        let value = self.value.read(context, &location)?;
        let mut options = PutOptions::new().metadata(self.metadata.add_to(MetadataPatch::new()));
        if self.if_absent {
            options = options.must_not_exist();
        } else if let Some(version) = self.if_version.as_deref() {
            options = options.must_be_version(version);
        }
        context.note(format_args!("writing {location}"));
        let version = secrets.put_with(self.path.as_str(), value, options).await?;
        if context.is_json() {
            Stdout::new()?.document(Written::new(self.path.as_str(), Some(&version)))?;
        } else {
            context.note(format_args!("stored `{}` as version {version}", self.path));
        }
        if !self.metadata.has_expiry() {
            self.warn_of_expiry(context, secrets).await;
        }
        Ok(Exit::SUCCESS)
    }
}

impl Put {
    /// A new value keeps the metadata of the secret: an expiry that has passed hides it at once.
    async fn warn_of_expiry(&self, context: &Context, secrets: &SecretsManager) {
        if !secrets.backend().capabilities.has(Capability::Metadata) {
            return;
        }
        // The value is stored, whether this can be found out or not.
        let Ok(found) = secrets.describe(self.path.as_str()).await else { return };
        if found.metadata.expires_at.is_some_and(|time| time <= SystemTime::now()) {
            context.note(format_args!(
                "warning: the expiry of `{}` has passed, so that the new value cannot be read: set another one with \
                 `strongroom annotate`, `--expires-in` or `--clear expiry`",
                self.path
            ));
        }
    }
}
