//! Which store a service uses, and how it is reached.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use strongroom_core::{
    Error, ExposeSecret, Problems, Result, Setting, SettingKind, Settings, SettingsSource,
};

use crate::backends::{self, BACKEND, BackendConfig, KINDS, SETTINGS};
use crate::config_value::ConfigValue;
use crate::declared::{Declarations, Declared};
use crate::policy::ReadPolicy;
use crate::suggest;

/// Which store a service uses, and how it is reached: from the environment, from the application's
/// own file, or set in code.
///
/// ```
/// # fn parse() -> Result<(), toml::de::Error> {
/// let config: strongroom::Config = toml::from_str(
///     r#"
///     backend = "native"
///     native_path = "/var/lib/app/secrets.db"
///     native_key_file = "/etc/app/strongroom.key"
///     declare = [{ path = "openai/api-key", pattern = "^sk-" }]
///     "#,
/// )?;
/// # Ok(())
/// # }
/// # parse().unwrap();
/// ```
///
/// Building a configuration never fails.
/// [`SecretsManager::from_config`](crate::SecretsManager::from_config) reports everything that is
/// wrong with it at once, unknown keys included; an error names what was set, and never shows a value.
/// `Debug` is masked. (A parser that refuses a malformed file may quote it in its error: write the name
/// of a key file into it rather than a key.)
///
#[doc = include_str!("../docs/src/reference/settings.md")]
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    declared: Vec<Declared>,
    problems: Problems,
}

/// A configuration without problems.
pub(crate) struct ValidConfig {
    pub(crate) backend: BackendConfig,
    pub(crate) policy: ReadPolicy,
    pub(crate) declarations: Declarations,
    /// What errors say if no backend was chosen.
    pub(crate) default_backend_note: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let settings = Settings::with_source(SettingsSource::File);
        Self { settings, declared: Vec::new(), problems: Problems::new() }
    }
}

impl Config {
    /// The default: the `env` backend without options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The settings in the environment of this process.
    #[must_use]
    pub fn from_env() -> Self {
        let mut problems = Problems::new();
        let settings = Settings::from_env(suggest::settings());
        suggest::check_environment(&settings, &mut problems);
        Self { settings, declared: Vec::new(), problems }
    }

    /// Sets or replaces a setting, by the name of its variable or its key in a file. Errors name it
    /// by this name.
    ///
    /// # Examples
    /// ```
    /// let config = strongroom::Config::new().set("backend", "native").set("native_key", "…");
    /// ```
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.set_as(name, name, value)
    }

    /// Sets or replaces a setting that the caller gave in another way, such as with an option of a command
    /// line; errors call it `name`.
    ///
    /// # Examples
    /// ```
    /// let config = strongroom::Config::from_env().set_as("backend", "--backend", "native");
    /// ```
    #[must_use]
    pub fn set_as(mut self, setting: &str, name: &str, value: &str) -> Self {
        match suggest::find(setting) {
            Some(_) if value.is_empty() => {
                self.problems.add(format!("`{name}` is empty; remove it or give it a value"));
            }
            Some(setting) => self.settings.set_by_name(setting, name, value),
            None => self.problems.add(suggest::unknown_setting(setting)),
        }
        self
    }

    /// Declares a secret that the service will read.
    #[must_use]
    pub fn declare(mut self, declared: Declared) -> Self {
        self.declared.push(declared);
        self
    }

    /// The names of all settings that are set, as they were given.
    pub fn names(&self) -> impl Iterator<Item = String> {
        suggest::settings()
            .filter(|setting| self.settings.contains(setting))
            .map(|setting| self.name(setting))
    }

    /// The files that settings name, each with the name of its setting as it was given.
    pub fn files(&self) -> impl Iterator<Item = (String, &Path)> {
        let is_file = |setting: &&Setting| setting.kind() == SettingKind::File;
        suggest::settings().filter(is_file).filter_map(|setting| {
            let file = self.settings.expose_value(setting)?;
            Some((self.name(setting), Path::new(file)))
        })
    }

    /// The configuration of the access rules from the same settings: `access_path`, `access_key_file` and so on.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with everything that is wrong with them.
    ///
    /// # Examples
    /// ```
    /// # fn parse() -> Result<(), Box<dyn std::error::Error>> {
    /// let config: strongroom::Config = toml::from_str(
    ///     r#"
    ///     access_path = "/var/lib/app/access.db"
    ///     access_key_file = "/etc/app/access.key"
    ///     "#,
    /// )?;
    /// let access = config.access_config()?;
    /// # Ok(())
    /// # }
    /// # parse().unwrap();
    /// ```
    #[cfg(feature = "access")]
    pub fn access_config(&self) -> Result<strongroom_access::AccessConfig> {
        strongroom_access::AccessConfig::from_settings(&self.settings)
    }

    /// The configuration of the embedded store, to open a [`NativeBackend`](crate::native::NativeBackend) itself: for its
    /// backup, its check, and the rotation of its keys.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if another backend is chosen, and with every problem of its settings.
    #[cfg(feature = "native")]
    pub fn native_config(&self) -> Result<strongroom_backend_native::NativeConfig> {
        let chosen = self.settings.expose_value(&BACKEND).unwrap_or(BACKEND.default_text());
        if chosen != "native" {
            let name = self.name(&BACKEND);
            return Err(Error::config(vec![format!(
                "`{name}` must be `native`: this works on the embedded store alone"
            )]));
        }
        crate::backends::native_config(&self.settings)
    }

    /// A key outside of the embedded store for [`add_slot`](crate::native::NativeBackend::add_slot), with the settings of
    /// its service: of the kind `aws-kms`, an id, ARN or alias in AWS KMS; of the kind `transit`, the mount and name in a
    /// transit engine of HashiCorp Vault or OpenBao, such as `transit/strongroom`; of the kind `pkcs11`, the URI of a key on a
    /// token, such as `pkcs11:token=orders;object=strongroom`; of the kind `os-keyring`, the account of a key in the keyring of
    /// the operating system.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if settings of the service are missing or wrong, the kind is
    /// another one, or the feature `aws-kms`, `hashicorp`, `pkcs11` or `keyring` is off.
    #[cfg(feature = "native")]
    pub fn wrapping_key(&self, kind: &str, key_id: &str) -> Result<crate::native::KeySource> {
        crate::wrapping_keys::from_settings(&self.settings, kind, key_id)
            .map(crate::native::KeySource::Wrapping)
            .map_err(|complaint| {
                // A URI may hold a PIN by mistake.
                let problem = match kind {
                    "pkcs11" => format!("the key on the token {complaint}"),
                    _ => format!("the key `{key_id}` {complaint}"),
                };
                let names = self.settings.names(strongroom_backend_native::SETTINGS);
                names.rename(Error::config(vec![problem]))
            })
    }

    fn name(&self, setting: &Setting) -> String {
        self.settings.names(SETTINGS).name(setting).into_owned()
    }

    /// Checks everything; reads no files.
    pub(crate) fn validate(self) -> Result<ValidConfig> {
        let Self { settings, declared, mut problems } = self;
        let names = settings.names(SETTINGS);
        settings.validate(SETTINGS, &mut problems);
        if !settings.contains(&BACKEND) {
            report_settings_of_others(&settings, &mut problems);
        }
        let name = settings.expose_value(&BACKEND).unwrap_or(BACKEND.default_text());
        let backend = if let Some(kind) = backends::find(name) {
            problems.collect(BackendConfig::from_settings(kind, &settings))
        } else {
            problems.add(names.rename_text(&suggest::unknown_backend(name)));
            None
        };
        let policy = problems.collect(ReadPolicy::from_settings(&settings));
        let declarations = Declarations::validate(declared, &mut problems);
        problems.into_result()?;
        // Without a problem there are both.
        let (backend, policy) = backend.zip(policy).ok_or_else(|| Error::config(Vec::new()))?;
        let default_backend_note = default_backend_note(&settings);
        Ok(ValidConfig { backend, policy, declarations, default_backend_note })
    }
}

/// The note that no backend was chosen, with the variable of another backend that is set, if there is
/// one: tools of that backend read it as well, so that it alone is no reason to refuse the default.
fn default_backend_note(settings: &Settings) -> Option<String> {
    if settings.contains(&BACKEND) || settings.source() != SettingsSource::Environment {
        return None;
    }
    let default = BACKEND.default_text();
    let note = format!("`{BACKEND}` is not set, so the backend is `{default}`");
    let others = KINDS.iter().filter(|kind| kind.name != default);
    let set = others.filter_map(|kind| {
        let table = kind.settings?;
        let setting = table.iter().find(|setting| settings.contains(setting))?;
        Some((settings.names(table).name(setting).into_owned(), kind.name))
    });
    Some(match set.into_iter().next() {
        Some((setting, kind)) => format!(
            "{note}; `{setting}` is set: if the secret is there, set `{BACKEND}` to `{kind}`"
        ),
        None => note,
    })
}

/// Adds a problem for settings of a backend that was not chosen: a service that forgot to choose it
/// would read its secrets from the wrong store. In the environment, variables that other tools read as
/// well may be meant for those.
fn report_settings_of_others(settings: &Settings, problems: &mut Problems) {
    let is_shared = settings.source() == SettingsSource::Environment;
    let choice = settings.names(SETTINGS).name(&BACKEND).into_owned();
    for kind in KINDS.iter().filter(|kind| kind.name != BACKEND.default_text()) {
        let Some(table) = kind.settings else { continue };
        let is_meant = |setting: &&Setting| {
            settings.contains(setting)
                && (!is_shared || setting.variable().starts_with(kind.prefix))
        };
        if let Some(setting) = table.iter().find(is_meant) {
            problems.add(format!(
                "`{}` is set, but `{choice}` is not: set it to `{}`, or remove the former",
                settings.names(table).name(setting),
                kind.name
            ));
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Self::new();
        match ConfigValue::deserialize(deserializer)? {
            ConfigValue::Table(members) => {
                for (key, value) in members {
                    config = config.set_member(&key, value);
                }
            }
            _ => config.problems.add("the configuration is not a table of settings"),
        }
        Ok(config)
    }
}

impl Config {
    fn set_member(mut self, key: &str, value: ConfigValue) -> Self {
        match (key, value) {
            ("declare", ConfigValue::List(entries)) => {
                let problems = &mut self.problems;
                for (index, entry) in entries.into_iter().enumerate() {
                    self.declared.extend(Declared::from_value(entry, index, problems));
                }
                self
            }
            ("declare", _) => {
                self.problems.add("`declare` is not a list of tables");
                self
            }
            (key, _) if suggest::find(key).is_some_and(|found| self.settings.contains(found)) => {
                self.problems.add(format!("`{key}` is given twice"));
                self
            }
            (key, ConfigValue::Scalar(value)) => self.set(key, value.expose_secret()),
            (key, _) if suggest::find(key).is_none() => {
                self.problems.add(suggest::unknown_setting(key));
                self
            }
            (key, _) => {
                self.problems.add(format!("`{key}` is neither text nor a whole number nor a flag"));
                self
            }
        }
    }
}
