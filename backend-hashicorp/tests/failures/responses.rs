//! Error responses and malformed responses, from a stub; and the quota of a real server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_backend_hashicorp::{Auth, HashicorpBackend};
use strongroom_core::{Backend as _, ErrorKind, ListOptions, Operation, VersionSelector};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::proxy::Proxy;
use strongroom_testkit::stub::{Reply, Request, Stub};

use crate::support::{
    Account, check, config_for, expect_error, expect_permanent, expect_transient, mount_kv, open,
    path, read, read_until_error, read_until_success, write,
};

/// The requests that get the bad reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Requests for secrets.
    Secrets,
    /// All requests, logins included.
    All,
}

/// A server with one secret, whose replies a test can replace.
struct Fake {
    stub: Stub,
    bad_reply: Arc<Mutex<Option<(Target, Reply)>>>,
}

impl Fake {
    fn new() -> Self {
        let bad_reply = Arc::new(Mutex::new(None::<(Target, Reply)>));
        let current = Arc::clone(&bad_reply);
        let stub = Stub::new(move |request| {
            let bad_reply = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let is_secret = request.target.starts_with("/v1/secret/");
            match bad_reply {
                Some((target, reply)) if target == Target::All || is_secret => reply,
                _ => good_reply(request),
            }
        });
        Self { stub, bad_reply }
    }

    fn break_with(&self, target: Target, reply: Reply) {
        *self.bad_reply.lock().unwrap() = Some((target, reply));
    }

    fn repair(&self) {
        *self.bad_reply.lock().unwrap() = None;
    }

    async fn open(&self) -> HashicorpBackend {
        open(config_for(&self.stub.url(), Auth::Token(CANARY.into()))).await
    }

    /// Two backends, one that has logged in and one that has not, with the requests that fail.
    async fn backends(&self, reply: &Reply) -> [(HashicorpBackend, Target); 2] {
        let used = self.open().await;
        self.repair();
        assert_eq!(read(&used, &path("key")).await.unwrap(), "fake");
        self.break_with(Target::Secrets, reply.clone());
        [(used, Target::Secrets), (self.open().await, Target::All)]
    }

    /// Repairs the server; the backend must recover.
    async fn assert_recovery(&self, backend: &HashicorpBackend) {
        self.repair();
        assert_eq!(read_until_success(backend, &path("key")).await, "fake");
    }
}

fn good_reply(request: &Request) -> Reply {
    let created = "2026-01-02T03:04:05Z";
    let data = match request.target.as_str() {
        "/v1/auth/token/lookup-self" => json!({ "ttl": 0, "renewable": false }),
        "/v1/sys/internal/ui/mounts/secret" => {
            json!({ "path": "secret/", "type": "kv", "options": { "version": "2" } })
        }
        "/v1/sys/health" => return Reply::json(200, &json!({ "initialized": true })),
        _ => json!({
            "data": { "value": format!("{CANARY}fake") },
            "metadata": { "version": 1, "created_time": created },
        }),
    };
    Reply::json(200, &json!({ "data": data }))
}

fn errors(text: &str) -> Value {
    json!({ "errors": [format!("{CANARY} {text}")] })
}

fn html(status: u16) -> Reply {
    let page = format!("<html><title>{status}</title>{CANARY}</html>");
    Reply::new(status, page).header("Content-Type", "text/html")
}

#[tokio::test]
async fn a_temporary_error_response_is_a_transient_error() {
    let fake = Fake::new();
    for (reply, kind) in [
        (Reply::json(429, &errors("slow down")), ErrorKind::RateLimited),
        (Reply::json(429, &errors("rate limit quota exceeded")), ErrorKind::RateLimited),
        (html(429), ErrorKind::RateLimited),
        (Reply::json(500, &errors("internal error")), ErrorKind::Unavailable),
        (Reply::json(500, &errors("local node not active")), ErrorKind::Unavailable),
        (html(502), ErrorKind::Unavailable),
        (Reply::json(503, &errors("maintenance")), ErrorKind::Unavailable),
        (html(504), ErrorKind::Unavailable),
        (Reply::json(472, &json!({})), ErrorKind::Unavailable),
        (Reply::new(408, ""), ErrorKind::Unavailable),
        (Reply::reset(), ErrorKind::Unavailable),
    ] {
        for (backend, target) in fake.backends(&reply).await {
            fake.break_with(target, reply.clone());
            expect_transient(Operation::Get, kind, read(&backend, &path("key")).await);
            fake.assert_recovery(&backend).await;
        }
    }
}

#[tokio::test]
async fn times_out_of_range_neither_panic_nor_hide_a_value() {
    for time in ["33658-09-27T01:46:40Z", "0000-00-00T00:00:00Z", "-0001-01-01T00:00:00Z", "soon"] {
        let stub = Stub::new(move |request| {
            let data = match request.target.as_str() {
                "/v1/secret/data/key" => json!({
                    "data": { "value": format!("{CANARY}fake") },
                    "metadata": { "version": 1, "created_time": time, "deletion_time": "" },
                }),
                "/v1/secret/metadata/key" => json!({
                    "current_version": 1, "created_time": time, "updated_time": time,
                    "delete_version_after": "9999999h", "max_versions": 0,
                    "versions": { "1": { "created_time": time, "deletion_time": "", "destroyed": false } },
                }),
                _ => return good_reply(request),
            };
            Reply::json(200, &json!({ "data": data }))
        });
        let backend = open(config_for(&stub.url(), Auth::Token(CANARY.into()))).await;
        let key = path("key");
        let secret = backend.get(&key, &VersionSelector::Active).await.unwrap();
        let description = backend.describe(&key).await.unwrap();
        let versions = backend.versions(&key).await.unwrap();
        assert_eq!(versions.len(), 1);
        let shown = format!("{secret:?} {description:?} {versions:?}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[tokio::test]
async fn passes_on_retry_after() {
    let fake = Fake::new();
    for (status, kind) in [(429, ErrorKind::RateLimited), (503, ErrorKind::Unavailable)] {
        for (header, seconds) in [("0", 0), ("7", 7), ("3600", 3_600)] {
            let reply = Reply::json(status, &errors("later")).header("Retry-After", header);
            for (backend, target) in fake.backends(&reply).await {
                fake.break_with(target, reply.clone());
                let result = read(&backend, &path("key")).await;
                let error = expect_error(Operation::Get, kind, result);
                assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)), "{error}");
                assert!(error.is_temporary());
                fake.assert_recovery(&backend).await;
            }
        }
        let reply = Reply::new(status, "").header("Retry-After", CANARY);
        fake.break_with(Target::Secrets, reply);
        expect_transient(Operation::Get, kind, read(&fake.open().await, &path("key")).await);
    }
}

#[tokio::test]
async fn a_malformed_response_is_unavailable_and_never_a_missing_secret() {
    let fake = Fake::new();
    let whole = good_reply(&Request {
        method: "GET".into(),
        target: "/v1/secret/data/key".into(),
        headers: Vec::new(),
        body: Vec::new(),
    });
    for reply in [
        whole.truncated(),
        Reply::new(200, ""),
        Reply::new(204, ""),
        html(200),
        Reply::new(200, format!("{{\"data\":{{\"data\":{{\"value\":\"{CANARY}")),
        Reply::json(200, &json!({ "data": null })),
        Reply::json(200, &json!({ "data": CANARY })),
        Reply::json(200, &json!({ "data": { "data": { "value": CANARY }, "metadata": CANARY } })),
        Reply::json(200, &json!([CANARY])),
        html(400),
        html(403),
        html(404),
        html(405),
        Reply::new(404, ""),
        Reply::json(404, &json!({ "message": CANARY })),
        html(418),
    ] {
        for (backend, target) in fake.backends(&reply).await {
            fake.break_with(target, reply.clone());
            expect_transient(
                Operation::Get,
                ErrorKind::Unavailable,
                read(&backend, &path("key")).await,
            );
            let options = ListOptions::default();
            expect_transient(
                Operation::List,
                ErrorKind::Unavailable,
                backend.list(None, &options).await,
            );
            fake.assert_recovery(&backend).await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_response_is_a_transient_error() {
    let fake = Fake::new();
    let proxy = Proxy::new(fake.stub.address());
    let address = format!("http://{}", proxy.address());
    let (backend, key) =
        (open(config_for(&address, Auth::Token(CANARY.into()))).await, path("key"));
    fake.break_with(Target::Secrets, Reply::silence());
    let (result, ()) = tokio::join!(read(&backend, &key), async {
        while fake.stub.count(|request| request.target.starts_with("/v1/secret/")) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.reset_existing();
    });
    let error = expect_transient(Operation::Get, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("the connection broke"), "{error}");
    fake.assert_recovery(&backend).await;
}

#[tokio::test]
async fn malformed_stored_data_is_corrupt() {
    let fake = Fake::new();
    let entries = json!({ "strongroom.kind": CANARY });
    let data = json!({ "value": format!("{CANARY}!"), "strongroom_format": "base64" });
    for (data, entries) in [(json!({ "value": CANARY }), entries), (data, json!(null))] {
        let metadata = json!({ "version": 1, "custom_metadata": entries });
        let answer = json!({ "data": { "data": data, "metadata": metadata } });
        fake.break_with(Target::Secrets, Reply::json(200, &answer));
        let backend = fake.open().await;
        expect_permanent(Operation::Get, ErrorKind::Corrupt, read(&backend, &path("key")).await);
        fake.assert_recovery(&backend).await;
    }
}

#[tokio::test]
async fn does_not_follow_redirects_with_the_token() {
    let other_host = Stub::new(good_reply);
    let fake = Fake::new();
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/v1/secret/data/key", other_host.url());
        let reply = Reply::new(status, "").header("Location", &to);
        for (backend, target) in fake.backends(&reply).await {
            fake.break_with(target, reply.clone());
            let result = read(&backend, &path("key")).await;
            let error = expect_permanent(Operation::Get, ErrorKind::Unavailable, result);
            assert!(error.to_string().contains("redirects are not followed"), "{error}");
            fake.break_with(Target::All, reply.clone());
            expect_permanent(Operation::Health, ErrorKind::Unavailable, backend.health().await);
            fake.assert_recovery(&backend).await;
        }
    }
    assert_eq!(other_host.requests().len(), 0);
}

#[tokio::test]
async fn rejects_a_response_over_64_mib() {
    let fake = Fake::new();
    // The size must end the response, and not a timeout: a busy machine needs seconds for 64 MiB.
    let mut config = config_for(&fake.stub.url(), Auth::Token(CANARY.into()));
    config.timeout = Duration::from_secs(300);
    let backend = open(config).await;
    fake.break_with(Target::Secrets, Reply::new(200, vec![b' '; 64 * 1024 * 1024 + 1]));
    let error = expect_permanent(
        Operation::Get,
        ErrorKind::Unavailable,
        read(&backend, &path("key")).await,
    );
    assert!(error.to_string().contains("64 MiB"), "{error}");
    fake.assert_recovery(&backend).await;
}

#[tokio::test]
async fn health_fails_if_another_server_responds() {
    let fake = Fake::new();
    for (reply, kind) in [
        (html(200), ErrorKind::Unavailable),
        (html(404), ErrorKind::Unavailable),
        (html(502), ErrorKind::Unavailable),
        (html(503), ErrorKind::Unavailable),
        (html(429), ErrorKind::RateLimited),
    ] {
        let backend = fake.open().await;
        fake.break_with(Target::All, reply);
        expect_transient(Operation::Health, kind, backend.health().await);
        fake.assert_recovery(&backend).await;
        backend.health().await.unwrap();
    }
}

#[tokio::test]
async fn a_quota_of_the_server_is_rate_limited() {
    let rules = r#"path "quota/*" { capabilities = ["read"] }"#;
    let account = Account::with_policy("quota", rules).await;
    let server = account.server;
    mount_kv(server, "quota", "2").await;
    write(server, "quota", "key", "kept").await;
    let quota = json!({ "path": "quota/", "rate": 2, "interval": "1s", "block_interval": "1s" });
    server.admin("POST", "sys/quotas/rate-limit/quota", Some(quota)).await;
    let mut config = account.config();
    config.mount = "quota".into();
    let (backend, key) = (open(config).await, path("key"));

    let error = read_until_error(&backend, &key).await;
    assert!(error.to_string().contains("a quota of the server is used up"), "{error}");
    expect_transient(Operation::Get, ErrorKind::RateLimited, Err::<(), _>(error));
    assert_eq!(read_until_success(&backend, &key).await, "kept");

    let headers = json!({ "enable_rate_limit_response_headers": true });
    server.admin("POST", "sys/quotas/config", Some(headers)).await;
    let error = read_until_error(&backend, &key).await;
    check(&error);
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after().is_some_and(|delay| delay <= Duration::from_secs(1)), "{error}");
    assert_eq!(read_until_success(&backend, &key).await, "kept");
    assert_eq!(account.logins(), 1);
}
