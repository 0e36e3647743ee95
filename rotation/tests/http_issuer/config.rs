//! Which configurations are accepted, and what they show.

use std::time::Duration;

use strongroom_core::ErrorKind;
use strongroom_rotation::{
    CaCertificates, ClientCertificate, HttpIssuer, HttpIssuerConfig, KeyIssuer as _,
};
use strongroom_testkit::canary;
use strongroom_testkit::certificates::Authority;

const HTTPS: &str = "https://a.example";
/// Well-formed PEM that holds no certificate.
const DAMAGED: &str = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n";
const DAMAGED_KEY: &str = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n";

fn shows_nothing(shown: &str) {
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    assert_eq!(canary::find(shown.as_bytes()), None);
}

/// The problems of a configuration in which only the certificates may be wrong.
fn certificate_problems(
    base: &str,
    ca: Option<&[u8]>,
    client: Option<(&str, &str)>,
) -> Vec<String> {
    problems(base, |config| {
        config.tls.ca_certificates = ca.map(CaCertificates::from_pem);
        config.tls.client_certificate =
            client.map(|(certificate, key)| ClientCertificate::from_pem(certificate, key));
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
fn accepts_plain_http_only_for_this_machine() {
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
    let allowed = problems("http://api.example.com", |config| config.tls.allow_plaintext = true);
    assert!(allowed.is_empty());
}

#[test]
fn names_every_problem() {
    let found = problems("nowhere", |config| {
        config.endpoints.issue_path = "rotate".into();
        config.endpoints.revoke_path = "/api/keys/".into();
        config.endpoints.verify_path = Some("/who am i".into());
        config.endpoints.list_path = Some("/keys/{key}".into());
        config.response.key_pointers = vec!["key".into()];
        config.response.expires_at_pointer = Some("/a~2".into());
        config.response.list_pointer = "keys".into();
        config.idempotency_header = Some("not a header".into());
        config.timeouts.call = Duration::ZERO;
        config.timeouts.connect = Duration::MAX;
    });
    for name in [
        "`base_url`",
        "`endpoints.issue_path`",
        "`endpoints.revoke_path`",
        "`endpoints.verify_path`",
        "`endpoints.list_path`",
        "`response.key_pointers`",
        "`response.expires_at_pointer`",
        "`response.list_pointer`",
        "`idempotency_header`",
        "`timeouts.call`",
        "`timeouts.connect`",
    ] {
        assert!(found.iter().any(|problem| problem.contains(name)), "{name}: {found:?}");
    }
    assert_eq!(found.len(), 11, "{found:?}");
    let none = problems("https://a.example", |config| config.response.key_pointers.clear());
    assert_eq!(none.len(), 1);
    let nameless = problems("https://a.example", |config| {
        config.idempotency_header = None;
        config.honours_idempotency = true;
    });
    assert_eq!(nameless.len(), 1);
}

#[test]
fn is_idempotent_only_if_the_configuration_says_so() {
    for honours in [false, true] {
        let mut config = HttpIssuerConfig::new("https://a.example");
        config.honours_idempotency = honours;
        assert_eq!(HttpIssuer::new(&config).unwrap().is_idempotent(), honours);
    }
}

#[test]
fn shows_no_query() {
    let none = problems("https://a.example", |config| {
        config.endpoints.issue_path = "/rotate?secret=hunter2".into();
        config.endpoints.revoke_path = "/keys?key={key}&secret=hunter2".into();
        config.endpoints.verify_path = Some("/me?secret=hunter2".into());
        config.endpoints.list_path = Some("/keys?secret=hunter2".into());
    });
    assert!(none.is_empty());
}

#[test]
fn rejects_unusable_certificates_of_authorities() {
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
        assert!(found.len() == 1 && found[0].contains("`tls.ca_certificates`"), "{found:?}");
    }
    // DER instead of PEM.
    let found = certificate_problems(HTTPS, Some(b"\x30\x82\x01\x0a\xff\x00hunter2"), None);
    assert!(found.len() == 1 && found[0].contains("`tls.ca_certificates`"), "{found:?}");
    assert!(certificate_problems(HTTPS, Some(authority.as_bytes()), None).is_empty());
}

#[test]
fn rejects_a_client_certificate_without_its_own_key() {
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
        (key, key, "a private key in the place of the certificate"),
        (key, cert, "a private key in the place of the certificate"),
        (&both, key, "a private key in the place of the certificate"),
        (DAMAGED, key, "do not belong together"),
        (cert, DAMAGED_KEY, "do not belong together"),
        (cert, other.key.as_str(), "do not belong together"),
    ] {
        let found = certificate_problems(HTTPS, None, Some((bad_cert, bad_key)));
        assert!(
            found.len() == 1 && found[0].contains("`tls.client_certificate`"),
            "{says}: {found:?}"
        );
        assert!(found[0].contains(says), "{says}: {found:?}");
    }
    assert!(certificate_problems(HTTPS, None, Some((cert, key))).is_empty());
}

#[test]
fn rejects_certificates_for_plain_http() {
    let authority = Authority::new("A");
    let (ca, client) = (authority.pem(), authority.client());
    let ca = Some(ca.as_bytes());
    let client = Some((client.certificate.as_str(), client.key.as_str()));
    let plain = "http://127.0.0.1:1";
    for (ca, client, names) in [
        (ca, None, &["`tls.ca_certificates`"][..]),
        (None, client, &["`tls.client_certificate`"]),
        (ca, client, &["`tls.ca_certificates`", "`tls.client_certificate`"]),
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
