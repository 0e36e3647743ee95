//! What a configuration may say, and what it shows.

use std::time::Duration;

use strongroom::rotation::{HttpIssuer, HttpIssuerConfig, KeyIssuer as _};
use strongroom::{ErrorKind, SecretValue};
use strongroom_testkit::canary;
use strongroom_testkit::certificates::Authority;

const HTTPS: &str = "https://a.example";
/// A certificate in PEM form that is none.
const DAMAGED: &str = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n";
const DAMAGED_KEY: &str = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n";

fn shows_nothing(shown: &str) {
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    assert_eq!(canary::find(shown.as_bytes()), None);
}

/// What is wrong with the certificates of a client for which nothing else is.
fn certificate_problems(
    base: &str,
    ca_cert: Option<&[u8]>,
    client_cert: Option<(&str, &str)>,
) -> Vec<String> {
    problems(base, |config| {
        config.ca_cert = ca_cert.map(<[u8]>::to_vec);
        config.client_cert = client_cert.map(|(cert, key)| (cert.into(), SecretValue::from(key)));
    })
}

fn problems(base: &str, change: impl FnOnce(&mut HttpIssuerConfig)) -> Vec<String> {
    let mut config = HttpIssuerConfig::new(base);
    change(&mut config);
    shows_nothing(&format!("{config:?} {config:#?}"));
    match HttpIssuer::new(&config) {
        Ok(issuer) => {
            shows_nothing(&format!("{issuer:?} {issuer:#?}"));
            Vec::new()
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config);
            shows_nothing(&format!("{error:?} {error:#}"));
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
        assert_eq!(HttpIssuer::new(&config).unwrap().is_idempotent(), honours);
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

#[test]
fn what_is_no_certificate_of_an_authority_is_refused() {
    let (authority, client) = (Authority::new("A").pem(), Authority::new("B").client());
    let cut_off = authority.lines().take(3).collect::<Vec<_>>().join("\n");
    for bad in [
        "",
        "hunter2",
        DAMAGED,
        &client.key,
        &cut_off,
        &format!("{authority}{DAMAGED}"),
        &format!("{authority}{}", client.key),
        "\u{1}\u{2}hunter2",
    ] {
        let found = certificate_problems(HTTPS, Some(bad.as_bytes()), None);
        assert!(found.len() == 1 && found[0].contains("`ca_cert`"), "{found:?}");
    }
    // As it is kept in binary files.
    let found = certificate_problems(HTTPS, Some(b"\x30\x82\x01\x0a\xff\x00hunter2"), None);
    assert!(found.len() == 1 && found[0].contains("`ca_cert`"), "{found:?}");
    assert!(certificate_problems(HTTPS, Some(authority.as_bytes()), None).is_empty());
}

#[test]
fn a_client_certificate_comes_with_its_own_key() {
    let authority = Authority::new("A");
    let (client, other) = (authority.client(), authority.client());
    let (cert, key) = (client.certificate.as_str(), client.key.as_str());
    let both = format!("{cert}{key}");
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    for (bad_cert, bad_key, says) in [
        ("", key, "no certificate"),
        ("hunter2", key, "no certificate"),
        (cert, "", "no private key"),
        (cert, "hunter2", "no private key"),
        (cert, cert, "no private key"),
        (cert, encrypted.as_str(), "without a passphrase"),
        (key, key, "a private key in its first part"),
        (key, cert, "a private key in its first part"),
        (&both, key, "a private key in its first part"),
        (DAMAGED, key, "do not belong together"),
        (cert, DAMAGED_KEY, "do not belong together"),
        (cert, other.key.as_str(), "do not belong together"),
    ] {
        let found = certificate_problems(HTTPS, None, Some((bad_cert, bad_key)));
        assert!(found.len() == 1 && found[0].contains("`client_cert`"), "{says}: {found:?}");
        assert!(found[0].contains(says), "{says}: {found:?}");
    }
    assert!(certificate_problems(HTTPS, None, Some((cert, key))).is_empty());
}

#[test]
fn certificates_without_tls_are_a_mistake() {
    let authority = Authority::new("A");
    let (ca, client) = (authority.pem(), authority.client());
    let ca = Some(ca.as_bytes());
    let client = Some((client.certificate.as_str(), client.key.as_str()));
    let plain = "http://127.0.0.1:1";
    for (ca, client, names) in [
        (ca, None, &["`ca_cert`"][..]),
        (None, client, &["`client_cert`"]),
        (ca, client, &["`ca_cert`", "`client_cert`"]),
    ] {
        let found = certificate_problems(plain, ca, client);
        assert_eq!(found.len(), names.len(), "{found:?}");
        for (problem, name) in found.iter().zip(names) {
            assert!(problem.contains(name) && problem.contains("plain http"), "{problem}");
        }
    }
    let all = certificate_problems("nowhere", Some(b""), Some(("", "")));
    assert_eq!(all.len(), 3, "{all:?}");
}
