//! Copies of secrets from one store to another, for `copy` and `migrate`.
//!
//! Each secret is a step of its own, which can be repeated: what an earlier run has written is found again and not
//! written twice, so a run that ended midway, also by a kill, is finished by the next one. A step
//!
//! 1. reads the source's versions, and those of the target;
//! 2. decides which are missing (`plan.rs`, a pure function);
//! 3. writes them in order, each under the condition that no other process has written meanwhile;
//! 4. reads each of them and the active version back, and compares them in constant time;
//! 5. compares the metadata, and sets what is missing.

mod plan;
mod report;
mod secret;
mod stores;

use std::cell::Cell;

use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use strongroom::{Capability, Config, SecretPath, SecretsManager};

use self::report::Report;
use self::secret::Copy;
use self::stores::Place;
use crate::agent;
use crate::args::parse_prefix;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::listing;
use crate::output::Stdout;
use crate::progress::Progress;

/// How many secrets are copied at a time.
const CONCURRENT: usize = 4;

/// The options that `copy` and `migrate` have in common.
#[derive(Args)]
pub(crate) struct TransferArgs {
    /// The store to read: a name, a configuration file, or native:FILE; the store of the environment without it
    #[arg(long, value_name = "STORE")]
    from: Option<String>,
    /// The store to write: a name, a configuration file, or native:FILE
    #[arg(long, value_name = "STORE")]
    to: Option<String>,
    /// Read below this prefix, in place of --namespace
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    from_namespace: Option<SecretPath>,
    /// Write below this prefix, in place of --namespace
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    to_namespace: Option<SecretPath>,
    /// Write new versions of secrets that have other values in the target
    #[arg(long)]
    overwrite: bool,
    /// Show what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Which secrets are to be copied.
pub(crate) enum Selection {
    Paths(Vec<SecretPath>),
    Prefix(Option<SecretPath>),
}

impl TransferArgs {
    /// Copies the selected secrets, with all versions if both stores have them and the caller wants them.
    pub(crate) async fn run(
        &self,
        context: &Context,
        selection: Selection,
        with_versions: bool,
    ) -> Outcome {
        let from = stores::source(context, self.from.as_deref())?;
        let to = stores::target(self.to.as_deref())?;
        let from = place(context, from, self.from_namespace.as_ref()).await?;
        let to = place(context, to, self.to_namespace.as_ref()).await?;
        stores::ensure_different(&from, &to)?;
        stores::ensure_writable(&to.secrets)?;
        let paths = select(context, &from, &to, selection).await?;
        // A copy reads values. An agent could read them where it has put them.
        if let Some(session) = agent::session()
            && !session.may_reveal_all(true, from.namespace.as_ref(), &paths)
        {
            return Err(session.copy_refusal());
        }
        let (from, to) = (from.secrets, to.secrets);
        if with_versions {
            for store in [&from, &to] {
                if !has(store, Capability::Versions) {
                    context.note(format_args!(
                        "the store `{}` has no versions: only the active ones are copied",
                        store.backend().kind
                    ));
                }
            }
        }
        if has(&from, Capability::Metadata) && !has(&to, Capability::Metadata) {
            context.note(format_args!(
                "the store `{}` has no metadata: it is left out",
                to.backend().kind
            ));
        }
        let copy =
            Copy { from, to, with_versions, overwrite: self.overwrite, dry_run: self.dry_run };
        copy_all(context, &copy, paths).await
    }
}

fn has(store: &SecretsManager, capability: Capability) -> bool {
    store.backend().capabilities.has(capability)
}

/// Opens a store in a namespace of its own or in that of `--namespace`.
async fn place(
    context: &Context,
    config: Config,
    namespace: Option<&SecretPath>,
) -> Result<Place, Failure> {
    let namespace = namespace.or(context.globals().namespace.as_ref()).cloned();
    Ok(Place { secrets: context.open_at(config, namespace.as_ref()).await?, namespace })
}

/// The paths of the source, in order.
async fn select(
    context: &Context,
    from: &Place,
    to: &Place,
    selection: Selection,
) -> Result<Vec<SecretPath>, Failure> {
    let mut paths = match selection {
        Selection::Paths(paths) => paths,
        Selection::Prefix(prefix) => {
            let (namespace, prefix) = (from.namespace.as_ref(), prefix.as_ref());
            let advice = "name each one, as in `copy PATH…`";
            let mut paths = listing::below(&from.secrets, namespace, prefix, advice).await?;
            if stores::remove_target(from, prefix, to, &mut paths)? {
                context.note("the target lies in the source: the secrets in it are left out");
            }
            paths
        }
    };
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}

/// Copies some secrets at a time, and tells of each in the order of their paths.
async fn copy_all(context: &Context, copy: &Copy, paths: Vec<SecretPath>) -> Outcome {
    let stdout = Stdout::new()?;
    let mut progress = Progress::new(context, &stdout, paths.len());
    let mut report = Report::new(context, &stdout, copy.dry_run);
    let is_stopped = Cell::new(false);
    let run = |path: SecretPath| {
        let is_stopped = &is_stopped;
        async move {
            // Those that are under way when one fails are carried to their end.
            if is_stopped.get() {
                return None;
            }
            let secret = copy.run(&path).await;
            is_stopped.set(is_stopped.get() || secret.outcome == secret::Outcome::Failed);
            Some((path, secret))
        }
    };
    let mut secrets = stream::iter(paths).map(run).buffered(CONCURRENT);
    while let Some(secret) = secrets.next().await {
        if let Some((path, secret)) = secret {
            progress.advance();
            report.add(&path, secret);
        }
    }
    drop(progress);
    report.finish()
}
