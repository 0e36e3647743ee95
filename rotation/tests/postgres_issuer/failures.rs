//! Failures, and the errors that name them.

use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, SecretPath, SecretValue};
use strongroom_rotation::{IssueAttempt, KeyIssuer as _, PostgresIssuer};
use strongroom_testkit::{canary, planted};

use crate::expect_error;
use crate::fixture::{ADMIN, FIRST, Fixture, url};
use crate::stub::{self, Stub};

const SERVER_TEXT: &str = planted!(" is what the server says");

async fn issue(issuer: &PostgresIssuer, key: &SecretValue) -> strongroom_core::Result<()> {
    issuer.issue(key, &IssueAttempt::random()).await.map(drop)
}

#[tokio::test]
async fn maps_each_answer_to_a_login_to_a_kind() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer();
    for (code, kind, is_temporary) in [
        ("28P01", ErrorKind::Unauthenticated, false),
        ("28000", ErrorKind::Unauthenticated, false),
        ("42501", ErrorKind::Denied, false),
        ("3D000", ErrorKind::Config, false),
        ("53300", ErrorKind::Unavailable, true),
        ("57P03", ErrorKind::Unavailable, true),
        ("57P01", ErrorKind::Unavailable, true),
        ("58030", ErrorKind::Unavailable, true),
        ("XX000", ErrorKind::Unavailable, true),
        ("08P01", ErrorKind::Unavailable, true),
        ("0A000", ErrorKind::Config, false),
        (SERVER_TEXT, ErrorKind::Config, false),
    ] {
        let stub = Stub::new(stub::error(code, SERVER_TEXT)).await;
        let host = stub.address.to_string();
        fixture.store_admin_url(&url(&host, "keeper", FIRST)).await;
        let first = fixture.first();
        let of_admin = expect_error(kind, issue(&issuer, &first).await);
        let of_revocation =
            expect_error(kind, issuer.revoke(&first, &fixture.url("orders_b", "p")).await);
        let of_key = expect_error(kind, issuer.verify(&url(&host, "orders_a", FIRST)).await);
        for error in [&of_admin, &of_revocation, &of_key] {
            assert_eq!(error.is_temporary(), is_temporary, "{error}");
        }
        if kind == ErrorKind::Unauthenticated {
            assert!(of_admin.to_string().contains("the administrator"), "{of_admin}");
            assert!(of_key.to_string().contains("the key's role"), "{of_key}");
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_the_protocol_is_unavailable() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer_with(|config| config.timeouts.call = Duration::from_millis(500));
    let garbage = Stub::new(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let closes = Stub::new(Vec::new()).await;
    for (host, kind) in [
        ("127.0.0.1:1".to_owned(), ErrorKind::Unavailable),
        (garbage.address.to_string(), ErrorKind::Unavailable),
        (closes.address.to_string(), ErrorKind::Unavailable),
        ("%2Fno%2Fsuch%2Fsocket".to_owned(), ErrorKind::Unavailable),
        ("no-such-host.invalid".to_owned(), ErrorKind::Unavailable),
    ] {
        fixture.store_admin_url(&url(&host, "keeper", FIRST)).await;
        let error = expect_error(kind, issue(&issuer, &fixture.first()).await);
        assert!(error.is_temporary(), "{error}");
        expect_error(kind, issuer.verify(&url(&host, "orders_a", FIRST)).await);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_a_timeout() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer_with(|config| config.timeouts.call = Duration::from_millis(300));
    let silent = Stub::serving(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let host = silent.address.to_string();
    fixture.store_admin_url(&url(&host, "keeper", FIRST)).await;
    let error = expect_error(ErrorKind::Timeout, issue(&issuer, &fixture.first()).await);
    assert!(error.is_temporary());
    expect_error(ErrorKind::Timeout, issuer.verify(&url(&host, "orders_a", FIRST)).await);
}

#[tokio::test]
async fn rolls_back_a_call_that_takes_too_long() {
    let fixture = Fixture::start().await;
    let (first, key) = (fixture.first(), fixture.url("orders_b", FIRST));
    fixture.server.sql(&format!("ALTER ROLE orders_b PASSWORD '{FIRST}'"));
    let connect = format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres password={}",
        fixture.server.address().port(),
        fixture.server.password()
    );
    let (client, connection) =
        tokio_postgres::connect(&connect, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; ALTER ROLE orders_b CONNECTION LIMIT 7").await.unwrap();
    let impatient = fixture.issuer_with(|config| config.timeouts.call = Duration::from_millis(700));
    expect_error(ErrorKind::Timeout, issue(&impatient, &first).await);
    client.batch_execute("ROLLBACK").await.unwrap();
    // The server notices that the client has gone, and releases the lock.
    let issued = fixture.issuer().issue(&first, &IssueAttempt::random()).await.unwrap();
    assert!(fixture.accepts(&issued.value) && !fixture.accepts(&key));
}

#[tokio::test]
async fn names_the_rights_that_the_administrator_lacks() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    fixture.server.sql("REVOKE ADMIN OPTION FOR orders_b FROM keeper");
    let error = expect_error(ErrorKind::Denied, issue(&issuer, &first).await);
    assert!(error.to_string().contains("ADMIN OPTION"), "{error}");
    assert!(!error.is_temporary());
    fixture.server.sql("GRANT orders_b TO keeper WITH ADMIN TRUE; ALTER ROLE keeper NOCREATEROLE");
    let error = expect_error(ErrorKind::Denied, issue(&issuer, &first).await);
    assert!(error.to_string().contains("CREATEROLE"), "{error}");
    fixture.server.sql("ALTER ROLE keeper CREATEROLE");
    issue(&issuer, &first).await.unwrap();
    fixture.server.sql("ALTER ROLE keeper SET default_transaction_read_only = on");
    let error = expect_error(ErrorKind::Unavailable, issue(&issuer, &first).await);
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[tokio::test]
async fn names_a_role_that_is_missing_or_may_not_log_in() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    fixture.server.sql("ALTER ROLE orders_b NOLOGIN");
    let error = expect_error(ErrorKind::Unauthenticated, issuer.verify(&next).await);
    assert!(error.to_string().contains("LOGIN"), "{error}");
    // Without LOGIN, the server does not reveal whether the role still has this password.
    expect_error(ErrorKind::Unauthenticated, issuer.revoke(&next, &first).await);
    fixture.server.sql("DROP ROLE orders_b");
    let error = expect_error(ErrorKind::Config, issue(&issuer, &first).await);
    assert!(error.to_string().contains("the role `orders_b` does not exist"), "{error}");
    let error = expect_error(ErrorKind::Unauthenticated, issuer.verify(&next).await);
    assert!(error.to_string().contains("`orders_b`"), "{error}");
    issuer.revoke(&next, &first).await.unwrap();
    let other_database = first.expose_text().unwrap().replace("/postgres?", "/nowhere?");
    expect_error(ErrorKind::Config, issuer.verify(&other_database.as_str().into()).await);
}

#[tokio::test]
async fn rejects_wrong_passwords_and_urls() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer();
    let wrong = fixture.url("orders_a", planted!("-wrong"));
    expect_error(ErrorKind::Unauthenticated, issue(&issuer, &wrong).await);
    expect_error(ErrorKind::Unauthenticated, issuer.verify(&wrong).await);
    assert!(!fixture.has_password("orders_b"));
    let other_role = fixture.url("keeper", FIRST);
    for result in [
        issue(&issuer, &other_role).await,
        issuer.verify(&other_role).await,
        issuer.revoke(&other_role, &fixture.first()).await,
        issuer.revoke(&fixture.first(), &other_role).await,
        issue(&issuer, &"host=db user=orders_a password=hunter2".into()).await,
    ] {
        expect_error(ErrorKind::InvalidInput, result);
    }
    for (admin, kind) in [
        (fixture.url("keeper", planted!("-wrong")), ErrorKind::Unauthenticated),
        (fixture.first(), ErrorKind::Config),
        (canary::text(" is no URL"), ErrorKind::InvalidInput),
    ] {
        fixture.store_admin_url(&admin).await;
        expect_error(kind, issue(&issuer, &fixture.first()).await);
    }
    fixture.store.delete(&SecretPath::parse(ADMIN).unwrap()).await.unwrap();
    let missing = issue(&issuer, &fixture.first()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains(ADMIN), "{missing}");
}

/// If a server accepts any password, the issuer cannot distinguish the one to revoke from a newer one.
#[tokio::test]
async fn revokes_nothing_at_a_server_that_asks_for_no_password() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let second = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    fixture.admit(&["host all orders_a,orders_b all trust", "host all all all scram-sha-256"]);
    let error = expect_error(ErrorKind::Config, issuer.revoke(&first, &second).await);
    assert!(error.to_string().contains("pg_hba.conf"), "{error}");
    assert!(fixture.has_password("orders_a"));
    // With this method, the server asks for SCRAM if it has stored a password for that.
    fixture.admit(&["host all all all md5"]);
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    issuer.verify(&next).await.unwrap();
    issuer.revoke(&second, &first).await.unwrap();
    assert!(fixture.accepts(&next) && fixture.has_password("orders_a"));
    fixture.admit(&["host all all all password"]);
    let error = expect_error(ErrorKind::Config, issue(&issuer, &first).await);
    assert!(error.to_string().contains("scram-sha-256"), "{error}");
    fixture.admit(&["host all orders_a all reject", "host all all all scram-sha-256"]);
    expect_error(ErrorKind::Unauthenticated, issue(&issuer, &first).await);
}
