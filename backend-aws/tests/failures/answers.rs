//! Answers that cannot be parsed, come too late or not at all.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation, Version, VersionSelector};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::{Reply, Stub};

use crate::fake::{
    FIRST, Fake, arn, described_with, html, key, ok, read, refusal, reply, run_operation, secret,
    value, version,
};
use crate::support::{config, open, path, transient};

/// The most time after its timeout that a call may take on a busy machine. The tests with a paused
/// clock check timeouts exactly.
const SLACK: Duration = Duration::from_secs(30);

fn without(member: &str) -> Value {
    let mut answer = read("key", FIRST);
    answer.as_object_mut().unwrap().remove(member);
    answer
}

#[tokio::test]
async fn unreadable_answers_are_unavailable() {
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
        let backend = fake.open_without_metadata().await;
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        fake.take_requests_sorted();
        fake.always("GetSecretValue", reply);
        let error = transient(Operation::Get, ErrorKind::Unavailable, value(&backend).await);
        assert!(error.to_string().contains("not one of AWS"), "{error}");
        assert_eq!(fake.take_requests_sorted().len(), calls, "{error}");
        fake.reset();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    });
    join_all(cases).await;
}

/// Years 33658 and -29718, and numbers that no calendar has.
#[tokio::test]
async fn times_out_of_range_neither_panic_nor_hide_a_value() {
    for time in [1e12, -1e12, 1e300, -1e300, -0.5, 253_402_300_800.0] {
        let fake = Fake::new();
        let mut answer = read("key", FIRST);
        answer["CreatedDate"] = json!(time);
        fake.always("GetSecretValue", ok(&answer));
        let times = json!({
            "CreatedDate": time, "LastChangedDate": time, "LastRotatedDate": time,
            "NextRotationDate": time, "LastAccessedDate": time,
        });
        fake.always("DescribeSecret", ok(&described_with("key", FIRST, &times)));
        let mut listed = version(FIRST, &["AWSCURRENT"]);
        listed["CreatedDate"] = json!(time);
        let versions = json!({ "ARN": arn("key"), "Name": "key", "Versions": [listed] });
        fake.always("ListSecretVersionIds", ok(&versions));
        let backend = fake.open().await;
        let secret = secret(&backend).await.unwrap();
        let description = backend.describe(&key()).await.unwrap();
        let versions = backend.versions(&key()).await.unwrap();
        assert_eq!(versions.len(), 1);
        let shown = format!("{secret:?} {description:?} {versions:?}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[tokio::test]
async fn an_empty_answer_is_neither_a_missing_secret_nor_success() {
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
            let result = run_operation(&backend, operation).await;
            assert!(result.is_err(), "{action} to {operation}");
            transient(operation, ErrorKind::Unavailable, result);
        }
    }
}

#[tokio::test]
async fn every_operation_rejects_the_page_of_a_proxy() {
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
        transient(operation, ErrorKind::Unavailable, run_operation(&backend, operation).await);
        assert_eq!(fake.count(action), 1, "{action} to {operation}");
        fake.reset();
        run_operation(&backend, operation).await.unwrap();
    });
    join_all(cases).await;
}

#[tokio::test]
async fn silent_and_slow_servers_time_out() {
    let slow = ok(&read("key", FIRST)).in_pieces(1, Duration::from_millis(50));
    let cases = [Reply::silence(), slow].map(|reply| async move {
        let fake = Fake::new();
        let mut config = fake.config();
        config.read_metadata = false;
        config.attempt_timeout = Duration::from_secs(2);
        config.timeout = Duration::from_secs(5);
        let allowed = config.timeout;
        let backend = open(config).await;
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        fake.take_requests_sorted();
        fake.always("GetSecretValue", reply);
        let begin = Instant::now();
        let error = transient(Operation::Get, ErrorKind::Timeout, value(&backend).await);
        let took = begin.elapsed();
        assert!(took >= allowed && took < allowed + SLACK, "{took:?}");
        assert!(error.advice().contains("`SECRETS_AWS_TIMEOUT`"), "{error}");
        let attempts = fake.take_requests_sorted().len();
        assert!((2..=3).contains(&attempts), "{attempts}");
        fake.reset();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    });
    join_all(cases).await;
}

#[tokio::test]
async fn an_attempt_that_hangs_leaves_time_for_another() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.read_metadata = false;
    config.attempt_timeout = Duration::from_secs(3);
    let backend = open(config).await;
    fake.first("GetSecretValue", [Reply::silence()]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(fake.take_requests_sorted().len(), 2);
}

#[tokio::test]
async fn retries_after_a_connection_reset() {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    fake.first("GetSecretValue", vec![Reply::reset(); 2]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(fake.take_requests_sorted().len(), 3);

    fake.always("GetSecretValue", Reply::reset());
    let error = transient(Operation::Get, ErrorKind::Unavailable, value(&backend).await);
    assert!(error.to_string().contains("the connection broke"), "{error}");
    assert_eq!(fake.take_requests_sorted().len(), 3);
    fake.reset();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
}

#[tokio::test]
async fn a_refused_connection_is_unavailable_to_every_operation() {
    let closed_port = Stub::new(|_| refusal("Unused")).url();
    let backend = &open(config(&closed_port, "test-closed-port")).await;
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
    let results = operations
        .map(|operation| async move { (operation, run_operation(backend, operation).await) });
    for (operation, result) in join_all(results).await {
        let error = transient(operation, ErrorKind::Unavailable, result);
        assert!(error.advice().contains("`AWS_REGION`, `AWS_ENDPOINT_URL`"), "{error}");
    }
    for result in backend.get_many(&[key(), path("other")]).await {
        transient(Operation::Get, ErrorKind::Unavailable, result);
    }
}

/// AWS takes that label if a request names none, but other servers of this API take the version that was
/// written last.
#[tokio::test]
async fn a_read_asks_for_the_active_version_by_its_label() {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    value(&backend).await.unwrap();
    let exact = VersionSelector::Exact(Version::new(FIRST));
    backend.get(&key(), &exact).await.unwrap();
    let requests = fake.bodies("GetSecretValue");
    assert_eq!(requests[0], json!({ "SecretId": "key", "VersionStage": "AWSCURRENT" }));
    assert_eq!(requests[1], json!({ "SecretId": "key", "VersionId": FIRST }));
}
