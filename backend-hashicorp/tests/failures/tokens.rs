//! Tokens that end early, and tokens that the configuration gives.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_backend_hashicorp::Auth;
use strongroom_core::{Backend as _, ErrorKind, HealthStatus, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao::{ApproleOptions, Server};

use crate::support::{
    Account, config, expect_permanent, open, path, read, read_until_error, shared,
};

/// Creates a token with these properties as root, and returns its accessor too. The token contains the
/// canary.
async fn token(server: &Server, name: &str, mut properties: Value) -> (Auth, String) {
    let id = format!("{CANARY}{name}");
    properties["id"] = id.clone().into();
    let made = server.admin("POST", "auth/token/create-orphan", Some(properties)).await;
    let accessor = made["auth"]["accessor"].as_str().unwrap().to_owned();
    (Auth::Token(id.into()), accessor)
}

async fn revoke(server: &Server, accessor: &str) {
    let accessor = json!({ "accessor": accessor });
    server.admin("POST", "auth/token/revoke-accessor", Some(accessor)).await;
}

#[tokio::test]
async fn a_token_revoked_between_two_reads_causes_one_login() {
    let account = Account::new("revoked").await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    for logins in 1..4 {
        for _ in 0..3 {
            assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        }
        assert_eq!(account.logins(), logins);
        account.revoke().await;
    }
}

#[tokio::test]
async fn readers_of_a_revoked_token_share_one_login() {
    let account = Account::new("revoked-shared").await;
    account.write("kept").await;
    let (backend, key) = (open(account.config()).await, account.path());
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    account.revoke().await;
    let reads = (0..50).map(|_| read(&backend, &key)).collect::<Vec<_>>();
    for result in futures_util::future::join_all(reads).await {
        assert_eq!(result.unwrap(), "kept");
    }
    assert_eq!(account.logins(), 2);
}

#[tokio::test]
async fn reads_succeed_when_a_token_is_used_up() {
    for (name, token_num_uses) in [("uses-1", 1), ("uses-2", 2), ("uses-3", 3), ("uses-5", 5)] {
        let few = ApproleOptions { token_num_uses, ..Default::default() };
        let account = Account::with(name, few).await;
        account.write("kept").await;
        let backend = open(account.config()).await;
        for _ in 0..10 {
            assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        }
        let logins = account.logins();
        assert!((2..=22).contains(&logins), "{token_num_uses} uses: {logins} logins");
    }
}

#[tokio::test]
async fn replaces_batch_tokens_before_they_expire() {
    let batch = ApproleOptions {
        token_type: "batch",
        token_ttl: Duration::from_secs(2),
        ..Default::default()
    };
    let account = Account::with("batch", batch).await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let elapsed = begin.elapsed();
    let logins = u32::try_from(account.logins()).unwrap();
    assert!(logins >= 2, "{logins} logins");
    // The first login, and one after each two thirds of the TTL, less up to a tenth of the rest.
    let shortest = Duration::from_millis(1_260);
    assert!(shortest * (logins - 2) <= elapsed, "{logins} logins in {elapsed:?}");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn an_unknown_given_token_is_unauthenticated() {
    let (server, _) = shared().await;
    let auth = Auth::Token(format!("{CANARY}unknown").into());
    let backend = open(config(server, auth)).await;
    for _ in 0..2 {
        let result = read(&backend, &path("key")).await;
        let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
        assert!(error.advice().contains("`Auth::Token`"), "{error}");
    }
    expect_permanent(Operation::Health, ErrorKind::Unauthenticated, backend.health().await);
}

#[tokio::test]
async fn a_given_token_that_ends_is_unauthenticated() {
    let account = Account::new("static-expired").await;
    account.write("kept").await;
    for (name, properties) in [
        ("expiring", json!({ "policies": ["full"], "ttl": "4s", "renewable": false })),
        ("capped", json!({ "policies": ["full"], "ttl": "4s", "explicit_max_ttl": "6s" })),
        ("used-up", json!({ "policies": ["full"], "num_uses": 6 })),
    ] {
        let (auth, _) = token(account.server, name, properties).await;
        let backend = open(config(account.server, auth)).await;
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        let error = read_until_error(&backend, &account.path()).await;
        let error = expect_permanent::<()>(Operation::Get, ErrorKind::Unauthenticated, Err(error));
        assert!(error.advice().contains("`Auth::Token`"), "{name}: {error}");
        let result = read(&backend, &account.path()).await;
        expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
    }
}

#[tokio::test]
async fn a_given_token_is_renewed_and_not_revoked() {
    let account = Account::new("static-renewed").await;
    account.write("kept").await;
    let properties = json!({ "policies": ["full"], "ttl": "6s", "period": "6s" });
    let (auth, accessor) = token(account.server, "renewed", properties).await;
    let mut config = config(account.server, auth);
    // Renewal is due after 2 s: a busy machine has 4 s for it.
    config.renew_margin = Duration::from_secs(4);
    let backend = open(config).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    backend.close().await.unwrap();
    let accessor = json!({ "accessor": accessor });
    account.server.admin("POST", "auth/token/lookup-accessor", Some(accessor)).await;
}

#[tokio::test]
async fn a_given_token_without_the_default_policy_works_until_it_is_revoked() {
    let account = Account::new("static-bare").await;
    account.write("kept").await;
    let properties = json!({ "policies": ["full"], "no_default_policy": true });
    let (auth, accessor) = token(account.server, "bare", properties).await;
    let backend = open(config(account.server, auth)).await;
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    assert_eq!(backend.health().await.unwrap().status, HealthStatus::Ready);
    revoke(account.server, &accessor).await;
    let result = read(&backend, &account.path()).await;
    expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
}
