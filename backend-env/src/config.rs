//! Which variables are read, and from where.

use std::path::PathBuf;

use strongroom_core::{Problems, Settings};

use crate::variable;

pub(crate) const PREFIX: &str = "SECRETS_ENV_PREFIX";
pub(crate) const FALLBACK: &str = "SECRETS_ENV_FALLBACK";
pub(crate) const FILE: &str = "SECRETS_ENV_FILE";

/// The settings of this backend, by the names of their environment variables.
pub const SETTINGS: &[&str] = &[PREFIX, FALLBACK, FILE];

/// Opens one env backend. By default: no prefix, no fallback, no file.
///
/// # Examples
/// ```
/// use strongroom_backend_env::EnvConfig;
///
/// let config = EnvConfig::default().prefix("BILLING").fallback(true).file(".env");
/// assert_eq!(config.prefix.as_deref(), Some("BILLING"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnvConfig {
    /// Stands in front of every variable: `[A-Za-z_][A-Za-z0-9_]*`, used exactly as given, with a
    /// `_` added if it does not end in one.
    pub prefix: Option<String>,
    /// Whether a path whose own variable is not set reads the variable of its last segment. Mind
    /// that `db/user` then reads `USER` if there is no prefix.
    pub fallback: bool,
    /// A `.env` file, at most 1 MiB, read when the backend is opened. The environment wins over it.
    pub file: Option<PathBuf>,
}

impl EnvConfig {
    /// Puts a prefix in front of every variable. It is checked when the backend is opened.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Lets the variable of the last segment stand in for one that is not set.
    #[must_use]
    pub fn fallback(mut self, fallback: bool) -> Self {
        self.fallback = fallback;
        self
    }

    /// Reads a `.env` file as well.
    #[must_use]
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Builds the configuration from settings, with the default for each that is absent or has a
    /// problem.
    #[must_use]
    pub fn from_settings(settings: &Settings, problems: &mut Problems) -> Self {
        let prefix = settings.expose(PREFIX).map(str::to_owned);
        Self {
            prefix: prefix.filter(|prefix| is_acceptable(prefix, problems)),
            fallback: settings.flag(FALLBACK, problems).unwrap_or_default(),
            file: settings.expose(FILE).map(PathBuf::from),
        }
    }
}

/// Notes a problem if no variable can begin with `prefix`.
pub(crate) fn is_acceptable(prefix: &str, problems: &mut Problems) -> bool {
    let acceptable = variable::is_name(prefix);
    if !acceptable {
        problems.add(format!(
            "`{PREFIX}` cannot begin a variable; use letters, digits and `_`, and no digit first"
        ));
    }
    acceptable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> (EnvConfig, Vec<String>) {
        let mut settings = Settings::new();
        for (name, value) in pairs {
            settings.set(name, value);
        }
        let mut problems = Problems::new();
        let config = EnvConfig::from_settings(&settings, &mut problems);
        let problems = problems.into_result().map_or_else(|e| e.problems().to_vec(), |()| vec![]);
        (config, problems)
    }

    #[test]
    fn settings_become_options() {
        let (config, problems) = parsed(&[(PREFIX, "app_"), (FALLBACK, "on"), (FILE, "dev/.env")]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(config, EnvConfig::default().prefix("app_").fallback(true).file("dev/.env"));
    }

    #[test]
    fn nothing_is_on_by_default() {
        let (config, problems) = parsed(&[]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(config, EnvConfig { prefix: None, fallback: false, file: None });
    }

    #[test]
    fn all_problems_are_named_at_once_without_the_values() {
        let (_, problems) = parsed(&[(PREFIX, "hunter-2"), (FALLBACK, "hunter-2")]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains(PREFIX) && problems[1].contains(FALLBACK), "{problems:?}");
        assert!(!format!("{problems:?}").contains("hunter"), "{problems:?}");
    }

    #[test]
    fn a_prefix_must_be_able_to_begin_a_variable() {
        for bad in ["1APP", "APP-", "APP.X", "ÄPP", "A B", "A="] {
            assert_eq!(parsed(&[(PREFIX, bad)]).1.len(), 1, "{bad}");
        }
        for good in ["A", "_", "app_2_", "_1"] {
            assert_eq!(parsed(&[(PREFIX, good)]).0.prefix.as_deref(), Some(good));
        }
    }
}
