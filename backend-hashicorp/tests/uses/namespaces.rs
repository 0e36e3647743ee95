//! A login in another namespace than that of the secrets, and mounts with slashes.

use serde_json::json;
use strongroom_backend_hashicorp::{Password, Userpass};
use strongroom_core::{Backend as _, ErrorKind, PutOptions};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::openbao::Server;

use crate::enable;
use crate::support::{config, open, path, put, read, write};

/// Creates the namespaces `team` and `team/app`, KV engines at `secret` and `kv/live` in the latter, and a
/// user in `team`.
async fn prepare(server: &Server) {
    server.admin("POST", "sys/namespaces/team", Some(json!({}))).await;
    server.admin("POST", "team/sys/namespaces/app", Some(json!({}))).await;
    for mount in ["secret", "kv/live"] {
        let kv = json!({ "type": "kv", "options": { "version": "2" } });
        server.admin("POST", &format!("team/app/sys/mounts/{mount}"), Some(kv)).await;
        write(server, &format!("team/app/{mount}"), "key", mount).await;
    }
    let rules = r#"path "app/*" { capabilities = ["create", "read", "update", "list", "patch"] }"#;
    let policy = json!({ "policy": rules });
    server.admin("PUT", "team/sys/policies/acl/reader", Some(policy)).await;
    server.admin("POST", "team/sys/auth/userpass", Some(json!({ "type": "userpass" }))).await;
    let user = json!({ "password": CANARY, "token_policies": "reader", "token_ttl": "3s" });
    server.admin("POST", "team/auth/userpass/users/app", Some(user)).await;
}

fn login() -> Userpass {
    Userpass::new("app", Password::Text(CANARY.into()))
}

#[tokio::test]
async fn logs_in_at_another_namespace_and_renews_the_token_there() {
    let server = Server::dev().await;
    prepare(&server).await;
    let mut config = config(&server, login());
    config.namespace = Some("team/app".into());
    config.auth_namespace = Some("team/".into());
    let backend = open(config.clone()).await;
    assert_eq!(read(&backend, &path("key")).await.unwrap(), "secret");
    put(&backend, &path("new"), "new").await.unwrap();
    let begin = std::time::Instant::now();
    loop {
        let health = backend.health().await.unwrap();
        if health.details["token_renewals"] != "0" {
            break;
        }
        assert!(begin.elapsed() < crate::support::LIMIT, "{health:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(read(&backend, &path("new")).await.unwrap(), "new");
    backend.close().await.unwrap();

    config.auth_namespace = None;
    let error = read(&open(config).await, &path("key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.advice().contains("`HashicorpConfig::auth_namespace`"), "{error}");
}

#[tokio::test]
async fn the_root_namespace_has_a_name() {
    let server = Server::dev().await;
    prepare(&server).await;
    enable(&server, "userpass", "userpass").await;
    let rules = r#"path "team/app/*" { capabilities = ["read"] }"#;
    server.write_policy("reader", rules).await;
    let user = json!({ "password": CANARY, "token_policies": "reader" });
    server.admin("POST", "auth/userpass/users/app", Some(user)).await;
    let mut config = config(&server, login());
    config.namespace = Some("team/app".into());
    config.auth_namespace = Some("root".into());
    assert_eq!(read(&open(config).await, &path("key")).await.unwrap(), "secret");
}

#[tokio::test]
async fn a_mount_has_slashes_and_may_be_in_a_child_namespace() {
    let server = Server::dev().await;
    prepare(&server).await;
    for (namespace, mount) in [("team/app", "kv/live"), ("team", "app/kv/live")] {
        let mut config = config(&server, login());
        config.namespace = Some(namespace.into());
        config.auth_namespace = Some("team".into());
        config.mount = mount.into();
        let backend = open(config).await;
        assert_eq!(read(&backend, &path("key")).await.unwrap(), "kv/live");
        put(&backend, &path("folder/new"), "new").await.unwrap();
        assert_eq!(read(&backend, &path("folder/new")).await.unwrap(), "new");
        backend.put(&path("other"), canary::text("x"), PutOptions::default()).await.unwrap();
        let listed = backend.list(None, &strongroom_core::ListOptions::default()).await;
        let listed: Vec<_> = listed.unwrap().paths.iter().map(ToString::to_string).collect();
        assert_eq!(listed, ["folder/new", "key", "other"], "{mount}");
        let error = read(&backend, &path("missing")).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("namespace `{namespace}`, mount `{mount}`")),
            "{error}"
        );
    }
}
