//! Neither the client nor the server logs a password.

use strongroom_core::ErrorKind;
use strongroom_rotation::{IssueAttempt, KeyIssuer as _};
use strongroom_testkit::canary;
use strongroom_testkit::log::Log;

use crate::expect_error;
use crate::fixture::{Fixture, credentials};

#[tokio::test]
async fn a_server_that_logs_all_statements_logs_no_password() {
    let fixture = Fixture::start().await;
    fixture.server.sql("GRANT pg_signal_backend TO keeper");
    for (name, value) in [
        ("log_statement", "all"),
        ("log_min_duration_statement", "0"),
        ("log_error_verbosity", "verbose"),
        ("log_connections", "on"),
    ] {
        fixture.server.sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    fixture.reload();
    let before = fixture.server.log().len();
    let issuer = fixture.issuer_with(|config| config.end_sessions = true);
    let first = fixture.first();
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    issuer.verify(&next).await.unwrap();
    issuer.revoke(&first, &next).await.unwrap();
    expect_error(ErrorKind::Unauthenticated, issuer.verify(&first).await);
    let last = issuer.issue(&next, &IssueAttempt::random()).await.unwrap().value;
    // The server logs failed statements in full.
    fixture.server.sql("REVOKE ADMIN OPTION FOR orders_b FROM keeper");
    expect_error(ErrorKind::Denied, issuer.issue(&last, &IssueAttempt::random()).await);
    fixture.server.sql("DROP ROLE orders_b");
    expect_error(ErrorKind::Config, issuer.issue(&last, &IssueAttempt::random()).await);
    let log = fixture.server.log().split_off(before);
    assert!(log.contains("DO $strongroom$") && log.contains("42704"), "statements are not logged");
    assert_eq!(canary::find(log.as_bytes()), None);
    for key in [&next, &last] {
        let (_, password) = credentials(key);
        assert!(!log.contains(&password), "the server has logged a password");
    }
    // A verifier shows only as a parameter: of `parameters: ` or, from PostgreSQL 18 on, `Parameters: `.
    let shows = |line: &&str| line.contains("SCRAM-SHA-256$");
    let lines: Vec<_> = log.lines().filter(shows).collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.contains("arameters: ")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn the_driver_logs_and_shows_no_password() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer();
    let log = Log::default();
    let capturing = log.capture();
    let first = fixture.first();
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    issuer.verify(&next).await.unwrap();
    issuer.revoke(&first, &next).await.unwrap();
    expect_error(ErrorKind::Unauthenticated, issuer.issue(&first, &IssueAttempt::random()).await);
    drop(capturing);
    let text = log.text();
    assert!(text.contains("tokio_postgres") && text.contains("COMMIT"), "nothing was captured");
    assert_eq!(canary::find(text.as_bytes()), None);
    assert!(!text.contains(&credentials(&next).1), "a password was logged");
    assert!(!text.contains("SCRAM-SHA-256$"), "a verifier was logged");
}
