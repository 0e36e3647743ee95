//! Which secrets output is searched for, and their values.

use futures_util::StreamExt as _;
use futures_util::stream;
use strongroom::{
    Capability, Error, ErrorKind, ReadOptions, Secret, SecretPath, SecretValue, SecretsManager,
    Tier,
};

use super::Filter;
use crate::context::Context;
use crate::failure::Failure;
use crate::listing;

/// How many secrets are read at once.
const CONCURRENT_READS: usize = 16;
/// What to do on a store that cannot list.
const DECLARE: &str = "declare them in a file that `--config` names";

/// A value of the store.
pub(crate) struct Known {
    pub(crate) path: SecretPath,
    pub(crate) value: SecretValue,
    pub(crate) tier: Tier,
}

/// The secrets below each prefix, or all of the store, without those that the options leave out.
pub(crate) struct Scope {
    secrets: SecretsManager,
    namespace: Option<SecretPath>,
    prefixes: Vec<SecretPath>,
    filter: Filter,
}

impl Scope {
    pub(crate) async fn new(
        context: &Context,
        prefixes: &[SecretPath],
        filter: &Filter,
    ) -> Result<Self, Failure> {
        Ok(Self {
            secrets: context.secrets().await?.clone(),
            namespace: context.globals().namespace.clone(),
            prefixes: prefixes.to_vec(),
            filter: filter.clone(),
        })
    }

    /// The values, with those of the version before the active one: a service may still use it. If there is none, it
    /// is an error, so that nothing passes unmasked by mistake.
    pub(crate) async fn values(&self, context: &Context) -> Result<Vec<Known>, Failure> {
        let secrets = &self.secrets;
        let has_versions = secrets.backend().capabilities.has(Capability::Versions);
        let read = |path: SecretPath| async move {
            let active = secrets.get_with(path.as_str(), ReadOptions::new().never_stale()).await;
            let earlier = if has_versions { earlier(secrets, &path).await } else { Ok(None) };
            (path, active, earlier)
        };
        let mut reads = stream::iter(self.paths(true).await?).map(read).buffered(CONCURRENT_READS);
        let (mut values, mut unread) = (Vec::new(), None);
        while let Some((path, active, earlier)) = reads.next().await {
            let is_readable = active.is_ok();
            for result in [active.map(Some), earlier] {
                match result {
                    Ok(secret) => values.extend(secret.map(|secret| known(&path, &secret))),
                    Err(error) if is_left_out(&error) => {
                        warn_of_unread(context, &path, &error, is_readable);
                        unread.get_or_insert(error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        match unread {
            Some(error) if values.is_empty() => Err(error.into()),
            _ => Ok(values),
        }
    }

    /// The paths, in order. If it is strict, each prefix must have one.
    pub(super) async fn paths(&self, is_strict: bool) -> Result<Vec<SecretPath>, Failure> {
        let mut paths = Vec::new();
        if self.secrets.backend().capabilities.has(Capability::List) {
            for prefix in self.prefixes() {
                match self.below(prefix).await {
                    Err(failure) if !is_strict && failure.is_not_found() => {}
                    found => paths.extend(found?),
                }
            }
        } else {
            paths = self.declared().await?;
        }
        paths.sort_unstable();
        paths.dedup();
        paths.retain(|path| !self.filter.excludes(path));
        if is_strict && paths.is_empty() {
            let error = Error::new(ErrorKind::NotFound, "leave out `--prefix` or `--exclude`");
            return Err(error.because("the options select no secret").into());
        }
        Ok(paths)
    }

    /// The prefixes, or `None` for all of the store.
    fn prefixes(&self) -> Vec<Option<&SecretPath>> {
        match self.prefixes.as_slice() {
            [] => vec![None],
            prefixes => prefixes.iter().map(Some).collect(),
        }
    }

    async fn below(&self, prefix: Option<&SecretPath>) -> Result<Vec<SecretPath>, Failure> {
        listing::below(&self.secrets, self.namespace.as_ref(), prefix, DECLARE).await
    }

    /// The declared secrets, which declarations name in full.
    async fn declared(&self) -> Result<Vec<SecretPath>, Failure> {
        let mut paths = Vec::new();
        for state in self.secrets.check_declared().await? {
            let below = match &self.namespace {
                Some(namespace) => state.path.below(namespace),
                None => Some(state.path.as_str()),
            };
            paths.extend(below.map(SecretPath::parse).transpose()?);
        }
        if paths.is_empty() {
            return Err(listing::cannot_list(self.secrets.backend(), DECLARE));
        }
        let is_below = |path: &SecretPath| {
            let mut prefixes = self.prefixes().into_iter();
            prefixes.any(|prefix| prefix.is_none_or(|prefix| path.below(prefix).is_some()))
        };
        paths.retain(is_below);
        Ok(paths)
    }
}

fn known(path: &SecretPath, secret: &Secret) -> Known {
    let tier = secret.metadata().tier;
    Known { path: path.clone(), value: secret.value().clone(), tier }
}

/// Whether the other values count without this one. What cannot be read cannot be masked; the rest can.
fn is_left_out(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::Expired || is_denied(error)
}

fn is_denied(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::ApprovalRequired)
}

/// Names a secret that is not searched for, also to a caller who wants no warnings.
fn warn_of_unread(context: &Context, path: &SecretPath, error: &Error, is_readable: bool) {
    let what = if is_readable { "the version before the active one of " } else { "" };
    match error.kind() {
        // It was deleted after it was listed.
        ErrorKind::NotFound => {}
        ErrorKind::Expired => context.alert(format_args!(
            "warning: `{path}` is neither masked nor searched for: it has expired, and stores do not give the value \
             of an expired secret. The key itself may still be valid; `strongroom annotate {path} --clear expiry` \
             makes the value readable"
        )),
        _ => context.alert(format_args!(
            "warning: {what}`{path}` is neither masked nor searched for: {error}"
        )),
    }
}

/// The version before the active one.
async fn earlier(secrets: &SecretsManager, path: &SecretPath) -> Result<Option<Secret>, Error> {
    let versions = secrets.versions(path.as_str()).await?;
    // Newest first.
    let mut before = versions.iter().skip_while(|version| !version.active).skip(1);
    let Some(version) = before.next() else { return Ok(None) };
    match secrets.get_version(path.as_str(), version.version.clone()).await {
        Ok(secret) => Ok(Some(secret)),
        Err(error) if error.is_temporary() || is_denied(&error) => Err(error),
        // It was destroyed, or the secret has expired.
        Err(_) => Ok(None),
    }
}
