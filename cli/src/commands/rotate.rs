//! `rotate`: replaces a secret, by the store, by the service that uses it, or with a new value.

use clap::Args;
use strongroom::rotation::report_compromised;
use strongroom::{
    Backend as _, Capability, ErrorKind, MetadataPatch, PutOptions, SecretPath, SecretsManager,
    Version,
};

use super::Run;
use crate::args::parse_path;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::shape::Written;
use crate::value_input::ValueInput;

/// Make the store replace a secret itself, where it can
#[derive(Args)]
#[command(after_help = "Example: strongroom rotate --compromised openai/api-key")]
pub(crate) struct Rotate {
    /// The path of the secret
    #[arg(value_parser = parse_path)]
    path: SecretPath,
    /// The value is known to others: have the store or the service replace it at once, or read a new one
    #[arg(long)]
    compromised: bool,
    #[command(flatten)]
    value: ValueInput,
}

impl Run for Rotate {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        if !self.compromised {
            if self.value.is_given() {
                return Err(Failure::usage(
                    "`rotate` takes a value with `--compromised` only; `put` stores one",
                ));
            }
            let outcome = secrets.rotate(self.path.as_str()).await?;
            return self.report_rotation(context, outcome.version.as_ref());
        }
        if secrets.backend().capabilities.has(Capability::Rotate) {
            match secrets.rotate(self.path.as_str()).await {
                Ok(outcome) => return self.report_rotation(context, outcome.version.as_ref()),
                // The store can, but not this secret.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Config) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let is_marked = match report_compromised(secrets, &self.path).await {
            // What has expired cannot be read, and so not be marked.
            Err(error) if error.kind() == ErrorKind::Expired => false,
            result => result?,
        };
        if is_marked {
            self.print(context, None)?;
            context.note(format_args!(
                "`{}` is marked as compromised: the service that rotates it replaces and revokes the key; \
                 `strongroom versions` shows when",
                self.path
            ));
            return Ok(Exit::SUCCESS);
        }
        self.replace(context, secrets).await
    }
}

impl Rotate {
    fn report_rotation(&self, context: &Context, version: Option<&Version>) -> Outcome {
        self.print(context, version)?;
        if !context.is_json() {
            match version {
                Some(version) => context
                    .note(format_args!("rotated `{}`; the new version is {version}", self.path)),
                None => context.note(format_args!("the store rotates `{}`", self.path)),
            }
        }
        Ok(Exit::SUCCESS)
    }

    /// Reads a new value and stores it in place of the one that is active now.
    async fn replace(&self, context: &Context, secrets: &SecretsManager) -> Outcome {
        let location = secrets.locate(&self.path);
        let (version, compromised) = match secrets.get(self.path.as_str()).await {
            Err(error) if error.kind() == ErrorKind::Expired => {
                (secrets.describe(self.path.as_str()).await?.version, None)
            }
            secret => {
                let secret = secret?;
                (secret.version().clone(), Some(secret))
            }
        };
        context.note(format_args!(
            "neither the store nor a service replaces {location}: get a new value where the old one was issued"
        ));
        let value = self.value.read(context, &location)?;
        let options = PutOptions::new().must_be_version(version);
        let options = match &compromised {
            Some(secret) if secret.value().constant_time_eq(&value) => {
                return Err(Failure::usage(
                    "the new value is the compromised one; nothing was stored",
                ));
            }
            Some(_) => options,
            // The expiry was that of the old value.
            None => options.metadata(MetadataPatch::new().clear_expires_at()),
        };
        let stored = secrets.put_with(self.path.as_str(), value, options).await?;
        self.print(context, Some(&stored))?;
        if !context.is_json() {
            context.note(format_args!("stored `{}` as version {stored}", self.path));
        }
        context.note(
            "the old value works until it is revoked where it was issued; a store with versions keeps it, too",
        );
        Ok(Exit::SUCCESS)
    }

    fn print(&self, context: &Context, version: Option<&Version>) -> Result<(), Failure> {
        if context.is_json() {
            Stdout::new()?.document(Written::new(self.path.as_str(), version))?;
        }
        Ok(())
    }
}
