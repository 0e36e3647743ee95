//! Roles, secret ids and tokens that are bound to other addresses than the one of this host.

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_backend_hashicorp::{AppRole, Auth, SecretId};
use strongroom_core::{Backend as _, Error, ErrorKind, Operation};
use strongroom_testkit::openbao::{ApproleOptions, Server};

use crate::accessors;
use crate::support::{LIMIT, config, expect_error, expect_permanent, open, path, read, write};

const ELSEWHERE: &[&str] = &["10.0.0.0/8"];
const LOGIN: &str = "auth/approle/login";

fn assert_names_addresses(error: &Error) {
    assert!(error.to_string().contains("token_bound_cidrs"), "{error}");
}

#[tokio::test]
async fn a_role_bound_to_other_addresses_is_told_as_such_and_gets_few_tokens() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    server.enable_approle("approle").await;
    let bound = ApproleOptions { token_bound_cidrs: ELSEWHERE, ..ApproleOptions::default() };
    let made = server.approle(&bound).await;
    let audit = server.enable_audit().await;
    let login = AppRole::new(made.role_id, SecretId::Text(made.secret_id.into()));
    let backend = open(config(&server, login)).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        let result = read(&backend, &path("key")).await;
        let error = expect_error(Operation::Get, ErrorKind::Unauthenticated, result);
        assert_names_addresses(&error);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first one might have been revoked by chance; a third one has to wait.
    let issued = accessors(&audit, LOGIN);
    assert_eq!(issued.len(), 2);

    // The tokens keep their binding. Those of the corrected role work, and nothing is left behind.
    let corrected = ApproleOptions::default();
    server.approle_id(&corrected).await;
    backend.close().await.unwrap();
    for accessor in &issued {
        let body = json!({ "accessor": accessor });
        server.admin("POST", "auth/token/revoke-accessor", Some(body)).await;
    }
}

#[tokio::test]
async fn a_secret_id_bound_to_other_addresses_is_told_as_such() {
    let server = Server::dev().await;
    server.enable_approle("approle").await;
    let bound = ApproleOptions { secret_id_bound_cidrs: ELSEWHERE, ..ApproleOptions::default() };
    let made = server.approle(&bound).await;
    let login = AppRole::new(made.role_id, SecretId::Text(made.secret_id.into()));
    let backend = open(config(&server, login)).await;
    let result = read(&backend, &path("key")).await;
    let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
    assert_names_addresses(&error);
    assert!(error.advice().contains("secret_id_bound_cidrs"), "{error}");
}

#[tokio::test]
async fn a_given_token_bound_to_other_addresses_is_told_as_such() {
    let server = Server::dev().await;
    server.enable_approle("approle").await;
    let bound = ApproleOptions {
        bind_secret_id: false,
        token_bound_cidrs: ELSEWHERE,
        ..ApproleOptions::default()
    };
    let role_id = server.approle_id(&bound).await;
    let body = json!({ "role_id": role_id });
    let issued = server.admin("POST", LOGIN, Some(body)).await;
    let token = issued["auth"]["client_token"].as_str().unwrap().to_owned();
    let backend = open(config(&server, Auth::Token(token.into()))).await;
    let result = read(&backend, &path("key")).await;
    let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
    assert_names_addresses(&error);
}

/// A proxy of the platform that rejects tokens for a while: the server itself accepts and revokes them.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_rejected_for_a_while_are_revoked_later() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use strongroom_testkit::stub::{Reply, Stub};

    let rejects = Arc::new(AtomicBool::new(true));
    let logins = AtomicUsize::new(0);
    let is_rejecting = Arc::clone(&rejects);
    let stub = Stub::new(move |request| {
        if request.target == "/v1/auth/approle/login" {
            let number = logins.fetch_add(1, Ordering::SeqCst);
            return Reply::json(
                200,
                &json!({ "auth": {
                "client_token": format!("t{number}"), "lease_duration": 3_600, "renewable": true,
            } }),
            );
        }
        if is_rejecting.load(Ordering::SeqCst) {
            return Reply::json(403, &json!({ "errors": ["permission denied"] }));
        }
        match request.target.as_str() {
            "/v1/auth/token/revoke-self" => Reply::new(204, ""),
            _ => Reply::json(404, &json!({ "errors": [] })),
        }
    });
    let login = AppRole::new("role", SecretId::Text("id".to_owned().into()));
    let backend = open(crate::support::config_for(&stub.url(), login)).await;
    let result = read(&backend, &path("key")).await;
    expect_error(Operation::Get, ErrorKind::Unauthenticated, result);
    let revocations = |token: &str| {
        stub.count(|request| {
            request.target.ends_with("revoke-self")
                && request.header("x-vault-token") == Some(token)
        })
    };
    let begin = Instant::now();
    while revocations("t0") == 0 {
        assert!(begin.elapsed() < LIMIT, "the replaced token is to be revoked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rejects.store(false, Ordering::SeqCst);
    let error = read(&backend, &path("key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "the last token works without a login");
    while revocations("t0") < 2 {
        assert!(begin.elapsed() < LIMIT, "the replaced token is revoked once tokens work");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stub.count(|request| request.target.ends_with("/login")), 2);
}
