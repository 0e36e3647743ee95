//! The two stores of a copy.

use std::path::Path;

use strongroom::{Backend as _, Capability, Config, Error, SecretPath, SecretsManager};

use super::has;
use crate::context::{Context, read_config};
use crate::failure::Failure;

/// What stands before the file of a native store.
const NATIVE: &str = "native:";

/// The configuration of the source: that of the options and the environment unless it is named.
pub(super) fn source(context: &Context, text: Option<&str>) -> Result<Config, Failure> {
    text.map_or_else(|| context.config(), |text| config("--from", text))
}

/// The configuration of the target, which has to be named.
pub(super) fn target(text: Option<&str>) -> Result<Config, Failure> {
    let text = text.ok_or_else(|| {
        Failure::usage("`--to` is missing: name a store, its configuration file, or `native:FILE`")
    })?;
    config("--to", text)
}

/// A configuration file has a `.` or a `/` in its name; the other stores take their settings from the environment.
fn config(option: &str, text: &str) -> Result<Config, Failure> {
    if let Some(file) = text.strip_prefix(NATIVE) {
        let config = Config::from_env().set_as("backend", option, "native");
        return Ok(config.set_as("native_path", option, file));
    }
    if text.contains(['.', '/']) {
        return read_config(option, Path::new(text));
    }
    Ok(Config::from_env().set_as("backend", option, text))
}

/// One store of a copy, and the namespace in it.
pub(super) struct Place {
    pub(super) secrets: SecretsManager,
    pub(super) namespace: Option<SecretPath>,
}

impl Place {
    /// The path in full.
    fn full(&self, path: &SecretPath) -> Result<SecretPath, Error> {
        match &self.namespace {
            Some(namespace) => namespace.join(path.as_str()),
            None => Ok(path.clone()),
        }
    }
}

/// Refuses to copy a store onto itself.
pub(super) fn ensure_different(from: &Place, to: &Place) -> Result<(), Failure> {
    let probe = SecretPath::parse("a")?;
    if is_same(from, &probe, to, &probe) {
        return Err(Failure::usage(format!(
            "`--from` and `--to` are the same place, {}: name two, or use `--to-namespace`",
            to.secrets.backend().instance
        )));
    }
    Ok(())
}

/// Removes what lies in the target, if the target lies below `prefix` of the source: an earlier run has written it, and
/// each run would copy the copies of the one before. Returns whether there was any.
pub(super) fn remove_target(
    from: &Place,
    prefix: Option<&SecretPath>,
    to: &Place,
    paths: &mut Vec<SecretPath>,
) -> Result<bool, Error> {
    let Some(namespace) = &to.namespace else { return Ok(false) };
    let root = match prefix {
        Some(prefix) => Some(from.full(prefix)?),
        None => from.namespace.clone(),
    };
    if root.is_some_and(|root| root != *namespace && namespace.below(&root).is_none()) {
        return Ok(false);
    }
    let count = paths.len();
    paths.retain(|path| {
        let full = from.full(path).ok();
        let below = full.as_ref().and_then(|full| full.below(namespace));
        let below = below.and_then(|below| SecretPath::parse(below).ok());
        below.is_none_or(|below| !is_same(from, path, to, &below))
    });
    Ok(paths.len() < count)
}

/// Whether a path of one store and a path of the other are the same secret.
fn is_same(from: &Place, path: &SecretPath, to: &Place, other: &SecretPath) -> bool {
    let (one, another) = (from.secrets.backend(), to.secrets.backend());
    one.kind == another.kind
        && one.instance == another.instance
        && from.secrets.locate(path) == to.secrets.locate(other)
}

/// Refuses a target that is only read.
pub(super) fn ensure_writable(to: &SecretsManager) -> Result<(), Failure> {
    if has(to, Capability::Put) {
        return Ok(());
    }
    Err(to.backend().unsupported(strongroom::Operation::Put).into())
}
