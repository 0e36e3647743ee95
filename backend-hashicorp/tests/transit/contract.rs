//! The contract, and what depends on the server's own rules, against OpenBao.

use serde_json::json;
use strongroom_backend_hashicorp::{Auth, SecretId};
use strongroom_core::{ErrorKind, Operation, WrappingKey as _};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::wrapping_key::{Keys, check_contract, check_error, context};

use crate::support::{Account, config, root, shared};
use crate::{create, mount, open};

#[tokio::test]
async fn keeps_the_contract() {
    for key_type in ["aes256-gcm96", "chacha20-poly1305"] {
        let server = Server::dev().await;
        mount(&server, "transit").await;
        create(&server, "transit/main", json!({ "type": key_type })).await;
        create(&server, "transit/other", json!({ "type": key_type })).await;
        let key = async |name: &str| Box::new(open(config(&server, root(&server)), name).await);
        let keys = Keys {
            key: key("transit/main").await,
            other: key("other").await,
            missing: Some(key("transit/missing").await),
        };
        check_contract(&keys, server, async |server| {
            let missing = server.call("GET", "transit/keys/missing", None).await;
            assert_eq!(missing.0, 404, "a missing key was created");
            // OpenBao has no disabled keys, but soft-deleted ones.
            server.admin("DELETE", "transit/keys/main/soft-delete", None).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_sealed_server_is_unavailable() {
    let server = Server::dev().await;
    mount(&server, "transit").await;
    create(&server, "transit/key", json!({})).await;
    let key = open(config(&server, root(&server)), "key").await;
    let wrapped = key.wrap(&canary::text("key"), &context()).await.unwrap();
    server.seal().await;
    let unwrapped = key.unwrap(&wrapped, &context()).await;
    let error = check_error(&key, ErrorKind::Unavailable, Operation::Unwrap, unwrapped);
    assert!(error.is_temporary(), "{error}");
    server.unseal().await;
    key.unwrap(&wrapped, &context()).await.unwrap();
}

#[tokio::test]
async fn refuses_a_key_that_cannot_bind_a_context() {
    let (server, _) = shared().await;
    mount(server, "types").await;
    for (name, options) in [
        ("rsa", json!({ "type": "rsa-2048" })),
        ("signing", json!({ "type": "ed25519" })),
        ("derived", json!({ "derived": true })),
    ] {
        let key_id = format!("types/{name}");
        create(server, &key_id, options).await;
        let key = open(config(server, root(server)), &key_id).await;
        let wrapped = key.wrap(&canary::text("key"), &context()).await;
        let error = check_error(&key, ErrorKind::Unsupported, Operation::Wrap, wrapped);
        assert!(error.to_string().contains("`aes256-gcm96`"), "{error}");
    }
}

#[tokio::test]
async fn an_earlier_version_of_the_key_unwraps_until_an_operator_excludes_it() {
    let (server, _) = shared().await;
    mount(server, "versions").await;
    create(server, "versions/key", json!({})).await;
    let key = open(config(server, root(server)), "versions/key").await;
    let given = canary::text("key");
    let wrapped = key.wrap(&given, &context()).await.unwrap();
    server.admin("POST", "versions/keys/key/rotate", None).await;
    assert!(key.wrap(&given, &context()).await.unwrap().starts_with(b"vault:v2:"));
    let unwrapped = key.unwrap(&wrapped, &context()).await.unwrap();
    assert_eq!(unwrapped.expose_bytes(), given.expose_bytes());
    let minimum = json!({ "min_decryption_version": 2 });
    server.admin("POST", "versions/keys/key/config", Some(minimum)).await;
    let unwrapped = key.unwrap(&wrapped, &context()).await;
    let error = check_error(&key, ErrorKind::Unavailable, Operation::Unwrap, unwrapped);
    assert!(!error.is_temporary() && error.to_string().contains("min_decryption_version"));
}

#[tokio::test]
async fn a_wrong_mount_is_a_configuration_error() {
    let (server, _) = shared().await;
    // A KV engine, and none.
    for key_id in ["secret/key", "nowhere/key"] {
        let key = open(config(server, root(server)), key_id).await;
        let wrapped = key.wrap(&canary::text("key"), &context()).await;
        check_error(&key, ErrorKind::Config, Operation::Wrap, wrapped);
        let unwrapped = key.unwrap(b"vault:v1:AAECAw==", &context()).await;
        check_error(&key, ErrorKind::Config, Operation::Unwrap, unwrapped);
    }
}

#[tokio::test]
async fn a_denied_request_names_the_permission() {
    let (server, _) = shared().await;
    mount(server, "denied").await;
    create(server, "denied/key", json!({})).await;
    let root_key = open(config(server, root(server)), "denied/key").await;
    let wrapped = root_key.wrap(&canary::text("key"), &context()).await.unwrap();
    let rules = |rules: &[(&str, &str)]| {
        let rule = |(part, capability): &(&str, &str)| {
            format!("path \"denied/{part}/key\" {{ capabilities = [\"{capability}\"] }}\n")
        };
        rules.iter().map(rule).fold("# A policy.\n".to_owned(), |all, rule| all + &rule)
    };
    let all = [("keys", "read"), ("encrypt", "update"), ("decrypt", "update")];
    let account = Account::with_policy("transit-denied", &rules(&[])).await;
    let key = open(account.config(), "denied/key").await;
    for granted in 0..all.len() {
        server.write_policy("transit-denied", &rules(&all[..granted])).await;
        let (part, capability) = all[granted];
        let wrapped = key.wrap(&canary::text("key"), &context()).await;
        let error = check_error(&key, ErrorKind::Denied, Operation::Wrap, wrapped);
        let advice = format!("grant `{capability}` on `denied/{part}/key`");
        assert!(error.advice().contains(&advice), "{error}");
    }
    let denied = key.unwrap(&wrapped, &context()).await;
    let error = check_error(&key, ErrorKind::Denied, Operation::Unwrap, denied);
    assert!(error.advice().contains("grant `update` on `denied/decrypt/key`"), "{error}");
    server.write_policy("transit-denied", &rules(&all[2..])).await;
    key.unwrap(&wrapped, &context()).await.unwrap();
    server.write_policy("transit-denied", &rules(&all)).await;
    key.wrap(&canary::text("key"), &context()).await.unwrap();
}

#[tokio::test]
async fn closing_revokes_the_token() {
    let (server, audit) = shared().await;
    mount(server, "closing").await;
    create(server, "closing/key", json!({})).await;
    let rules = r#"path "closing/*" { capabilities = ["read", "update"] }"#;
    let account = Account::with_policy("transit-closing", rules).await;
    let key = open(account.config(), "closing/key").await;
    key.wrap(&canary::text("key"), &context()).await.unwrap();
    assert_eq!(account.logins(), 1);
    key.close().await.unwrap();
    assert_eq!(audit.successes("auth/token/revoke-self").len(), 1);
    let closed = key.wrap(&canary::text("key"), &context()).await;
    check_error(&key, ErrorKind::Closed, Operation::Wrap, closed);
}

#[tokio::test]
async fn rejected_credentials_are_unauthenticated() {
    let (server, _) = shared().await;
    let account = Account::new("transit-credentials").await;
    let mut rejected = account.config();
    rejected.auth = Some(account.login(SecretId::Text(CANARY.into())).into());
    let key = open(rejected, "transit/key").await;
    let wrapped = key.wrap(&canary::text("key"), &context()).await;
    check_error(&key, ErrorKind::Unauthenticated, Operation::Wrap, wrapped);
    let key = open(config(server, Auth::Token(CANARY.into())), "transit/key").await;
    let wrapped = key.wrap(&canary::text("key"), &context()).await;
    check_error(&key, ErrorKind::Unauthenticated, Operation::Wrap, wrapped);
}
