//! Answers that a real server does not give on demand, and the one of a quota that it does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_backend_hashicorp::{Auth, HashicorpBackend};
use strongroom_core::{Backend as _, ErrorKind, ListOptions, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::proxy::Proxy;
use strongroom_testkit::stub::{Reply, Request, Stub};

use crate::support::{
    Account, check, failed, fails, lasting, mount_kv, open, passing, path, quick, read, recovers,
    write,
};

/// Which requests the stub answers wrongly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Those for secrets.
    Secrets,
    /// All, logging in included.
    All,
}

/// A server with one secret, whose answers can be replaced.
struct Fake {
    stub: Stub,
    wrong: Arc<Mutex<Option<(At, Reply)>>>,
}

impl Fake {
    fn new() -> Self {
        let wrong = Arc::new(Mutex::new(None::<(At, Reply)>));
        let now = Arc::clone(&wrong);
        let stub = Stub::new(move |request| {
            let wrong = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let is_secret = request.target.starts_with("/v1/secret/");
            match wrong {
                Some((at, reply)) if at == At::All || is_secret => reply,
                _ => right(request),
            }
        });
        Self { stub, wrong }
    }

    fn answer(&self, at: At, reply: Reply) {
        *self.wrong.lock().unwrap() = Some((at, reply));
    }

    fn heal(&self) {
        *self.wrong.lock().unwrap() = None;
    }

    fn open(&self) -> HashicorpBackend {
        open(quick(&self.stub.url(), Auth::Token(CANARY.into())))
    }

    /// One backend each: one that is logged in, and one that is not.
    async fn each(&self, reply: &Reply) -> [(HashicorpBackend, At); 2] {
        let used = self.open();
        self.heal();
        assert_eq!(read(&used, &path("key")).await.unwrap(), "fake");
        self.answer(At::Secrets, reply.clone());
        [(used, At::Secrets), (self.open(), At::All)]
    }

    /// Both have to recover once the answers are right.
    async fn recovers(&self, backend: &HashicorpBackend) {
        self.heal();
        assert_eq!(recovers(backend, &path("key")).await, "fake");
    }
}

fn right(request: &Request) -> Reply {
    let created = "2026-01-02T03:04:05Z";
    let answer = match request.target.as_str() {
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
    Reply::json(200, &json!({ "data": answer }))
}

fn errors(text: &str) -> Value {
    json!({ "errors": [format!("{CANARY} {text}")] })
}

fn html(status: u16) -> Reply {
    let page = format!("<html><title>{status}</title>{CANARY}</html>");
    Reply::new(status, page).header("Content-Type", "text/html")
}

#[tokio::test]
async fn an_answer_that_will_pass_is_passing() {
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
        for (backend, at) in fake.each(&reply).await {
            fake.answer(at, reply.clone());
            passing(Operation::Get, kind, read(&backend, &path("key")).await);
            fake.recovers(&backend).await;
        }
    }
}

#[tokio::test]
async fn the_time_that_a_server_names_is_passed_on() {
    let fake = Fake::new();
    for (status, kind) in [(429, ErrorKind::RateLimited), (503, ErrorKind::Unavailable)] {
        for (header, seconds) in [("0", 0), ("7", 7), ("3600", 3_600)] {
            let reply = Reply::json(status, &errors("later")).header("Retry-After", header);
            for (backend, at) in fake.each(&reply).await {
                fake.answer(at, reply.clone());
                let result = read(&backend, &path("key")).await;
                let error = failed(Operation::Get, kind, result);
                assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)), "{error}");
                assert!(error.is_temporary());
                fake.recovers(&backend).await;
            }
        }
        let reply = Reply::new(status, "").header("Retry-After", CANARY);
        fake.answer(At::Secrets, reply);
        passing(Operation::Get, kind, read(&fake.open(), &path("key")).await);
    }
}

#[tokio::test]
async fn what_no_such_server_sends_is_unavailable_and_never_a_missing_secret() {
    let fake = Fake::new();
    let whole = right(&Request {
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
        for (backend, at) in fake.each(&reply).await {
            fake.answer(at, reply.clone());
            passing(Operation::Get, ErrorKind::Unavailable, read(&backend, &path("key")).await);
            let options = ListOptions::default();
            passing(Operation::List, ErrorKind::Unavailable, backend.list(None, &options).await);
            fake.recovers(&backend).await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_passing() {
    let fake = Fake::new();
    let proxy = Proxy::new(fake.stub.address());
    let address = format!("http://{}", proxy.address());
    let (backend, key) = (open(quick(&address, Auth::Token(CANARY.into()))), path("key"));
    fake.answer(At::Secrets, Reply::silence());
    let (result, ()) = tokio::join!(read(&backend, &key), async {
        while fake.stub.count(|request| request.target.starts_with("/v1/secret/")) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.reset_existing();
    });
    let error = passing(Operation::Get, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("the connection broke"), "{error}");
    fake.recovers(&backend).await;
}

#[tokio::test]
async fn what_lies_in_the_secret_s_place_but_is_none_is_refused() {
    let fake = Fake::new();
    let entries = json!({ "strongroom.kind": CANARY });
    let data = json!({ "value": format!("{CANARY}!"), "strongroom_format": "base64" });
    for (data, entries) in [(json!({ "value": CANARY }), entries), (data, json!(null))] {
        let metadata = json!({ "version": 1, "custom_metadata": entries });
        let answer = json!({ "data": { "data": data, "metadata": metadata } });
        fake.answer(At::Secrets, Reply::json(200, &answer));
        let backend = fake.open();
        lasting(Operation::Get, ErrorKind::Corrupt, read(&backend, &path("key")).await);
        fake.recovers(&backend).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_carries_no_token_away() {
    let elsewhere = Stub::new(right);
    let fake = Fake::new();
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/v1/secret/data/key", elsewhere.url());
        let reply = Reply::new(status, "").header("Location", &to);
        for (backend, at) in fake.each(&reply).await {
            fake.answer(at, reply.clone());
            let result = read(&backend, &path("key")).await;
            let error = passing(Operation::Get, ErrorKind::Unavailable, result);
            assert!(error.to_string().contains("redirects are not followed"), "{error}");
            fake.answer(At::All, reply.clone());
            passing(Operation::Health, ErrorKind::Unavailable, backend.health().await);
            fake.recovers(&backend).await;
        }
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let fake = Fake::new();
    let backend = fake.open();
    fake.answer(At::Secrets, Reply::new(200, vec![b' '; 64 * 1024 * 1024 + 1]));
    let error = lasting(Operation::Get, ErrorKind::Unavailable, read(&backend, &path("key")).await);
    assert!(error.to_string().contains("64 MiB"), "{error}");
    fake.recovers(&backend).await;
}

#[tokio::test]
async fn health_is_an_error_where_something_else_answers() {
    let fake = Fake::new();
    for (reply, kind) in [
        (html(200), ErrorKind::Unavailable),
        (html(404), ErrorKind::Unavailable),
        (html(502), ErrorKind::Unavailable),
        (html(503), ErrorKind::Unavailable),
        (html(429), ErrorKind::RateLimited),
    ] {
        let backend = fake.open();
        fake.answer(At::All, reply);
        passing(Operation::Health, kind, backend.health().await);
        fake.recovers(&backend).await;
        backend.health().await.unwrap();
    }
}

#[tokio::test]
async fn a_quota_of_the_server_is_a_rate_limit() {
    let rules = r#"path "quota/*" { capabilities = ["read"] }"#;
    let account = Account::with_policy("quota", rules).await;
    let server = account.server;
    mount_kv(server, "quota", "2").await;
    write(server, "quota", "key", "kept").await;
    let quota = json!({ "path": "quota/", "rate": 2, "interval": "1s", "block_interval": "1s" });
    server.admin("POST", "sys/quotas/rate-limit/quota", Some(quota)).await;
    let mut config = account.config();
    config.mount = "quota".into();
    let (backend, key) = (open(config), path("key"));

    let error = fails(&backend, &key).await;
    assert!(error.to_string().contains("a quota of the server is used up"), "{error}");
    passing(Operation::Get, ErrorKind::RateLimited, Err::<(), _>(error));
    assert_eq!(recovers(&backend, &key).await, "kept");

    let headers = json!({ "enable_rate_limit_response_headers": true });
    server.admin("POST", "sys/quotas/config", Some(headers)).await;
    let error = fails(&backend, &key).await;
    check(&error);
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after().is_some_and(|delay| delay <= Duration::from_secs(1)), "{error}");
    assert_eq!(recovers(&backend, &key).await, "kept");
    assert_eq!(account.logins(), 1);
}
