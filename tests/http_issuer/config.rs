//! What a configuration may say, and what it shows.

use std::time::Duration;

use strongroom::ErrorKind;
use strongroom::rotation::{HttpIssuer, HttpIssuerConfig, KeyIssuer as _};

fn problems(base: &str, change: impl FnOnce(&mut HttpIssuerConfig)) -> Vec<String> {
    let mut config = HttpIssuerConfig::new(base);
    change(&mut config);
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    match HttpIssuer::new(&config) {
        Ok(issuer) => {
            assert!(!format!("{issuer:?} {issuer:#?}").contains("hunter2"));
            Vec::new()
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?} {error:#}").contains("hunter2"), "{error}");
            error.problems().to_vec()
        }
    }
}

#[test]
fn keys_go_to_other_hosts_by_https_alone() {
    for good in [
        "https://api.example.com",
        "https://api.example.com:8443/v1/",
        "http://localhost:1",
        "http://127.0.0.1:1",
        "http://[::1]:1",
    ] {
        assert_eq!(problems(good, |_| {}), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "",
        "api.example.com",
        "ftp://api.example.com",
        "http://api.example.com",
        "http://localhost.example.com",
        "https://user:hunter2@api.example.com",
        "https://api.example.com?key=hunter2",
        "https://api.example.com#hunter2",
        "hunter2",
    ] {
        assert_eq!(problems(bad, |_| {}).len(), 1, "{bad}");
    }
    let allowed = problems("http://api.example.com", |config| config.allow_http = true);
    assert!(allowed.is_empty());
}

#[test]
fn every_problem_is_named() {
    let found = problems("nowhere", |config| {
        config.issue_path = "rotate".into();
        config.revoke_path = "/api/keys/".into();
        config.verify_path = Some("/who am i".into());
        config.list_path = Some("/keys/{key}".into());
        config.key_pointers = vec!["key".into()];
        config.expires_at_pointer = Some("/a~2".into());
        config.list_pointer = "keys".into();
        config.idempotency_header = Some("not a header".into());
        config.timeout = Duration::ZERO;
        config.connect_timeout = Duration::MAX;
    });
    for name in [
        "base",
        "issue_path",
        "revoke_path",
        "verify_path",
        "list_path",
        "key_pointers",
        "expires_at_pointer",
        "list_pointer",
        "idempotency_header",
        "`timeout`",
        "connect_timeout",
    ] {
        assert!(found.iter().any(|problem| problem.contains(name)), "{name}: {found:?}");
    }
    assert_eq!(found.len(), 11, "{found:?}");
    let none = problems("https://a.example", |config| config.key_pointers.clear());
    assert_eq!(none.len(), 1);
    let nameless = problems("https://a.example", |config| {
        config.idempotency_header = None;
        config.honours_idempotency = true;
    });
    assert_eq!(nameless.len(), 1);
}

#[test]
fn an_issuer_is_believed_to_repeat_itself_only_if_the_configuration_says_so() {
    for honours in [false, true] {
        let mut config = HttpIssuerConfig::new("https://a.example");
        config.honours_idempotency = honours;
        assert_eq!(HttpIssuer::new(&config).unwrap().repeats(), honours);
    }
}

#[test]
fn a_query_is_not_shown() {
    let none = problems("https://a.example", |config| {
        config.issue_path = "/rotate?secret=hunter2".into();
        config.revoke_path = "/keys?key={key}&secret=hunter2".into();
        config.verify_path = Some("/me?secret=hunter2".into());
        config.list_path = Some("/keys?secret=hunter2".into());
    });
    assert!(none.is_empty());
}
