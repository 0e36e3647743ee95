//! The settings of this backend.

use std::collections::BTreeMap;

use strongroom_core::{Problems, SecretString, Settings};

use crate::config::{AssumedRole, AwsConfig};

pub(crate) const REGION: &str = "AWS_REGION";
const DEFAULT_REGION: &str = "AWS_DEFAULT_REGION";
const PROFILE: &str = "AWS_PROFILE";
pub(crate) const ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";
pub(crate) const SERVICE_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL_SECRETS_MANAGER";
pub(crate) const PREFIX: &str = "SECRETS_AWS_PREFIX";
const KMS_KEY_ID: &str = "SECRETS_AWS_KMS_KEY_ID";
pub(crate) const TAGS: &str = "SECRETS_AWS_TAGS";
pub(crate) const ROLE_ARN: &str = "SECRETS_AWS_ROLE_ARN";
pub(crate) const ROLE_SESSION_NAME: &str = "SECRETS_AWS_ROLE_SESSION_NAME";
pub(crate) const EXTERNAL_ID: &str = "SECRETS_AWS_EXTERNAL_ID";
pub(crate) const CONNECT_TIMEOUT: &str = "SECRETS_AWS_CONNECT_TIMEOUT";
pub(crate) const ATTEMPT_TIMEOUT: &str = "SECRETS_AWS_ATTEMPT_TIMEOUT";
pub(crate) const TIMEOUT: &str = "SECRETS_AWS_TIMEOUT";
pub(crate) const RECOVERY_WINDOW: &str = "SECRETS_AWS_RECOVERY_WINDOW";
pub(crate) const READ_METADATA: &str = "SECRETS_AWS_READ_METADATA";
pub(crate) const METADATA_TTL: &str = "SECRETS_AWS_METADATA_TTL";
pub(crate) const ALLOW_HTTP: &str = "SECRETS_AWS_ALLOW_HTTP";

/// The settings that [`AwsConfig::from_settings`] reads. Credentials are none of them: the SDK
/// finds those itself.
pub const SETTINGS: &[&str] = &[
    REGION,
    DEFAULT_REGION,
    PROFILE,
    ENDPOINT_URL,
    SERVICE_ENDPOINT_URL,
    PREFIX,
    KMS_KEY_ID,
    TAGS,
    ROLE_ARN,
    ROLE_SESSION_NAME,
    EXTERNAL_ID,
    CONNECT_TIMEOUT,
    ATTEMPT_TIMEOUT,
    TIMEOUT,
    RECOVERY_WINDOW,
    READ_METADATA,
    METADATA_TTL,
    ALLOW_HTTP,
];

impl AwsConfig {
    /// Builds a configuration from [`SETTINGS`] and notes everything that is wrong with them;
    /// `None` if something is.
    ///
    /// | setting | meaning |
    /// |---|---|
    /// | `AWS_REGION`, or `AWS_DEFAULT_REGION` | [`region`](Self::region) |
    /// | `AWS_PROFILE` | [`profile`](Self::profile) |
    /// | `AWS_ENDPOINT_URL` | [`endpoint_url`](Self::endpoint_url) |
    /// | `AWS_ENDPOINT_URL_SECRETS_MANAGER` | [`secrets_manager_endpoint_url`](Self::secrets_manager_endpoint_url) |
    /// | `SECRETS_AWS_PREFIX` | [`prefix`](Self::prefix) |
    /// | `SECRETS_AWS_KMS_KEY_ID` | [`kms_key_id`](Self::kms_key_id) |
    /// | `SECRETS_AWS_TAGS` | [`tags`](Self::tags): `team=payments, env=production` |
    /// | `SECRETS_AWS_ROLE_ARN` | [`role`](Self::role); with it `SECRETS_AWS_ROLE_SESSION_NAME` and `SECRETS_AWS_EXTERNAL_ID` |
    /// | `SECRETS_AWS_CONNECT_TIMEOUT`, `SECRETS_AWS_ATTEMPT_TIMEOUT`, `SECRETS_AWS_TIMEOUT` | times such as `500ms`, or seconds |
    /// | `SECRETS_AWS_RECOVERY_WINDOW` | [`recovery_window_days`](Self::recovery_window_days) |
    /// | `SECRETS_AWS_READ_METADATA` | [`read_metadata`](Self::read_metadata) |
    /// | `SECRETS_AWS_METADATA_TTL` | [`metadata_ttl`](Self::metadata_ttl) |
    /// | `SECRETS_AWS_ALLOW_HTTP` | [`allow_http`](Self::allow_http) |
    #[must_use]
    pub fn from_settings(settings: &Settings, problems: &mut Problems) -> Option<Self> {
        let mut found = Problems::new();
        settings.check(SETTINGS.iter().copied(), &mut found);
        let owned = |name| settings.expose(name).map(str::to_owned);
        let mut config = Self {
            region: owned(REGION).or_else(|| owned(DEFAULT_REGION)),
            profile: owned(PROFILE),
            endpoint_url: owned(ENDPOINT_URL),
            secrets_manager_endpoint_url: owned(SERVICE_ENDPOINT_URL),
            prefix: owned(PREFIX),
            kms_key_id: owned(KMS_KEY_ID),
            tags: tags(settings, &mut found),
            role: role(settings, &mut found),
            ..Self::default()
        };
        for (name, field) in [
            (CONNECT_TIMEOUT, &mut config.connect_timeout),
            (ATTEMPT_TIMEOUT, &mut config.attempt_timeout),
            (TIMEOUT, &mut config.timeout),
            (METADATA_TTL, &mut config.metadata_ttl),
        ] {
            *field = settings.duration(name, &mut found).unwrap_or(*field);
        }
        if let Some(days) = settings.number(RECOVERY_WINDOW, "days", &mut found) {
            // What does not fit is out of range as well.
            config.recovery_window_days = u8::try_from(days).unwrap_or(u8::MAX);
        }
        config.read_metadata = settings.flag(READ_METADATA, &mut found).unwrap_or(true);
        config.allow_http = settings.flag(ALLOW_HTTP, &mut found).unwrap_or(false);
        config.check(&mut found);
        match found.into_result() {
            Ok(()) => Some(config),
            Err(error) => {
                error.problems().iter().for_each(|problem| problems.add(problem));
                None
            }
        }
    }
}

/// `team=payments, env=production`.
fn tags(settings: &Settings, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let entries = settings.expose(TAGS).unwrap_or_default().split(',').map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        match entry.split_once('=') {
            Some((name, value)) => {
                tags.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            None => {
                problems.add(format!("`{TAGS}` is not a list such as `team=payments, env=prod`"));
            }
        }
    }
    tags
}

fn role(settings: &Settings, problems: &mut Problems) -> Option<AssumedRole> {
    let Some(arn) = settings.expose(ROLE_ARN) else {
        for name in [ROLE_SESSION_NAME, EXTERNAL_ID].into_iter().filter(|name| settings.has(name)) {
            problems.add(format!("`{name}` means nothing without `{ROLE_ARN}`; set both"));
        }
        return None;
    };
    let mut role = AssumedRole::new(arn);
    if let Some(name) = settings.expose(ROLE_SESSION_NAME) {
        name.clone_into(&mut role.session_name);
    }
    role.external_id = settings.expose(EXTERNAL_ID).map(SecretString::from);
    Some(role)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strongroom_core::ExposeSecret as _;

    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<AwsConfig, Vec<String>> {
        let mut settings = Settings::new();
        for (name, value) in pairs {
            settings.set(name, value);
        }
        let mut problems = Problems::new();
        let config = AwsConfig::from_settings(&settings, &mut problems);
        match problems.into_result() {
            Ok(()) => Ok(config.unwrap()),
            Err(error) => {
                assert!(config.is_none());
                assert!(!error.to_string().contains("hunter2"), "{error}");
                Err(error.problems().to_vec())
            }
        }
    }

    #[test]
    fn nothing_has_to_be_set() {
        let config = parsed(&[]).unwrap();
        assert_eq!(config.region, None);
        assert!(config.read_metadata && !config.allow_http);
    }

    #[test]
    fn every_setting_is_read() {
        let given = [
            (REGION, "eu-central-1"),
            (PROFILE, "staging"),
            (ENDPOINT_URL, "http://localhost:4566"),
            (SERVICE_ENDPOINT_URL, "https://vpce.example.com"),
            (PREFIX, "production/"),
            (KMS_KEY_ID, "alias/secrets"),
            (TAGS, "team=payments, note = a=b ,"),
            (ROLE_ARN, "arn:aws:iam::123456789012:role/reader"),
            (ROLE_SESSION_NAME, "orders"),
            (EXTERNAL_ID, "4711"),
            (CONNECT_TIMEOUT, "500ms"),
            (ATTEMPT_TIMEOUT, "2"),
            (TIMEOUT, "4s"),
            (RECOVERY_WINDOW, "7"),
            (READ_METADATA, "no"),
            (METADATA_TTL, "0"),
            (ALLOW_HTTP, "true"),
        ];
        assert_eq!(given.len() + 1, SETTINGS.len(), "a setting is missing above");
        let config = parsed(&given).unwrap();
        assert_eq!(config.region.as_deref(), Some("eu-central-1"));
        assert_eq!(config.profile.as_deref(), Some("staging"));
        assert_eq!(config.endpoint_url.as_deref(), Some("http://localhost:4566"));
        let service = config.secrets_manager_endpoint_url.as_deref();
        assert_eq!(service, Some("https://vpce.example.com"));
        assert_eq!(config.prefix.as_deref(), Some("production/"));
        assert_eq!(config.kms_key_id.as_deref(), Some("alias/secrets"));
        let tags = [("note", "a=b"), ("team", "payments")];
        assert_eq!(config.tags, tags.map(|(name, text)| (name.into(), text.into())).into());
        let role = config.role.unwrap();
        assert_eq!(role.arn, "arn:aws:iam::123456789012:role/reader");
        assert_eq!(role.session_name, "orders");
        assert_eq!(role.external_id.unwrap().expose_secret(), "4711");
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        assert_eq!(config.attempt_timeout, Duration::from_secs(2));
        assert_eq!(config.timeout, Duration::from_secs(4));
        assert_eq!(config.recovery_window_days, 7);
        assert!(!config.read_metadata && config.allow_http);
        assert_eq!(config.metadata_ttl, Duration::ZERO);
        let other = parsed(&[(DEFAULT_REGION, "us-east-1")]).unwrap();
        assert_eq!(other.region.as_deref(), Some("us-east-1"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in [
            (REGION, "hunter2.example.com/"),
            (ENDPOINT_URL, "hunter2"),
            (ENDPOINT_URL, "http://user:hunter2@localhost:4566"),
            (SERVICE_ENDPOINT_URL, "http://hunter2.example.com"),
            (PREFIX, "hunter2?"),
            (PREFIX, "a//b"),
            (TAGS, "hunter2"),
            (TAGS, "aws:x=hunter2"),
            (TAGS, "x=hunter2!"),
            (TAGS, "strongroom.kind=hunter2"),
            (ROLE_ARN, "hunter2"),
            (EXTERNAL_ID, "hunter2"),
            (ROLE_SESSION_NAME, "hunter2"),
            (TIMEOUT, "0"),
            (CONNECT_TIMEOUT, "hunter2"),
            (METADATA_TTL, "2days"),
            (RECOVERY_WINDOW, "6"),
            (RECOVERY_WINDOW, "31"),
            (RECOVERY_WINDOW, "263"),
            (ALLOW_HTTP, "hunter2"),
        ] {
            let problems = parsed(&[(name, value)]).unwrap_err();
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert!(problems.concat().contains(&format!("`{name}`")), "{name}: {problems:?}");
        }
        let both = parsed(&[(REGION, "!"), (TIMEOUT, "x")]).unwrap_err();
        assert_eq!(both.len(), 2, "{both:?}");
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for url in ["http://localhost:4566", "http://127.0.0.1", "http://[::1]:1", "https://a.b"] {
            assert!(parsed(&[(ENDPOINT_URL, url)]).is_ok(), "{url}");
        }
        for url in ["http://localstack:4566", "http://10.0.0.1", "http://localhost.example.com"] {
            assert!(parsed(&[(ENDPOINT_URL, url)]).unwrap_err().concat().contains(ALLOW_HTTP));
            assert!(parsed(&[(ENDPOINT_URL, url), (ALLOW_HTTP, "true")]).is_ok(), "{url}");
        }
    }
}
