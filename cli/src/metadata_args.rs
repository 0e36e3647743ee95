//! Options for metadata, which `put` and `annotate` have in common.

use std::time::{Duration, SystemTime};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use strongroom::{MetadataPatch, SecretKind, Tier};

use crate::when;

/// Metadata to set.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Metadata")]
pub(crate) struct MetadataArgs {
    /// The kind of credential
    #[arg(long, value_parser = kinds())]
    kind: Option<SecretKind>,
    /// How sensitive the secret is
    #[arg(long, value_parser = tiers())]
    tier: Option<Tier>,
    /// A label; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Labels, separated by commas
    #[arg(long = "tags", hide = true, value_parser = parse_tag, value_delimiter = ',')]
    more_tags: Vec<(String, String)>,
    /// A description for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Let the secret expire after this time
    #[arg(long, value_name = "90d", value_parser = when::parse_time_from_now)]
    expires_in: Option<SystemTime>,
    /// Let the secret expire at this time
    #[arg(long, value_name = "DATE", value_parser = when::parse_time, conflicts_with = "expires_in")]
    expires_at: Option<SystemTime>,
    /// How often the secret should be replaced
    #[arg(long, value_name = "30d", value_parser = when::parse_duration)]
    rotation_interval: Option<Duration>,
}

impl MetadataArgs {
    /// The tier that is to be set.
    pub(crate) fn tier(&self) -> Option<Tier> {
        self.tier
    }

    /// Whether an expiry is to be set.
    pub(crate) fn has_expiry(&self) -> bool {
        self.expires_in.or(self.expires_at).is_some()
    }

    /// Adds what is to be set to a patch.
    pub(crate) fn add_to(&self, mut patch: MetadataPatch) -> MetadataPatch {
        if let Some(kind) = self.kind {
            patch = patch.kind(kind);
        }
        if let Some(tier) = self.tier {
            patch = patch.tier(tier);
        }
        for (name, value) in self.tags.iter().chain(&self.more_tags) {
            patch = patch.tag(name, value);
        }
        if let Some(description) = &self.description {
            patch = patch.description(description);
        }
        if let Some(time) = self.expires_in.or(self.expires_at) {
            patch = patch.expires_at(time);
        }
        if let Some(interval) = self.rotation_interval {
            patch = patch.rotation_interval(interval);
        }
        patch
    }
}

/// The kinds of secrets.
pub(crate) fn kinds() -> impl TypedValueParser<Value = SecretKind> {
    PossibleValuesParser::new(SecretKind::ALL.iter().map(|kind| kind.as_str()))
        .try_map(|name| name.parse::<SecretKind>())
}

/// The tiers of secrets.
pub(crate) fn tiers() -> impl TypedValueParser<Value = Tier> {
    PossibleValuesParser::new(Tier::ALL.iter().map(|tier| tier.as_str()))
        .try_map(|name| name.parse::<Tier>())
}

/// A tag as `NAME=VALUE`.
pub(crate) fn parse_tag(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write it as `NAME=VALUE`")?;
    Ok((name.to_owned(), value.to_owned()))
}
