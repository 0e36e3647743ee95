//! Names that are not settings, and the settings that are probably meant.

use strongroom_core::{Problems, Setting, Settings};

use crate::backends::{self, BACKEND, KINDS};
use crate::policy;

/// The largest number of edits between a misspelt name and the name that is meant.
const MAX_EDITS: usize = 2;

#[cfg(feature = "access")]
pub(crate) const ACCESS_SETTINGS: &[Setting] = strongroom_access::SETTINGS;
#[cfg(not(feature = "access"))]
const ACCESS_SETTINGS: &[Setting] = &[];
/// The prefix of the variables of the access rules.
const ACCESS_PREFIX: &str = "SECRETS_ACCESS_";

/// All settings: those of the facade, of the access rules and of every backend, if they are compiled in.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    let of_backends = KINDS.iter().filter_map(|kind| kind.settings).flatten();
    let general = backends::SETTINGS.iter().chain(policy::SETTINGS);
    general.chain(ACCESS_SETTINGS).chain(of_backends)
}

/// The setting with this variable or this key in a file.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    let name = name.to_ascii_uppercase();
    settings().find(|setting| {
        let variable = setting.variable();
        variable == name || variable.strip_prefix("SECRETS_") == Some(&name)
    })
}

/// Adds a problem for each variable of the environment that is probably a misspelt setting.
///
/// Not every name that begins with `SECRETS_` is a setting: it may be a secret of the `env` backend,
/// or an orchestrator describes a service called `secrets` with it.
pub(crate) fn check_environment(settings: &Settings, problems: &mut Problems) {
    let prefix = settings.variables().find(|name| *name == "SECRETS_ENV_PREFIX");
    let prefix = prefix.and_then(find).and_then(|setting| settings.expose_value(setting));
    let may_be_secrets = prefix.is_some_and(|prefix| prefix.starts_with("SECRETS"));
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let backend = settings.expose_value(&BACKEND).and_then(backends::find);
    let of_backend = backend.and_then(|kind| kind.settings).unwrap_or_default();
    for name in names.filter(|name| !is_of_a_service(name) && !is_variable(name)) {
        let is_misspelt = if name.starts_with("SECRET") {
            is_near(&name, self::settings()) || (!may_be_secrets && has_prefix_of_settings(&name))
        } else {
            // Variables that other tools read as well, or a Strongroom server, matter only to the backend that reads
            // them.
            ["VAULT_", "AWS_", "STRONGROOM_"].iter().any(|prefix| name.starts_with(prefix))
                && is_near(&name, of_backend.iter())
        };
        if is_misspelt {
            problems.add(unknown_setting(&name));
        }
    }
}

fn is_variable(name: &str) -> bool {
    settings().any(|setting| setting.variable() == name)
}

fn is_near<'a>(name: &str, mut settings: impl Iterator<Item = &'a Setting>) -> bool {
    settings.any(|setting| strsim::damerau_levenshtein(setting.variable(), name) <= MAX_EDITS)
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
        || (cfg!(feature = "access") && name.starts_with(ACCESS_PREFIX))
        || KINDS.iter().any(|kind| kind.settings.is_some() && name.starts_with(kind.prefix))
}

/// The problem of a name that is not a setting, with the setting that is probably meant.
pub(crate) fn unknown_setting(name: &str) -> String {
    let variables = settings().map(|setting| setting.variable().to_owned());
    let keys = settings().map(Setting::key);
    match nearest(name, variables.chain(keys)).or_else(|| complete(name)) {
        Some(meant) => format!("`{name}` is not a setting; did you mean `{meant}`?"),
        None => format!("`{name}` is not a setting; remove it"),
    }
}

/// The problem of a name in `SECRETS_BACKEND` that is not a backend's.
pub(crate) fn unknown_backend(name: &str) -> String {
    let names = KINDS.iter().flat_map(|kind| [&[kind.name], kind.aliases].concat());
    let meant = nearest(&name.to_lowercase(), names.map(str::to_owned))
        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    let quoted: Vec<_> = KINDS.iter().map(|kind| format!("`{}`", kind.name)).collect();
    let choice = match quoted.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    format!("`{BACKEND}` is not the name of a backend: use {choice}{meant}")
}

/// The setting whose variable is `name` without `SECRETS_` in front, or the only one whose variable
/// ends in `name`: `role_id` is completed to `VAULT_ROLE_ID`.
fn complete(name: &str) -> Option<String> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SECRETS_").unwrap_or(&name);
    if is_variable(name) {
        return Some(name.to_owned());
    }
    let end = format!("_{name}");
    let mut matches = settings().map(Setting::variable).filter(|variable| variable.ends_with(&end));
    matches.next().filter(|_| matches.next().is_none()).map(str::to_owned)
}

/// The name that is at most [`MAX_EDITS`] away from `name`, and the nearest.
fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let distance = |other: &String| strsim::damerau_levenshtein(other, name);
    names.min_by_key(distance).filter(|other| distance(other) <= MAX_EDITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_describes_a_service_is_not_a_setting() {
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
        assert!(!settings().map(Setting::variable).any(is_of_a_service));
    }

    #[test]
    fn a_misspelt_name_suggests_the_setting() {
        for (given, meant) in [
            ("SECRETS_BACKNED", "did you mean `SECRETS_BACKEND`?"),
            ("SECRET_BACKEND", "did you mean `SECRETS_BACKEND`?"),
            ("bakend", "did you mean `backend`?"),
            ("SECRETS_SERVICE_HOST", "remove it"),
            #[cfg(feature = "access")]
            ("SECRETS_ACESS_KEY_FILE", "did you mean `SECRETS_ACCESS_KEY_FILE`?"),
            #[cfg(feature = "access")]
            ("access_templates_", "did you mean `access_templates`?"),
            #[cfg(feature = "hashicorp")]
            ("SECRETS_VAULT_ADDR", "did you mean `VAULT_ADDR`?"),
            #[cfg(feature = "hashicorp")]
            ("role_id", "did you mean `VAULT_ROLE_ID`?"),
            #[cfg(feature = "remote")]
            ("STRONGROOM_TOKEN_FIEL", "did you mean `STRONGROOM_TOKEN_FILE`?"),
            #[cfg(feature = "remote")]
            ("SECRETS_STRONGROOM_ADDR", "did you mean `STRONGROOM_ADDR`?"),
            #[cfg(feature = "hashicorp")]
            ("timeout", "remove it"),
        ] {
            assert!(unknown_setting(given).ends_with(meant), "{}", unknown_setting(given));
        }
    }
}
