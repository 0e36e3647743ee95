//! What these tests share: a manager before a server, and reads that are bounded in time.

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom::{Error, ReadPolicy, Result, Secret, SecretsManager};
use strongroom_testkit::canary::{self, CANARY};
pub(crate) use strongroom_testkit::errors::check;
use strongroom_testkit::openbao::{ApproleOptions, AuditLog, Server};
use strongroom_testkit::proxy::Proxy;
use tokio::time::sleep;

/// The one secret of most tests.
pub(crate) const KEY: &str = "key";
/// How long a secret is fresh.
pub(crate) const TTL: Duration = Duration::from_secs(1);
/// How long a read waits for the store while there is a copy, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(500);
/// How long a test waits for anything. After an outage of a few seconds the store is asked again
/// within eight.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Secrets are fresh for a short time, and of use for much longer than a test.
pub(crate) fn policy() -> ReadPolicy {
    ReadPolicy::new()
        .cache_ttl(TTL)
        .stale_if_error(Duration::from_secs(300))
        .stale_fallback_timeout(PATIENCE)
}

/// A role of its own on a server, under its default rights or under these policies.
pub(crate) async fn config(server: &Server, policies: Option<&[&str]>) -> HashicorpConfig {
    server.enable_approle("approle").await;
    let default = ApproleOptions::default();
    let options = ApproleOptions { policies: policies.unwrap_or(default.policies), ..default };
    let credentials = server.approle(&options).await;
    let login = AppRole::new(credentials.role_id, SecretId::Text(credentials.secret_id.into()));
    HashicorpConfig::new(server.address(), login)
}

pub(crate) fn open(config: HashicorpConfig, policy: ReadPolicy) -> SecretsManager {
    canary::watch();
    SecretsManager::with_policy(HashicorpBackend::open(config).unwrap(), policy)
}

/// A proxy before a server, and the configuration to go through it.
pub(crate) fn through_proxy(server: &Server, config: HashicorpConfig) -> (Proxy, HashicorpConfig) {
    let upstream = server.address().split_once("://").unwrap().1.parse().unwrap();
    let proxy = Proxy::new(upstream);
    let mut config = config;
    config.address = format!("http://{}", proxy.address());
    (proxy, config)
}

/// Breaks all connections, and keeps new ones from coming about.
pub(crate) fn cut(proxy: &Proxy) {
    proxy.refuse();
    proxy.reset_existing();
}

/// Writes a secret as root, with this behind the canary.
pub(crate) async fn write(server: &Server, path: &str, rest: &str) {
    let body = json!({ "data": { "value": format!("{CANARY}{rest}") } });
    server.admin("POST", &format!("secret/data/{path}"), Some(body)).await;
}

/// What stands behind the canary.
pub(crate) fn shown(secret: &Secret) -> &str {
    secret.expose_text().unwrap().strip_prefix(CANARY).unwrap()
}

/// How often the server was asked for this path, whatever it answered.
pub(crate) fn asked(audit: &AuditLog, path: &str) -> usize {
    let is_it = |entry: &&serde_json::Value| {
        entry.pointer("/type").is_some_and(|kind| kind == "request")
            && entry.pointer("/request/path").is_some_and(|asked| asked == path)
    };
    audit.entries().iter().filter(is_it).count()
}

/// Reads without long waiting.
pub(crate) async fn read(secrets: &SecretsManager, path: &str) -> Result<Secret> {
    let begin = Instant::now();
    let read = secrets.get(path).await;
    let took = begin.elapsed();
    assert!(took <= PATIENCE + SLACK, "a read took {took:?}: {read:?}");
    read
}

/// Reads until the secret is as it has to be; no read may fail or take long.
pub(crate) async fn reads_until(
    secrets: &SecretsManager,
    path: &str,
    is_so: impl Fn(&Secret) -> bool,
) -> Secret {
    let begin = Instant::now();
    loop {
        let secret = read(secrets, path).await.unwrap();
        if is_so(&secret) {
            return secret;
        }
        assert!(begin.elapsed() < LIMIT, "it stays {secret:?}");
        sleep(LOOK_EVERY).await;
    }
}

/// Reads until it fails; no read may take long.
pub(crate) async fn reads_until_refused(secrets: &SecretsManager, path: &str) -> Error {
    let begin = Instant::now();
    loop {
        if let Err(error) = read(secrets, path).await {
            check(&error);
            return error;
        }
        assert!(begin.elapsed() < LIMIT, "it does not fail");
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "{what}");
        sleep(LOOK_EVERY).await;
    }
}
