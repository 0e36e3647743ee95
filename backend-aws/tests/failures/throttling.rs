//! AWS asks to slow down.

use std::time::Duration;

use futures_util::future::join_all;
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{Backend as _, Error, ErrorKind, Operation, PutOptions};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::Reply;

use crate::fake::{FIRST, Fake, ask, html, key, put, refusal, value, with_status};
use crate::support::{failed, lasting, passing};

const THROTTLED: &str = "ThrottlingException";

/// Reads, fails to, and reads again.
async fn suffers(reply: Reply, kind: ErrorKind, calls: usize) -> Error {
    let fake = Fake::new();
    let backend = fake.open_bare().await;
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    fake.asked();
    fake.always("GetSecretValue", reply);
    let error = failed(Operation::Get, kind, value(&backend).await);
    assert_eq!(error.path(), Some(&key()));
    assert_eq!(fake.asked(), vec!["GetSecretValue"; calls], "{error}");
    fake.heal();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    error
}

#[tokio::test]
async fn throttling_that_clears_is_not_noticed() {
    for refusals in [1, 2] {
        let fake = Fake::new();
        let backend = fake.open_bare().await;
        fake.first("GetSecretValue", vec![refusal(THROTTLED); refusals]);
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        assert_eq!(fake.asked(), vec!["GetSecretValue"; refusals + 1]);
    }
}

#[tokio::test]
async fn throttling_of_metadata_alone_clears_as_well() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("DescribeSecret", [refusal(THROTTLED)]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(fake.asked(), ["DescribeSecret", "DescribeSecret", "GetSecretValue"]);
}

#[tokio::test]
async fn every_code_for_it_is_a_rate_limit() {
    let codes = [
        THROTTLED,
        "Throttling",
        "ThrottledException",
        "RequestThrottledException",
        "RequestThrottled",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "TransactionInProgressException",
        "EC2ThrottledException",
        "com.amazonaws.secretsmanager#ThrottlingException:http://internal.amazon.com/",
    ];
    let cases = codes.map(|code| async move {
        let error = suffers(refusal(code), ErrorKind::RateLimited, 3).await;
        assert!(error.is_temporary(), "{error}");
        assert_eq!(error.retry_after(), None, "{error}");
        assert!(!error.to_string().contains("quota of Secrets Manager is used up"), "{error}");
    });
    join_all(cases).await;
}

/// The SDK cannot tell it from throttling, and tries again.
#[tokio::test]
async fn a_quota_that_is_used_up_stays_so() {
    let reply = refusal("LimitExceededException").header("Retry-After", "1");
    let error = suffers(reply, ErrorKind::RateLimited, 3).await;
    assert!(error.to_string().contains("quota of Secrets Manager is used up"), "{error}");
    assert!(error.advice().contains("the account's quotas"), "{error}");
    lasting(Operation::Get, ErrorKind::RateLimited, Err::<(), _>(error));
}

#[tokio::test]
async fn a_gateway_s_429_is_a_rate_limit() {
    let error = suffers(html(429), ErrorKind::RateLimited, 1).await;
    assert!(error.is_temporary());
    assert!(error.to_string().contains("429"), "{error}");
}

#[tokio::test]
async fn the_time_that_aws_names_is_passed_on() {
    let seconds = Duration::from_secs;
    let cases = [
        (&[("x-amz-retry-after", "7")][..], Some(Duration::from_millis(7))),
        (&[("Retry-After", "7")], Some(seconds(7))),
        (&[("Retry-After", "3600")], Some(seconds(3_600))),
        (&[("Retry-After", "7"), ("x-amz-retry-after", "9")], Some(Duration::from_millis(9))),
        (&[("Retry-After", "0")], None),
        (&[("Retry-After", CANARY), ("x-amz-retry-after", CANARY)], None),
        (&[("x-amz-retry-after", CANARY), ("Retry-After", "3")], Some(seconds(3))),
    ];
    let cases = cases.iter().flat_map(|(headers, delay)| {
        let slow = (refusal(THROTTLED), ErrorKind::RateLimited);
        let down = (with_status(503, "ServiceUnavailable", ""), ErrorKind::Unavailable);
        [slow, down].map(|(reply, kind)| async move {
            let add = |reply: Reply, (name, text): &(&str, &str)| reply.header(name, text);
            let error = suffers(headers.iter().fold(reply, add), kind, 3).await;
            assert_eq!(error.retry_after(), *delay, "{error}");
            assert!(error.is_temporary(), "{error}");
        })
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_refusal_that_lasts_has_no_time_to_come_back() {
    let reply = refusal("AccessDeniedException").header("Retry-After", "5");
    let error = suffers(reply, ErrorKind::Denied, 1).await;
    lasting(Operation::Get, ErrorKind::Denied, Err::<(), _>(error));
}

async fn throttled(backend: &AwsBackend, operation: Operation) {
    passing(operation, ErrorKind::RateLimited, ask(backend, operation).await);
}

#[tokio::test]
async fn every_operation_tries_three_times() {
    let cases = [
        ("DescribeSecret", Operation::Get),
        ("DescribeSecret", Operation::Put),
        ("PutSecretValue", Operation::Put),
        ("DeleteSecret", Operation::Delete),
        ("DeleteSecret", Operation::Destroy),
        ("DescribeSecret", Operation::Undelete),
        ("ListSecrets", Operation::List),
        ("ListSecretVersionIds", Operation::Versions),
        ("UpdateSecretVersionStage", Operation::Rollback),
        ("DescribeSecret", Operation::Describe),
        ("TagResource", Operation::Annotate),
        ("UpdateSecret", Operation::Annotate),
        ("RotateSecret", Operation::Rotate),
        ("DescribeSecret", Operation::Health),
    ];
    let cases = cases.map(|(action, operation)| async move {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always(action, refusal(THROTTLED));
        throttled(&backend, operation).await;
        assert_eq!(fake.count(action), 3, "{action} to {operation}");
        fake.heal();
        ask(&backend, operation).await.unwrap();
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_throttled_write_writes_one_version() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("PutSecretValue", vec![refusal(THROTTLED); 2]);
    let version = put(&backend, PutOptions::new()).await.unwrap();
    let given = fake.given("PutSecretValue");
    assert_eq!(given.len(), 3);
    assert!(given.iter().all(|body| body["ClientRequestToken"] == version.to_string()));
    backend.close().await.unwrap();
}
