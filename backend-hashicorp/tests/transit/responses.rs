//! Responses that no real server gives on demand, from a stub.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_backend_hashicorp::{Auth, TransitKey};
use strongroom_core::{ErrorKind, Operation, WrappingKey as _};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::stub::{Reply, Stub};
use strongroom_testkit::wrapping_key::{check_error, context};

use crate::open;
use crate::support::config_for;

const CIPHERTEXT: &str = "vault:v1:AAECAw==";

/// A server with one key, whose reply to one part of its API a test can replace.
struct Fake {
    stub: Stub,
    replaced: Arc<Mutex<Option<(&'static str, Reply)>>>,
}

impl Fake {
    fn new() -> Self {
        let replaced = Arc::new(Mutex::new(None::<(&'static str, Reply)>));
        let current = Arc::clone(&replaced);
        let stub = Stub::new(move |request| {
            let part = request.target.trim_start_matches("/v1/transit/");
            let part = part.trim_end_matches("/key");
            let replaced = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some((target, reply)) = replaced
                && target == part
            {
                return reply;
            }
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let refused = json!({ "errors": ["cipher: message authentication failed"] });
            let data = match part {
                "keys" => json!({ "type": "aes256-gcm96", "latest_version": 1 }),
                "encrypt" => json!({ "ciphertext": CIPHERTEXT, "key_version": 1 }),
                "decrypt" if body["associated_data"].is_null() => {
                    return Reply::json(400, &refused);
                }
                "decrypt" => json!({ "plaintext": STANDARD.encode(CANARY) }),
                _ => json!({ "ttl": 0, "renewable": false }),
            };
            Reply::json(200, &json!({ "data": data }))
        });
        Self { stub, replaced }
    }

    fn replace(&self, part: &'static str, reply: Reply) {
        *self.replaced.lock().unwrap() = Some((part, reply));
    }

    async fn open(&self) -> TransitKey {
        open(config_for(&self.stub.url(), Auth::Token(CANARY.into())), "key").await
    }

    fn bodies(&self, part: &str) -> Vec<Value> {
        let target = format!("/v1/transit/{part}/key");
        let requests = self.stub.requests().into_iter();
        let requests = requests.filter(|request| request.target == target);
        requests.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_request_carries_the_context_as_canonical_json_in_base64() {
    canary::watch();
    let fake = Fake::new();
    let key = fake.open().await;
    let given = canary::text("key");
    assert_eq!(key.wrap(&given, &context()).await.unwrap(), CIPHERTEXT.as_bytes());
    let unwrapped = key.unwrap(CIPHERTEXT.as_bytes(), &context()).await.unwrap();
    assert_eq!(unwrapped.expose_bytes(), CANARY.as_bytes());
    let context = r#"{"slot":"1","store":"5f0c81d2a6b94e3f8c7d1e2f3a4b5c6d"}"#;
    let context = STANDARD.encode(context);
    let plaintext = STANDARD.encode(given.expose_bytes());
    let encrypted = json!({ "plaintext": plaintext, "associated_data": context });
    assert_eq!(fake.bodies("encrypt"), [encrypted]);
    let without = json!({ "ciphertext": CIPHERTEXT });
    let with = json!({ "ciphertext": CIPHERTEXT, "associated_data": context });
    assert_eq!(fake.bodies("decrypt"), [without, with]);
}

#[tokio::test]
async fn refuses_a_server_that_ignores_the_context() {
    let fake = Fake::new();
    let key = fake.open().await;
    let plaintext = json!({ "data": { "plaintext": STANDARD.encode(CANARY) } });
    fake.replace("decrypt", Reply::json(200, &plaintext));
    let wrapped = key.wrap(&canary::text("key"), &context()).await;
    let error = check_error(&key, ErrorKind::Unsupported, Operation::Wrap, wrapped);
    assert!(error.cause().contains("associated_data"), "{error}");
}

#[tokio::test]
async fn sends_no_key_to_a_mount_that_holds_secrets() {
    let fake = Fake::new();
    let key = fake.open().await;
    fake.replace("keys", Reply::json(200, &json!({ "data": { "value": CANARY } })));
    let wrapped = key.wrap(&canary::text("key"), &context()).await;
    check_error(&key, ErrorKind::Unavailable, Operation::Wrap, wrapped);
    assert!(fake.bodies("encrypt").is_empty());
}

#[tokio::test]
async fn each_response_has_its_error() {
    let errors = |text: &str| json!({ "errors": [format!("{text} {CANARY}")] });
    let throttled = Reply::json(429, &errors("rate limit quota exceeded"));
    for (reply, kind, is_temporary) in [
        (throttled.header("Retry-After", "7"), ErrorKind::RateLimited, true),
        (Reply::json(503, &errors("Vault is sealed")), ErrorKind::Unavailable, true),
        (Reply::json(500, &errors("internal error")), ErrorKind::Unavailable, true),
        (Reply::new(502, format!("<html>{CANARY}")), ErrorKind::Unavailable, true),
        (Reply::reset(), ErrorKind::Unavailable, true),
        (Reply::json(200, &errors("")), ErrorKind::Unavailable, true),
        (
            Reply::json(200, &json!({ "data": { "ciphertext": CANARY, "plaintext": "!" } })),
            ErrorKind::Unavailable,
            true,
        ),
        (
            Reply::json(200, &json!({ "data": { "ciphertext": "", "plaintext": "" } })),
            ErrorKind::Unavailable,
            true,
        ),
        (Reply::json(400, &errors("something else")), ErrorKind::InvalidInput, false),
        (Reply::json(400, &errors("encryption key not found")), ErrorKind::NotFound, false),
        (Reply::json(404, &errors("namespace not found")), ErrorKind::Config, false),
        (Reply::json(403, &json!({ "errors": ["* permission denied"] })), ErrorKind::Denied, false),
    ] {
        let fake = Fake::new();
        let key = fake.open().await;
        fake.replace("encrypt", reply.clone());
        let wrapped = key.wrap(&canary::text("key"), &context()).await;
        let error = check_error(&key, kind, Operation::Wrap, wrapped);
        assert_eq!(error.is_temporary(), is_temporary, "{error}");
        fake.replace("decrypt", reply);
        let unwrapped = key.unwrap(CIPHERTEXT.as_bytes(), &context()).await;
        let error = check_error(&key, kind, Operation::Unwrap, unwrapped);
        assert_eq!(error.is_temporary(), is_temporary, "{error}");
        if kind == ErrorKind::RateLimited {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout() {
    let fake = Fake::new();
    let mut config = config_for(&fake.stub.url(), Auth::Token(CANARY.into()));
    config.timeout = Duration::from_millis(500);
    let key = open(config, "key").await;
    fake.replace("decrypt", Reply::silence());
    let unwrapped = key.unwrap(CIPHERTEXT.as_bytes(), &context()).await;
    let error = check_error(&key, ErrorKind::Timeout, Operation::Unwrap, unwrapped);
    assert!(error.is_temporary(), "{error}");
    assert!(error.advice().contains("`HashicorpConfig::timeout`"), "{error}");
}

#[tokio::test]
async fn an_invalid_name_is_a_configuration_error_that_does_not_show_it() {
    let config = config_for("http://127.0.0.1:1", Auth::Token(CANARY.into()));
    let error = TransitKey::open(config, format!("a b/{CANARY}")).await.unwrap_err();
    assert_eq!((error.kind(), error.backend()), (ErrorKind::Config, Some("transit")));
    assert_eq!(canary::find(error.to_string().as_bytes()), None);
}
