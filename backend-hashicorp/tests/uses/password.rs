//! Logins with a user name and a password, and with a role that needs no secret id.

use std::fs;

use serde_json::json;
use strongroom_backend_hashicorp::{AppRole, Password, Userpass};
use strongroom_core::{ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao::{ApproleOptions, Server};
use tempfile::TempDir;

use crate::enable;
use crate::support::{config, expect_permanent, open, path, read, write};

#[tokio::test]
async fn logs_in_with_a_password_and_with_the_one_that_is_in_the_file() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    enable(&server, "userpass", "userpass").await;
    let password = format!("{CANARY} with blanks ");
    let user = json!({ "password": password, "token_policies": "reader" });
    server.admin("POST", "auth/userpass/users/app.one", Some(user)).await;
    let with = |name: &str, password: Password| config(&server, Userpass::new(name, password));
    let text = with("app.one", Password::Text(password.clone().into()));
    assert_eq!(read(&open(text).await, &path("key")).await.unwrap(), "kept");

    let directory = TempDir::new().unwrap();
    let file = directory.path().join("password");
    let from_file = with("app.one", Password::File(file.clone()));
    fs::write(&file, format!("{password}\r\n")).unwrap();
    assert_eq!(read(&open(from_file.clone()).await, &path("key")).await.unwrap(), "kept");
    fs::write(&file, "").unwrap();
    let result = read(&open(from_file).await, &path("key")).await;
    let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
    assert!(error.advice().contains("`Password::File`"), "{error}");

    for (name, password) in [("app.one", CANARY), ("unknown", password.as_str())] {
        let config = with(name, Password::Text(password.to_owned().into()));
        let result = read(&open(config).await, &path("key")).await;
        let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
        assert!(error.advice().contains("`Userpass::username`"), "{error}");
    }
}

#[tokio::test]
async fn a_role_without_bind_secret_id_needs_no_secret_id() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    server.enable_approle("approle").await;
    let without = ApproleOptions {
        bind_secret_id: false,
        token_bound_cidrs: &["127.0.0.0/8"],
        ..ApproleOptions::default()
    };
    let role_id = server.approle_id(&without).await;
    let backend = open(config(&server, AppRole::new(role_id, None))).await;
    assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");

    let demanding = ApproleOptions { name: "demanding", ..ApproleOptions::default() };
    let role_id = server.approle_id(&demanding).await;
    let backend = open(config(&server, AppRole::new(role_id, None))).await;
    let result = read(&backend, &path("key")).await;
    let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
    assert!(error.to_string().contains("demands a secret id"), "{error}");
    assert!(error.advice().contains("`SecretId::File`"), "{error}");
}
