//! The configuration from named settings.

use std::collections::BTreeMap;

use strongroom_core::{Error, Problems, Result, SecretPath, SecretString, Settings};

use super::{AssumedRole, AwsConfig};
use crate::settings::{
    ALLOW_HTTP, ATTEMPT_TIMEOUT, CA_BUNDLE, CONNECT_TIMEOUT, DEFAULT_REGION, ENDPOINT_URL,
    EXTERNAL_ID, KMS_KEY_ID, METADATA_TTL, NAMES, PREFIX, PROFILE, READ_METADATA, RECOVERY_WINDOW,
    REGION, ROLE_ARN, ROLE_SESSION_NAME, SERVICE_ENDPOINT_URL, SETTINGS, TAGS, TIMEOUT,
};

impl AwsConfig {
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
        let owned = |setting| settings.expose_owned(setting);
        let mut config = Self {
            region: owned(&REGION).or_else(|| owned(&DEFAULT_REGION)),
            profile: owned(&PROFILE),
            endpoint_url: owned(&ENDPOINT_URL),
            secrets_manager_endpoint_url: owned(&SERVICE_ENDPOINT_URL),
            ca_bundle: settings.expose_value(&CA_BUNDLE).map(Into::into),
            prefix: owned(&PREFIX),
            kms_key_id: owned(&KMS_KEY_ID),
            tags: tags(settings, &mut problems),
            role: role(settings, &mut problems),
            names: names(settings, &mut problems),
            setting_names: settings.names(SETTINGS),
            ..Self::default()
        };
        for (setting, field) in [
            (CONNECT_TIMEOUT, &mut config.connect_timeout),
            (ATTEMPT_TIMEOUT, &mut config.attempt_timeout),
            (TIMEOUT, &mut config.timeout),
            (METADATA_TTL, &mut config.metadata_ttl),
        ] {
            *field = settings.duration(&setting, &mut problems).unwrap_or(*field);
        }
        if let Some(days) = settings.number(&RECOVERY_WINDOW, &mut problems) {
            // A number that does not fit is out of range as well.
            config.recovery_window_days = u8::try_from(days).unwrap_or(u8::MAX);
        }
        for (setting, field) in
            [(READ_METADATA, &mut config.read_metadata), (ALLOW_HTTP, &mut config.allow_http)]
        {
            *field = settings.flag(&setting, &mut problems).unwrap_or(*field);
        }
        config.check(&mut problems);
        let rename = |error: Error| config.setting_names.rename(error);
        problems.into_result().map_err(rename)?;
        Ok(config)
    }
}

/// `db/main=arn:aws:secretsmanager:…, db/admin=rds!db-1234`.
fn names(settings: &Settings, problems: &mut Problems) -> BTreeMap<SecretPath, String> {
    let mut names = BTreeMap::new();
    for pair in settings.pairs(&NAMES) {
        let parsed = pair.and_then(|(path, id)| Some((SecretPath::parse(path).ok()?, id)));
        match parsed {
            Some((path, id)) => {
                if names.insert(path.clone(), id.to_owned()).is_some() {
                    problems.add(format!("`{NAMES}` names `{path}` twice"));
                }
            }
            None => {
                problems.add(format!("`{NAMES}` is not a list such as `db/admin=rds!db-1234`"));
            }
        }
    }
    names
}

/// `team=payments, env=production`.
fn tags(settings: &Settings, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for pair in settings.pairs(&TAGS) {
        match pair {
            Some((name, value)) => {
                tags.insert(name.to_owned(), value.to_owned());
            }
            None => {
                problems.add(format!("`{TAGS}` is not a list such as `team=payments, env=prod`"));
            }
        }
    }
    tags
}

fn role(settings: &Settings, problems: &mut Problems) -> Option<AssumedRole> {
    let Some(arn) = settings.expose_value(&ROLE_ARN) else {
        for setting in [ROLE_SESSION_NAME, EXTERNAL_ID] {
            if settings.contains(&setting) {
                problems.add(format!("`{setting}` has no effect without `{ROLE_ARN}`; set both"));
            }
        }
        return None;
    };
    let mut role = AssumedRole::new(arn);
    if let Some(name) = settings.expose_value(&ROLE_SESSION_NAME) {
        name.clone_into(&mut role.session_name);
    }
    role.external_id = settings.expose_value(&EXTERNAL_ID).map(SecretString::from);
    Some(role)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strongroom_core::{ExposeSecret as _, Setting, SettingsSource};

    use super::*;

    fn parse(pairs: &[(Setting, &str)]) -> Result<AwsConfig, Vec<String>> {
        let mut settings = Settings::new();
        for (setting, value) in pairs {
            settings.set(setting.variable(), value);
        }
        AwsConfig::from_settings(&settings).map_err(|error| {
            assert!(!error.to_string().contains("hunter2"), "{error}");
            error.problems().to_vec()
        })
    }

    #[test]
    fn no_setting_is_required() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.region, None);
        assert!(config.read_metadata && !config.allow_http);
    }

    #[test]
    fn defaults_of_the_table_are_those_of_the_struct() {
        let defaults = SETTINGS.iter().filter(|setting| !setting.default_text().is_empty());
        // The KMS key is a default of the service; a session name needs a role.
        let ours = defaults.filter(|setting| ![KMS_KEY_ID, ROLE_SESSION_NAME].contains(setting));
        let pairs: Vec<_> = ours.map(|setting| (*setting, setting.default_text())).collect();
        assert_eq!(format!("{:?}", parse(&pairs).unwrap()), format!("{:?}", AwsConfig::default()));
        assert_eq!(AssumedRole::new("").session_name, ROLE_SESSION_NAME.default_text());
    }

    #[test]
    fn an_error_names_what_the_caller_set() {
        let in_code = AwsConfig { timeout: Duration::ZERO, ..AwsConfig::default() };
        let mut file = Settings::with_source(SettingsSource::File);
        file.set_by_name(&TIMEOUT, "aws_timeout", "0");
        for (error, name) in [
            (in_code.validate(), "AwsConfig::timeout"),
            (AwsConfig::from_settings(&file).map(drop), "aws_timeout"),
            (Err(Error::config(parse(&[(TIMEOUT, "0")]).unwrap_err())), "SECRETS_AWS_TIMEOUT"),
        ] {
            let expected = format!("`{name}` must be more than zero and at most a day");
            assert_eq!(error.unwrap_err().problems(), [expected]);
        }
    }

    #[test]
    fn names_the_variable_that_set_the_region() {
        let problems = parse(&[(DEFAULT_REGION, "!")]).unwrap_err();
        assert!(problems[0].starts_with("`AWS_DEFAULT_REGION` is not a region"), "{problems:?}");
    }

    #[test]
    fn every_setting_is_read() {
        let given = [
            (REGION, "eu-central-1"),
            (PROFILE, "staging"),
            (ENDPOINT_URL, "http://localhost:4566"),
            (SERVICE_ENDPOINT_URL, "https://vpce.example.com"),
            (CA_BUNDLE, "/ca.pem"),
            (PREFIX, "production/"),
            (NAMES, "db/admin=rds!db-1234, db/main = arn:aws:secretsmanager:x-1:1:secret:a=b,"),
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
        let config = parse(&given).unwrap();
        assert_eq!(config.region.as_deref(), Some("eu-central-1"));
        assert_eq!(config.profile.as_deref(), Some("staging"));
        assert_eq!(config.endpoint_url.as_deref(), Some("http://localhost:4566"));
        let service = config.secrets_manager_endpoint_url.as_deref();
        assert_eq!(service, Some("https://vpce.example.com"));
        assert_eq!(config.ca_bundle, Some("/ca.pem".into()));
        assert_eq!(config.prefix.as_deref(), Some("production/"));
        let names: Vec<_> =
            config.names.iter().map(|(path, id)| (path.as_str(), id.as_str())).collect();
        let arn = "arn:aws:secretsmanager:x-1:1:secret:a=b";
        assert_eq!(names, [("db/admin", "rds!db-1234"), ("db/main", arn)]);
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
        let other = parse(&[(DEFAULT_REGION, "us-east-1")]).unwrap();
        assert_eq!(other.region.as_deref(), Some("us-east-1"));
    }

    #[test]
    fn every_problem_names_its_setting() {
        for (name, value) in [
            (REGION, "hunter2.example.com/"),
            (ENDPOINT_URL, "hunter2"),
            (ENDPOINT_URL, "http://user:hunter2@localhost:4566"),
            (SERVICE_ENDPOINT_URL, "http://hunter2.example.com"),
            (PREFIX, "hunter2?"),
            (PREFIX, "a//b"),
            (NAMES, "hunter2"),
            (NAMES, "hunter 2=name"),
            (NAMES, "a="),
            (NAMES, "a=hunter2\u{7}x"),
            (NAMES, "a=arn:hunter2"),
            (NAMES, "a=arn:aws:s3:::hunter2"),
            (NAMES, "a=arn:aws:secretsmanager:eu-central-1:1:secret:"),
            (NAMES, "a=x, a=y"),
            (NAMES, "a=x, b=x"),
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
            let problems = parse(&[(name, value)]).unwrap_err();
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert!(problems.concat().contains(&format!("`{name}`")), "{name}: {problems:?}");
        }
        let both = parse(&[(REGION, "!"), (TIMEOUT, "x")]).unwrap_err();
        assert_eq!(both.len(), 2, "{both:?}");
    }

    #[test]
    fn allows_plain_http_only_to_loopback() {
        for url in ["http://localhost:4566", "http://127.0.0.1", "http://[::1]:1", "https://a.b"] {
            assert!(parse(&[(ENDPOINT_URL, url)]).is_ok(), "{url}");
        }
        for url in ["http://localstack:4566", "http://10.0.0.1", "http://localhost.example.com"] {
            assert!(
                parse(&[(ENDPOINT_URL, url)]).unwrap_err().concat().contains(ALLOW_HTTP.variable())
            );
            assert!(parse(&[(ENDPOINT_URL, url), (ALLOW_HTTP, "true")]).is_ok(), "{url}");
        }
    }
}
