//! Named settings, from the environment or an application's own file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Settings by the name of their environment variable, wherever they came from.
///
/// All are kept as secrets, since some are: `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Settings {
    given: BTreeMap<String, SecretString>,
    /// What was set in a form that nobody can use, and why.
    unusable: BTreeMap<String, &'static str>,
}

impl Settings {
    /// No settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads those of `names` that are set in the environment of this process. One that cannot be
    /// used is left out, and is a problem once somebody who reads it [checks](Self::check) it.
    #[must_use]
    pub fn from_env<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut settings = Self::default();
        for name in names {
            if let Some(value) = std::env::var_os(name) {
                settings.take(name, value);
            }
        }
        settings
    }

    /// Takes a variable over. An empty one with a name that is not ours counts as not set, as it
    /// does for the tools that it is shared with.
    fn take(&mut self, name: &str, value: OsString) {
        let why = match value.into_string().map(Zeroizing::new) {
            Ok(value) if !value.is_empty() => return self.set(name, &value),
            Ok(_) if !name.starts_with("SECRETS_") => return,
            Ok(_) => "is set but empty; unset it or give it a value",
            Err(value) => {
                drop(Zeroizing::new(value.into_encoded_bytes()));
                "is not UTF-8"
            }
        };
        self.unusable.insert(name.to_owned(), why);
    }

    /// Notes those of `names` that are set but cannot be used: variables of the environment that
    /// are not UTF-8, or empty although their name begins with `SECRETS_`.
    pub fn check<'a>(&self, names: impl IntoIterator<Item = &'a str>, problems: &mut Problems) {
        for name in names {
            if let Some(why) = self.unusable.get(name) {
                problems.add(format!("`{name}` {why}"));
            }
        }
    }

    /// Sets or replaces one setting.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unusable.remove(name);
        self.given.insert(name.to_owned(), SecretString::from(value));
    }

    /// One setting, in the clear.
    #[must_use]
    pub fn expose(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(ExposeSecret::expose_secret)
    }

    /// Whether a setting is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The names of all settings that are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.given.keys().map(String::as_str)
    }

    /// A setting that is `true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`; anything else is a
    /// problem.
    #[must_use]
    pub fn flag(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        match self.expose(name)?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                problems.add(format!("`{name}` is neither `true` nor `false`"));
                None
            }
        }
    }

    /// A setting that is a whole number of `unit`s; anything else is a problem.
    #[must_use]
    pub fn number(&self, name: &str, unit: &str, problems: &mut Problems) -> Option<u64> {
        let number = self.expose(name)?.parse().ok();
        if number.is_none() {
            problems.add(format!("`{name}` is not a whole number of {unit}"));
        }
        number
    }

    /// A setting that is a time such as `500ms`, `10s`, `1h 30m`, or a whole number of seconds;
    /// anything else is a problem.
    #[must_use]
    pub fn duration(&self, name: &str, problems: &mut Problems) -> Option<Duration> {
        let text = self.expose(name)?;
        let seconds = text.parse().map(Duration::from_secs).ok();
        let duration = seconds.or_else(|| humantime::parse_duration(text).ok());
        if duration.is_none() {
            problems.add(format!("`{name}` is not a time such as `10s` or `500ms`"));
        }
        duration
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names().map(|name| (name, "[REDACTED]"))).finish()
    }
}

/// Collects everything that is wrong with a configuration, so that one error can name it all.
/// Problems name settings, never their values.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// No problems yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a problem, as a clause that names the setting and what to do.
    pub fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Succeeds if nothing was noted.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) with every problem.
    pub fn into_result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::config(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_names_settings_and_hides_values() {
        let mut settings = Settings::new();
        settings.set("VAULT_TOKEN", "hunter2");
        assert_eq!(format!("{settings:?}"), r#"{"VAULT_TOKEN": "[REDACTED]"}"#);
    }

    #[test]
    fn what_cannot_be_used_is_a_problem_only_for_who_reads_it() {
        let mut settings = Settings::new();
        for name in ["SECRETS_A", "SECRETS_B", "SECRETS_C", "VAULT_TOKEN"] {
            settings.take(name, OsString::new());
        }
        settings.set("SECRETS_C", "replaced");
        assert_eq!(settings.names().collect::<Vec<_>>(), ["SECRETS_C"]);
        let mut problems = Problems::new();
        settings.check(["SECRETS_A", "SECRETS_C", "VAULT_TOKEN", "ABSENT"], &mut problems);
        let error = problems.into_result().unwrap_err();
        assert_eq!(error.problems(), ["`SECRETS_A` is set but empty; unset it or give it a value"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_text_is_a_problem() {
        use std::os::unix::ffi::OsStringExt as _;

        let mut settings = Settings::new();
        settings.take("VAULT_TOKEN", OsString::from_vec(vec![0xff]));
        let mut problems = Problems::new();
        settings.check(["VAULT_TOKEN"], &mut problems);
        assert_eq!(problems.into_result().unwrap_err().problems(), ["`VAULT_TOKEN` is not UTF-8"]);
    }

    #[test]
    fn malformed_settings_are_problems_that_hide_the_value() {
        let mut settings = Settings::new();
        settings.set("FLAG", "hunter2");
        settings.set("NUMBER", "hunter2");
        let mut problems = Problems::new();
        assert_eq!(settings.flag("FLAG", &mut problems), None);
        assert_eq!(settings.number("NUMBER", "versions", &mut problems), None);
        assert_eq!(settings.duration("NUMBER", &mut problems), None);
        assert_eq!(settings.flag("ABSENT", &mut problems), None);
        let error = problems.into_result().unwrap_err();
        assert_eq!(error.problems().len(), 3);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds() {
        let mut settings = Settings::new();
        for (text, milliseconds) in [("10", 10_000), ("10s", 10_000), ("500ms", 500)] {
            settings.set("TIME", text);
            let mut problems = Problems::new();
            let expected = Some(Duration::from_millis(milliseconds));
            assert_eq!(settings.duration("TIME", &mut problems), expected);
            problems.into_result().unwrap();
        }
        for text in ["-1", "10 parsecs", "99999999999999999999s", "1.5"] {
            settings.set("TIME", text);
            let mut problems = Problems::new();
            assert_eq!(settings.duration("TIME", &mut problems), None);
            assert_eq!(problems.into_result().unwrap_err().problems().len(), 1);
        }
    }
}
