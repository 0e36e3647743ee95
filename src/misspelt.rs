//! Settings that nobody reads, probably because of a slip of the pen.

use strongroom_core::{Problems, Settings};

use crate::backends::{BACKEND, KINDS, settings, settings_of};
use crate::policy;

/// How many letters may differ for a name to count as misspelt.
const SLIPS: usize = 2;

/// Every setting that can be given.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    std::iter::once(BACKEND).chain(policy::SETTINGS.iter().copied()).chain(settings())
}

/// Notes variables of the environment that look like settings and are none.
///
/// Not every name that begins with `SECRETS_` is meant for us: it may be a secret of the `env`
/// backend, or come from an orchestrator that describes a service called `secrets`.
pub(crate) fn check_environment(settings: &Settings, problems: &mut Problems) {
    let prefix = settings.expose("SECRETS_ENV_PREFIX").unwrap_or_default();
    let may_be_secrets = prefix.starts_with("SECRETS");
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_unknown = |name: &String| !is_of_a_service(name) && known().all(|known| known != name);
    let chosen = settings_of(settings.expose(BACKEND).unwrap_or_default());
    for name in names.filter(is_unknown) {
        let is_misspelt = if name.starts_with("SECRET") {
            is_near(&name, known()) || (!may_be_secrets && has_prefix_of_settings(&name))
        } else {
            // Variables that are shared with other tools concern only the backend that reads them.
            ["VAULT_", "AWS_"].iter().any(|prefix| name.starts_with(prefix))
                && is_near(&name, chosen.iter().copied())
        };
        if is_misspelt {
            problems.add(unknown(&name));
        }
    }
}

fn is_near<'a>(name: &str, mut settings: impl Iterator<Item = &'a str>) -> bool {
    settings.any(|setting| strsim::damerau_levenshtein(setting, name) <= SLIPS)
}

/// Whether Kubernetes describes a service with this variable, such as one called `secrets-env`
/// with `SECRETS_ENV_SERVICE_HOST`, `SECRETS_ENV_PORT` and `SECRETS_ENV_PORT_80_TCP_ADDR`; see
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_of_a_service(name: &str) -> bool {
    let is_of_a_port = |(_, rest): (&str, &str)| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.starts_with(protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.rsplit_once("_PORT_").is_some_and(is_of_a_port)
}

fn has_prefix_of_settings(name: &str) -> bool {
    name.starts_with(policy::CACHE_PREFIX)
        || KINDS.iter().any(|kind| kind.settings.is_some() && name.starts_with(kind.prefix))
}

/// Says that a setting is not known, and which one may be meant.
pub(crate) fn unknown(name: &str) -> String {
    let keys = known().map(key);
    let meant = nearest(name, known().map(str::to_owned).chain(keys)).or_else(|| complete(name));
    match meant {
        Some(meant) => format!("`{name}` is not a setting; did you mean `{meant}`?"),
        None => format!("`{name}` is not a setting; remove it"),
    }
}

/// The setting that a name would be without `SECRETS_` in front, or the only one that it is the end
/// of, as `role_id` is of `VAULT_ROLE_ID`.
fn complete(name: &str) -> Option<String> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SECRETS_").unwrap_or(&name);
    if known().any(|known| known == name) {
        return Some(name.to_owned());
    }
    let end = format!("_{name}");
    let mut meant = known().filter(|known| known.ends_with(&end));
    meant.next().filter(|_| meant.next().is_none()).map(str::to_owned)
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
    fn what_describes_a_service_is_told_from_a_setting() {
        for tail in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_80_TCP",
            "PORT_80_TCP_PROTO",
            "PORT_80_TCP_PORT",
            "PORT_80_TCP_ADDR",
            "PORT_53_UDP_ADDR",
        ] {
            for service in ["SECRETS_ENV", "SECRETS_NATIVE", "SECRETS_NATIVE_2"] {
                assert!(is_of_a_service(&format!("{service}_{tail}")), "{service}_{tail}");
            }
        }
        for setting in ["SECRETS_NATIVE_PAHT", "SECRETS_ENV_PORT_X", "SECRETS_NATIVE_EXPORT"] {
            assert!(!is_of_a_service(setting), "{setting}");
        }
        assert!(!known().any(is_of_a_service));
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        for (given, meant) in [
            ("SECRETS_BACKNED", "did you mean `SECRETS_BACKEND`?"),
            ("SECRET_BACKEND", "did you mean `SECRETS_BACKEND`?"),
            ("bakend", "did you mean `backend`?"),
            ("SECRETS_SERVICE_HOST", "remove it"),
            #[cfg(feature = "hashicorp")]
            ("SECRETS_VAULT_ADDR", "did you mean `VAULT_ADDR`?"),
            #[cfg(feature = "hashicorp")]
            ("role_id", "did you mean `VAULT_ROLE_ID`?"),
            #[cfg(feature = "hashicorp")]
            ("timeout", "remove it"),
        ] {
            assert!(unknown(given).ends_with(meant), "{}", unknown(given));
        }
    }
}
