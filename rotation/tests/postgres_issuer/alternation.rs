//! Passwords of the two roles are set, verified and removed.

use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{IssueAttempt, KeyIssuer as _, PostgresIssuer};
use strongroom_testkit::canary;

use crate::expect_error;
use crate::fixture::{ADMIN, FIRST, Fixture, credentials};

async fn issue_key(issuer: &PostgresIssuer, current: &SecretValue) -> SecretValue {
    let issued = issuer.issue(current, &IssueAttempt::random()).await.unwrap();
    canary::witness(&issued);
    assert_eq!(issued.expires_at, None);
    issued.value
}

#[tokio::test]
async fn alternates_between_two_roles_and_keeps_the_old_key_until_it_is_revoked() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer();
    let mut current = fixture.first();
    for turn in 1..=4 {
        let next = issue_key(&issuer, &current).await;
        let (role, password) = credentials(&next);
        assert_eq!(role, fixture.roles[turn % 2]);
        assert_eq!(password.len(), 32);
        issuer.verify(&next).await.unwrap();
        assert!(fixture.accepts(&next) && fixture.accepts(&current));
        issuer.revoke(&current, &next).await.unwrap();
        assert!(fixture.accepts(&next) && !fixture.accepts(&current));
        assert!(!fixture.has_password(fixture.roles[(turn + 1) % 2]));
        expect_error(ErrorKind::Unauthenticated, issuer.verify(&current).await);
        // Revoking it again changes nothing.
        issuer.revoke(&current, &next).await.unwrap();
        assert!(fixture.accepts(&next));
        current = next;
    }
    assert!(issuer.is_idempotent());
}

#[tokio::test]
async fn changes_only_role_and_password_of_the_url() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let next = issue_key(&issuer, &first).await;
    let parts = |key: &SecretValue| {
        let (before, after) = key.expose_text().unwrap().split_once('@').unwrap();
        (before.split_once("//").unwrap().0.to_owned(), after.to_owned())
    };
    assert_eq!(parts(&next), parts(&first));
    assert!(next.expose_text().unwrap().ends_with("?application_name=o%72ders&sslmode=prefer"));
    // Several hosts, of which the first one is down.
    let address = fixture.server.address().to_string();
    let several = format!("127.0.0.1:1,{address}");
    let text = next.expose_text().unwrap().replace(&address, &several);
    let key = issue_key(&issuer, &text.as_str().into()).await;
    assert!(key.expose_text().unwrap().contains(&format!("@{several}/postgres?")));
    issuer.verify(&key).await.unwrap();
    let admin = fixture.admin_url();
    let admin = admin.expose_text().unwrap().replace(&address, &several);
    fixture.store_admin_url(&admin.as_str().into()).await;
    let after = issue_key(&issuer, &key).await;
    issuer.revoke(&key, &after).await.unwrap();
    assert!(fixture.accepts(&after) && !fixture.accepts(&key));
}

#[tokio::test]
async fn quotes_names_of_any_kind() {
    for roles in [
        ["we\"ird role", "Upper Case"],
        ["it's %I $1; --", "\\ünïcode\\ %L"],
        ["select", "$strongroom$"],
    ] {
        let fixture = Fixture::of(roles).await;
        let issuer = fixture.issuer_with(|config| config.end_sessions = true);
        fixture.server.sql("GRANT pg_signal_backend TO keeper");
        let first = fixture.first();
        let next = issue_key(&issuer, &first).await;
        issuer.verify(&next).await.unwrap();
        issuer.revoke(&first, &next).await.unwrap();
        let last = issue_key(&issuer, &next).await;
        issuer.revoke(&next, &last).await.unwrap();
        assert!(fixture.accepts(&last) && !fixture.accepts(&next) && !fixture.accepts(&first));
        assert_eq!(credentials(&last).0, roles[0]);
    }
}

/// Otherwise a user who may create functions in a schema that comes first could act as the administrator.
#[tokio::test]
async fn never_calls_functions_of_the_same_name_in_other_schemas() {
    let fixture = Fixture::start().await;
    let fails = "LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$called$$; END'";
    for (name, returned) in [
        ("format(text, text, text)", "text"),
        ("set_config(text, text, boolean)", "text"),
        ("current_setting(text)", "text"),
        ("pg_is_in_recovery()", "boolean"),
        ("pg_advisory_xact_lock(bigint)", "void"),
        ("pg_has_role(name, text)", "boolean"),
        ("shobj_description(oid, name)", "text"),
        ("regexp_matches(text, text, text)", "setof text[]"),
        ("regexp_replace(text, text, text, text)", "text"),
        ("pg_terminate_backend(integer)", "boolean"),
    ] {
        fixture.server.sql(&format!("CREATE FUNCTION public.{name} RETURNS {returned} {fails}"));
    }
    fixture.server.sql("GRANT pg_signal_backend TO keeper");
    fixture.server.sql("ALTER ROLE keeper SET search_path = public, pg_catalog");
    let issuer = fixture.issuer_with(|config| config.end_sessions = true);
    let first = fixture.first();
    let next = issue_key(&issuer, &first).await;
    issuer.revoke(&first, &next).await.unwrap();
    assert!(fixture.accepts(&next) && !fixture.accepts(&first));
}

#[tokio::test]
async fn a_repeated_attempt_leaves_no_other_password_behind() {
    let fixture = Fixture::start().await;
    let (issuer, first, id) = (fixture.issuer(), fixture.first(), IssueAttempt::random());
    let lost = issuer.issue(&first, &id).await.unwrap().value;
    let again = fixture.issuer().issue(&first, &id).await.unwrap().value;
    assert!(!fixture.accepts(&lost) && fixture.accepts(&again) && fixture.accepts(&first));
    expect_error(ErrorKind::Unauthenticated, issuer.verify(&lost).await);
    // An instance that finds another key in the store revokes its own.
    issuer.revoke(&lost, &first).await.unwrap();
    issuer.revoke(&lost, &again).await.unwrap();
    assert!(fixture.accepts(&again) && fixture.accepts(&first));
}

#[tokio::test]
async fn revoking_never_removes_a_newer_password() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer();
    let (mut current, mut olds) = (fixture.first(), Vec::new());
    for _ in 0..3 {
        let next = issue_key(&issuer, &current).await;
        olds.push(std::mem::replace(&mut current, next));
        // Revoking older keys keeps the newest key and the one before it.
        let (former, older) = olds.split_last().unwrap();
        for old in older {
            issuer.revoke(old, &current).await.unwrap();
            issuer.revoke(old, former).await.unwrap();
        }
        assert!(fixture.accepts(&current) && fixture.accepts(former));
    }
    let same = expect_error(ErrorKind::InvalidInput, issuer.revoke(&current, &current).await);
    assert!(!same.is_temporary());
    assert!(fixture.accepts(&current));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_during_an_issue_never_removes_the_new_password() {
    let fixture = Fixture::start().await;
    let (one, other) = (fixture.issuer(), fixture.issuer());
    let current = fixture.first();
    let mut old = issue_key(&one, &current).await;
    for _ in 0..15 {
        let id = IssueAttempt::random();
        let (revoked, issued) =
            tokio::join!(one.revoke(&old, &current), other.issue(&current, &id));
        revoked.unwrap();
        let new = issued.unwrap().value;
        assert!(fixture.accepts(&new) && !fixture.accepts(&old) && fixture.accepts(&current));
        old = new;
    }
}

/// The first call of an attempt may reach the server after its repetition, whose key is stored.
#[tokio::test]
async fn puts_the_stored_key_back_when_the_key_of_a_repeated_attempt_is_revoked() {
    let fixture = Fixture::start().await;
    let (issuer, first, attempt) = (fixture.issuer(), fixture.first(), IssueAttempt::random());
    let stored = issuer.issue(&first, &attempt).await.unwrap().value;
    let late = issuer.issue(&first, &attempt).await.unwrap().value;
    assert!(!fixture.accepts(&stored));
    issuer.revoke(&late, &stored).await.unwrap();
    assert!(fixture.accepts(&stored) && !fixture.accepts(&late));
    // Once the old key is revoked, the attempt is over.
    issuer.revoke(&first, &stored).await.unwrap();
    let rejected = expect_error(ErrorKind::Unauthenticated, issuer.issue(&first, &attempt).await);
    assert!(!rejected.is_temporary() && fixture.accepts(&stored));
}

#[tokio::test]
async fn reads_the_administrators_url_from_the_store_at_each_call() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let next = issue_key(&issuer, &first).await;
    fixture.server.sql(&format!("ALTER ROLE keeper PASSWORD '{FIRST}2'"));
    expect_error(ErrorKind::Unauthenticated, issuer.revoke(&first, &next).await);
    // In a secret that rotates, the URL is a field.
    let url = fixture.url("keeper", &format!("{FIRST}2"));
    let fields = [("key", url.expose_text().unwrap()), ("rotation_salt", "x")];
    fixture.put(ADMIN, SecretValue::fields(fields)).await;
    issuer.revoke(&first, &next).await.unwrap();
    assert!(fixture.accepts(&next) && !fixture.accepts(&first));
}

#[tokio::test]
async fn ends_sessions_only_if_configured() {
    let fixture = Fixture::start().await;
    let keep = fixture.issuer();
    let end = fixture.issuer_with(|config| config.end_sessions = true);
    let first = fixture.first();
    let second = issue_key(&keep, &first).await;
    let (session, _task) = connect(&first).await;
    keep.revoke(&first, &second).await.unwrap();
    session.batch_execute("SELECT 1").await.unwrap();
    assert!(!fixture.accepts(&first));

    let third = issue_key(&keep, &second).await;
    let (other, _task) = connect(&second).await;
    // If it may not end the sessions, it keeps the password, too.
    let denied = expect_error(ErrorKind::Denied, end.revoke(&second, &third).await);
    assert!(denied.to_string().contains("pg_signal_backend"), "{denied}");
    assert!(fixture.accepts(&second));
    fixture.server.sql("GRANT pg_signal_backend TO keeper");
    end.revoke(&second, &third).await.unwrap();
    assert!(other.batch_execute("SELECT 1").await.is_err());
    // The sessions of the other role stay open.
    session.batch_execute("SELECT 1").await.unwrap();
    assert!(fixture.accepts(&third) && !fixture.accepts(&second));
}

async fn connect(key: &SecretValue) -> (tokio_postgres::Client, tokio::task::JoinHandle<()>) {
    let connected =
        tokio_postgres::connect(key.expose_text().unwrap(), tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    (client, tokio::spawn(async move { drop(connection.await) }))
}
