//! `list`: paths and metadata, never values.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;
use strongroom::{
    Description, ErrorKind, ListOptions, SecretKind, SecretPath, SecretsManager, Tier,
};

use super::Run;
use crate::args::{Format, parse_prefix};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::metadata_args::{kinds, parse_tag, tiers};
use crate::output::{Document, Stdout};
use crate::shape::MetadataShape;
use crate::{table, when};

/// How many secrets are described at once.
const CONCURRENT_DESCRIPTIONS: usize = 16;

/// List paths, and metadata with --long; never values
#[derive(Args)]
#[command(visible_alias = "ls")]
#[command(
    after_help = "Example: strongroom list production --tag team=payments --expires-within 7d"
)]
pub(crate) struct List {
    /// Only secrets below this prefix
    #[arg(value_parser = parse_prefix)]
    prefix: Option<SecretPath>,
    /// Only secrets with this tag; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Only secrets of this kind
    #[arg(long, value_parser = kinds())]
    kind: Option<SecretKind>,
    /// Only secrets of this tier
    #[arg(long, value_parser = tiers())]
    tier: Option<Tier>,
    /// Only secrets that have expired or will within this time
    #[arg(long, value_name = "7d", value_parser = when::parse_duration)]
    expires_within: Option<Duration>,
    /// Also secrets that are deleted and can be undeleted, which are marked
    #[arg(long, conflicts_with_all = ["tier", "expires_within", "long"])]
    include_deleted: bool,
    /// Show metadata; takes a request per secret
    #[arg(long, short)]
    long: bool,
}

impl Run for List {
    async fn run(self, context: &Context) -> Outcome {
        let secrets = context.secrets().await?;
        let prefix = self.prefix.as_ref().map_or("", SecretPath::as_str);
        let mut paths = secrets.list_with(prefix, self.options(self.include_deleted)).all().await?;
        paths.sort_unstable();
        if self.needs_metadata() {
            let described = self.describe(secrets, paths).await?;
            print_described(context, &described)?;
        } else {
            let deleted = self.find_deleted(secrets, prefix, &paths).await?;
            print_paths(context, &paths, &deleted)?;
        }
        Ok(Exit::SUCCESS)
    }
}

impl List {
    fn options(&self, include_deleted: bool) -> ListOptions {
        let mut options = ListOptions::new();
        for (name, value) in &self.tags {
            options = options.tag(name, value);
        }
        options.kind = self.kind;
        options.include_deleted = include_deleted;
        options
    }

    /// Those of the paths whose secrets are deleted.
    async fn find_deleted(
        &self,
        secrets: &SecretsManager,
        prefix: &str,
        paths: &[SecretPath],
    ) -> Result<BTreeSet<SecretPath>, Failure> {
        if !self.include_deleted {
            return Ok(BTreeSet::new());
        }
        let living = secrets.list_with(prefix, self.options(false)).all().await?;
        let living: BTreeSet<_> = living.into_iter().collect();
        Ok(paths.iter().filter(|path| !living.contains(*path)).cloned().collect())
    }

    /// Stores filter by tag and kind; the rest is in the descriptions.
    fn needs_metadata(&self) -> bool {
        self.long || self.tier.is_some() || self.expires_within.is_some()
    }

    /// The secrets that match, in the order of `paths`. One that has been deleted meanwhile is left out.
    async fn describe(
        &self,
        secrets: &SecretsManager,
        paths: Vec<SecretPath>,
    ) -> Result<Vec<(SecretPath, Description)>, Failure> {
        let latest = self.expires_within.map(|time| SystemTime::now().checked_add(time));
        let describe = |path: SecretPath| async move {
            let result = secrets.describe(path.as_str()).await;
            (path, result)
        };
        let mut results = stream::iter(paths).map(describe).buffered(CONCURRENT_DESCRIPTIONS);
        let mut matches = Vec::new();
        while let Some((path, result)) = results.next().await {
            let description = match result {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                result => result?,
            };
            let metadata = &description.metadata;
            let expires = |latest: Option<SystemTime>| {
                metadata
                    .expires_at
                    .is_some_and(|expiry| latest.is_none_or(|latest| expiry <= latest))
            };
            if self.tier.is_none_or(|tier| tier == metadata.tier) && latest.is_none_or(expires) {
                matches.push((path, description));
            }
        }
        Ok(matches)
    }
}

fn print_paths(
    context: &Context,
    paths: &[SecretPath],
    deleted: &BTreeSet<SecretPath>,
) -> Result<(), Failure> {
    let stdout = Stdout::new()?;
    let mut output = stdout.buffered();
    let result = paths.iter().try_for_each(|path| match context.format() {
        Format::Text if deleted.contains(path) => writeln!(output, "{path}\tdeleted"),
        Format::Text => writeln!(output, "{path}"),
        Format::Json => {
            let listed = Listed { path: path.as_str(), deleted: deleted.contains(path) };
            output.write_all(&Document::new(listed).to_line()?)
        }
    });
    result.and_then(|()| output.flush()).map_err(|error| Failure::output(&error))
}

fn print_described(
    context: &Context,
    described: &[(SecretPath, Description)],
) -> Result<(), Failure> {
    let stdout = Stdout::new()?;
    let mut output = stdout.buffered();
    let now = SystemTime::now();
    let result = match context.format() {
        Format::Text => {
            let rows: Vec<_> =
                described.iter().map(|(path, found)| row(path, found, now)).collect();
            let head = ["PATH", "VERSION", "KIND", "TIER", "EXPIRES", "TAGS"];
            table::write(&mut output, head, &rows)
        }
        Format::Json => described.iter().try_for_each(|(path, found)| {
            output.write_all(&Document::new(Described::new(path, found, now)).to_line()?)
        }),
    };
    result.and_then(|()| output.flush()).map_err(|error| Failure::output(&error))
}

fn row(path: &SecretPath, found: &Description, now: SystemTime) -> [String; 6] {
    let metadata = &found.metadata;
    let tags = metadata.tags.iter().map(|(name, value)| format!("{name}={value}"));
    [
        path.to_string(),
        found.version.to_string(),
        metadata.kind.to_string(),
        metadata.tier.to_string(),
        metadata.expires_at.map_or_else(String::new, |expiry| when::distance(expiry, now)),
        tags.collect::<Vec<_>>().join(","),
    ]
}

#[derive(Serialize)]
struct Listed<'a> {
    path: &'a str,
    /// Only with `--include-deleted`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

/// A secret without its value.
#[derive(Serialize)]
pub(super) struct Described<'a> {
    path: &'a str,
    version: String,
    #[serde(flatten)]
    metadata: MetadataShape<'a>,
}

impl<'a> Described<'a> {
    pub(super) fn new(path: &'a SecretPath, found: &'a Description, now: SystemTime) -> Self {
        Self {
            path: path.as_str(),
            version: found.version.text().into_owned(),
            metadata: MetadataShape::new(&found.metadata, now),
        }
    }
}
