//! The configuration from settings, and how errors name what was set.

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
        (TEMPLATES, "spiffe://a.org/{tenant}/{agent}, spiffe://b.org/x/{tenant}/{agent}/{role}"),
        (TENANT, "acme"),
        (GROUP, "2000"),
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
    assert_eq!(config.group, Some(2000));
    assert_eq!(config.audit_mode, AuditMode::Batched(Duration::from_millis(250)));
    assert_eq!(config.audit_failure, AuditFailure::ContinueReads);
    assert_eq!(config.max_age, Duration::from_secs(30));
    assert_eq!(config.checkpoints, Some(("/data/checkpoints".into(), Duration::from_secs(600))));
    let files: Vec<_> = config.policy.iter().flat_map(Policy::files).collect();
    assert_eq!(files, [std::path::Path::new("/data/policy.rego")]);
    assert_eq!(config.policy_time_limit, Duration::from_millis(20));
    assert!(matches!(parse(&BASE).unwrap().log, Some((_, KeySource::Key(_)))));
    // The URL and its authorities are in the next test; the webhook has tests of its own.
    assert_eq!(SETTINGS.len(), 16 + 5, "a setting is missing above");
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
    let modes = [("writes", AuditMode::WritesAndDenials), ("batched", AuditMode::Batched(DELAY))];
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
        (KEY_FILE, CANARY, "`SECRETS_ACCESS_KEY_FILE` and `SECRETS_ACCESS_KEY` are set together"),
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
