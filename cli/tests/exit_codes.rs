//! Exit statuses by the kind of error, as real stores cause them. A unit test of `exit.rs` compares the table
//! of all kinds with the guide.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code reports a failure with a panic"
)]

mod support;

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;
use strongroom_testkit::openbao;
use support::{Ended, Store, planted};

/// The error as JSON on standard error.
fn kind(ended: &Ended) -> (i32, String) {
    let line = ended.errors.lines().last().unwrap();
    let document: Value = serde_json::from_str(line).unwrap();
    assert_eq!(document["schema_version"], 1);
    let error = &document["error"];
    assert_eq!(error["exit_code"], ended.code, "{document}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    (ended.code, error["kind"].as_str().unwrap().to_owned())
}

fn assert_kind(store: &Store, arguments: &[&str], expected: (i32, &str)) {
    let ended = store.run_with(&[arguments, &["--format", "json"]].concat(), planted(""));
    let (code, name) = kind(&ended);
    assert_eq!((code, name.as_str()), expected, "{arguments:?}: {}", ended.errors);
}

#[test]
fn errors_of_a_native_store() {
    let store = Store::native();
    store.put("text", planted("-text"));
    store.put("expired", planted("-expired"));
    store.run(&["annotate", "expired", "--expires-at", "2020-01-01"]).succeeds();
    store.run_with(&["put", "object", "--fields"], "{\"a\":1}").succeeds();
    assert_kind(&store, &["get", "missing"], (3, "not_found"));
    assert_kind(&store, &["get", "missing", "--no-such-option"], (2, "usage"));
    assert_kind(&store, &["get", "object", "--field", "b"], (3, "field_not_found"));
    assert_kind(&store, &["get", "text", "--field", "b"], (1, "wrong_type"));
    assert_kind(&store, &["get", "expired"], (7, "expired"));
    assert_kind(&store, &["put", "text", "--if-absent"], (6, "conflict"));
    assert_kind(&store, &["rotate", "text"], (1, "unsupported"));
    assert_kind(&store, &["annotate", "text", "--tag", "aws:x=1"], (2, "invalid_input"));
    assert_kind(&store, &["get", "text", "--backend", "natve"], (2, "config"));

    let other = Store::native();
    other.put("a", "b");
    let stranger = Store::native()
        .with("SECRETS_NATIVE_PATH", store.file("secrets.db"))
        .with("SECRETS_NATIVE_KEY_FILE", other.file("strongroom.key"));
    assert_kind(&stranger, &["get", "text"], (4, "unauthenticated"));
    let file = other.file("secrets.db");
    let mut damaged = fs::read(&file).unwrap();
    // The first page tells what kind of file it is.
    damaged.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x5a);
    fs::write(&file, damaged).unwrap();
    assert_kind(&other, &["get", "a"], (1, "corrupt"));
}

#[tokio::test]
async fn errors_of_a_server() {
    let mut store = Store::openbao().await;
    let server: &openbao::Server = store.server();
    server.write_policy("none", "path \"secret/data/other\" { capabilities = [\"read\"] }").await;
    let body = serde_json::json!({"policies": ["none"]});
    let created = server.admin("POST", "auth/token/create", Some(body)).await;
    let token = created["auth"]["client_token"].as_str().unwrap().to_owned();
    store.set("VAULT_TOKEN", &token);
    assert_kind(&store, &["get", "a"], (4, "denied"));
    store.set("VAULT_TOKEN", "wrong");
    assert_kind(&store, &["get", "a"], (4, "unauthenticated"));
}

#[test]
fn errors_of_a_server_that_does_not_answer() {
    // It is bound, so that no other server gets the port, and answers no connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let store = Store::none()
        .with("SECRETS_BACKEND", "vault")
        .with("VAULT_ADDR", address)
        .with("VAULT_TOKEN", "token")
        .with("SECRETS_READ_RETRIES", "0")
        .with("SECRETS_READ_TIMEOUT", "300ms");
    assert_kind(&store, &["get", "a"], (5, "timeout"));
    drop(listener);
    assert_kind(&store, &["get", "a"], (5, "unavailable"));
}

#[test]
fn a_reader_that_goes_away_is_no_error_to_tell() {
    let store = Store::native();
    // More than a pipe holds, so that the write meets the closed end.
    store.put("large", vec![b'x'; 1 << 20]);
    let mut command = store.command(&["get", "large"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
