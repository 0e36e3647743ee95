//! The configuration from named settings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{FilePath, Problems, Result, SecretPath, Setting, Settings, WrappingKey};

use super::{KEY_SETTINGS, KeySource, NativeConfig, no_key};
use crate::anchor_store::AnchorStore;
use crate::key_text;
use crate::settings::{
    ANCHOR_FILE, ANCHOR_INTERVAL, ANCHOR_SECRET, ANCHOR_STORE, CA_CERT, CREATE, GROUP, KEEP_DAYS,
    KEEP_VERSIONS, KEY, KEY_FILE, KEYRING_KEY, KMS_KEY, NETWORK_FILE_SYSTEM, PASSPHRASE,
    PASSPHRASE_FILE, PATH, PKCS11_KEY, PKCS11_MODULE, PKCS11_PIN_FILE, REPLICA_MAX_AGE,
    REPLICA_URL, SETTINGS, SHARES_FILE, TRANSIT_KEY, URL,
};

impl NativeConfig {
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
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong, and if a key of a KMS, a transit
    /// engine, a token or a keyring, or the store of an anchor, is set, which
    /// [`from_settings_with`](Self::from_settings_with) takes.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let wrapping = |_: &str, _: &str| Err("needs the crate `strongroom`, which opens this key");
        Self::from_settings_with(settings, wrapping, |_, _, _| {
            Err("needs the crate `strongroom`, which opens this store")
        })
    }

    /// Builds a configuration from [`SETTINGS`], with the keys outside of the store that `wrapping` makes of a
    /// [`kind`](WrappingKey::kind) and the value of its setting, and with the anchor outside that `anchor` makes of the
    /// kind of a backend, a path and the least time between two updates; each says what is wrong otherwise.
    ///
    /// # Errors
    /// As for [`from_settings`](Self::from_settings).
    pub fn from_settings_with<E: fmt::Display>(
        settings: &Settings,
        wrapping: impl Fn(&'static str, &str) -> Result<Arc<dyn WrappingKey>, E>,
        anchor: impl Fn(&str, SecretPath, Option<Duration>) -> Result<Arc<dyn AnchorStore>, E>,
    ) -> Result<Self> {
        let mut problems = Problems::new();
        settings.validate(SETTINGS, &mut problems);
        let config = Self {
            path: settings.expose_value(&PATH).map(PathBuf::from),
            url: settings.expose_value(&URL).map(Into::into),
            ca_cert: settings.expose_value(&CA_CERT).map(PathBuf::from),
            replica_url: settings.expose_value(&REPLICA_URL).map(Into::into),
            replica_max_age: settings.duration(&REPLICA_MAX_AGE, &mut problems),
            keep_versions: settings.number(&KEEP_VERSIONS, &mut problems),
            keep_days: settings.number(&KEEP_DAYS, &mut problems),
            keys: key_sources(settings, wrapping, &mut problems),
            create: settings.flag(&CREATE, &mut problems).unwrap_or_default(),
            group: group(settings, &mut problems),
            allow_network_file_system: settings
                .flag(&NETWORK_FILE_SYSTEM, &mut problems)
                .unwrap_or_default(),
            anchor_file: settings.expose_value(&ANCHOR_FILE).map(PathBuf::from),
            anchor_store: anchor_store(settings, anchor, &mut problems),
            names: settings.names(SETTINGS),
        };
        config.check_anchor(&mut problems);
        config.check_database(&mut problems);
        config.check_retention(&mut problems);
        for setting in [PKCS11_MODULE, PKCS11_PIN_FILE] {
            let path = settings.expose_value(&setting);
            problems.collect(path.map_or(Ok(()), |path| FilePath::new(path).check(setting)));
        }
        problems.into_result().map_err(|error| config.names.rename(error))?;
        Ok(config)
    }
}

fn group(settings: &Settings, problems: &mut Problems) -> Option<u32> {
    let group = settings.number(&GROUP, problems)?;
    let id = u32::try_from(group).ok();
    if id.is_none() {
        problems.add(format!("`{GROUP}` is too large for the id of a group"));
    }
    id
}

fn anchor_store<E: fmt::Display>(
    settings: &Settings,
    anchor: impl Fn(&str, SecretPath, Option<Duration>) -> Result<Arc<dyn AnchorStore>, E>,
    problems: &mut Problems,
) -> Option<Arc<dyn AnchorStore>> {
    let interval = settings.duration(&ANCHOR_INTERVAL, problems);
    if interval.is_some_and(|interval| interval < Duration::from_secs(1)) {
        problems.add(format!("`{ANCHOR_INTERVAL}` must be at least 1 s"));
    }
    let (kind, path) =
        match (settings.expose_value(&ANCHOR_STORE), settings.expose_value(&ANCHOR_SECRET)) {
            (Some(kind), Some(path)) => (kind, path),
            (None, None) => {
                if settings.contains(&ANCHOR_INTERVAL) {
                    problems.add(format!("`{ANCHOR_INTERVAL}` needs `{ANCHOR_STORE}`"));
                }
                return None;
            }
            (Some(_), None) => {
                problems.add(format!("`{ANCHOR_STORE}` needs `{ANCHOR_SECRET}`"));
                return None;
            }
            (None, Some(_)) => {
                problems.add(format!("`{ANCHOR_SECRET}` needs `{ANCHOR_STORE}`"));
                return None;
            }
        };
    let Ok(path) = SecretPath::parse(path) else {
        problems.add(format!("`{ANCHOR_SECRET}` is not the path of a secret"));
        return None;
    };
    match anchor(kind, path, interval) {
        Ok(store) => Some(store),
        Err(complaint) => {
            problems.add(format!("`{ANCHOR_STORE}` {complaint}"));
            None
        }
    }
}

fn key_sources<E: fmt::Display>(
    settings: &Settings,
    wrapping: impl Fn(&'static str, &str) -> Result<Arc<dyn WrappingKey>, E>,
    problems: &mut Problems,
) -> Vec<KeySource> {
    let given: Vec<_> =
        KEY_SETTINGS.into_iter().filter(|setting| settings.contains(setting)).collect();
    if given.is_empty() {
        problems.add(no_key());
    }
    let mut keys = Vec::new();
    for setting in given {
        let kind = match setting {
            KMS_KEY => "aws-kms",
            TRANSIT_KEY => "transit",
            PKCS11_KEY => "pkcs11",
            KEYRING_KEY => "os-keyring",
            _ => {
                keys.extend(key_source(setting, settings, problems));
                continue;
            }
        };
        match wrapping(kind, settings.expose_value(&setting).unwrap_or_default()) {
            Ok(key) => keys.push(KeySource::Wrapping(key)),
            Err(complaint) => problems.add(format!("`{setting}` {complaint}")),
        }
    }
    keys
}

fn key_source(setting: Setting, settings: &Settings, problems: &mut Problems) -> Option<KeySource> {
    let value = settings.expose_value(&setting)?;
    let source = match setting {
        KEY_FILE => KeySource::KeyFile(value.into()),
        KEY => KeySource::Key(value.into()),
        PASSPHRASE => KeySource::Passphrase(value.into()),
        PASSPHRASE_FILE => KeySource::PassphraseFile(value.into()),
        SHARES_FILE => KeySource::RecoverySharesFile(value.into()),
        _ => return None,
    };
    // Checks the value itself, which needs no file.
    problems.collect(match &source {
        KeySource::Key(text) => key_text::parse_key(text, KEY).map(drop),
        KeySource::Passphrase(text) => key_text::parse_passphrase(text, PASSPHRASE).map(drop),
        _ => Ok(()),
    })?;
    Some(source)
}

#[cfg(test)]
mod tests {
    use strongroom_core::{Error, Setting, SettingsSource};

    use super::*;

    fn parse(pairs: &[(Setting, &str)]) -> Result<NativeConfig, Vec<String>> {
        let mut settings = Settings::new();
        for (setting, value) in pairs {
            settings.set(setting.variable(), value);
        }
        NativeConfig::from_settings(&settings).map_err(|error| error.problems().to_vec())
    }

    #[test]
    fn a_source_of_the_key_is_needed_and_each_is_checked() {
        let missing = parse(&[]).unwrap_err();
        assert!(
            KEY_SETTINGS.iter().all(|setting| missing[0].contains(setting.variable())),
            "{missing:?}"
        );
        let both = parse(&[(KEY, "hunter2"), (PASSPHRASE, "hunter2")]).unwrap_err();
        let [key, passphrase] = both.as_slice() else { panic!("{both:?}") };
        assert!(key.contains(KEY.variable()) && passphrase.contains(PASSPHRASE.variable()));
        assert!(!format!("{both:?}").contains("hunter2"));
    }

    #[test]
    fn every_setting_is_read() {
        let config = parse(&[
            (PATH, "/data/secrets.db"),
            (KEY_FILE, "/data/key"),
            (KEEP_VERSIONS, "3"),
            (KEEP_DAYS, "30"),
            (CREATE, "yes"),
            (GROUP, "2000"),
            (NETWORK_FILE_SYSTEM, "on"),
            (ANCHOR_FILE, "/anchors/app"),
        ])
        .unwrap();
        assert!(config.create && config.allow_network_file_system);
        assert_eq!(config.group, Some(2000));
        assert_eq!(config.path, Some("/data/secrets.db".into()));
        assert_eq!(config.anchor_file, Some("/anchors/app".into()));
        assert_eq!((config.keep_versions, config.keep_days), (Some(3), Some(30)));
        assert!(matches!(&config.keys[..], [KeySource::KeyFile(file)] if file.ends_with("key")));
        let key = parse(&[(KEY, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")]).unwrap().keys;
        assert!(matches!(key[..], [KeySource::Key(_)]));
        let key = parse(&[(PASSPHRASE_FILE, "/data/passphrase")]).unwrap().keys;
        assert!(matches!(key[..], [KeySource::PassphraseFile(_)]));
        let both = [(PASSPHRASE_FILE, "/data/passphrase"), (KEY_FILE, "/data/key")];
        let both = parse(&both).unwrap().keys;
        assert!(matches!(both[..], [KeySource::KeyFile(_), KeySource::PassphraseFile(_)]));
        let key = parse(&[(SHARES_FILE, "/data/shares")]).unwrap().keys;
        assert!(matches!(key[..], [KeySource::RecoverySharesFile(_)]));
        assert_eq!(SETTINGS.len(), 26, "a setting is missing above or below");
    }

    #[test]
    fn a_replica_belongs_to_a_database_and_has_an_age_within_bounds() {
        let lone = [(KEY_FILE, "/data/key"), (REPLICA_URL, "server=hunter2")];
        let lone = parse(&lone).unwrap_err();
        assert!(lone.iter().any(|problem| problem.contains("needs `SECRETS_NATIVE_URL`")));
        assert!(!format!("{lone:?}").contains("hunter2"));
        let age = parse(&[(KEY_FILE, "/data/key"), (REPLICA_MAX_AGE, "2s")]).unwrap_err();
        assert_eq!(age, ["`SECRETS_NATIVE_REPLICA_MAX_AGE` needs `SECRETS_NATIVE_REPLICA_URL`"]);
        for age in ["999ms", "3601s", "soon"] {
            let problems = parse(&[
                (KEEP_DAYS, "0"),
                (KEY_FILE, "/data/key"),
                (REPLICA_URL, "postgresql://a:hunter2@localhost/app"),
                (REPLICA_MAX_AGE, age),
            ]);
            let problems = problems.unwrap_err();
            let of_age = |problem: &&String| problem.contains(REPLICA_MAX_AGE.variable());
            assert_eq!(problems.iter().filter(of_age).count(), 1, "{age}: {problems:?}");
            assert!(problems.iter().any(|problem| problem.contains(KEEP_DAYS.variable())));
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_replica_is_read_and_its_password_is_not_shown() {
        let (primary, replica) =
            ("postgresql://a:hunter2@localhost/app", "postgresql://b:hunter2@localhost:5433/app");
        let settings = [(KEY_FILE, "/data/key"), (URL, primary), (REPLICA_URL, replica)];
        let config = parse(&settings).unwrap();
        assert!(config.replica_url.is_some() && config.replica_max_age.is_none());
        let with_age = [&settings[..], &[(REPLICA_MAX_AGE, "1h")]].concat();
        assert_eq!(parse(&with_age).unwrap().replica_max_age, Some(Duration::from_secs(3600)));
        assert!(!format!("{config:?}").contains("hunter2"));
        let misspelt = [&settings[..2], &[(REPLICA_URL, "server=hunter2")]].concat();
        let problems = parse(&misspelt).unwrap_err();
        assert!(problems[0].starts_with("`SECRETS_NATIVE_REPLICA_URL` is no connection URL"));
        assert!(!format!("{problems:?}").contains("hunter2"));
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let problems = parse(&[(KEEP_VERSIONS, "0"), (KEEP_DAYS, "many"), (GROUP, "4294967296")]);
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }

    #[test]
    fn an_error_names_what_the_caller_set() {
        let in_code = NativeConfig { keep_days: Some(0), ..NativeConfig::default() };
        let in_code = in_code.validate().map(drop).map_err(|error| in_code.names.rename(error));
        let mut file = Settings::with_source(SettingsSource::File);
        file.set_by_name(&KEEP_DAYS, "native_keep_days", "0");
        let variables = parse(&[(KEEP_DAYS, "0")]);
        for (error, days, key_file) in [
            (in_code, "NativeConfig::keep_days", "KeySource::KeyFile"),
            (NativeConfig::from_settings(&file).map(drop), "native_keep_days", "native_key_file"),
            (
                Err(Error::config(variables.unwrap_err())),
                "SECRETS_NATIVE_KEEP_DAYS",
                "SECRETS_NATIVE_KEY_FILE",
            ),
        ] {
            let mut problems = error.unwrap_err().problems().to_vec();
            problems.sort();
            assert_eq!(problems[0], format!("`{days}` must be at least 1"));
            assert!(problems[1].contains(&format!("set one of `{key_file}`, ")), "{problems:?}");
        }
    }

    #[test]
    fn debug_hides_the_key() {
        let config = parse(&[(PASSPHRASE, "hunter2-hunter2"), (KEEP_VERSIONS, "3")]).unwrap();
        assert_eq!(config.keep_versions, Some(3));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
