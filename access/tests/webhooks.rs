//! Webhooks as a host and a receiver use them. Every secret has the canary, and the process ends if it is logged.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_access::{
    Access, AccessConfig, Action, Guarded, NewGrant, Principal, Rules, Scope, SpiffeTemplate,
    Subject, TenantName, Webhook, WebhookHeaders, verify_webhook,
};
use strongroom_core::{Backend, MemoryBackend, SecretPath, VersionSelector};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::stub::{Reply, Request, Stub};

/// The longest wait for a condition, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A secret that consists of the canary.
fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(format!("{CANARY}{CANARY}")))
}

/// A URL with the canary in its path and its query.
fn url(stub: &Stub) -> String {
    format!("{}/{CANARY}?key={CANARY}", stub.url())
}

async fn wait_for_requests(stub: &Stub, count: usize) -> Vec<Request> {
    let started = Instant::now();
    while stub.count(|_| true) < count {
        assert!(started.elapsed() < PATIENCE, "no {count} requests within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stub.requests()
}

/// What a receiver does with a message.
fn receive(request: &Request, secret: &str) -> serde_json::Value {
    let header = |name| request.header(name).unwrap();
    let headers = WebhookHeaders {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    verify_webhook(&secret.into(), headers, &request.body, SystemTime::now()).unwrap();
    serde_json::from_slice(&request.body).unwrap()
}

fn config(webhook: Webhook) -> AccessConfig {
    let template = SpiffeTemplate::parse("spiffe://example.org/{tenant}/{agent}").unwrap();
    let config = AccessConfig::in_memory().template(template).webhook(webhook);
    canary::witness(&config);
    config
}

fn rules(access: &Access) -> Rules {
    access.administrator("host", &TenantName::parse("acme").unwrap()).unwrap()
}

#[tokio::test]
async fn events_arrive_in_order_signed_and_without_a_read() {
    canary::watch();
    let stub = Stub::new(|_| Reply::new(204, ""));
    let old = format!("whsec_{}", STANDARD.encode([7; 32]));
    let both = format!("{} {old}", secret());
    let webhook = Webhook::new("default", url(&stub), both).allow_private_targets(true);
    let access = Access::open(config(webhook)).await.unwrap();
    canary::witness(&access);
    let grant = NewGrant::new(
        Subject::parse("agent:a").unwrap(),
        [Scope::parse("secrets:read:open/*").unwrap()],
        "a test",
    );
    let grant = rules(&access).create_grant(grant).await.unwrap();
    let principal = Principal::parse("spiffe://example.org/acme/a").unwrap();
    let actor = access.act_as(principal).unwrap();
    assert!(actor.explain(Action::Read, &SecretPath::parse("open/key").unwrap()).rule.is_some());
    let guarded = Guarded::new(Arc::new(MemoryBackend::new()) as Arc<dyn Backend>, actor).unwrap();
    for (path, is_denied) in [("open/key", false), ("closed/key", true)] {
        let path = SecretPath::parse(path).unwrap();
        let error = guarded.get(&path, &VersionSelector::Active).await.unwrap_err();
        assert_eq!(error.kind() == strongroom_core::ErrorKind::Denied, is_denied);
    }
    rules(&access).delete_grant(grant.id).await.unwrap();
    let requests = wait_for_requests(&stub, 3).await;
    let payloads: Vec<_> = requests.iter().map(|request| receive(request, &secret())).collect();
    let types: Vec<_> = payloads.iter().map(|payload| payload["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["grant.created", "vault.denied", "grant.deleted"]);
    assert_eq!(payloads[1]["data"]["path"], "closed/key");
    for request in &requests {
        receive(request, &old);
        assert_eq!(request.method, "POST");
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert!(canary::find(&request.body).is_none());
        let seq = receive(request, &old)["data"]["seq"].as_u64().unwrap();
        assert!(request.header("webhook-id").unwrap().ends_with(&format!("_{seq}")));
    }
    access.close().await;
}

#[tokio::test]
async fn an_endpoint_that_fails_reveals_nothing() {
    canary::watch();
    let secret = secret();
    // An answer that repeats what it got is not shown either.
    let stub = Stub::new(|request| {
        let signature = request.header("webhook-signature").unwrap();
        Reply::new(500, format!("{} {signature}", request.target))
            .header("Retry-After", "3600")
            .header("X-Target", &request.target)
    });
    let webhook = Webhook::new("default", url(&stub), secret.as_str());
    let access = Access::open(config(webhook.allow_private_targets(true))).await.unwrap();
    let grant = NewGrant::new(
        Subject::parse("agent:a").unwrap(),
        [Scope::parse("secrets:read").unwrap()],
        "a test",
    );
    rules(&access).create_grant(grant).await.unwrap();
    wait_for_requests(&stub, 1).await;
    let error = access.redeliver_webhook("default", 2).await.unwrap_err();
    canary::witness_error(&error);
    assert!(error.retry_after().is_some_and(|after| after.as_secs() == 3600), "{error}");
    drop(stub);
    let error = access.redeliver_webhook("default", 2).await.unwrap_err();
    canary::witness_error(&error);
    assert!(canary::find(format!("{error} {error:?}").as_bytes()).is_none());
    access.close().await;
}

#[tokio::test]
async fn a_configuration_that_is_wrong_reveals_nothing() {
    canary::watch();
    for (url, secret) in [
        (format!("http://example.com/{CANARY}"), secret()),
        (format!("https://{CANARY}@example.com/"), secret()),
        (format!("https://10.0.0.1/{CANARY}"), secret()),
        (CANARY.to_owned(), secret()),
        ("https://example.com".to_owned(), CANARY.to_owned()),
        ("https://example.com".to_owned(), format!("whsec_{CANARY}")),
    ] {
        let webhook = Webhook::new("default", url, secret);
        canary::witness(&webhook);
        let error = Access::open(config(webhook)).await.unwrap_err();
        canary::witness_error(&error);
        assert_eq!(error.problems().len(), 1, "{error}");
    }
}
