//! How services use the backend, against OpenBao: every way to log in, names that are no paths, and the session
//! with another library.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the tests of failures use the rest")]
mod support;

mod addresses;
mod agent;
#[cfg(feature = "aws-iam")]
mod aws;
mod certificate;
mod names;
mod namespaces;
mod password;
mod tokens;
#[cfg(feature = "vaultrs")]
mod vaultrs;

use serde_json::{Value, json};
use strongroom_testkit::openbao::Server;

/// A policy for all that the tests do below `secret/`.
const POLICY: &str = r#"path "secret/*" { capabilities = ["create", "read", "update", "list"] }"#;

/// Enables an auth method, and writes the policy `reader` for its roles.
async fn enable(server: &Server, method: &str, mount: &str) {
    server.write_policy("reader", POLICY).await;
    let body = json!({ "type": method });
    server.admin("POST", &format!("sys/auth/{mount}"), Some(body)).await;
}

/// The tokens that an auth method has issued, by their accessors.
fn accessors(audit: &strongroom_testkit::openbao::AuditLog, login: &str) -> Vec<Value> {
    let logins = audit.successes(login).into_iter();
    let accessors = logins.map(|entry| entry["response"]["auth"]["accessor"].clone());
    accessors.filter(Value::is_string).collect()
}

/// Whether the server knows the token of an accessor.
async fn is_valid(server: &Server, accessor: &Value) -> bool {
    let body = json!({ "accessor": accessor });
    server.call("POST", "auth/token/lookup-accessor", Some(body)).await.0 == 200
}
