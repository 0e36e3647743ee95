//! Named settings, from the environment or an application's own file.

mod file_path;
mod names;
mod problems;
mod table;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use self::file_path::FilePath;
pub use self::names::{SettingNames, SettingsSource};
pub use self::problems::Problems;
pub use self::table::{Setting, SettingKind};

/// The settings of one configuration, by the names of their environment variables, wherever they
/// come from.
///
/// All are kept as secrets, since some are: `Debug` shows names only.
#[derive(Clone)]
pub struct Settings {
    source: SettingsSource,
    values: BTreeMap<String, SecretString>,
    /// The names that the caller used, by variable.
    used_names: BTreeMap<String, String>,
    /// Variables that are set but cannot be used, and why.
    invalid: BTreeMap<String, Cow<'static, str>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Settings {
    /// No settings; errors name them by their variables.
    #[must_use]
    pub fn new() -> Self {
        Self::with_source(SettingsSource::Environment)
    }

    /// No settings; errors name those that are not set as `source` says.
    #[must_use]
    pub fn with_source(source: SettingsSource) -> Self {
        Self {
            source,
            values: BTreeMap::new(),
            used_names: BTreeMap::new(),
            invalid: BTreeMap::new(),
        }
    }

    /// Where the settings come from.
    #[must_use]
    pub fn source(&self) -> SettingsSource {
        self.source
    }

    /// Reads those settings of `table` that are set in the environment of this process. A variable
    /// that cannot be used is left out; [`validate`](Self::validate) reports it.
    #[must_use]
    pub fn from_env<'a>(table: impl IntoIterator<Item = &'a Setting>) -> Self {
        Self::from_variables(table, |name| std::env::var_os(name))
    }

    fn from_variables<'a>(
        table: impl IntoIterator<Item = &'a Setting>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let mut settings = Self::new();
        for setting in table {
            if let Some(value) = variable(setting.variable()) {
                settings.set_variable(setting.variable(), setting.variable(), value);
            }
            if let Some(alias) = setting.alias_variable()
                && let Some(value) = variable(alias)
            {
                settings.set_alias(setting, alias, value);
            }
        }
        settings
    }

    /// Sets what the other variable of a setting holds. Both variables may be set, but only to the same
    /// value.
    fn set_alias(&mut self, setting: &Setting, alias: &str, value: OsString) {
        let mut other = Self::new();
        other.set_variable(setting.variable(), alias, value);
        let own = self.expose_value(setting);
        match (own, other.expose_value(setting)) {
            (Some(own), Some(value)) if own != value => {
                let reason = format!("and `{alias}` are set to different values; keep one of them");
                self.invalid.insert(setting.variable().to_owned(), reason.into());
            }
            (None, _) if !self.invalid.contains_key(setting.variable()) => {
                self.values.extend(other.values);
                self.used_names.extend(other.used_names);
                self.invalid.extend(other.invalid);
            }
            _ => {}
        }
    }

    /// Sets what an environment variable holds. An empty variable counts as not set if its name
    /// does not begin with `SECRETS_`: the tools that read it as well treat it so.
    fn set_variable(&mut self, variable: &str, name: &str, value: OsString) {
        let reason = match value.into_string().map(Zeroizing::new) {
            Ok(value) if !value.is_empty() => return self.insert(variable, name, &value),
            Ok(_) if !name.starts_with("SECRETS_") => return,
            Ok(_) => "is set but empty; unset it or give it a value",
            Err(value) => {
                drop(Zeroizing::new(value.into_encoded_bytes()));
                "is not UTF-8"
            }
        };
        if name != variable {
            self.used_names.insert(variable.to_owned(), name.to_owned());
        }
        self.invalid.insert(variable.to_owned(), reason.into());
    }

    /// Adds a problem for each setting of `table` whose variable is set but cannot be used: it is
    /// not UTF-8, or it is empty although its name begins with `SECRETS_`.
    pub fn validate(&self, table: &[Setting], problems: &mut Problems) {
        for setting in table {
            if let Some(reason) = self.invalid.get(setting.variable()) {
                problems.add(format!("`{setting}` {reason}"));
            }
        }
    }

    /// Sets or replaces a setting by the name of its variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.insert(variable, variable, value);
    }

    /// Sets or replaces a setting that the caller called `name`; errors call it so, too.
    pub fn set_by_name(&mut self, setting: &Setting, name: &str, value: &str) {
        self.insert(setting.variable(), name, value);
    }

    fn insert(&mut self, variable: &str, name: &str, value: &str) {
        self.invalid.remove(variable);
        self.used_names.insert(variable.to_owned(), name.to_owned());
        self.values.insert(variable.to_owned(), SecretString::from(value));
    }

    /// How errors name the settings of `table`.
    #[must_use]
    pub fn names(&self, table: &'static [Setting]) -> SettingNames {
        SettingNames::new(table, self.source, self.used_names.clone())
    }

    /// The value of a setting, in the clear.
    #[must_use]
    pub fn expose_value(&self, setting: &Setting) -> Option<&str> {
        self.values.get(setting.variable()).map(ExposeSecret::expose_secret)
    }

    /// The value of a setting, in the clear, as an owned text.
    #[must_use]
    pub fn expose_owned(&self, setting: &Setting) -> Option<String> {
        self.expose_value(setting).map(str::to_owned)
    }

    /// Whether a setting is set.
    #[must_use]
    pub fn contains(&self, setting: &Setting) -> bool {
        self.values.contains_key(setting.variable())
    }

    /// The variables of all settings that are set.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A setting that is `true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`; anything else is a
    /// problem.
    #[must_use]
    pub fn flag(&self, setting: &Setting, problems: &mut Problems) -> Option<bool> {
        match self.expose_value(setting)?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                problems.add(format!("`{setting}` is neither `true` nor `false`"));
                None
            }
        }
    }

    /// A setting that is a whole number; anything else is a problem.
    #[must_use]
    pub fn number(&self, setting: &Setting, problems: &mut Problems) -> Option<u64> {
        let number = self.expose_value(setting)?.parse().ok();
        if number.is_none() {
            let unit = match setting.kind() {
                SettingKind::Number(unit) => format!(" of {unit}"),
                _ => String::new(),
            };
            problems.add(format!("`{setting}` is not a whole number{unit}"));
        }
        number
    }

    /// A setting that is a duration such as `500ms`, `10s`, `1h 30m`, or a whole number of seconds;
    /// anything else is a problem.
    #[must_use]
    pub fn duration(&self, setting: &Setting, problems: &mut Problems) -> Option<Duration> {
        let text = self.expose_value(setting)?;
        let seconds = text.parse().map(Duration::from_secs).ok();
        let duration = seconds.or_else(|| humantime::parse_duration(text).ok());
        if duration.is_none() {
            problems.add(format!("`{setting}` is not a duration such as `10s` or `500ms`"));
        }
        duration
    }

    /// The entries of a setting such as `a=1, b=2`, without white space around names and values;
    /// `None` for an entry without a `=`.
    pub fn pairs(&self, setting: &Setting) -> impl Iterator<Item = Option<(&str, &str)>> {
        let entries = self.expose_value(setting).unwrap_or_default().split(',').map(str::trim);
        entries.filter(|entry| !entry.is_empty()).map(|entry| {
            entry.split_once('=').map(|(name, value)| (name.trim_end(), value.trim_start()))
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.variables().map(|name| (name, "[REDACTED]"))).finish()
    }
}

#[cfg(test)]
mod tests;
