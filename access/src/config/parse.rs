//! The configuration from named settings.

mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use strongroom_core::{Problems, Result, Setting, Settings};

use super::{AccessConfig, AuditFailure, AuditMode, KeySource};
use crate::log::location::{DatabaseLocation, LogLocation};
use crate::open;
use crate::settings::{
    AUDIT, AUDIT_DELAY, AUDIT_FAILURE, CA_CERT, CHECKPOINT_FILE, CHECKPOINT_INTERVAL, KEY,
    KEY_FILE, MAX_AGE, PATH, POLICY_PATH, POLICY_TIME_LIMIT, SETTINGS, TEMPLATES, TENANT, URL,
};
use crate::webhook::check_webhooks;
use crate::{Policy, SpiffeTemplate, TenantName};

/// How long records of reads wait for their batch, unless it is set.
const DELAY: Duration = Duration::from_millis(100);
/// How often a checkpoint is written, unless it is set.
const INTERVAL: Duration = Duration::from_secs(3_600);

impl AccessConfig {
    /// Builds a configuration from those of [`SETTINGS`] that are set in the environment.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn run() -> strongroom_core::Result<()> {
    /// use strongroom_access::{Access, AccessConfig};
    ///
    /// let access = Access::open(AccessConfig::from_env()?).await?; // SECRETS_ACCESS_PATH, …
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env(SETTINGS))
    }

    /// Builds a configuration from [`SETTINGS`]. Errors, also later ones about this configuration, name settings as
    /// they are named there.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let mut problems = Problems::new();
        settings.validate(SETTINGS, &mut problems);
        let location = location(settings, &mut problems);
        let defaults = Self::in_memory();
        let config = Self {
            log: location.zip(key_source(settings, &mut problems)),
            ca_cert: settings.expose_value(&CA_CERT).map(PathBuf::from),
            templates: templates(settings, &mut problems),
            single_tenant: tenant(settings, &mut problems),
            audit_mode: audit_mode(settings, &mut problems).unwrap_or_default(),
            audit_failure: choice(
                settings,
                AUDIT_FAILURE,
                [("stop", AuditFailure::StopReads), ("continue", AuditFailure::ContinueReads)],
                &mut problems,
            )
            .unwrap_or_default(),
            checkpoints: checkpoints(settings, &mut problems),
            max_age: settings.duration(&MAX_AGE, &mut problems).unwrap_or(defaults.max_age),
            policy: settings.expose_value(&POLICY_PATH).map(Policy::from_file),
            policy_time_limit: settings
                .duration(&POLICY_TIME_LIMIT, &mut problems)
                .unwrap_or(defaults.policy_time_limit),
            webhooks: webhook::parse(settings, &mut problems).into_iter().collect(),
            names: settings.names(SETTINGS),
            ..defaults
        };
        config.check_times(&mut problems);
        // A program without the feature, such as one that only reads the audit, may leave the webhook out.
        if cfg!(feature = "webhooks") {
            check_webhooks(&config.webhooks, &mut problems);
        }
        problems.into_result().map_err(|error| config.names.rename(error))?;
        Ok(config)
    }
}

fn location(settings: &Settings, problems: &mut Problems) -> Option<LogLocation> {
    let ca_cert = settings.expose_value(&CA_CERT).map(PathBuf::from);
    if ca_cert.is_some() && !settings.contains(&URL) {
        problems.add(format!("`{CA_CERT}` needs `{URL}`"));
    }
    match (settings.expose_value(&PATH), settings.expose_value(&URL)) {
        (Some(path), None) => Some(LogLocation::File(path.into())),
        (None, Some(url)) => {
            let database = DatabaseLocation { url: url.into(), ca_cert };
            // Checks the value itself, which needs no server.
            database.check_url(problems);
            Some(LogLocation::Database(database))
        }
        (Some(_), Some(_)) => {
            problems.add(format!("`{PATH}` and `{URL}` are set together; keep one of them"));
            None
        }
        (None, None) => {
            problems.add(format!(
                "`{PATH}` is not set: name the file of the access rules, or set `{URL}` to their database"
            ));
            None
        }
    }
}

fn key_source(settings: &Settings, problems: &mut Problems) -> Option<KeySource> {
    match (settings.expose_value(&KEY_FILE), settings.expose_value(&KEY)) {
        (Some(file), None) => Some(KeySource::File(file.into())),
        (None, Some(key)) => {
            // Checks the value itself, which needs no file.
            problems.collect(open::parse_key(&key.into()))?;
            Some(KeySource::Key(key.into()))
        }
        (Some(_), Some(_)) => {
            problems.add(format!("`{KEY_FILE}` and `{KEY}` are set together; keep one of them"));
            None
        }
        (None, None) => {
            problems.add(format!(
                "the access rules have no key: set `{KEY_FILE}` or `{KEY}`; with `{KEY_FILE}` a new key is created \
                 for new rules"
            ));
            None
        }
    }
}

fn templates(settings: &Settings, problems: &mut Problems) -> Vec<SpiffeTemplate> {
    let Some(text) = settings.expose_value(&TEMPLATES) else { return Vec::new() };
    let separates = |character: char| character == ',' || character.is_whitespace();
    let templates: Vec<_> = text.split(separates).filter(|text| !text.is_empty()).collect();
    if templates.is_empty() {
        problems.add(format!("`{TEMPLATES}` has no template; unset it, or name one"));
    }
    let mut parse = |(index, text): (usize, &str)| match SpiffeTemplate::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            problems.add(format!(
                "template {} of `{TEMPLATES}`: {}; {}",
                index + 1,
                error.cause(),
                error.advice()
            ));
            None
        }
    };
    templates.into_iter().enumerate().filter_map(&mut parse).collect()
}

fn tenant(settings: &Settings, problems: &mut Problems) -> Option<TenantName> {
    match TenantName::parse(settings.expose_value(&TENANT)?) {
        Ok(tenant) => Some(tenant),
        Err(error) => {
            problems.add(format!("`{TENANT}` is {}; {}", error.cause(), error.advice()));
            None
        }
    }
}

fn audit_mode(settings: &Settings, problems: &mut Problems) -> Option<AuditMode> {
    let delay = settings.duration(&AUDIT_DELAY, problems);
    let batched = AuditMode::Batched(delay.unwrap_or(DELAY));
    let modes = [
        ("durable", AuditMode::Durable),
        ("batched", batched),
        ("writes", AuditMode::WritesAndDenials),
    ];
    let mode = choice(settings, AUDIT, modes, problems);
    let is_unused = mode != Some(batched) && (mode.is_some() || !settings.contains(&AUDIT));
    if delay.is_some() && is_unused {
        problems.add(format!("`{AUDIT_DELAY}` needs `{AUDIT}` to be `batched`"));
    }
    mode
}

fn checkpoints(settings: &Settings, problems: &mut Problems) -> Option<(PathBuf, Duration)> {
    let interval = settings.duration(&CHECKPOINT_INTERVAL, problems);
    let file = settings.expose_value(&CHECKPOINT_FILE);
    if interval.is_some() && file.is_none() {
        problems.add(format!("`{CHECKPOINT_INTERVAL}` needs `{CHECKPOINT_FILE}`"));
    }
    file.map(|file| (file.into(), interval.unwrap_or(INTERVAL)))
}

/// A setting that is one of several words.
fn choice<T: Copy, const N: usize>(
    settings: &Settings,
    setting: Setting,
    choices: [(&str, T); N],
    problems: &mut Problems,
) -> Option<T> {
    let text = settings.expose_value(&setting)?;
    let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if chosen.is_none() {
        let words = choices.map(|(word, _)| format!("`{word}`"));
        problems.add(format!("`{setting}` is none of {}", words.join(", ")));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use strongroom_core::SettingsSource;

    use super::*;
    use crate::Access;

    const CANARY: &str = "canary-8f3a1c";

    fn settings(pairs: &[(Setting, &str)]) -> Settings {
        let mut settings = Settings::new();
        for (setting, value) in pairs {
            settings.set(setting.variable(), value);
        }
        settings
    }

    fn parse(pairs: &[(Setting, &str)]) -> Result<AccessConfig, Vec<String>> {
        let error = match AccessConfig::from_settings(&settings(pairs)) {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        Err(error.problems().to_vec())
    }

    const BASE: [(Setting, &str); 2] =
        [(PATH, "/data/access.db"), (KEY, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];

    fn parse_with(pairs: &[(Setting, &str)]) -> Result<AccessConfig, Vec<String>> {
        parse(&[&BASE, pairs].concat())
    }

    #[test]
    fn every_setting_is_read() {
        let config = parse(&[
            (PATH, "/data/access.db"),
            (KEY_FILE, "/data/key"),
            (
                TEMPLATES,
                "spiffe://a.org/{tenant}/{agent}, spiffe://b.org/x/{tenant}/{agent}/{role}",
            ),
            (TENANT, "acme"),
            (AUDIT, "batched"),
            (AUDIT_DELAY, "250ms"),
            (AUDIT_FAILURE, "continue"),
            (MAX_AGE, "30"),
            (CHECKPOINT_FILE, "/data/checkpoints"),
            (CHECKPOINT_INTERVAL, "10m"),
            (POLICY_PATH, "/data/policy.rego"),
            (POLICY_TIME_LIMIT, "20ms"),
        ])
        .unwrap();
        assert!(matches!(&config.log, Some((LogLocation::File(path), KeySource::File(key)))
            if path.ends_with("access.db") && key.ends_with("key")));
        assert_eq!(config.templates.len(), 2);
        assert_eq!(config.single_tenant, Some(TenantName::parse("acme").unwrap()));
        assert_eq!(config.audit_mode, AuditMode::Batched(Duration::from_millis(250)));
        assert_eq!(config.audit_failure, AuditFailure::ContinueReads);
        assert_eq!(config.max_age, Duration::from_secs(30));
        assert_eq!(
            config.checkpoints,
            Some(("/data/checkpoints".into(), Duration::from_secs(600)))
        );
        let files: Vec<_> = config.policy.iter().flat_map(Policy::files).collect();
        assert_eq!(files, [std::path::Path::new("/data/policy.rego")]);
        assert_eq!(config.policy_time_limit, Duration::from_millis(20));
        assert!(matches!(parse(&BASE).unwrap().log, Some((_, KeySource::Key(_)))));
        // The URL and its authorities are in the next test; the webhook has tests of its own.
        assert_eq!(SETTINGS.len(), 15 + 5, "a setting is missing above");
    }

    const URL_WITH_KEY: [(Setting, &str); 2] = [(URL, "postgresql://a:canary@db/x"), BASE[1]];

    #[cfg(feature = "postgres")]
    #[test]
    fn a_database_takes_the_place_of_a_file() {
        let config = parse(&[&URL_WITH_KEY[..], &[(CA_CERT, "/data/ca.pem")]].concat()).unwrap();
        assert!(matches!(&config.log, Some((LogLocation::Database(database), KeySource::Key(_)))
            if database.ca_cert.as_deref() == Some("/data/ca.pem".as_ref())));
        assert!(!format!("{config:?}").contains("canary"), "{config:?}");
        for (more, problem) in [
            (PATH, "`SECRETS_ACCESS_PATH` and `SECRETS_ACCESS_URL` are set together"),
            (AUDIT_DELAY, "`SECRETS_ACCESS_AUDIT_DELAY` is not a duration"),
        ] {
            let problems =
                parse(&[&URL_WITH_KEY[..], &[(more, CANARY)]].concat()).map(drop).unwrap_err();
            assert!(problems[0].starts_with(problem), "{problems:?}");
        }
        for (url, problem) in [
            (CANARY, "`SECRETS_ACCESS_URL` is no connection URL"),
            ("postgresql://canary@db/x", "`SECRETS_ACCESS_URL` has no password"),
            (
                "postgresql://a:canary@db/x?sslmode=disable",
                "`SECRETS_ACCESS_URL` turns TLS off towards another host",
            ),
        ] {
            let problems = parse(&[(URL, url), BASE[1]]).map(drop).unwrap_err();
            let [one] = &problems[..] else { panic!("{problems:?}") };
            assert!(one.starts_with(problem), "{one}");
        }
        let problems = parse_with(&[(CA_CERT, "/data/ca.pem")]).map(drop).unwrap_err();
        assert_eq!(problems, ["`SECRETS_ACCESS_CA_CERT` needs `SECRETS_ACCESS_URL`"]);
    }

    #[cfg(not(feature = "postgres"))]
    #[tokio::test]
    async fn without_the_feature_a_database_is_an_error_that_names_it() {
        let problems = parse(&URL_WITH_KEY).map(drop).unwrap_err();
        assert!(problems[0].contains("`access-postgres`"), "{problems:?}");
        let key = KeySource::Key(BASE[1].1.into());
        let in_code = AccessConfig::with_database(URL_WITH_KEY[0].1.into(), key);
        let error = Access::open(in_code).await.unwrap_err().to_string();
        assert!(error.contains("`AccessConfig::with_database` needs the cargo feature"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let config = parse(&BASE).unwrap();
        let shown = [
            (AUDIT, "durable", config.audit_mode == AuditMode::Durable),
            (AUDIT_FAILURE, "stop", config.audit_failure == AuditFailure::StopReads),
            (MAX_AGE, "5s", config.max_age == Duration::from_secs(5)),
            (AUDIT_DELAY, "100ms", DELAY == Duration::from_millis(100)),
            (CHECKPOINT_INTERVAL, "1h", INTERVAL == Duration::from_secs(3_600)),
            (POLICY_TIME_LIMIT, "10ms", config.policy_time_limit == Duration::from_millis(10)),
        ];
        for (setting, default, is_default) in shown {
            assert_eq!(setting.default_text(), default);
            assert!(is_default, "{setting}");
        }
        assert!(config.templates.is_empty() && config.single_tenant.is_none());
        let modes =
            [("writes", AuditMode::WritesAndDenials), ("batched", AuditMode::Batched(DELAY))];
        for (word, mode) in modes {
            assert_eq!(parse_with(&[(AUDIT, word)]).unwrap().audit_mode, mode);
        }
    }

    #[test]
    fn each_problem_names_its_setting_and_shows_no_value() {
        for (setting, value, problem) in [
            (KEY, CANARY, "`SECRETS_ACCESS_KEY` is not a key"),
            (TEMPLATES, CANARY, "template 1 of `SECRETS_ACCESS_TEMPLATES`: "),
            (TEMPLATES, " , ", "`SECRETS_ACCESS_TEMPLATES` has no template"),
            (TENANT, "canary_", "`SECRETS_ACCESS_TENANT` is not the name of a tenant"),
            (AUDIT, CANARY, "`SECRETS_ACCESS_AUDIT` is none of `durable`, `batched`, `writes`"),
            (AUDIT_DELAY, "1s", "`SECRETS_ACCESS_AUDIT_DELAY` needs `SECRETS_ACCESS_AUDIT`"),
            (AUDIT_DELAY, CANARY, "`SECRETS_ACCESS_AUDIT_DELAY` is not a duration"),
            (AUDIT_FAILURE, CANARY, "`SECRETS_ACCESS_AUDIT_FAILURE` is none of `stop`, `continue`"),
            (MAX_AGE, "999ms", "`SECRETS_ACCESS_MAX_AGE` is under 1 second"),
            (CHECKPOINT_INTERVAL, "1h", "`SECRETS_ACCESS_CHECKPOINT_INTERVAL` needs `SECRETS_"),
            (POLICY_TIME_LIMIT, "2s", "`SECRETS_ACCESS_POLICY_TIME_LIMIT` is not between 1 ms"),
            (
                KEY_FILE,
                CANARY,
                "`SECRETS_ACCESS_KEY_FILE` and `SECRETS_ACCESS_KEY` are set together",
            ),
        ] {
            let problems = parse_with(&[(setting, value)]).unwrap_err();
            let [one] = problems.as_slice() else { panic!("{setting}: {problems:?}") };
            assert!(one.starts_with(problem), "{one}");
        }
        let long = parse_with(&[(AUDIT, "batched"), (AUDIT_DELAY, "11s")]).unwrap_err();
        assert_eq!(long, ["`SECRETS_ACCESS_AUDIT_DELAY` is not between 1 ms and 10 s"]);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let problems = parse(&[(MAX_AGE, "0"), (AUDIT, "all"), (TENANT, "A"), (TEMPLATES, "a b")]);
        // Also the path and the key are missing.
        assert_eq!(problems.as_ref().unwrap_err().len(), 7, "{problems:?}");
    }

    #[tokio::test]
    async fn an_error_about_a_file_names_what_the_caller_set() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("open-to-others"), "x").unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(
            at("open-to-others"),
            std::os::unix::fs::PermissionsExt::from_mode(0o644),
        )
        .unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        Access::open(AccessConfig::new(at("first.db"), at("key-1"))).await.unwrap().close().await;
        for (path, key_file, named) in [
            (at("a.db"), at("open-to-others"), KEY_FILE),
            (at("a.db"), at("none/key"), KEY_FILE),
            (at("a.db"), at("folder"), KEY_FILE),
            (at("a.db"), format!("{CANARY} in words"), KEY_FILE),
            (at("none/a.db"), at("key-1"), PATH),
            (at("folder"), at("key-1"), PATH),
            (format!("{CANARY} in words"), at("key-1"), PATH),
        ] {
            let in_code = AccessConfig::new(&path, &key_file);
            let variables = settings(&[(PATH, &path), (KEY_FILE, &key_file)]);
            let mut file = Settings::with_source(SettingsSource::File);
            file.set_by_name(&PATH, &PATH.key(), &path);
            file.set_by_name(&KEY_FILE, &KEY_FILE.key(), &key_file);
            for (config, name) in [
                (in_code, named.field().to_owned()),
                (AccessConfig::from_settings(&variables).unwrap(), named.variable().to_owned()),
                (AccessConfig::from_settings(&file).unwrap(), named.key()),
            ] {
                assert!(!format!("{config:?}").contains("canary"), "{config:?}");
                let error = Access::open(config).await.unwrap_err();
                let [problem] = error.problems() else { panic!("{path} {key_file}: {error}") };
                assert!(problem.contains(&format!("`{name}`")), "{name}: {problem}");
                assert!(!problem.contains("canary"), "{problem}");
            }
        }
        let missing = AccessConfig::new(at("b.db"), at("b.key"));
        Access::open(missing.clone()).await.unwrap().close().await;
        std::fs::remove_file(at("b.key")).unwrap();
        let error = Access::open(missing).await.unwrap_err().to_string();
        assert!(error.contains("restore the file from a backup"), "{error}");
    }

    #[test]
    fn debug_shows_no_key_and_no_key_pasted_as_a_path() {
        let config = parse(&BASE).unwrap();
        assert!(!format!("{config:?}").contains("AAEC"));
        let pasted = AccessConfig::new("/a", "k7xP2m9QvR4tY8wZ1aB3cD5eF6gH7iJ8kL9mN0oPqRs=");
        assert!(!format!("{pasted:?}").contains("k7xP"));
    }
}
