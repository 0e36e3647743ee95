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
    let may_be_secrets = prefix.starts_with("SECRETS");
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("SECRET") && known().all(|k| k != name)) {
        let is_near = known().any(|known| strsim::damerau_levenshtein(known, &name) <= SLIPS);
        if is_near || (!may_be_secrets && has_prefix_of_a_backend(&name)) {
            problems.add(unknown(&name));
        }
    }
}

fn has_prefix_of_a_backend(name: &str) -> bool {
    KINDS.iter().any(|kind| kind.settings.is_some() && name.starts_with(kind.prefix))
}

/// Says that a setting is not known, and which one may be meant.
pub(crate) fn unknown(name: &str) -> String {
    let keys = known().map(key);
    let meant = nearest(name, known().map(str::to_owned).chain(keys));
    match meant {
        Some(meant) => format!("`{name}` is not a setting; did you mean `{meant}`?"),
        None => format!("`{name}` is not a setting; remove it"),
    }
}

/// The key of a setting in a file.
fn key(setting: &str) -> String {
    setting.strip_prefix("SECRETS_").unwrap_or(setting).to_ascii_lowercase()
}

/// The one of `names` that `given` comes close to.
pub(crate) fn nearest(given: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let distance = |name: &String| strsim::damerau_levenshtein(name, given);
    names.min_by_key(distance).filter(|name| distance(name) <= SLIPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        for (given, meant) in [
            ("SECRETS_BACKNED", "did you mean `SECRETS_BACKEND`?"),
            ("SECRET_BACKEND", "did you mean `SECRETS_BACKEND`?"),
            ("bakend", "did you mean `backend`?"),
            ("SECRETS_SERVICE_HOST", "remove it"),
        ] {
            assert!(unknown(given).ends_with(meant), "{}", unknown(given));
        }
    }
}
