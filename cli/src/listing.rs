//! The secrets below a prefix, for commands that work on all of them.

use strongroom::{BackendInfo, Capability, Error, ErrorKind, SecretPath, SecretsManager};

use crate::failure::Failure;

/// The paths below `prefix` of a store that is seen in `namespace`, in the order of the store.
///
/// To find none is an error: a misspelt prefix or file would otherwise mean that nothing is masked, searched for or
/// copied, without a word. `advice` says what to do on a store that cannot list.
pub(crate) async fn below(
    secrets: &SecretsManager,
    namespace: Option<&SecretPath>,
    prefix: Option<&SecretPath>,
    advice: &str,
) -> Result<Vec<SecretPath>, Failure> {
    let info = secrets.backend();
    if !info.capabilities.has(Capability::List) {
        return Err(cannot_list(info, advice));
    }
    let paths = secrets.list(prefix.map_or("", SecretPath::as_str)).all().await?;
    if !paths.is_empty() {
        return Ok(paths);
    }
    let full = match (namespace, prefix) {
        (Some(namespace), Some(prefix)) => Some(namespace.join(prefix.as_str())?),
        (one, other) => one.or(other).cloned(),
    };
    let reason = match full {
        Some(prefix) => format!("there are no secrets below `{prefix}` in {}", info.instance),
        None => format!("there are no secrets in {}", info.instance),
    };
    Err(Error::new(ErrorKind::NotFound, "see `list` for those there are").because(reason).into())
}

/// The failure of a command that needs a list, on a store that has none.
pub(crate) fn cannot_list(info: &BackendInfo, advice: &str) -> Failure {
    Failure::usage(format!(
        "the store `{}` cannot list secrets: {advice}, or use {}",
        info.kind, info.alternatives
    ))
}
