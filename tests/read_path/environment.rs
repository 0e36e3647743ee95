//! What `SecretsManager::from_env` opens.

use std::time::Duration;

use serde_json::json;
use strongroom::SecretsManager;
use strongroom_testkit::openbao::Server;
use strongroom_testkit::process::{Role, role};

/// How long a child may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The child of the test, which has an environment of its own; does nothing in the test process.
#[tokio::test]
async fn child() {
    if role().is_none() {
        return;
    }
    let secrets = SecretsManager::from_env().await.unwrap();
    assert_eq!(secrets.backend().kind, "hashicorp");
    assert_eq!(secrets.get("key").await.unwrap().expose_text().unwrap(), "kept");
}

#[tokio::test]
async fn the_variables_of_openbao_are_understood() {
    let server = Server::dev().await;
    server.admin("POST", "secret/data/key", Some(json!({ "data": { "value": "kept" } }))).await;
    for backend in ["bao", "openbao", "hashicorp"] {
        let child = Role::in_test(backend, "environment::child").unwrap().inherit_stderr();
        let child = child.env("SECRETS_BACKEND", backend).env("BAO_ADDR", server.address());
        let child = child.env("BAO_TOKEN", server.root_token());
        assert!(child.spawn().unwrap().wait_within(LIMIT).unwrap().success(), "{backend}");
    }
}
