//! Answers that are larger than any of AWS.

use serde_json::{Value, json};
use strongroom_backend_aws::AssumedRole;
use strongroom_core::{Backend as _, ErrorKind, Operation, Result};
use strongroom_testkit::stub::Reply;

use crate::fake::{FIRST, Fake, ok, read, refusal_with_message, reply, run_operation, secret};
use crate::support::{config, open, path, permanent};
use strongroom_testkit::endless::Endless;

const MIB: usize = 1024 * 1024;
/// What the buffers of two sockets may hold besides what the client has read.
const SOCKETS: usize = 16 * MIB;

#[track_caller]
fn assert_too_large<T: std::fmt::Debug>(operation: Operation, result: Result<T>) {
    let error = permanent(operation, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("larger than any of AWS"), "{error}");
    assert!(error.advice().contains("`AWS_ENDPOINT_URL`"), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_fails_after_its_limit() {
    for status in [200, 400, 403, 503] {
        for operation in [
            Operation::Get,
            Operation::Put,
            Operation::Delete,
            Operation::List,
            Operation::Versions,
            Operation::Describe,
            Operation::Rotate,
            Operation::Health,
        ] {
            let server = Endless::start(status);
            let backend = open(config(&server.url(), "endless")).await;
            assert_too_large(operation, run_operation(&backend, operation).await);
            assert!(server.sent() < 2 * SOCKETS, "{operation}: {}", server.sent());
        }
    }
}

#[tokio::test]
async fn a_batch_without_end_fails_after_its_limit() {
    let server = Endless::start(200);
    let mut config = config(&server.url(), "endless");
    config.read_metadata = false;
    let backend = open(config).await;
    for result in backend.get_many(&[path("a"), path("b")]).await {
        assert_too_large(Operation::Get, result);
    }
    assert!(server.sent() < 3 * SOCKETS, "{}", server.sent());
}

#[tokio::test]
async fn an_answer_of_sts_without_end_fails_after_its_limit() {
    let server = Endless::start(200);
    let mut config = config(&server.url(), "endless");
    config.role = Some(AssumedRole::new("arn:aws:iam::123456789012:role/reader"));
    let backend = open(config).await;
    assert_too_large(Operation::Get, secret(&backend).await);
    assert!(server.sent() < 2 * SOCKETS, "{}", server.sent());
}

/// JSON may escape each byte of a value to six.
fn longest_value(name: &str) -> Value {
    let mut answer = read(name, FIRST);
    answer["SecretString"] = "\u{1}".repeat(65_536).into();
    answer
}

#[tokio::test]
async fn the_longest_value_is_within_the_limit() {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    fake.on("GetSecretValue", |body| ok(&longest_value(body["SecretId"].as_str().unwrap())));
    assert_eq!(secret(&backend).await.unwrap().value().len(), 65_536);
    fake.on("BatchGetSecretValue", |body| {
        let names = body["SecretIdList"].as_array().unwrap();
        let values = names.iter().map(|name| longest_value(name.as_str().unwrap()));
        ok(&json!({ "SecretValues": values.collect::<Vec<_>>() }))
    });
    let paths: Vec<_> = (0..20).map(|i| path(&format!("key-{i}"))).collect();
    for result in backend.get_many(&paths).await {
        assert_eq!(result.unwrap().value().len(), 65_536);
    }
    assert_eq!(fake.count("GetSecretValue"), 1, "the batch was not within the limit");
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_rejected_at_once() {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    let mut answer = read("key", FIRST);
    answer["SecretString"] = "x".repeat(MIB).into();
    fake.always("GetSecretValue", reply(200, &answer));
    assert_too_large(Operation::Get, secret(&backend).await);
    assert_eq!(fake.take_requests(), ["GetSecretValue"], "a repetition would not help");
    fake.always("GetSecretValue", refusal_with_message("AccessDeniedException", &"x".repeat(MIB)));
    assert_too_large(Operation::Get, secret(&backend).await);
    fake.always("GetSecretValue", Reply::new(500, vec![b' '; MIB]));
    assert_too_large(Operation::Get, secret(&backend).await);
}
