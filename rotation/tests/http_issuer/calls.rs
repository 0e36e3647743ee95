//! Calls to an issuer that stores keys.

use std::time::{Duration, SystemTime};

use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{ExpiryHeaders, ExpiryUnit, IssueAttempt, KeyIssuer as _};
use strongroom_testkit::canary;
use strongroom_testkit::issuer::{Fault, Issuer, Options};
use strongroom_testkit::log::Log;

use crate::{expect_error, issuer};

const SHORT: Duration = Duration::from_millis(300);

fn same(one: &SecretValue, other: &SecretValue) -> bool {
    one.constant_time_eq(other)
}

#[tokio::test]
async fn issues_verifies_and_revokes_a_key_without_a_trace() {
    let server = Issuer::start(Options::default());
    let issuer =
        issuer(server.base(), |config| config.endpoints.verify_path = Some("/api/whoami".into()));
    let first = server.first_key();
    let issued = issuer.issue(&first, &IssueAttempt::random()).await.unwrap();
    canary::witness(&issued);
    assert_eq!(issued.expires_at, None);
    assert!(server.is_live(&issued.value) && server.is_live(&first));
    issuer.verify(&issued.value).await.unwrap();
    issuer.revoke(&first, &issued.value).await.unwrap();
    assert!(!server.is_live(&first));
    expect_error(ErrorKind::Unauthenticated, issuer.verify(&first).await);
    // Revoked before, and never issued.
    issuer.revoke(&first, &issued.value).await.unwrap();
    issuer.revoke(&SecretValue::from("never"), &issued.value).await.unwrap();
    let counts = server.counts();
    assert_eq!((counts.issued, counts.revoked, counts.revoke_calls), (1, 1, 3));
}

/// The other tests end the process if a key is logged; this one checks that anything is logged.
#[tokio::test]
async fn the_http_library_logs_and_shows_no_key() {
    let server = Issuer::start(Options::default());
    let issuer = issuer(server.base(), |_| {});
    let (log, first) = (Log::default(), server.first_key());
    let capturing = log.capture();
    let issued = issuer.issue(&first, &IssueAttempt::random()).await.unwrap();
    issuer.revoke(&first, &issued.value).await.unwrap();
    server.next_issues(1, Fault::Status(500));
    issuer.issue(&issued.value, &IssueAttempt::random()).await.unwrap_err();
    drop(capturing);
    let text = log.text();
    assert!(text.contains("reqwest"), "nothing was captured");
    assert_eq!(canary::find(text.as_bytes()), None);
}

#[tokio::test]
async fn a_repeated_attempt_gives_the_same_key() {
    let server = Issuer::start(Options::default());
    let issuer = issuer(server.base(), |_| {});
    let (first, id) = (server.first_key(), IssueAttempt::random());
    server.next_issues(1, Fault::LoseAnswer);
    let lost = expect_error(ErrorKind::Unavailable, issuer.issue(&first, &id).await);
    assert!(lost.is_temporary());
    let again = issuer.issue(&first, &id).await.unwrap();
    let other = issuer.issue(&first, &IssueAttempt::random()).await.unwrap();
    assert!(same(&issuer.issue(&first, &id).await.unwrap().value, &again.value));
    assert!(!same(&again.value, &other.value));
    assert_eq!(server.counts().issued, 2);
}

#[tokio::test]
async fn reads_the_expiry_from_the_response() {
    let life = Duration::from_secs(86_400);
    let mut options = Options::default();
    options.key_life = Some(life);
    let server = Issuer::start(options);
    let issuer = issuer(server.base(), |config| {
        config.response.expires_at_pointer = Some("/expires_at".into());
    });
    let before = SystemTime::now();
    let issued = issuer.issue(&server.first_key(), &IssueAttempt::random()).await.unwrap();
    let end = issued.expires_at.unwrap();
    // The issuer rounds Unix seconds down.
    assert!(end >= before + life - Duration::from_secs(1) && end <= SystemTime::now() + life);
}

#[tokio::test]
async fn an_issuer_that_hangs_is_a_timeout() {
    let server = Issuer::start(Options::default());
    let issuer = issuer(server.base(), |config| config.timeouts.call = SHORT);
    let first = server.first_key();
    server.next_issues(1, Fault::Hang);
    let error =
        expect_error(ErrorKind::Timeout, issuer.issue(&first, &IssueAttempt::random()).await);
    assert!(error.is_temporary());
    server.next_revocations(1, Fault::ActAndHang);
    let old = server.make_key(None);
    expect_error(ErrorKind::Timeout, issuer.revoke(&old, &first).await);
    assert!(!server.is_live(&old));
}

#[tokio::test]
async fn an_issuer_that_is_gone_is_unavailable() {
    let server = Issuer::start(Options::default());
    let issuer = issuer(server.base(), |_| {});
    let first = server.first_key();
    drop(server);
    let error =
        expect_error(ErrorKind::Unavailable, issuer.issue(&first, &IssueAttempt::random()).await);
    assert!(error.is_temporary());
}

#[tokio::test]
async fn a_server_without_tls_is_a_permanent_error() {
    let server = Issuer::start(Options::default());
    let issuer = issuer(server.base().replace("http:", "https:"), |_| {});
    let result = issuer.issue(&server.first_key(), &IssueAttempt::random()).await;
    assert!(!expect_error(ErrorKind::Unavailable, result).is_temporary());
}

#[tokio::test]
async fn lists_keys_in_full() {
    let server = Issuer::start(Options::default());
    let issuer =
        issuer(server.base(), |config| config.endpoints.list_path = Some("/api/keys".into()));
    let (current, previous) = (server.first_key(), server.make_key(None));
    for _ in 0..3 {
        let _ = server.make_key(None);
    }
    let listed = issuer.list(&current).await.unwrap();
    let is_there = |key: &SecretValue| listed.iter().any(|it| it.constant_time_eq(key));
    assert!(listed.len() == 5 && is_there(&current) && is_there(&previous));
    server.revoke(&previous);
    assert_eq!(issuer.list(&current).await.unwrap().len(), 4);
}

#[tokio::test]
async fn without_paths_it_cannot_list_and_verifies_nothing() {
    let server = Issuer::start(Options::default());
    let issuer = issuer(server.base(), |_| {});
    let first = server.first_key();
    expect_error(ErrorKind::Unsupported, issuer.list(&first).await);
    issuer.verify(&SecretValue::from("never")).await.unwrap();
}

#[tokio::test]
async fn rejects_a_key_that_cannot_be_sent() {
    let server = Issuer::start(Options::default());
    let issuer = issuer(server.base(), |config| {
        config.response.expiry_headers = Some(ExpiryHeaders::new(ExpiryUnit::Seconds));
    });
    let first = server.first_key();
    for bad in ["", "a b", "a\nb", "ä"] {
        let result = issuer.issue(&bad.into(), &IssueAttempt::random()).await;
        expect_error(ErrorKind::InvalidInput, result);
        expect_error(ErrorKind::InvalidInput, issuer.revoke(&first, &bad.into()).await);
    }
    // In a path, they would lead to the list of keys, or to something above it.
    for bad in ["", ".", ".."] {
        expect_error(ErrorKind::InvalidInput, issuer.revoke(&bad.into(), &first).await);
    }
    assert_eq!((server.counts().issue_calls, server.counts().revoke_calls), (0, 0));
    assert!(server.is_live(&first));
}
