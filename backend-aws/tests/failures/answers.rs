//! Answers that cannot be read, come too late or not at all.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::{Reply, Stub};

use crate::fake::{FIRST, Fake, ask, html, key, ok, read, refusal, reply, value};
use crate::support::{config, open, passing, path};

/// How much longer than allowed a call may take on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

fn without(member: &str) -> Value {
    let mut answer = read("key", FIRST);
    answer.as_object_mut().unwrap().remove(member);
    answer
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_unavailable() {
    let whole = read("key", FIRST).to_string();
    let cases = [
        (Reply::new(200, ""), 1),
        (Reply::new(200, "{}"), 1),
        (html(200), 1),
        (Reply::new(200, CANARY), 1),
        (Reply::new(200, &whole[..whole.len() - 1]), 1),
        (reply(200, &json!([CANARY])), 1),
        (reply(200, &json!({ "SecretString": [CANARY] })), 1),
        (reply(200, &json!({ "SecretString": CANARY, "VersionId": 1 })), 1),
        (reply(200, &json!({ "SecretBinary": "?", "VersionId": CANARY })), 1),
        (ok(&without("SecretString")), 1),
        (ok(&without("VersionId")), 1),
        (ok(&read("key", FIRST)).truncated(), 3),
        (Reply::new(204, ""), 1),
    ];
    let cases = cases.map(|(reply, calls)| async move {
        let fake = Fake::new();
        let backend = fake.open_bare().await;
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        fake.asked();
        fake.always("GetSecretValue", reply);
        let error = passing(Operation::Get, ErrorKind::Unavailable, value(&backend).await);
        assert!(error.to_string().contains("not one of AWS"), "{error}");
        assert_eq!(fake.asked().len(), calls, "{error}");
        fake.heal();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    });
    join_all(cases).await;
}

#[tokio::test]
async fn an_empty_answer_is_never_taken_for_a_missing_secret_or_for_success() {
    let cases = [
        ("DescribeSecret", Operation::Get),
        ("DescribeSecret", Operation::Describe),
        ("ListSecrets", Operation::List),
        ("ListSecretVersionIds", Operation::Versions),
        ("PutSecretValue", Operation::Put),
        ("DeleteSecret", Operation::Delete),
        ("DescribeSecret", Operation::Health),
    ];
    for (action, operation) in cases {
        for body in ["{}", ""] {
            let fake = Fake::new();
            let backend = fake.open().await;
            fake.always(action, Reply::new(200, body));
            let result = ask(&backend, operation).await;
            assert!(result.is_err(), "{action} to {operation}");
            passing(operation, ErrorKind::Unavailable, result);
        }
    }
}

#[tokio::test]
async fn no_operation_takes_a_proxy_s_page_for_an_answer() {
    let cases = [
        ("DescribeSecret", Operation::Get),
        ("PutSecretValue", Operation::Put),
        ("DeleteSecret", Operation::Delete),
        ("DeleteSecret", Operation::Destroy),
        ("DescribeSecret", Operation::Undelete),
        ("ListSecrets", Operation::List),
        ("ListSecretVersionIds", Operation::Versions),
        ("UpdateSecretVersionStage", Operation::Rollback),
        ("RotateSecret", Operation::Rotate),
        ("DescribeSecret", Operation::Health),
    ];
    let cases = cases.map(|(action, operation)| async move {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always(action, html(200));
        passing(operation, ErrorKind::Unavailable, ask(&backend, operation).await);
        assert_eq!(fake.count(action), 1, "{action} to {operation}");
        fake.heal();
        ask(&backend, operation).await.unwrap();
    });
    join_all(cases).await;
}

#[tokio::test]
async fn silence_and_slowness_end_in_time() {
    let slow = ok(&read("key", FIRST)).in_pieces(1, Duration::from_millis(50));
    let cases = [Reply::silence(), slow].map(|reply| async move {
        let fake = Fake::new();
        let mut config = fake.config();
        config.read_metadata = false;
        config.attempt_timeout = Duration::from_millis(600);
        config.timeout = Duration::from_millis(1_400);
        let allowed = config.timeout;
        let backend = open(config).await;
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        fake.asked();
        fake.always("GetSecretValue", reply);
        let begin = Instant::now();
        let error = passing(Operation::Get, ErrorKind::Timeout, value(&backend).await);
        let took = begin.elapsed();
        assert!(took >= allowed && took < allowed + SLACK, "{took:?}");
        assert!(error.advice().contains("`SECRETS_AWS_TIMEOUT`"), "{error}");
        let asked = fake.asked().len();
        assert!((2..=3).contains(&asked), "{asked}");
        fake.heal();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    });
    join_all(cases).await;
}

#[tokio::test]
async fn one_attempt_that_hangs_does_not_use_up_the_time_of_all() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.read_metadata = false;
    config.attempt_timeout = Duration::from_secs(1);
    let backend = open(config).await;
    fake.first("GetSecretValue", [Reply::silence()]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_reset_connection_is_tried_again() {
    let fake = Fake::new();
    let backend = fake.open_bare().await;
    fake.first("GetSecretValue", vec![Reply::reset(); 2]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(fake.asked().len(), 3);

    fake.always("GetSecretValue", Reply::reset());
    let error = passing(Operation::Get, ErrorKind::Unavailable, value(&backend).await);
    assert!(error.to_string().contains("the connection broke"), "{error}");
    assert_eq!(fake.asked().len(), 3);
    fake.heal();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
}

#[tokio::test]
async fn nobody_listens() {
    let gone = Stub::new(|_| refusal("nobody")).url();
    let backend = &open(config(&gone, "test-gone")).await;
    let operations = [
        Operation::Get,
        Operation::Put,
        Operation::Delete,
        Operation::Destroy,
        Operation::Undelete,
        Operation::List,
        Operation::Versions,
        Operation::Rollback,
        Operation::Describe,
        Operation::Annotate,
        Operation::Rotate,
        Operation::Health,
    ];
    let asked =
        operations.map(|operation| async move { (operation, ask(backend, operation).await) });
    for (operation, result) in join_all(asked).await {
        let error = passing(operation, ErrorKind::Unavailable, result);
        assert!(error.advice().contains("`AWS_REGION`, `AWS_ENDPOINT_URL`"), "{error}");
    }
    for result in backend.get_many(&[key(), path("other")]).await {
        passing(Operation::Get, ErrorKind::Unavailable, result);
    }
}
