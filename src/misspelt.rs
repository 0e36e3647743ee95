//! Settings that nobody reads, probably because of a slip of the pen.

use strongroom_core::{Problems, Settings};

use crate::backends::{KINDS, settings};

const BACKEND: &str = "SECRETS_BACKEND";

/// How many letters may differ for a name to count as misspelt.
const SLIPS: usize = 2;

/// Every setting that can be given.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    std::iter::once(BACKEND).chain(settings())
}

/// Notes variables of the environment that look like settings and are none.
///
/// Not every name that begins with `SECRETS_` is meant for us: it may be a secret of the `env`
/// backend, or come from an orchestrator that describes a service called `secrets`.
pub(crate) fn check_environment(settings: &Settings, problems: &mut Problems) {
    let prefix = settings.expose("SECRETS_ENV_PREFIX").unwrap_or_default();
    if prefix.starts_with("SECRETS") {
        return;
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("SECRETS_")) {
        if known().all(|known| known != name)
            && (nearest(&name).is_some() || has_prefix_of_a_backend(&name))
        {
            problems.add(unknown(&name));
        }
    }
}

fn has_prefix_of_a_backend(name: &str) -> bool {
    KINDS.iter().any(|kind| kind.settings.is_some() && name.starts_with(kind.prefix))
}

/// Says that a setting is not known, and which one may be meant.
pub(crate) fn unknown(name: &str) -> String {
    match nearest(name) {
        Some(meant) => format!("`{name}` is not a setting; did you mean `{meant}`?"),
        None => format!("`{name}` is not a setting; remove it"),
    }
}

/// The setting that a variable's name or a file's key comes close to.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let distance = |known: &&str| {
        let whole = strsim::damerau_levenshtein(known, &name);
        let key = known.strip_prefix("SECRETS_").unwrap_or(known);
        whole.min(strsim::damerau_levenshtein(key, &name))
    };
    known().min_by_key(distance).filter(|known| distance(known) <= SLIPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        assert_eq!(nearest("SECRETS_BACKNED"), Some(BACKEND));
        assert_eq!(nearest("bakend"), Some(BACKEND));
        assert_eq!(nearest("SECRETS_SERVICE_HOST"), None);
        #[cfg(feature = "native")]
        assert_eq!(nearest("SECRETS_NATIVE_PAHT"), Some("SECRETS_NATIVE_PATH"));
    }
}
