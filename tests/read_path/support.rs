//! Shared by these tests: a manager in front of a server, and reads with a time limit.

use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom::{Error, ReadPolicy, Result, Secret, SecretsManager};
use strongroom_testkit::canary::{self, CANARY};
pub(crate) use strongroom_testkit::errors::check;
use strongroom_testkit::openbao::{ApproleOptions, AuditLog, Server};
use strongroom_testkit::proxy::Proxy;
use tokio::time::sleep;

/// The secret of most tests.
pub(crate) const KEY: &str = "key";
/// How long a secret is fresh.
pub(crate) const TTL: Duration = Duration::from_secs(1);
/// How long a read waits for the store while the cache has a copy.
const STALE_FALLBACK_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer a read may take on an idle machine; on a busy one, [`read`] adds what it measures.
const SLACK: Duration = Duration::from_millis(500);
/// How long a test waits for anything. After an outage of a few seconds, the manager sends the next
/// request within eight.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Secrets are fresh for a short time, and can be served stale for much longer than a test takes.
pub(crate) fn policy() -> ReadPolicy {
    ReadPolicy::new()
        .cache_ttl(TTL)
        .stale_if_error(Duration::from_secs(300))
        .stale_fallback_timeout(STALE_FALLBACK_TIMEOUT)
}

/// Creates a role on a server, with the default policies or with these.
pub(crate) async fn config(server: &Server, policies: Option<&[&str]>) -> HashicorpConfig {
    server.enable_approle("approle").await;
    let default = ApproleOptions::default();
    let options = ApproleOptions { policies: policies.unwrap_or(default.policies), ..default };
    let credentials = server.approle(&options).await;
    let login = AppRole::new(credentials.role_id, SecretId::Text(credentials.secret_id.into()));
    HashicorpConfig::new(server.address(), login)
}

pub(crate) async fn open(config: HashicorpConfig, policy: ReadPolicy) -> SecretsManager {
    canary::watch();
    SecretsManager::with_policy(HashicorpBackend::open(config).await.unwrap(), policy)
}

/// A proxy in front of a server, and the configuration that uses it.
pub(crate) fn through_proxy(server: &Server, config: HashicorpConfig) -> (Proxy, HashicorpConfig) {
    let upstream = server.address().split_once("://").unwrap().1.parse().unwrap();
    let proxy = Proxy::new(upstream);
    let mut config = config;
    config.address = format!("http://{}", proxy.address());
    (proxy, config)
}

/// Breaks all connections and refuses new ones.
pub(crate) fn cut(proxy: &Proxy) {
    proxy.refuse();
    proxy.reset_existing();
}

/// Writes a secret as root: the canary and this text.
pub(crate) async fn write(server: &Server, path: &str, rest: &str) {
    let body = json!({ "data": { "value": format!("{CANARY}{rest}") } });
    server.admin("POST", &format!("secret/data/{path}"), Some(body)).await;
}

/// The text after the canary.
pub(crate) fn text_of(secret: &Secret) -> &str {
    secret.expose_text().unwrap().strip_prefix(CANARY).unwrap()
}

/// The number of requests for this path, with any status.
pub(crate) fn count_requests(audit: &AuditLog, path: &str) -> usize {
    let is_match = |entry: &&serde_json::Value| {
        entry.pointer("/type").is_some_and(|kind| kind == "request")
            && entry.pointer("/request/path").is_some_and(|requested| requested == path)
    };
    audit.entries().iter().filter(is_match).count()
}

/// Reads; fails if the read waits for the store for long.
pub(crate) async fn read(secrets: &SecretsManager, path: &str) -> Result<Secret> {
    let begin = Instant::now();
    let mut lag = Duration::ZERO;
    let mut read = pin!(secrets.get(path));
    let result = loop {
        let tick = Instant::now();
        tokio::select! {
            biased;
            result = &mut read => break result,
            () = sleep(POLL_INTERVAL) => lag += tick.elapsed().saturating_sub(POLL_INTERVAL),
        }
    };
    let (took, longest) = (begin.elapsed(), STALE_FALLBACK_TIMEOUT + SLACK + lag);
    assert!(took <= longest, "a read took {took:?} instead of {longest:?}: {result:?}");
    result
}

/// Reads until the secret meets the condition; no read may fail or take long.
pub(crate) async fn read_until(
    secrets: &SecretsManager,
    path: &str,
    condition: impl Fn(&Secret) -> bool,
) -> Secret {
    let begin = Instant::now();
    loop {
        let secret = read(secrets, path).await.unwrap();
        if condition(&secret) {
            return secret;
        }
        assert!(begin.elapsed() < LIMIT, "the secret stays {secret:?}");
        sleep(POLL_INTERVAL).await;
    }
}

/// Reads until a read fails; no read may take long.
pub(crate) async fn read_until_error(secrets: &SecretsManager, path: &str) -> Error {
    let begin = Instant::now();
    loop {
        if let Err(error) = read(secrets, path).await {
            check(&error);
            return error;
        }
        assert!(begin.elapsed() < LIMIT, "reads do not fail");
        sleep(POLL_INTERVAL).await;
    }
}

/// Waits until a condition holds; `what` is the message if it never does.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "{what}");
        sleep(POLL_INTERVAL).await;
    }
}
