//! How to open AWS Secrets Manager.

mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use strongroom_core::{
    ExposeSecret, FilePath, Problems, Result, SecretPath, SecretString, SettingNames,
};
use strongroom_transport::is_exposed;
use url::Url;

use crate::metadata::is_storable;
use crate::name::{is_prefix, is_secret_id, region_of_arn};
use crate::settings::{
    ALLOW_HTTP, ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, DEFAULT_REGION, ENDPOINT_URL, EXTERNAL_ID,
    METADATA_TTL, NAMES, PREFIX, RECOVERY_WINDOW, REGION, ROLE_ARN, ROLE_SESSION_NAME,
    SERVICE_ENDPOINT_URL, SETTINGS, TAGS, TIMEOUT,
};

const ONE_DAY: Duration = Duration::from_hours(24);
/// How many tags of the operator a secret can have: the service allows 50, of which 32 are for
/// callers and 6 for this library.
const MAX_TAGS: usize = 12;

/// How to open AWS Secrets Manager. `Debug` shows no secret.
///
/// An error about a configuration names its fields, or the settings that it was built from.
///
/// # Examples
/// ```
/// use strongroom_backend_aws::AwsConfig;
///
/// let mut config = AwsConfig::default();
/// config.prefix = Some("production".into());
/// config.tags.insert("team".into(), "payments".into());
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct AwsConfig {
    /// The region. `None`: as the SDK's default chain finds it (`AWS_REGION`, the profile, the
    /// instance).
    pub region: Option<String>,
    /// The profile in the shared configuration files. `None`: `AWS_PROFILE`, or `default`.
    pub profile: Option<String>,
    /// The address of all services, if it is not that of AWS, such as LocalStack's.
    pub endpoint_url: Option<String>,
    /// The address of Secrets Manager alone, such as an interface endpoint of a VPC.
    pub secrets_manager_endpoint_url: Option<String>,
    /// A file with the certificate authorities to trust, in PEM, in place of those of the platform. `None`:
    /// that of `AWS_CA_BUNDLE`, if it is set.
    pub ca_bundle: Option<PathBuf>,
    /// The beginning of the names of all secrets: the path `db/main` is the name
    /// `production/db/main` with the prefix `production`, and `/db/main` with `/`.
    pub prefix: Option<String>,
    /// Paths of secrets that are named by what AWS calls them: a name without [`prefix`](Self::prefix),
    /// of any characters, or an ARN, also of another account. Such a path stands for that secret alone.
    pub names: BTreeMap<SecretPath, String>,
    /// The KMS key for secrets that are created: an id, an ARN or an alias. `None`:
    /// `aws/secretsmanager`.
    pub kms_key_id: Option<String>,
    /// Tags for secrets that are created, besides their own.
    pub tags: BTreeMap<String, String>,
    /// Credentials. `None`, which is better: the SDK's default chain finds them.
    pub credentials: Option<StaticCredentials>,
    /// A role to assume with the credentials.
    pub role: Option<AssumedRole>,
    /// The time limit for a connection; default 3 s.
    pub connect_timeout: Duration,
    /// The time limit for one attempt at a request, fetching credentials included; default 5 s.
    pub attempt_timeout: Duration,
    /// The time limit for a whole request, with up to three attempts; default 15 s.
    pub timeout: Duration,
    /// How many days a deleted secret can be undeleted: 7 to 30, default 30.
    pub recovery_window_days: u8,
    /// Whether reads look up metadata, which the service keeps apart from the value; default
    /// `true`. Without it, a secret that is read has no metadata and never expires.
    pub read_metadata: bool,
    /// How long reads use cached metadata; default 5 min. With zero, each read makes a second
    /// request.
    pub metadata_ttl: Duration,
    /// Whether plain `http` to other hosts is allowed; default `false`. The network reads values
    /// then.
    pub allow_http: bool,
    pub(crate) setting_names: SettingNames,
}

/// A static access key. `Debug` shows its id alone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StaticCredentials {
    /// The id of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: SecretString,
    /// The session token, if the key is temporary.
    pub session_token: Option<SecretString>,
}

impl StaticCredentials {
    /// A long-term key, without a session token.
    #[must_use]
    pub fn new(access_key_id: impl Into<String>, secret_access_key: SecretString) -> Self {
        Self { access_key_id: access_key_id.into(), secret_access_key, session_token: None }
    }
}

/// A role that the backend assumes through AWS STS before its first request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AssumedRole {
    /// The role, such as `arn:aws:iam::123456789012:role/secrets-reader`.
    pub arn: String,
    /// The name of the session in audit logs; default `strongroom`.
    pub session_name: String,
    /// The external id that the owner of the role demands, if it belongs to another account.
    pub external_id: Option<SecretString>,
}

impl AssumedRole {
    /// The rules of
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.
    fn check(&self, problems: &mut Problems) {
        if !self.arn.starts_with("arn:") {
            problems.add(format!(
                "`{ROLE_ARN}` is not a role such as `arn:aws:iam::123456789012:role/name`"
            ));
        }
        let consists_of = |text: &str, more: &[u8]| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let name = &self.session_name;
        if !(2..=64).contains(&name.len()) || !consists_of(name, b"_+=,.@-") {
            problems.add(format!(
                "`{ROLE_SESSION_NAME}` is not a name of 2 to 64 characters of `A-Z a-z 0-9 _ + = , \
                 . @ -`"
            ));
        }
        let id = self.external_id.as_ref().map(ExposeSecret::expose_secret);
        if id.is_some_and(|id| !(2..=1224).contains(&id.len()) || !consists_of(id, b"_+=,.@:/-")) {
            problems.add(format!(
                "`{EXTERNAL_ID}` is not an id of 2 to 1,224 characters of `A-Z a-z 0-9 _ + = , . @ : \
                 / -`"
            ));
        }
    }

    /// A role whose sessions are called `strongroom`.
    #[must_use]
    pub fn new(arn: impl Into<String>) -> Self {
        Self { arn: arn.into(), session_name: "strongroom".into(), external_id: None }
    }
}

/// Shows addresses without user names and passwords.
impl fmt::Debug for AwsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &Option<String>| url.as_deref().map(origin);
        f.debug_struct("AwsConfig")
            .field("region", &self.region)
            .field("profile", &self.profile)
            .field("endpoint_url", &shown(&self.endpoint_url))
            .field("secrets_manager_endpoint_url", &shown(&self.secrets_manager_endpoint_url))
            .field("ca_bundle", &self.ca_bundle.as_ref().map(FilePath::new))
            .field("prefix", &self.prefix)
            .field("names", &self.names)
            .field("kms_key_id", &self.kms_key_id)
            .field("tags", &self.tags)
            .field("credentials", &self.credentials)
            .field("role", &self.role)
            .field("connect_timeout", &self.connect_timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("timeout", &self.timeout)
            .field("recovery_window_days", &self.recovery_window_days)
            .field("read_metadata", &self.read_metadata)
            .field("metadata_ttl", &self.metadata_ttl)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            endpoint_url: None,
            secrets_manager_endpoint_url: None,
            ca_bundle: None,
            prefix: None,
            names: BTreeMap::new(),
            kms_key_id: None,
            tags: BTreeMap::new(),
            credentials: None,
            role: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            recovery_window_days: 30,
            read_metadata: true,
            metadata_ttl: Duration::from_mins(5),
            allow_http: false,
            setting_names: SettingNames::of_fields(SETTINGS),
        }
    }
}

impl AwsConfig {
    /// Checks the configuration; an error names settings as the caller set them.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut problems = Problems::new();
        self.check(&mut problems);
        problems.into_result().map_err(|error| self.setting_names.rename(error))
    }

    /// Adds a problem for everything that is wrong.
    fn check(&self, problems: &mut Problems) {
        // A region becomes part of a host name.
        let is_label = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if self.region.as_deref().is_some_and(|region| !is_label(region)) {
            let is_default =
                self.setting_names.is_set(&DEFAULT_REGION) && !self.setting_names.is_set(&REGION);
            let setting = if is_default { DEFAULT_REGION } else { REGION };
            problems.add(format!("`{setting}` is not a region such as `eu-central-1`"));
        }
        for (setting, url) in [
            (ENDPOINT_URL, &self.endpoint_url),
            (SERVICE_ENDPOINT_URL, &self.secrets_manager_endpoint_url),
        ] {
            let checked = url.as_ref().map(|url| self.check_endpoint(setting.variable(), url));
            if let Some(Err(problem)) = checked {
                problems.add(problem);
            }
        }
        if self.prefix.as_deref().is_some_and(|prefix| !is_prefix(prefix)) {
            problems.add(format!(
                "`{PREFIX}` is not the beginning of a secret's name, such as `production`: use \
                 `A-Z a-z 0-9 / _ + = . @ -`"
            ));
        }
        self.check_names(problems);
        let is_tag = |(name, value): (&String, &String)| {
            !name.to_ascii_lowercase().starts_with("aws:")
                && !name.starts_with("strongroom")
                && (1..=128).contains(&name.chars().count())
                && is_storable(name)
                && value.chars().count() <= 256
                && is_storable(value)
        };
        if self.tags.len() > MAX_TAGS || !self.tags.iter().all(is_tag) {
            problems.add(format!(
                "`{TAGS}` holds a tag that AWS does not accept, or more than {MAX_TAGS}: use \
                 letters, digits, spaces and `_ . : / = + - @`"
            ));
        }
        if let Some(role) = &self.role {
            role.check(problems);
        }
        for (name, time) in [
            (CONNECT_TIMEOUT, self.connect_timeout),
            (ATTEMPT_TIMEOUT, self.attempt_timeout),
            (TIMEOUT, self.timeout),
        ] {
            if time.is_zero() || time > ONE_DAY {
                problems.add(format!("`{name}` must be more than zero and at most a day"));
            }
        }
        if self.metadata_ttl > ONE_DAY {
            problems.add(format!("`{METADATA_TTL}` must be at most a day"));
        }
        if !(7..=30).contains(&self.recovery_window_days) {
            problems.add(format!("`{RECOVERY_WINDOW}` must be 7 to 30 days"));
        }
    }

    /// Checks what paths stand for. Nothing of it is shown, because it may be a value by mistake.
    fn check_names(&self, problems: &mut Problems) {
        let mut paths = BTreeMap::new();
        for (path, id) in &self.names {
            if !is_secret_id(id) {
                problems.add(format!(
                    "`{NAMES}`: what `{path}` stands for is not the name of a secret, such as \
                     `rds!db-1234`, or an ARN such as \
                     `arn:aws:secretsmanager:eu-central-1:123456789012:secret:name-AbCdEf`"
                ));
            }
            if let Some(other) = paths.insert(id, path) {
                problems.add(format!(
                    "`{NAMES}`: `{other}` and `{path}` stand for one secret; keep one of them"
                ));
            }
        }
    }

    /// Checks that ARNs are of the region that receives the requests; AWS refuses others.
    pub(crate) fn check_regions(&self, region: &str, problems: &mut Problems) {
        for (path, id) in &self.names {
            if region_of_arn(id).is_some_and(|named| named != region) {
                problems.add(format!(
                    "`{}`: the ARN of `{path}` is of another region than `{region}`; open another \
                     backend for that region",
                    self.setting_names.name(&NAMES)
                ));
            }
        }
    }

    /// Checks an address that the variable `name` holds.
    pub(crate) fn check_endpoint(&self, name: &str, text: &str) -> Result<(), String> {
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .ok_or_else(|| format!("`{name}` is not an address such as `http://localhost:4566`"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("`{name}` holds a user name or password; remove it"));
        }
        if !self.allow_http && is_exposed(&url) {
            return Err(format!(
                "`{name}` is plain http to another host, which shows values to the network: use \
                 https, or set `{}` to `true` if you accept that",
                self.setting_names.name(&ALLOW_HTTP)
            ));
        }
        Ok(())
    }
}

/// An address without what may be secret: scheme, host and port.
pub(crate) fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "…".to_owned(), |url| url.origin().ascii_serialization())
}
