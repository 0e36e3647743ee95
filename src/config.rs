//! Which store a service uses, and how it is reached.

use serde::{Deserialize, Deserializer};
use strongroom_core::{ExposeSecret, Problems, Settings};

use crate::backends::{BACKEND, Chosen, KINDS, settings_of};
use crate::declared::{Declarations, Declared};
use crate::misspelt;
use crate::policy::{self, ReadPolicy};
use crate::source::Source;

const DEFAULT_BACKEND: &str = "env";

/// Which store a service uses, and how it is reached: from the environment, from the application's
/// own file, or set in code.
///
/// | setting | meaning |
/// |---|---|
/// | `SECRETS_BACKEND` | `env` (default), `hashicorp` (or `vault`, `openbao`), `aws` or `native` |
/// | `SECRETS_CACHE_TTL` | how long secrets are served from the cache; default `5m` with `aws`, `1m` with `hashicorp`; `0`: no cache |
/// | `SECRETS_CACHE_STALE_IF_ERROR` | how much longer while the store is unavailable; default `10m` |
/// | `SECRETS_CACHE_STALE_FALLBACK_TIMEOUT` | how long a read waits for the store while there is such a copy; default `2s` |
/// | `SECRETS_CACHE_NEGATIVE_TTL` | how long it is remembered that there is no secret; default `5s` |
/// | `SECRETS_CACHE_MAX_ENTRIES`, `SECRETS_CACHE_MAX_BYTES` | the most that the cache holds; default 10,000 and 64 MiB |
/// | `SECRETS_READ_TIMEOUT`, `SECRETS_READ_RETRIES` | the longest time of a read (default `30s`), and how often it is tried again (3) |
/// | `SECRETS_WATCH_INTERVAL` | how often a handle looks for a new version; default ¾ of the cache's time, or `10s` |
/// | `SECRETS_ENV_PREFIX` | in front of every variable's name |
/// | `SECRETS_ENV_FALLBACK` | `true`: a path's last segment alone also names its variable |
/// | `SECRETS_ENV_FILE` | a `.env` file that is read besides the environment |
/// | `VAULT_ADDR` | the server's https address; plain http for this host only |
/// | `VAULT_ROLE_ID`, `VAULT_SECRET_ID` or `VAULT_SECRET_ID_FILE` | logging in with AppRole; the file is read at each login |
/// | `SECRETS_VAULT_SECRET_ID_WRAPPED` | `true`: the secret id is a response-wrapping token that holds it |
/// | `VAULT_TOKEN` | a token, instead of AppRole |
/// | `VAULT_NAMESPACE` | the namespace |
/// | `VAULT_CACERT` | a file with the only certificate authorities that are trusted |
/// | `VAULT_CLIENT_CERT`, `VAULT_CLIENT_KEY` | files with a client certificate and its key |
/// | `SECRETS_VAULT_MOUNT` | where the KV engine is mounted; default `secret` |
/// | `SECRETS_VAULT_APPROLE_MOUNT` | where AppRole is mounted; default `approle` |
/// | `SECRETS_VAULT_STATIC_ROLES` | paths that are static roles of a database engine: `db/orders=database/orders` |
/// | `SECRETS_VAULT_CONNECT_TIMEOUT`, `SECRETS_VAULT_TIMEOUT` | for a connection (default `3s`) and a whole request (default `10s`) |
/// | `SECRETS_VAULT_RENEW_MARGIN` | how long before its end a token is renewed; default `60s` |
/// | `SECRETS_VAULT_ALLOW_HTTP` | `true`: plain http to other hosts, too |
/// | `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_PROFILE` | the region and the profile |
/// | `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SECRETS_MANAGER` | other addresses than those of AWS |
/// | `SECRETS_AWS_PREFIX` | what the names of all secrets begin with |
/// | `SECRETS_AWS_KMS_KEY_ID`, `SECRETS_AWS_TAGS` | for secrets that are created: the KMS key, and tags as in `team=payments, env=prod` |
/// | `SECRETS_AWS_ROLE_ARN`, `SECRETS_AWS_ROLE_SESSION_NAME`, `SECRETS_AWS_EXTERNAL_ID` | a role to assume |
/// | `SECRETS_AWS_CONNECT_TIMEOUT`, `SECRETS_AWS_ATTEMPT_TIMEOUT`, `SECRETS_AWS_TIMEOUT` | for a connection (default `3s`), one of up to three attempts (`5s`), a whole request (`15s`) |
/// | `SECRETS_AWS_RECOVERY_WINDOW` | how many days a deleted secret can be undeleted; default 30 |
/// | `SECRETS_AWS_READ_METADATA` | `false`: reads know no metadata and no expiry, and make one request each |
/// | `SECRETS_AWS_METADATA_TTL` | how long metadata is remembered for reads; default `5m` |
/// | `SECRETS_AWS_ALLOW_HTTP` | `true`: plain http to other hosts, too |
/// | `SECRETS_NATIVE_PATH` | the store's file; default: in the platform's data directory |
/// | `SECRETS_NATIVE_KEY_FILE`, `SECRETS_NATIVE_KEY`, `SECRETS_NATIVE_PASSPHRASE`, `SECRETS_NATIVE_PASSPHRASE_FILE` | what opens the store: exactly one of them |
/// | `SECRETS_NATIVE_KEEP_VERSIONS` | the most versions of a secret to keep |
/// | `SECRETS_NATIVE_KEEP_DAYS` | how many days a version is kept after it was replaced |
///
/// In the environment, an empty `SECRETS_…` setting of the chosen backend is a mistake (an empty
/// `VAULT_…` or `AWS_…` variable counts as not set, as for those tools), and so is a variable that begins
/// with `SECRETS_AWS_`, `SECRETS_CACHE_`, `SECRETS_ENV_`, `SECRETS_VAULT_` or `SECRETS_NATIVE_` and is no setting, unless
/// Kubernetes describes a service with it. Other `VAULT_…` variables are not read; in particular, none
/// turns the check of certificates off. Secrets of the `env` backend at paths such as `secrets/env-x` or
/// `secrets/native-x` would have such names: give them another place with `SECRETS_ENV_PREFIX`.
///
/// Settings of a backend while `SECRETS_BACKEND` is not set are a mistake, too, but for `VAULT_…` and
/// `AWS_…` variables in the environment, which other tools read as well.
///
/// In a file, a key is the setting's name in lower case, without `SECRETS_` in front or as it
/// stands. `declare` is a list of tables with the keys `path`, `required` (default `true`),
/// `default` and `pattern`; see [`Declared`].
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
/// A configuration that came from a file ignores the environment, but for what the SDK of AWS finds
/// there by itself: credentials, and a region, a profile or an endpoint that the file does not name.
/// Keys are flat: there are no sections for single backends.
///
/// Building a configuration never fails. What is wrong with it, unknown keys included, is reported
/// all at once by [`SecretsManager::from_config`](crate::SecretsManager::from_config), and never
/// shows a value. `Debug` is masked. (A file that is not well-formed is refused by its parser, whose
/// message may quote it: rather name a key file than write a key into it.)
#[derive(Clone, Debug, Default)]
pub struct Config {
    settings: Settings,
    declared: Vec<Declared>,
    problems: Vec<String>,
    /// Whether the settings came from the environment, where other tools have theirs, too.
    is_shared: bool,
}

/// A configuration without problems.
pub(crate) struct Understood {
    pub(crate) backend: Chosen,
    pub(crate) policy: ReadPolicy,
    pub(crate) declarations: Declarations,
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
        let settings = Settings::from_env(misspelt::known());
        misspelt::check_environment(&settings, &mut problems);
        let problems = match problems.into_result() {
            Ok(()) => Vec::new(),
            Err(error) => error.problems().to_vec(),
        };
        Self { settings, declared: Vec::new(), problems, is_shared: true }
    }

    /// Sets or replaces a setting, by the name of its variable or its key in a file.
    ///
    /// # Examples
    /// ```
    /// let config = strongroom::Config::new().set("backend", "native").set("native_key", "…");
    /// ```
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        match setting(name) {
            Some(_) if value.is_empty() => {
                self.problems.push(format!("`{name}` is empty; remove it or give it a value"));
            }
            Some(known) => self.settings.set(known, value),
            None => self.problems.push(misspelt::unknown(name)),
        }
        self
    }

    /// Declares a secret that the service will read.
    #[must_use]
    pub fn declare(mut self, declared: Declared) -> Self {
        self.declared.push(declared);
        self
    }

    pub(crate) fn understand(self) -> strongroom_core::Result<Understood> {
        let mut problems = Problems::new();
        self.problems.into_iter().for_each(|problem| problems.add(problem));
        let name = self.settings.expose(BACKEND).unwrap_or(DEFAULT_BACKEND);
        let read = settings_of(name).iter().copied();
        let own = std::iter::once(&BACKEND).chain(policy::SETTINGS).copied();
        self.settings.check(own.chain(read), &mut problems);
        if !self.settings.has(BACKEND) {
            note_settings_of_others(&self.settings, self.is_shared, &mut problems);
        }
        let backend = Chosen::from_settings(name, &self.settings, &mut problems);
        let policy = ReadPolicy::from_settings(&self.settings, &mut problems);
        let declarations = Declarations::understand(self.declared, &mut problems);
        problems.into_result()?;
        // Without a noted problem there is a backend.
        let backend = backend.ok_or_else(|| strongroom_core::Error::config(Vec::new()))?;
        Ok(Understood { backend, policy, declarations })
    }
}

/// Notes settings of a backend that nobody has chosen: a service that forgot to choose it would
/// look for its secrets in the wrong place. In the environment, settings that are shared with other
/// tools may be meant for those.
fn note_settings_of_others(settings: &Settings, is_shared: bool, problems: &mut Problems) {
    for kind in KINDS.iter().filter(|kind| kind.name != DEFAULT_BACKEND) {
        let is_meant = |name: &&str| {
            name.starts_with(kind.prefix)
                || (!is_shared && kind.settings.is_some_and(|all| all.contains(name)))
        };
        if let Some(name) = settings.names().find(is_meant) {
            problems.add(format!(
                "`{name}` is set, but `{BACKEND}` is not: set it to `{}`, or remove the former",
                kind.name
            ));
        }
    }
}

/// The setting that a name or a file's key stands for.
fn setting(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    misspelt::known().find(|known| *known == name || known.strip_prefix("SECRETS_") == Some(&name))
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Source::Table(members) = Source::deserialize(deserializer)? else {
            let problems = vec!["the configuration is not a table of settings".to_owned()];
            return Ok(Self { problems, ..Self::default() });
        };
        let mut config = Self::new();
        for (key, value) in members {
            config = config.with_member(&key, value);
        }
        Ok(config)
    }
}

impl Config {
    fn with_member(mut self, key: &str, value: Source) -> Self {
        match (key, value) {
            ("declare", Source::List(entries)) => {
                let problems = &mut self.problems;
                for (index, entry) in entries.into_iter().enumerate() {
                    self.declared.extend(Declared::from_source(entry, index, problems));
                }
                self
            }
            ("declare", _) => {
                self.problems.push("`declare` is not a list of tables".into());
                self
            }
            (key, _) if setting(key).is_some_and(|known| self.settings.has(known)) => {
                self.problems.push(format!("`{key}` is given twice"));
                self
            }
            (key, Source::Scalar(value)) => self.set(key, value.expose_secret()),
            (key, _) if setting(key).is_none() => {
                self.problems.push(misspelt::unknown(key));
                self
            }
            (key, _) => {
                self.problems
                    .push(format!("`{key}` is neither text nor a whole number nor a flag"));
                self
            }
        }
    }
}
