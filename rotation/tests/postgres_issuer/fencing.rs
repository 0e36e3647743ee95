//! The fencing token: an instance that was paused never replaces the password in use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{IssueAttempt, IssueId, KeyIssuer as _, PostgresIssuer};

use crate::expect_error;
use crate::fixture::{Fixture, quote_identifier};

fn attempt(token: u64) -> IssueAttempt {
    IssueAttempt::new(IssueId::random(), token)
}

async fn issue_key(issuer: &PostgresIssuer, current: &SecretValue, token: u64) -> SecretValue {
    issuer.issue(current, &attempt(token)).await.unwrap().value
}

#[tokio::test]
async fn rejects_an_attempt_that_is_older_than_that_of_the_key_in_use() {
    let fixture = Fixture::start().await;
    let (paused, other) = (fixture.issuer(), fixture.issuer());
    let first = fixture.first();
    // The administrator has no more rights than changing a password takes.
    let rights = "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'keeper'";
    assert_eq!(fixture.server.sql(rights), "f|t");
    // One instance stores token 5 and is paused; another takes over and stores its key.
    let stored = issue_key(&other, &first, 6).await;
    let error = expect_error(ErrorKind::Conflict, paused.issue(&first, &attempt(5)).await);
    assert!(!error.is_temporary());
    for part in ["another instance", "6", "5", "COMMENT ON ROLE", "[strongroom: fencing token"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(fixture.accepts(&stored) && fixture.accepts(&first));
    // After the old key is revoked, the answer is the same.
    other.revoke(&first, &stored).await.unwrap();
    expect_error(ErrorKind::Conflict, paused.issue(&first, &attempt(5)).await);
    assert!(fixture.accepts(&stored));
    // The roles have alternated, and the token still counts for both.
    let next = issue_key(&other, &stored, 7).await;
    for (current, token) in [(&stored, 6), (&next, 6), (&first, 5)] {
        expect_error(ErrorKind::Conflict, paused.issue(current, &attempt(token)).await);
    }
    assert!(fixture.accepts(&stored) && fixture.accepts(&next));
}

#[tokio::test]
async fn accepts_the_same_token_again_and_any_larger_one() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    for token in [0, 0, 1, 1, 9, 10, u64::MAX, u64::MAX] {
        let next = issue_key(&issuer, &first, token).await;
        assert!(fixture.accepts(&next) && fixture.accepts(&first), "{token}");
    }
    expect_error(ErrorKind::Conflict, issuer.issue(&first, &attempt(u64::MAX - 1)).await);
    let expected = format!("[strongroom: fencing token {}]", u64::MAX);
    for role in fixture.roles {
        assert_eq!(fixture.comment(role), expected.as_bytes());
    }
}

#[tokio::test]
async fn keeps_the_operators_comment_byte_for_byte() {
    let odd =
        " It's \\ a \"$strongroom$\"\n%I %L \\1 & \\\\n 🔑 [strongroom] {} [strongroom: role]\t ";
    for roles in [["orders_a", "orders_b"], ["it's %I $1; --", "\\ünïcode\\ \"%L"]] {
        let fixture = Fixture::of(roles).await;
        let literal = odd.replace('\'', "''");
        fixture
            .server
            .sql(&format!("COMMENT ON ROLE {} IS '{literal}'", quote_identifier(roles[0])));
        let (issuer, first) = (fixture.issuer(), fixture.first());
        for token in [17, 18, 4_000_000_000_000] {
            issue_key(&issuer, &first, token).await;
            let marker = format!("[strongroom: fencing token {token}]");
            assert_eq!(fixture.comment(roles[0]), format!("{odd} {marker}").as_bytes());
            assert_eq!(fixture.comment(roles[1]), marker.as_bytes());
        }
        // The operator may write behind the marker, too.
        let text = "before [strongroom: fencing token 4000000000000] behind";
        fixture.server.sql(&format!("COMMENT ON ROLE {} IS '{text}'", quote_identifier(roles[1])));
        issue_key(&issuer, &first, 4_000_000_000_001).await;
        let expected = "before [strongroom: fencing token 4000000000001] behind";
        assert_eq!(fixture.comment(roles[1]), expected.as_bytes());
    }
}

#[tokio::test]
async fn the_comment_of_one_role_is_enough() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let (mut current, mut token) = (first, 20);
    for lost in [0, 1, 0, 1] {
        let next = issue_key(&issuer, &current, token).await;
        fixture.server.sql(&format!("COMMENT ON ROLE {} IS 'mine'", fixture.roles[lost]));
        expect_error(ErrorKind::Conflict, issuer.issue(&current, &attempt(token - 1)).await);
        assert!(fixture.accepts(&next));
        issuer.revoke(&current, &next).await.unwrap();
        (current, token) = (next, token + 1);
    }
    // Without both, any token is accepted: that is how to begin again.
    for role in fixture.roles {
        fixture.server.sql(&format!("COMMENT ON ROLE {role} IS NULL"));
    }
    issue_key(&issuer, &current, 1).await;
}

#[tokio::test]
async fn names_the_role_whose_comment_holds_a_damaged_token() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let next = issue_key(&issuer, &first, 3).await;
    for (role, number) in [
        ("orders_a", ""),
        ("orders_b", " ]"),
        ("orders_a", " x]"),
        ("orders_b", " -1]"),
        ("orders_a", " 5"),
        ("orders_b", " 18446744073709551616]"),
        ("orders_a", " 000000000000000000005]"),
        ("orders_b", " 5] [strongroom: fencing token 5 ]"),
    ] {
        let text = format!("mine [strongroom: fencing token{number}");
        fixture.server.sql(&format!("COMMENT ON ROLE {role} IS '{text}'"));
        let error = expect_error(ErrorKind::Config, issuer.issue(&first, &attempt(9)).await);
        assert!(!error.is_temporary());
        assert!(error.to_string().contains(role), "{error}");
        assert!(error.to_string().contains("COMMENT ON ROLE"), "{error}");
        assert!(fixture.accepts(&next) && fixture.comment(role) == text.as_bytes());
        // Nothing else depends on it.
        issuer.verify(&next).await.unwrap();
        fixture.server.sql(&format!("COMMENT ON ROLE {role} IS 'mine'"));
    }
    issue_key(&issuer, &first, 9).await;
}

#[tokio::test]
async fn the_largest_of_several_tokens_counts() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let two = "[strongroom: fencing token 30] copied [strongroom: fencing token 4]";
    fixture.server.sql(&format!("COMMENT ON ROLE orders_b IS '{two}'"));
    fixture.server.sql("COMMENT ON ROLE orders_a IS '[strongroom: fencing token 7]'");
    expect_error(ErrorKind::Conflict, issuer.issue(&first, &attempt(29)).await);
    issue_key(&issuer, &first, 30).await;
    let expected = "[strongroom: fencing token 30] copied [strongroom: fencing token 30]";
    assert_eq!(fixture.comment("orders_b"), expected.as_bytes());
}

/// Also where the administrator's transactions are stricter by default, and would read what was there
/// before the lock was free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_the_token_after_it_has_the_lock() {
    let fixture = Arc::new(Fixture::start().await);
    fixture.server.sql("ALTER ROLE keeper SET default_transaction_isolation = 'serializable'");
    let first = fixture.first();
    issue_key(&fixture.issuer(), &first, 1).await;
    let connect = format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres password={}",
        fixture.server.address().port(),
        fixture.server.password()
    );
    let (blocker, connection) =
        tokio_postgres::connect(&connect, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    blocker.batch_execute("BEGIN; ALTER ROLE orders_b CONNECTION LIMIT 7").await.unwrap();
    let call = |token| {
        let (fixture, first) = (Arc::clone(&fixture), first.clone());
        tokio::spawn(async move {
            let issuer =
                fixture.issuer_with(|config| config.timeouts.call = Duration::from_secs(60));
            issuer.issue(&first, &attempt(token)).await
        })
    };
    // The newer attempt has the lock of the issuer and waits for the role; the older one waits for the
    // lock.
    let newer = call(6);
    wait_for_waiters(&fixture, "locktype <> 'advisory'").await;
    let older = call(5);
    wait_for_waiters(&fixture, "locktype = 'advisory'").await;
    blocker.batch_execute("ROLLBACK").await.unwrap();
    let stored = newer.await.unwrap().unwrap().value;
    expect_error(ErrorKind::Conflict, older.await.unwrap());
    assert!(fixture.accepts(&stored));
}

async fn wait_for_waiters(fixture: &Fixture, which: &str) {
    let ask = format!("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND {which}");
    let begin = Instant::now();
    while fixture.server.sql(&ask) != "t" {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
