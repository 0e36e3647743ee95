//! The headers of requests, and which requests an operation sends.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_backend_hashicorp::{AppRole, Auth, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom_core::{
    Backend as _, ErrorKind, HealthStatus, ListOptions, PutOptions, Result, SecretPath,
    VersionSelector,
};
use strongroom_testkit::openbao::{ApproleOptions, AuditLog, Credentials, Server};
use strongroom_testkit::stub::{Reply, Request, Stub};

const NAMESPACE: &str = "team/app";
const TOKEN: &str = "the-token";
const WRAPPING: &str = "the-wrapping-token";
const LOGIN: &str = "/v1/auth/approle/login";
const LOOK_UP: &str = "/v1/auth/token/lookup-self";
const HEALTH: &str = "/v1/sys/health";

/// The replies of a server that accepts every login and has one secret.
fn reply(request: &Request) -> Reply {
    let target = request.target.split('?').next().unwrap();
    let data = match (request.method.as_str(), target) {
        (_, LOGIN) => {
            let auth = json!({ "client_token": TOKEN, "lease_duration": 3_600, "renewable": true });
            return Reply::json(200, &json!({ "auth": auth }));
        }
        (_, HEALTH) => return Reply::json(200, &json!({ "initialized": true })),
        (_, LOOK_UP) => json!({ "ttl": 3_600, "renewable": true }),
        (_, "/v1/sys/wrapping/lookup") => {
            json!({ "creation_path": "auth/approle/role/app/secret-id" })
        }
        (_, "/v1/sys/wrapping/unwrap") => json!({ "secret_id": "the-secret-id" }),
        (_, "/v1/sys/internal/ui/mounts/secret") => {
            json!({ "path": "secret/", "type": "kv", "options": { "version": "2" } })
        }
        ("LIST", _) => json!({ "keys": ["key"] }),
        ("GET", "/v1/secret/metadata/key") => metadata(),
        ("GET", "/v1/secret/data/key") => {
            json!({ "data": { "value": "kept" }, "metadata": { "version": 1 } })
        }
        ("POST", "/v1/secret/data/key") => json!({ "version": 2 }),
        _ => return Reply::new(204, ""),
    };
    Reply::json(200, &json!({ "data": data }))
}

fn metadata() -> Value {
    let time = "2026-01-02T03:04:05Z";
    let version = json!({ "created_time": time, "deletion_time": "", "destroyed": false });
    json!({
        "created_time": time,
        "updated_time": time,
        "current_version": 1,
        "versions": { "1": version },
    })
}

/// The requests of a session, from its login to its end.
async fn run_session(auth: impl Into<Auth>) -> Vec<Request> {
    let stub = Stub::new(reply);
    let mut config = HashicorpConfig::new(stub.url(), auth);
    config.namespace = Some(format!("/{NAMESPACE}/"));
    let backend = HashicorpBackend::open(config).await.unwrap();
    let key = path("key");
    assert_eq!(read(&backend, "key").await.unwrap(), "kept");
    let version = backend.put(&key, "new".into(), PutOptions::new()).await.unwrap();
    assert_eq!(version, 2.into());
    let page = backend.list(None, &ListOptions::new()).await.unwrap();
    assert_eq!(page.paths, [key]);
    assert_eq!(backend.health().await.unwrap().status, HealthStatus::Ready);
    backend.close().await.unwrap();
    stub.requests()
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

async fn read(backend: &HashicorpBackend, at: &str) -> Result<String> {
    let secret = backend.get(&path(at), &VersionSelector::Active).await?;
    Ok(secret.expose_text()?.to_owned())
}

fn app_role(wrapped: bool) -> AppRole {
    let given = if wrapped { WRAPPING } else { "the-secret-id" };
    let mut login = AppRole::new("the-role-id", SecretId::Text(given.into()));
    login.wrapped = wrapped;
    login
}

/// Each request carries each header that it needs once, and no other token.
fn assert_headers(requests: &[Request]) {
    for request in requests {
        let values = |name: &str| -> Vec<&str> {
            let named = request.headers.iter().filter(|(own, _)| own == name);
            named.map(|(_, value)| value.as_str()).collect()
        };
        let target = request.target.as_str();
        assert_eq!(values("x-vault-request"), ["true"], "{request:?}");
        let namespaces: &[&str] = if target == HEALTH { &[] } else { &[NAMESPACE] };
        assert_eq!(values("x-vault-namespace"), namespaces, "{request:?}");
        let tokens: &[&str] = match target {
            LOGIN | HEALTH => &[],
            _ if target.starts_with("/v1/sys/wrapping/") => &[WRAPPING],
            _ => &[TOKEN],
        };
        assert_eq!(values("x-vault-token"), tokens, "{request:?}");
        assert!(values("authorization").is_empty() && values("cookie").is_empty());
        assert!(!target.contains("the-"), "{request:?}");
    }
}

fn count(requests: &[Request], what: &str) -> usize {
    requests.iter().filter(|request| format!("{request:?}") == what).count()
}

#[tokio::test]
async fn requests_carry_only_the_headers_that_they_need() {
    for wrapped in [false, true] {
        let requests = run_session(app_role(wrapped)).await;
        assert_headers(&requests);
        for (once, times) in [
            ("POST /v1/auth/approle/login", 1),
            ("POST /v1/sys/wrapping/lookup", usize::from(wrapped)),
            ("POST /v1/sys/wrapping/unwrap", usize::from(wrapped)),
            ("GET /v1/sys/internal/ui/mounts/secret", 1),
            ("GET /v1/secret/data/key", 1),
            ("POST /v1/secret/data/key", 1),
            ("LIST /v1/secret/metadata/", 1),
            ("GET /v1/sys/health", 1),
            ("POST /v1/auth/token/revoke-self", 1),
        ] {
            assert_eq!(count(&requests, once), times, "{once}: {requests:?}");
        }
        assert_eq!(format!("{:?}", requests.last().unwrap()), "POST /v1/auth/token/revoke-self");
    }
}

#[tokio::test]
async fn a_given_token_is_looked_up_and_not_revoked() {
    let requests = run_session(Auth::Token(TOKEN.into())).await;
    assert_headers(&requests);
    assert_eq!(count(&requests, "GET /v1/auth/token/lookup-self"), 1);
    assert_eq!(count(&requests, "GET /v1/sys/health"), 1);
    assert_eq!(count(&requests, "POST /v1/auth/approle/login"), 0);
    assert_eq!(count(&requests, "POST /v1/auth/token/revoke-self"), 0);
}

#[tokio::test]
async fn writes_look_up_the_mount_once_a_minute() {
    let server = Server::dev().await;
    let audit = server.enable_audit().await;
    let auth = Auth::Token(server.root_token().into());
    let backend =
        HashicorpBackend::open(HashicorpConfig::new(server.address(), auth)).await.unwrap();
    let put = async || backend.put(&path("key"), "value".into(), PutOptions::new()).await.unwrap();
    let lookups = || audit.successes("sys/internal/ui/mounts/secret").len();
    // The first version of a secret always looks up the mount.
    put().await;
    put().await;
    let first = lookups();
    advance(Duration::from_secs(50)).await;
    put().await;
    assert_eq!(lookups(), first);
    advance(Duration::from_secs(11)).await;
    put().await;
    put().await;
    assert_eq!(lookups(), first + 1);
    // The response to a read shows whether the mount is another one.
    advance(Duration::from_secs(61)).await;
    read(&backend, "key").await.unwrap();
    assert_eq!(lookups(), first + 1);
}

/// Advances the clock, and resumes it: it must run while a task waits for a server.
async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A server with a role whose secret ids are wrapped, and its audit log.
struct WrappingServer {
    server: Server,
    audit: AuditLog,
    credentials: Credentials,
}

impl WrappingServer {
    async fn new() -> Self {
        let server = Server::dev().await;
        let audit = server.enable_audit().await;
        server.enable_approle("approle").await;
        let credentials = server.approle(&ApproleOptions::default()).await;
        server.admin("POST", "secret/data/key", Some(json!({ "data": { "value": "kept" } }))).await;
        Self { server, audit, credentials }
    }

    /// Sends a request whose response the server wraps; the wrapping token.
    async fn wrap(&self, method: &str, to: &str, body: Option<Value>) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/v1/{to}", self.server.address());
        let request = client
            .request(method.parse().unwrap(), url)
            .header("X-Vault-Token", self.server.root_token())
            .header("X-Vault-Wrap-TTL", "300s")
            .body(body.map(|body| body.to_string()).unwrap_or_default());
        let body = request.send().await.unwrap().bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["wrap_info"]["token"].as_str().unwrap().to_owned()
    }

    async fn read(&self, wrapping: &str) -> Result<String> {
        let role_id = self.credentials.role_id.as_str();
        let mut login = AppRole::new(role_id, SecretId::Text(wrapping.into()));
        login.wrapped = true;
        let config = HashicorpConfig::new(self.server.address(), login);
        read(&HashicorpBackend::open(config).await.unwrap(), "key").await
    }

    /// The backend rejects the token for the path where it was made, and does not use it up.
    async fn assert_rejected(&self, wrapping: &str) {
        let error = self.read(wrapping).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(!error.is_temporary(), "{error}");
        assert!(error.to_string().contains("was not made for a secret id"), "{error}");
        let body = json!({ "token": wrapping });
        self.server.admin("POST", "sys/wrapping/lookup", Some(body)).await;
        assert_eq!(self.audit.successes("auth/approle/login").len(), 0);
    }
}

#[tokio::test]
async fn rejects_a_secret_id_that_was_wrapped_elsewhere() {
    let role = WrappingServer::new().await;
    // The secret id is valid: only the path where the wrapping token was made shows the difference.
    let right = json!({ "secret_id": role.credentials.secret_id });
    let made = role.wrap("POST", "sys/wrapping/wrap", Some(right.clone())).await;
    role.assert_rejected(&made).await;
    // Every token can write to any path in its cubbyhole.
    for at in ["auth/approle/role/app/secret-id", "auth/approle/role/app/custom-secret-id"] {
        let own = format!("cubbyhole/{at}");
        role.server.admin("POST", &own, Some(right.clone())).await;
        role.assert_rejected(&role.wrap("GET", &own, None).await).await;
    }
    // A secret id of another AppRole mount.
    role.server.enable_approle("other").await;
    let other = ApproleOptions { mount: "other", ..Default::default() };
    role.server.approle(&other).await;
    role.assert_rejected(&role.server.wrapped_secret_id(&other).await).await;
    // A role id is not a secret id.
    role.assert_rejected(&role.wrap("GET", "auth/approle/role/app/role-id", None).await).await;

    for endpoint in ["secret-id", "custom-secret-id"] {
        let body = if endpoint == "secret-id" { json!({}) } else { json!({ "secret_id": "next" }) };
        let made = format!("auth/approle/role/app/{endpoint}");
        let wrapping = role.wrap("POST", &made, Some(body)).await;
        assert_eq!(role.read(&wrapping).await.unwrap(), "kept");
    }
}

#[tokio::test]
async fn accepts_a_wrapped_secret_id_of_a_namespace() {
    let role = WrappingServer::new().await;
    role.server.admin("POST", "sys/namespaces/team", None).await;
    let approle = json!({ "type": "approle" });
    role.server.admin("POST", "team/sys/auth/approle", Some(approle)).await;
    let at = "team/auth/approle/role/app";
    role.server.admin("POST", at, Some(json!({}))).await;
    let made = role.server.admin("GET", &format!("{at}/role-id"), None).await;
    let wrapping = role.wrap("POST", &format!("{at}/secret-id"), Some(json!({}))).await;
    let role_id = made["data"]["role_id"].as_str().unwrap();
    let mut login = AppRole::new(role_id, SecretId::Text(wrapping.into()));
    login.wrapped = true;
    let mut config = HashicorpConfig::new(role.server.address(), login);
    config.namespace = Some("team".into());
    let health = HashicorpBackend::open(config).await.unwrap().health().await.unwrap();
    assert_eq!(health.status, HealthStatus::Ready, "{health:?}");
}
