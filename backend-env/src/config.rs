//! Which variables are read, and from where.

use std::fmt;
use std::path::PathBuf;

use strongroom_core::{FilePath, Problems, Result, SettingNames, Settings};

use crate::settings::{FALLBACK, FILE, PREFIX, SETTINGS};
use crate::variable;

/// How to open the env backend. By default: no prefix, no fallback, no file.
///
/// An error about a configuration names its fields, or the settings that it was built from.
///
/// # Examples
/// ```
/// use strongroom_backend_env::EnvConfig;
///
/// let mut config = EnvConfig::default();
/// config.prefix = Some("BILLING".into());
/// config.file = Some(".env".into());
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct EnvConfig {
    /// The beginning of every variable's name: `[A-Za-z_][A-Za-z0-9_]*`, used exactly as given, with
    /// a `_` added if it does not end in one.
    pub prefix: Option<String>,
    /// Whether a path whose own variable is not set reads the variable of its last segment; default
    /// `false`. Without a prefix, `db/user` then reads `USER`.
    pub fallback: bool,
    /// A `.env` file, at most 1 MiB, read when the backend is opened. The environment overrides it.
    pub file: Option<PathBuf>,
    pub(crate) names: SettingNames,
}

impl Default for EnvConfig {
    fn default() -> Self {
        let names = SettingNames::of_fields(SETTINGS);
        Self { prefix: None, fallback: false, file: None, names }
    }
}

impl EnvConfig {
    /// Builds a configuration from those of [`SETTINGS`] that are set in the environment.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env(SETTINGS))
    }

    /// Builds a configuration from [`SETTINGS`]. Errors, also later ones about this configuration,
    /// name settings as they are named there.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let mut problems = Problems::new();
        settings.validate(SETTINGS, &mut problems);
        let config = Self {
            prefix: settings.expose_owned(&PREFIX),
            fallback: settings.flag(&FALLBACK, &mut problems).unwrap_or_default(),
            file: settings.expose_value(&FILE).map(PathBuf::from),
            names: settings.names(SETTINGS),
        };
        config.check(&mut problems);
        problems.into_result().map_err(|error| config.names.rename(error))?;
        Ok(config)
    }

    /// Adds a problem for everything that is wrong, without looking at the file.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Some(file) = &self.file {
            problems.collect(FilePath::new(file).check(FILE));
        }
        if self.prefix.as_deref().is_some_and(|prefix| !variable::is_name(prefix)) {
            problems.add(format!(
                "`{PREFIX}` is not the beginning of a variable's name; use letters, digits and `_`, and \
                 no digit first"
            ));
        }
    }
}

impl fmt::Debug for EnvConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvConfig")
            .field("prefix", &self.prefix)
            .field("fallback", &self.fallback)
            .field("file", &self.file.as_ref().map(FilePath::new))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use strongroom_core::{Error, Setting, SettingsSource};

    use super::*;
    use crate::EnvBackend;

    fn parse(pairs: &[(Setting, &str)]) -> Result<EnvConfig, Vec<String>> {
        let mut settings = Settings::new();
        for (setting, value) in pairs {
            settings.set(setting.variable(), value);
        }
        EnvConfig::from_settings(&settings).map_err(|error| error.problems().to_vec())
    }

    #[test]
    fn every_setting_is_read() {
        let pairs = [(PREFIX, "app_"), (FALLBACK, "on"), (FILE, "dev/.env")];
        assert_eq!(pairs.len(), SETTINGS.len(), "a setting is missing above");
        let config = parse(&pairs).unwrap();
        assert_eq!(config.prefix.as_deref(), Some("app_"));
        assert!(config.fallback);
        assert_eq!(config.file.as_deref(), Some(Path::new("dev/.env")));
    }

    #[test]
    fn nothing_is_on_by_default() {
        let config = parse(&[(FALLBACK, FALLBACK.default_text())]).unwrap();
        assert!(config.prefix.is_none() && !config.fallback && config.file.is_none());
        assert_eq!(format!("{config:?}"), format!("{:?}", EnvConfig::default()));
    }

    #[test]
    fn all_problems_are_named_at_once_without_the_values() {
        let problems = parse(&[(PREFIX, "hunter-2"), (FALLBACK, "hunter-2")]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        for setting in [PREFIX, FALLBACK] {
            assert!(problems.concat().contains(setting.variable()), "{problems:?}");
        }
        assert!(!format!("{problems:?}").contains("hunter"), "{problems:?}");
    }

    #[tokio::test]
    async fn an_error_names_what_the_caller_set() {
        let mut file = Settings::with_source(SettingsSource::File);
        file.set_by_name(&PREFIX, "env_prefix", "1");
        let mut in_code = EnvConfig { prefix: Some("1".into()), ..EnvConfig::default() };
        let opened = EnvBackend::open(in_code.clone()).await;
        for (error, name) in [
            (opened.map(drop), "EnvConfig::prefix"),
            (EnvConfig::from_settings(&file).map(drop), "env_prefix"),
            (Err(Error::config(parse(&[(PREFIX, "1")]).unwrap_err())), "SECRETS_ENV_PREFIX"),
        ] {
            let error = error.unwrap_err();
            assert!(error.problems()[0].starts_with(&format!("`{name}` is not the")), "{error}");
        }
        in_code.prefix = None;
        in_code.file = Some("/absent/.env".into());
        let error = EnvBackend::open(in_code).await.unwrap_err();
        assert!(error.problems()[0].contains("(`EnvConfig::file`)"), "{error}");
    }

    #[test]
    fn a_prefix_must_be_able_to_begin_a_variable() {
        for bad in ["1APP", "APP-", "APP.X", "ÄPP", "A B", "A="] {
            assert_eq!(parse(&[(PREFIX, bad)]).unwrap_err().len(), 1, "{bad}");
        }
        for good in ["A", "_", "app_2_", "_1"] {
            assert_eq!(parse(&[(PREFIX, good)]).unwrap().prefix.as_deref(), Some(good));
        }
    }
}
