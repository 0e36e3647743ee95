//! AppRole: roles that log in with a role id and a secret id.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::Server;
use super::admin::expect_text;
use crate::canary::CANARY;

/// The policy that [`Server::enable_approle`] writes: all capabilities on `secret/*` and no others.
const FULL: &str = "full";
const FULL_RULES: &str = r#"path "secret/*" {
    capabilities = ["create", "read", "update", "patch", "delete", "list", "scan"]
}"#;

/// Options of a role. Durations are in whole seconds; zero means the server's default or no limit, as
/// in the API.
#[derive(Clone, Debug)]
pub struct ApproleOptions<'a> {
    /// Where the auth method is mounted: `approle`.
    pub mount: &'a str,
    /// The role's name: `app`.
    pub name: &'a str,
    /// The policies of its tokens: by default `default`, and all capabilities on `secret/*`.
    pub policies: &'a [&'a str],
    /// The TTL of a token.
    pub token_ttl: Duration,
    /// The maximum TTL of a token, including renewals.
    pub token_max_ttl: Duration,
    /// How many requests a token allows.
    pub token_num_uses: u32,
    /// `default`, `service` or `batch`.
    pub token_type: &'a str,
    /// The TTL of a secret id.
    pub secret_id_ttl: Duration,
    /// How many logins a secret id allows.
    pub secret_id_num_uses: u32,
    /// Whether a login demands a secret id: yes.
    pub bind_secret_id: bool,
    /// The addresses that may use a token: any.
    pub token_bound_cidrs: &'a [&'a str],
    /// The addresses that may log in: any.
    pub secret_id_bound_cidrs: &'a [&'a str],
}

impl Default for ApproleOptions<'_> {
    fn default() -> Self {
        Self {
            mount: "approle",
            name: "app",
            policies: &["default", FULL],
            token_ttl: Duration::ZERO,
            token_max_ttl: Duration::ZERO,
            token_num_uses: 0,
            token_type: "default",
            secret_id_ttl: Duration::ZERO,
            secret_id_num_uses: 0,
            bind_secret_id: true,
            token_bound_cidrs: &[],
            secret_id_bound_cidrs: &[],
        }
    }
}

impl ApproleOptions<'_> {
    fn path(&self, rest: &str) -> String {
        format!("auth/{}/role/{}{rest}", self.mount, self.name)
    }

    fn body(&self) -> Value {
        json!({
            "token_policies": self.policies,
            "token_no_default_policy": !self.policies.contains(&"default"),
            "token_ttl": self.token_ttl.as_secs(),
            "token_max_ttl": self.token_max_ttl.as_secs(),
            "token_num_uses": self.token_num_uses,
            "token_type": self.token_type,
            "secret_id_ttl": self.secret_id_ttl.as_secs(),
            "secret_id_num_uses": self.secret_id_num_uses,
            "bind_secret_id": self.bind_secret_id,
            "token_bound_cidrs": self.token_bound_cidrs,
            "secret_id_bound_cidrs": self.secret_id_bound_cidrs,
        })
    }
}

/// The credentials of a role. The secret id contains the canary.
#[derive(Clone)]
pub struct Credentials {
    /// The role id, which the server generates.
    pub role_id: String,
    /// A new secret id.
    pub secret_id: String,
}

impl Server {
    /// Enables AppRole at `auth/<mount>`, and writes the default policy of roles.
    pub async fn enable_approle(&self, mount: &str) {
        self.write_policy(FULL, FULL_RULES).await;
        let method = json!({ "type": "approle" });
        self.admin("POST", &format!("sys/auth/{mount}"), Some(method)).await;
    }

    /// Writes a policy; `rules` are in HCL.
    pub async fn write_policy(&self, name: &str, rules: &str) {
        let policy = json!({ "policy": rules });
        self.admin("PUT", &format!("sys/policies/acl/{name}"), Some(policy)).await;
    }

    /// Creates or changes a role, and returns credentials for it.
    pub async fn approle(&self, options: &ApproleOptions<'_>) -> Credentials {
        let role_id = self.approle_id(options).await;
        Credentials { role_id, secret_id: self.secret_id(options).await }
    }

    /// Creates or changes a role, and returns its role id.
    pub async fn approle_id(&self, options: &ApproleOptions<'_>) -> String {
        self.admin("POST", &options.path(""), Some(options.body())).await;
        let role_id = self.admin("GET", &options.path("/role-id"), None).await;
        expect_text(&role_id["data"]["role_id"])
    }

    /// Creates another secret id of a role that [`approle`](Self::approle) has created.
    pub async fn secret_id(&self, options: &ApproleOptions<'_>) -> String {
        let body = json!({ "secret_id": self.next_secret_id() });
        let made = self.admin("POST", &options.path("/custom-secret-id"), Some(body)).await;
        expect_text(&made["data"]["secret_id"])
    }

    /// Creates another secret id of a role, wrapped in a token for one use within 300 s.
    pub async fn wrapped_secret_id(&self, options: &ApproleOptions<'_>) -> String {
        let body = json!({ "secret_id": self.next_secret_id() });
        self.wrap_response(&options.path("/custom-secret-id"), body).await
    }

    fn next_secret_id(&self) -> String {
        format!("{CANARY}secret{}", self.secret_ids.fetch_add(1, Ordering::Relaxed))
    }
}
