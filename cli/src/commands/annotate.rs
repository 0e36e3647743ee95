//! `annotate`: changes metadata without writing a version.

use clap::{Args, ValueEnum};
use strongroom::{MetadataPatch, SecretKind, SecretPath, SecretsManager, Tier};

use super::Run;
use crate::args::parse_path;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::metadata_args::MetadataArgs;
use crate::output::Stdout;
use crate::shape::Written;

/// Change metadata without writing a version
#[derive(Args)]
#[command(
    after_help = "Example: strongroom annotate openai/api-key --expires-in 30d --clear description"
)]
pub(crate) struct Annotate {
    /// The path of the secret
    #[arg(value_parser = parse_path)]
    path: SecretPath,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Remove one tag; may be given several times
    #[arg(long, value_name = "NAME")]
    remove_tag: Vec<String>,
    /// Remove these, separated by commas; kind and tier get their defaults
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    clear: Vec<Member>,
}

/// What can be cleared: a kind becomes `custom`, a tier `sensitive`, and the rest is removed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Member {
    Kind,
    Tier,
    Tags,
    Description,
    Expiry,
    RotationInterval,
}

impl Run for Annotate {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        let patch = self.patch(secrets).await?;
        if patch.is_empty() {
            return Err(Failure::usage(
                "there is nothing to change: name what to set, or `--clear` it",
            ));
        }
        secrets.annotate(self.path.as_str(), patch).await?;
        if context.is_json() {
            Stdout::new()?.document(Written::new(self.path.as_str(), None))?;
        } else {
            context.note(format_args!("changed the metadata of `{}`", self.path));
        }
        Ok(Exit::SUCCESS)
    }
}

impl Annotate {
    /// What is cleared comes first, so that what is set stays.
    async fn patch(&self, secrets: &SecretsManager) -> Result<MetadataPatch, Failure> {
        let mut patch = MetadataPatch::new();
        for member in &self.clear {
            patch = match member {
                Member::Kind => patch.kind(SecretKind::default()),
                Member::Tier => patch.tier(Tier::default()),
                Member::Description => patch.clear_description(),
                Member::Expiry => patch.clear_expires_at(),
                Member::RotationInterval => patch.clear_rotation_interval(),
                Member::Tags => {
                    let found = secrets.describe(self.path.as_str()).await?;
                    found.metadata.tags.into_keys().fold(patch, MetadataPatch::remove_tag)
                }
            };
        }
        let patch = self.remove_tag.iter().fold(patch, MetadataPatch::remove_tag);
        Ok(self.metadata.add_to(patch))
    }
}
