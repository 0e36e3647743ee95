//! Where the store is, which key opens it and how much it keeps.

mod parse;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use strongroom_core::{FilePath, Problems, Result, Setting, SettingNames, WrappingKey};

use crate::anchor_store::AnchorStore;
use crate::settings::{
    ANCHOR_FILE, ANCHOR_STORE, CA_CERT, KEEP_DAYS, KEEP_VERSIONS, KEY, KEY_FILE, KEYRING_KEY,
    KMS_KEY, PASSPHRASE, PASSPHRASE_FILE, PATH, PKCS11_KEY, REPLICA_MAX_AGE, REPLICA_URL, SETTINGS,
    SHARES_FILE, TRANSIT_KEY, URL,
};

/// The settings that open a store.
const KEY_SETTINGS: [Setting; 9] = [
    KEY_FILE,
    KEY,
    PASSPHRASE,
    PASSPHRASE_FILE,
    KMS_KEY,
    TRANSIT_KEY,
    PKCS11_KEY,
    KEYRING_KEY,
    SHARES_FILE,
];

/// The least and the longest age of the answers of a replica.
const REPLICA_AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// What errors call recovery shares that are not in a file; no setting holds them.
const SHARES: Setting = Setting::text("KeySource::RecoveryShares", "KeySource::RecoveryShares");

/// The key of a store, or where it is. `Debug` shows no key and no passphrase.
#[derive(Clone)]
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
    /// A key in a KMS or an HSM, which wraps a random key of 32 bytes for each slot. It is asked when the store is opened or
    /// created, and when a slot is added, each time on a runtime of its own, and not closed. Reads and writes do not need it.
    Wrapping(Arc<dyn WrappingKey>),
    /// Recovery shares, each with the words of SLIP-0039: as many as are needed, of one set that
    /// [`new_recovery_shares`](crate::NativeBackend::new_recovery_shares) has made. They open a store that exists, and create
    /// none.
    RecoveryShares(Vec<SecretString>),
    /// A file with recovery shares, one on each line; empty lines and lines that start with `#` are ignored. It has at most
    /// 128 KiB.
    RecoverySharesFile(PathBuf),
}

impl KeySource {
    /// The setting for this source.
    pub(crate) fn setting(&self) -> Setting {
        match self {
            Self::KeyFile(_) => KEY_FILE,
            Self::Key(_) => KEY,
            Self::Passphrase(_) => PASSPHRASE,
            Self::PassphraseFile(_) => PASSPHRASE_FILE,
            Self::Wrapping(key) => match key.kind() {
                "transit" => TRANSIT_KEY,
                "pkcs11" => PKCS11_KEY,
                "os-keyring" => KEYRING_KEY,
                _ => KMS_KEY,
            },
            Self::RecoveryShares(_) => SHARES,
            Self::RecoverySharesFile(_) => SHARES_FILE,
        }
    }

    /// Whether it may open a new store.
    pub(crate) fn can_create(&self) -> bool {
        !matches!(self, Self::RecoveryShares(_) | Self::RecoverySharesFile(_))
    }

    /// Adds a problem if the setting for a file holds the key itself.
    pub(crate) fn check_file(&self, problems: &mut Problems) {
        match self {
            Self::KeyFile(file) => check_file(KEY_FILE, file, KEY, problems),
            Self::PassphraseFile(file) => check_file(PASSPHRASE_FILE, file, PASSPHRASE, problems),
            Self::RecoverySharesFile(file) => {
                problems.collect(FilePath::new(file).check(SHARES_FILE));
            }
            Self::Key(_) | Self::Passphrase(_) | Self::Wrapping(_) | Self::RecoveryShares(_) => {}
        }
    }
}

/// How to open one native store. `Debug` shows no key and no passphrase.
///
/// An error about a configuration names its fields, or the settings that it was built from.
///
/// # Examples
/// ```
/// use strongroom_backend_native::{KeySource, NativeConfig};
///
/// let mut config = NativeConfig::new(KeySource::KeyFile("/etc/app/strongroom.key".into()));
/// config.path = Some("/var/lib/app/secrets.db".into());
/// config.keep_versions = Some(10);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct NativeConfig {
    /// The store's file. Default: `secrets.db` in the platform's data directory for `strongroom`
    /// (`~/.local/share/strongroom` on Linux, `~/Library/Application Support/strongroom` on macOS).
    pub path: Option<PathBuf>,
    /// Instead of a file, the PostgreSQL database (14 to 18) of the store, which several hosts can share:
    /// `postgresql://role:password@host:5432/database`. It may name several hosts, of which the first that answers and is
    /// not a standby is used. Connections to other hosts use TLS, and check the certificate in full. Needs the cargo
    /// feature `postgres`.
    pub url: Option<SecretString>,
    /// A file with the only authorities whose certificate the database may have, in PEM. `None`: those of the platform.
    pub ca_cert: Option<PathBuf>,
    /// A replica of that database by physical streaming replication, in the same form and with a role of its own, which
    /// needs `SELECT` alone. Of several hosts, the first that answers is used. It answers `get`, `describe`, `versions` and
    /// `list` while it is proved to have everything that was committed before [`replica_max_age`](Self::replica_max_age)
    /// ago, all writes of the same [`NativeBackend`](crate::NativeBackend), and all that its
    /// [`changes`](strongroom_core::Backend::changes) have told of. Otherwise, and if it fails, the primary answers. While
    /// the primary is down, the replica alone answers for as long as that age.
    pub replica_url: Option<SecretString>,
    /// How old the answers of the replica may be, from 1 s to 1 h. `None`: 10 s.
    pub replica_max_age: Option<Duration>,
    /// The keys of the store, or where they are: at least one. The first that opens one of the store's
    /// [slots](crate::NativeBackend::slots) is used. The first of all, except recovery shares, opens a new store.
    pub keys: Vec<KeySource>,
    /// Whether opening creates a missing store; default `false`. Otherwise the first `put` creates it, and
    /// reads find nothing until then, so that a misspelt path becomes no empty store.
    pub create: bool,
    /// The id of a group whose members may access the store and the file with the key or passphrase; by
    /// default only the owner and root may. A process of that group may also use a store of another user.
    pub group: Option<u32>,
    /// Whether the store may be on a file system that several machines can mount, such as NFS; default
    /// `false`. Writes can be lost if more than one machine opens it, or if its locks do not work.
    pub allow_network_file_system: bool,
    /// The anchor: a small file that says which state the store has reached, so that opening notices that an earlier
    /// copy of the store was put back. It is created with mode 0600, and with a lock file `NAME.lock` beside it. It
    /// protects as far as an attacker who can write the store cannot write it: keep it in another folder, with
    /// another owner of the folder or on another disk. All processes that use the store should name the same anchor.
    pub anchor_file: Option<PathBuf>,
    /// The anchor in another store instead of a file, such as a [`SecretAnchor`](crate::SecretAnchor). Opening needs that
    /// store; reads and writes do not wait for it. All processes that use the store should name the same anchor.
    pub anchor_store: Option<Arc<dyn AnchorStore>>,
    /// The most versions of a secret to keep, at least 1. `None`: all.
    pub keep_versions: Option<u64>,
    /// How many days a version is kept after another has replaced it, at least 1; the next write of
    /// its secret removes it. `None`: for ever.
    pub keep_days: Option<u64>,
    pub(crate) names: SettingNames,
}

impl Default for NativeConfig {
    fn default() -> Self {
        Self {
            path: None,
            url: None,
            ca_cert: None,
            replica_url: None,
            replica_max_age: None,
            keys: Vec::new(),
            create: false,
            group: None,
            allow_network_file_system: false,
            anchor_file: None,
            anchor_store: None,
            keep_versions: None,
            keep_days: None,
            names: SettingNames::of_fields(SETTINGS),
        }
    }
}

impl NativeConfig {
    /// A store in the default file that keeps every version.
    #[must_use]
    pub fn new(key: KeySource) -> Self {
        Self { keys: vec![key], ..Self::default() }
    }

    /// Checks the configuration without looking at any file, and returns its keys.
    pub(crate) fn validate(&self) -> Result<&[KeySource]> {
        let mut problems = Problems::new();
        self.check_retention(&mut problems);
        if let Some(path) = &self.path {
            problems.collect(FilePath::new(path).check_new(PATH));
        }
        if let Some(path) = &self.anchor_file {
            problems.collect(FilePath::new(path).check_new(ANCHOR_FILE));
        }
        self.check_anchor(&mut problems);
        self.check_database(&mut problems);
        if self.keys.is_empty() {
            problems.add(no_key());
        }
        for key in &self.keys {
            key.check_file(&mut problems);
        }
        problems.into_result()?;
        Ok(&self.keys)
    }

    fn check_anchor(&self, problems: &mut Problems) {
        if self.anchor_file.is_some() && self.anchor_store.is_some() {
            problems
                .add(format!("`{ANCHOR_FILE}` and `{ANCHOR_STORE}` are both set; set one of them"));
        }
    }

    fn check_database(&self, problems: &mut Problems) {
        if let Some(file) = &self.ca_cert {
            problems.collect(FilePath::new(file).check(CA_CERT));
            if self.url.is_none() {
                problems.add(format!("`{CA_CERT}` needs `{URL}`"));
            }
        }
        self.check_replica(problems);
        let Some(url) = &self.url else { return };
        if self.path.is_some() {
            problems.add(format!("`{PATH}` and `{URL}` are both set; set one of them"));
        }
        #[cfg(feature = "postgres")]
        crate::postgres::check(url, problems);
        #[cfg(not(feature = "postgres"))]
        {
            let _ = url;
            problems
                .add(format!("`{URL}` needs the cargo feature `native-postgres` of `strongroom`"));
        }
    }

    fn check_replica(&self, problems: &mut Problems) {
        if let Some(age) = self.replica_max_age {
            if self.replica_url.is_none() {
                problems.add(format!("`{REPLICA_MAX_AGE}` needs `{REPLICA_URL}`"));
            }
            if !REPLICA_AGES.contains(&age) {
                problems.add(format!("`{REPLICA_MAX_AGE}` must be from 1 s to 1 h"));
            }
        }
        let Some(url) = &self.replica_url else { return };
        if self.url.is_none() {
            problems.add(format!("`{REPLICA_URL}` needs `{URL}`"));
        }
        #[cfg(feature = "postgres")]
        crate::postgres::check_replica(url, problems);
        #[cfg(not(feature = "postgres"))]
        let _ = url;
    }

    fn check_retention(&self, problems: &mut Problems) {
        for (setting, number) in [(KEEP_VERSIONS, self.keep_versions), (KEEP_DAYS, self.keep_days)]
        {
            if number == Some(0) {
                problems.add(format!("`{setting}` must be at least 1"));
            }
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(file) => f.debug_tuple("KeyFile").field(&FilePath::new(file)).finish(),
            Self::Key(text) => f.debug_tuple("Key").field(text).finish(),
            Self::Passphrase(text) => f.debug_tuple("Passphrase").field(text).finish(),
            Self::PassphraseFile(file) => {
                f.debug_tuple("PassphraseFile").field(&FilePath::new(file)).finish()
            }
            Self::Wrapping(key) => f.debug_tuple("Wrapping").field(key).finish(),
            Self::RecoveryShares(shares) => {
                f.debug_tuple("RecoveryShares").field(&shares.len()).finish()
            }
            Self::RecoverySharesFile(file) => {
                f.debug_tuple("RecoverySharesFile").field(&FilePath::new(file)).finish()
            }
        }
    }
}

impl fmt::Debug for NativeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeConfig")
            .field("path", &self.path.as_ref().map(FilePath::new))
            .field("url", &self.url)
            .field("ca_cert", &self.ca_cert.as_ref().map(FilePath::new))
            .field("replica_url", &self.replica_url)
            .field("replica_max_age", &self.replica_max_age)
            .field("keys", &self.keys)
            .field("create", &self.create)
            .field("group", &self.group)
            .field("allow_network_file_system", &self.allow_network_file_system)
            .field("anchor_file", &self.anchor_file.as_ref().map(FilePath::new))
            .field("anchor_store", &self.anchor_store)
            .field("keep_versions", &self.keep_versions)
            .field("keep_days", &self.keep_days)
            .finish_non_exhaustive()
    }
}

/// Adds a problem if a setting that names a file holds what belongs into `direct`.
fn check_file(setting: Setting, file: &Path, direct: Setting, problems: &mut Problems) {
    if let Err(error) = FilePath::new(file).check(setting) {
        problems.add(format!("{}; or set `{direct}` to it", error.problems().concat()));
    }
}

fn no_key() -> String {
    format!(
        "nothing opens the native store: set one of {}; with `{KEY_FILE}` a new key is created for \
         a new store",
        quote(&KEY_SETTINGS)
    )
}

/// The names of settings in backticks, with commas.
pub(crate) fn quote(settings: &[Setting]) -> String {
    let quoted = settings.iter().map(|setting| format!("`{setting}`"));
    quoted.collect::<Vec<_>>().join(", ")
}
