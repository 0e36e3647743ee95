//! Answers that LocalStack does not give on demand, from a stub; see
//! <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use strongroom_backend_aws::{AwsConfig, KmsKey};
use strongroom_core::{Error, ErrorKind, Operation, WrappingKey as _};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::stub::{Reply, Stub};
use strongroom_testkit::wrapping_key::{check_error, context};

use crate::support;

fn config(stub: &Stub) -> AwsConfig {
    // The SDK has one retry budget for all clients in a region.
    static REGIONS: AtomicUsize = AtomicUsize::new(0);
    let region = format!("test-{}", REGIONS.fetch_add(1, Ordering::Relaxed));
    support::config(&stub.url(), &region)
}

async fn open(config: AwsConfig) -> KmsKey {
    canary::watch();
    Box::pin(KmsKey::open(config, "alias/strongroom")).await.unwrap()
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({ "__type": code, "message": format!("{message} {CANARY}") });
    Reply::new(status, body.to_string()).header("Content-Type", "application/x-amz-json-1.1")
}

/// The errors of both calls when every request gets `reply`, and the number of requests of one call.
async fn errors(reply: Reply, kind: ErrorKind) -> ([Error; 2], usize) {
    let stub = Stub::new(move |_| reply.clone());
    let key = open(config(&stub)).await;
    let wrapped = key.wrap(&canary::text("key"), &context()).await;
    let wrapped = check_error(&key, kind, Operation::Wrap, wrapped);
    let requests = stub.requests().len();
    let unwrapped = key.unwrap(b"wrapped", &context()).await;
    let unwrapped = check_error(&key, kind, Operation::Unwrap, unwrapped);
    ([wrapped, unwrapped], requests)
}

#[tokio::test]
async fn each_refusal_of_the_service_has_its_error() {
    let cases = [
        (
            "AccessDeniedException",
            "",
            ErrorKind::Denied,
            "the conditions on the encryption context",
        ),
        ("NotFoundException", "Invalid keyId", ErrorKind::NotFound, "no such key"),
        ("DisabledException", "is disabled.", ErrorKind::Unavailable, "`aws kms enable-key`"),
        (
            "KMSInvalidStateException",
            "arn:aws:kms:… is pending deletion.",
            ErrorKind::Unavailable,
            "`aws kms cancel-key-deletion`",
        ),
        (
            "KMSInvalidStateException",
            "arn:aws:kms:… is pending import.",
            ErrorKind::Unavailable,
            "`aws kms describe-key`",
        ),
        ("InvalidKeyUsageException", "", ErrorKind::Unsupported, "`SYMMETRIC_DEFAULT`"),
        ("InvalidCiphertextException", "", ErrorKind::Corrupt, "not as it was wrapped"),
        ("IncorrectKeyException", "", ErrorKind::Corrupt, "another key has wrapped it"),
        ("ValidationException", "", ErrorKind::InvalidInput, "check the key's id"),
        ("ExpiredTokenException", "", ErrorKind::Unauthenticated, "have expired"),
        ("UnrecognizedClientException", "", ErrorKind::Unauthenticated, "does not know"),
        (CANARY, "", ErrorKind::InvalidInput, "CloudTrail"),
    ];
    let cases = cases.map(|(code, message, kind, words)| async move {
        let (errors, requests) = errors(refusal(400, code, message), kind).await;
        assert_eq!(requests, 1, "{code} was repeated");
        for error in errors {
            assert!(!error.is_temporary(), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_denied_request_names_the_permission() {
    let (errors, _) = errors(refusal(400, "AccessDeniedException", ""), ErrorKind::Denied).await;
    for (error, action) in errors.iter().zip(["kms:Encrypt", "kms:Decrypt"]) {
        assert!(error.advice().contains(&format!("grant `{action}` on the key")), "{error}");
    }
}

#[tokio::test]
async fn tries_three_times_while_the_service_is_down_or_throttles() {
    let cases = [
        (refusal(500, "KMSInternalException", ""), ErrorKind::Unavailable),
        (refusal(500, "KeyUnavailableException", ""), ErrorKind::Unavailable),
        (refusal(503, "DependencyTimeoutException", ""), ErrorKind::Unavailable),
        (Reply::new(502, CANARY), ErrorKind::Unavailable),
        (refusal(400, "ThrottlingException", ""), ErrorKind::RateLimited),
        (Reply::reset(), ErrorKind::Unavailable),
    ];
    let cases = cases.map(|(reply, kind)| async move {
        let (errors, requests) = errors(reply, kind).await;
        assert_eq!(requests, 3, "{}", errors[0]);
        assert!(errors.iter().all(Error::is_temporary), "{errors:?}");
    });
    join_all(cases).await;
}

#[tokio::test]
async fn an_answer_that_is_not_one_of_the_service_is_unavailable() {
    let html = |status| Reply::new(status, format!("<html>{CANARY}</html>"));
    let empty = json!({ "CiphertextBlob": "", "Plaintext": "" });
    for reply in [
        html(200),
        html(403),
        html(404),
        Reply::json(200, &json!({})),
        Reply::json(200, &empty),
        Reply::json(200, &json!({ "CiphertextBlob": CANARY.len(), "Plaintext": [CANARY] })),
    ] {
        errors(reply, ErrorKind::Unavailable).await;
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_a_timeout() {
    let stub = Stub::new(|_| Reply::silence());
    let mut config = config(&stub);
    config.attempt_timeout = Duration::from_millis(200);
    config.timeout = Duration::from_millis(500);
    let key = open(config).await;
    let unwrapped = key.unwrap(b"wrapped", &context()).await;
    let error = check_error(&key, ErrorKind::Timeout, Operation::Unwrap, unwrapped);
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn each_request_names_the_key_and_the_context() {
    let answer = json!({
        "CiphertextBlob": STANDARD.encode("wrapped"), "Plaintext": STANDARD.encode(CANARY),
    });
    let stub = Stub::new(move |_| Reply::json(200, &answer));
    let key = open(config(&stub)).await;
    assert_eq!(key.wrap(&canary::text("key"), &context()).await.unwrap(), b"wrapped");
    let unwrapped = key.unwrap(b"wrapped", &context()).await.unwrap();
    assert_eq!(unwrapped.expose_bytes(), CANARY.as_bytes());
    let requests = stub.requests();
    let targets = requests.iter().map(|request| request.header("x-amz-target").unwrap());
    assert_eq!(targets.collect::<Vec<_>>(), ["TrentService.Encrypt", "TrentService.Decrypt"]);
    for request in requests {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["KeyId"], "alias/strongroom");
        let context = json!({ "slot": "1", "store": "5f0c81d2a6b94e3f8c7d1e2f3a4b5c6d" });
        assert_eq!(body["EncryptionContext"], context);
    }
}

#[tokio::test]
async fn a_wrapped_key_of_an_impossible_length_is_corrupt_without_a_request() {
    let stub = Stub::new(|_| Reply::new(500, ""));
    let key = open(config(&stub)).await;
    for length in [0, 6145] {
        let unwrapped = key.unwrap(&vec![7; length], &context()).await;
        check_error(&key, ErrorKind::Corrupt, Operation::Unwrap, unwrapped);
    }
    assert!(stub.requests().is_empty());
}

#[tokio::test]
async fn an_invalid_key_id_or_region_is_a_configuration_error() {
    for (key_id, words) in [
        (CANARY.to_owned() + " ", "`alias/strongroom`"),
        ("arn:aws:kms:us-east-1:123456789012:alias/a".to_owned(), "`AwsConfig::region`"),
    ] {
        let config = support::config("http://127.0.0.1:1", "eu-central-1");
        let error = Box::pin(KmsKey::open(config, key_id)).await.unwrap_err();
        assert_eq!((error.kind(), error.backend()), (ErrorKind::Config, Some("aws-kms")));
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(canary::find(error.to_string().as_bytes()), None);
    }
}
