//! `serve`: the server as a command.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;
use support::serving::Serving;
use support::{Store, planted};

#[test]
fn one_folder_has_everything_and_the_first_token_is_issued_once() {
    let store = Store::none();
    let folder = store.file("data");
    let data = ["--data", folder.to_str().unwrap()];
    let mut server = Serving::start(&store, &data);
    let file = server.started["token_file"].as_str().unwrap().to_owned();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let token = fs::read_to_string(&file).unwrap();
    let body = format!("{{\"value\": \"{}\"}}", planted("-served"));
    assert_eq!(server.ask(&token, "PUT /v1/secrets/openai/api-key", &body).0, 200);
    assert_eq!(server.ask("unknown", "GET /v1/secrets/openai/api-key", "").0, 401);
    let printed = server.stop(Signal::TERM);
    assert!(!printed.contains(&token) && !printed.contains(&planted("-served")), "{printed}");

    // The secret and the token are there after a restart, and no other token is made.
    let mut server = Serving::start(&store, &data);
    assert_eq!(server.started.get("token_file"), None);
    let (status, read) = server.ask(&token, "GET /v1/secrets/openai/api-key", "");
    assert_eq!(status, 200);
    assert!(read.contains(&planted("-served")));
    server.stop(Signal::INT);
    // The store is an ordinary one.
    let store = store
        .with("SECRETS_BACKEND", "native")
        .with("SECRETS_NATIVE_PATH", folder.join("secrets.db"))
        .with("SECRETS_NATIVE_KEY_FILE", folder.join("strongroom.key"));
    assert_eq!(store.value(&["openai/api-key"]), planted("-served").into_bytes());
}

#[test]
fn the_administrator_of_the_host_issues_tokens_for_people_and_for_agents() {
    let store = Store::none();
    let folder = store.file("data");
    let data = folder.to_str().unwrap();
    let (ann, agent) = (store.file("ann"), store.file("agent"));
    let issue = |more: &[&str]| {
        let arguments = ["token", "--data", data, "--reason", "a test"];
        store.run(&[&arguments[..], more].concat())
    };
    // There is no folder yet, and none is made.
    let agent_arguments = ["--scope", "secrets:read", "--file", agent.to_str().unwrap()];
    issue(&agent_arguments).fails(1, &["open the folder"]);
    let mut server = Serving::start(&store, &["--data", data]);
    let admin = fs::read_to_string(server.started["token_file"].as_str().unwrap()).unwrap();
    let (_, who) = server.ask(&admin, "GET /v1/self", "");
    assert!(who.contains("person:default/admin"), "{who}");
    issue(&agent_arguments).succeeds();
    let ann_file = ann.to_str().unwrap();
    issue(&["--person", "ann", "--scope", "approvals:decide", "--file", ann_file]).succeeds();
    assert_eq!(fs::metadata(&ann).unwrap().permissions().mode() & 0o777, 0o600);
    issue(&agent_arguments).fails(1, &["must be a new one"]);
    let (ann, agent) = (fs::read_to_string(ann).unwrap(), fs::read_to_string(agent).unwrap());

    let body = format!(
        "{{\"value\": \"{}\", \"metadata\": {{\"tier\": \"critical\"}}}}",
        planted("-critical")
    );
    assert_eq!(server.ask(&admin, "PUT /v1/secrets/key", &body).0, 200);
    for approver in [&admin, &ann] {
        let (status, refused) = server.ask(&agent, "GET /v1/secrets/key", "");
        assert!(status == 403 && refused.contains("approval_required"), "{refused}");
        let new = r#"{"path": "key", "purpose": "a test", "reason": "a test"}"#;
        let (status, asked) = server.ask(&agent, "POST /v1/approvals", new);
        assert_eq!(status, 201, "{asked}");
        let asked: Value = serde_json::from_str(&asked).unwrap();
        let approve = format!("POST /v1/approvals/{}/approve", asked["id"].as_str().unwrap());
        let (status, approved) = server.ask(approver, &approve, "");
        assert_eq!(status, 200, "{approved}");
        assert_eq!(server.ask(&agent, "GET /v1/secrets/key", "").0, 200);
    }
    let printed = server.stop(Signal::TERM);
    assert!(![&admin, &ann, &agent].iter().any(|token| printed.contains(*token)), "{printed}");
}

#[test]
fn the_environment_names_the_store_and_the_rules() {
    let store = Store::native();
    store.put("acme/stripe/key", planted("-native"));
    let (rules, key, token) = (store.file("access.db"), store.file("access.key"), store.file("t"));
    let store = store.with("SECRETS_ACCESS_PATH", &rules).with("SECRETS_ACCESS_KEY_FILE", &key);
    let arguments = ["--tenant", "acme", "--token-file", token.to_str().unwrap()];
    let mut server = Serving::start(&store, &arguments);
    let text = fs::read_to_string(&token).unwrap();
    let (status, read) = server.ask(&text, "GET /v1/secrets/stripe/key", "");
    assert!(status == 200 && read.contains(&planted("-native")), "{status}");
    server.stop(Signal::TERM);
}

#[test]
fn mistakes_are_explained_before_anything_is_created() {
    let store = Store::none();
    let folder = store.file("data");
    let data = folder.to_str().unwrap();
    store
        .run(&["serve", "--data", data, "--listen", "0.0.0.0:0"])
        .fails(2, &["`--listen` is reached by other machines"]);
    store.run(&["serve", "--data", data, "--tls-cert", "a.pem"]).fails(2, &["--tls-key"]);
    store.run(&["serve", "--data", data, "--backend", "env"]).fails(2, &["leave out `--backend`"]);
    assert!(!folder.exists());
    store.run(&["serve"]).fails(2, &["SECRETS_ACCESS_PATH"]);
    let store = store.with("STRONGROOM_SERVER_MAX_REQUESTS", "none");
    store.run(&["serve", "--data", data]).fails(2, &["STRONGROOM_SERVER_MAX_REQUESTS"]);
    assert!(!folder.exists());
}

#[test]
fn a_folder_takes_the_other_settings_of_the_environment() {
    let store = Store::none();
    let folder = store.file("data");
    let data = folder.to_str().unwrap();
    let store = store.with("SECRETS_ACCESS_AUDIT", "sometimes");
    store.run(&["serve", "--data", data]).fails(2, &["SECRETS_ACCESS_AUDIT"]);
    let store = store.with("SECRETS_ACCESS_AUDIT", "batched");
    let elsewhere = store.with("SECRETS_ACCESS_URL", "postgresql://a@127.0.0.1/b");
    elsewhere.run(&["serve", "--data", data]).fails(2, &["SECRETS_ACCESS_URL", "--data"]);
}
