//! Where the store is, what opens it and how much it keeps.

use std::path::PathBuf;

use secrecy::SecretString;
use strongroom_core::{Problems, Settings};

use crate::key_text;

pub(crate) const PATH: &str = "SECRETS_NATIVE_PATH";
pub(crate) const KEY_FILE: &str = "SECRETS_NATIVE_KEY_FILE";
pub(crate) const KEY: &str = "SECRETS_NATIVE_KEY";
pub(crate) const PASSPHRASE: &str = "SECRETS_NATIVE_PASSPHRASE";
pub(crate) const PASSPHRASE_FILE: &str = "SECRETS_NATIVE_PASSPHRASE_FILE";
const KEEP_VERSIONS: &str = "SECRETS_NATIVE_KEEP_VERSIONS";
const KEEP_DAYS: &str = "SECRETS_NATIVE_KEEP_DAYS";

const SOURCES: [&str; 4] = [KEY_FILE, KEY, PASSPHRASE, PASSPHRASE_FILE];

/// The settings of this backend, by the names of their environment variables.
pub const SETTINGS: &[&str] =
    &[PATH, KEY_FILE, KEY, PASSPHRASE, PASSPHRASE_FILE, KEEP_VERSIONS, KEEP_DAYS];

/// What opens a store. `Debug` shows no key and no passphrase.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeySource {
    /// A file with a 32-byte key, raw or in base64. Created together with a new store.
    KeyFile(PathBuf),
    /// A 32-byte key in base64 (RFC 4648, section 4; padding optional).
    Key(SecretString),
    /// A passphrase of at least 8 bytes, strengthened with Argon2id: about 0.2 s of work and 64 MiB
    /// of memory for each opening. (Debug builds take seconds, unless a service gives `argon2` and
    /// `blake2` an `opt-level` of 3 in its `[profile.dev.package]`.)
    Passphrase(SecretString),
    /// A file with a passphrase; one line break at its end is not part of it.
    PassphraseFile(PathBuf),
}

impl KeySource {
    /// The setting that it comes from.
    pub(crate) fn setting(&self) -> &'static str {
        match self {
            Self::KeyFile(_) => KEY_FILE,
            Self::Key(_) => KEY,
            Self::Passphrase(_) => PASSPHRASE,
            Self::PassphraseFile(_) => PASSPHRASE_FILE,
        }
    }
}

/// Opens one native store.
///
/// # Examples
/// ```
/// use strongroom_backend_native::{KeySource, NativeConfig};
///
/// let mut config = NativeConfig::new(KeySource::KeyFile("/etc/app/strongroom.key".into()));
/// config.path = Some("/var/lib/app/secrets.db".into());
/// config.keep_versions = Some(10);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NativeConfig {
    /// The store's file. Default: `secrets.db` in the platform's data directory for `strongroom`
    /// (`~/.local/share/strongroom` on Linux, `~/Library/Application Support/strongroom` on macOS).
    pub path: Option<PathBuf>,
    /// What opens the store.
    pub key: KeySource,
    /// The most versions of a secret to keep, at least 1. `None`: all.
    pub keep_versions: Option<u64>,
    /// How many days a version is kept after another has replaced it; it is removed at the next
    /// write of its secret. `None`: for ever.
    pub keep_days: Option<u64>,
}

impl NativeConfig {
    /// A store at the default place that keeps every version.
    #[must_use]
    pub fn new(key: KeySource) -> Self {
        Self { path: None, key, keep_versions: None, keep_days: None }
    }

    /// Builds the configuration from settings; `None` if a problem was noted.
    #[must_use]
    pub fn from_settings(settings: &Settings, problems: &mut Problems) -> Option<Self> {
        let keep = |name, unit, problems: &mut Problems| {
            let number = settings.number(name, unit, problems);
            if number == Some(0) {
                problems.add(format!("`{name}` must be at least 1"));
            }
            number
        };
        let keep_versions = keep(KEEP_VERSIONS, "versions", problems);
        let keep_days = keep(KEEP_DAYS, "days", problems);
        let key = key_source(settings, problems)?;
        Some(Self { path: settings.expose(PATH).map(PathBuf::from), key, keep_versions, keep_days })
    }
}

fn key_source(settings: &Settings, problems: &mut Problems) -> Option<KeySource> {
    let given: Vec<_> = SOURCES.into_iter().filter(|name| settings.has(name)).collect();
    let [name] = given.as_slice() else {
        let quoted = |names: &[&str]| names.map_quoted();
        problems.add(if given.is_empty() {
            format!(
                "nothing opens the native store: set one of {}; with `{KEY_FILE}` a new key is \
                 created for a new store",
                quoted(&SOURCES)
            )
        } else {
            format!("{} are set together; keep one of them", quoted(&given))
        });
        return None;
    };
    let value = settings.expose(name)?;
    let source = match *name {
        KEY_FILE => KeySource::KeyFile(value.into()),
        KEY => KeySource::Key(value.into()),
        PASSPHRASE => KeySource::Passphrase(value.into()),
        _ => KeySource::PassphraseFile(value.into()),
    };
    // Checks the value itself, which needs no file.
    let checked = match &source {
        KeySource::Key(text) => key_text::parse_key(text, KEY).map(drop),
        KeySource::Passphrase(text) => key_text::parse_passphrase(text, PASSPHRASE).map(drop),
        KeySource::KeyFile(_) | KeySource::PassphraseFile(_) => Ok(()),
    };
    if let Err(error) = checked {
        error.problems().iter().for_each(|problem| problems.add(problem));
    }
    Some(source)
}

trait Quoted {
    fn map_quoted(&self) -> String;
}

impl Quoted for [&str] {
    fn map_quoted(&self) -> String {
        self.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<NativeConfig, Vec<String>> {
        let mut settings = Settings::new();
        for (name, value) in pairs {
            settings.set(name, value);
        }
        let mut problems = Problems::new();
        let config = NativeConfig::from_settings(&settings, &mut problems);
        match problems.into_result() {
            Ok(()) => Ok(config.unwrap()),
            Err(error) => Err(error.problems().to_vec()),
        }
    }

    #[test]
    fn one_source_of_the_key_is_needed() {
        let missing = parsed(&[]).unwrap_err();
        assert!(SOURCES.iter().all(|name| missing[0].contains(name)), "{missing:?}");
        let both = parsed(&[(KEY, "hunter2"), (PASSPHRASE, "hunter2")]).unwrap_err();
        assert!(both[0].contains(KEY) && both[0].contains(PASSPHRASE), "{both:?}");
        assert!(!format!("{both:?}").contains("hunter2"));
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let problems = parsed(&[(KEEP_VERSIONS, "0"), (KEEP_DAYS, "many")]).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn debug_hides_the_key() {
        let config = parsed(&[(PASSPHRASE, "hunter2-hunter2"), (KEEP_VERSIONS, "3")]).unwrap();
        assert_eq!(config.keep_versions, Some(3));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
