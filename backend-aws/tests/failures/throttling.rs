//! AWS throttles requests.

use std::time::Duration;

use futures_util::future::join_all;
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{Backend as _, Error, ErrorKind, Operation, PutOptions};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, html, key, put, refusal, refusal_with_status, run_operation, value,
};
use crate::support::{expect_failure, permanent, transient};

const THROTTLED: &str = "ThrottlingException";

/// The error of a read that gets `reply`; reads before and after it succeed.
async fn read_error(reply: Reply, kind: ErrorKind, calls: usize) -> Error {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    fake.take_requests_sorted();
    fake.always("GetSecretValue", reply);
    let error = expect_failure(Operation::Get, kind, value(&backend).await);
    assert_eq!(error.path(), Some(&key()));
    assert_eq!(fake.take_requests_sorted(), vec!["GetSecretValue"; calls], "{error}");
    fake.reset();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    error
}

#[tokio::test]
async fn retries_until_throttling_ends() {
    for refusals in [1, 2] {
        let fake = Fake::new();
        let backend = fake.open_without_metadata().await;
        fake.first("GetSecretValue", vec![refusal(THROTTLED); refusals]);
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        assert_eq!(fake.take_requests_sorted(), vec!["GetSecretValue"; refusals + 1]);
    }
}

#[tokio::test]
async fn retries_throttled_metadata() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("DescribeSecret", [refusal(THROTTLED)]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret", "DescribeSecret", "GetSecretValue"]);
}

#[tokio::test]
async fn every_throttling_code_is_a_rate_limit() {
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
        let error = read_error(refusal(code), ErrorKind::RateLimited, 3).await;
        assert!(error.is_temporary(), "{error}");
        assert_eq!(error.retry_after(), None, "{error}");
        assert!(!error.to_string().contains("quota of Secrets Manager is used up"), "{error}");
    });
    join_all(cases).await;
}

/// The SDK retries it nevertheless, because it takes the code for throttling.
#[tokio::test]
async fn an_exhausted_quota_is_permanent() {
    let reply = refusal("LimitExceededException").header("Retry-After", "1");
    let error = read_error(reply, ErrorKind::RateLimited, 3).await;
    assert!(error.to_string().contains("quota of Secrets Manager is used up"), "{error}");
    assert!(error.advice().contains("the account's quotas"), "{error}");
    permanent(Operation::Get, ErrorKind::RateLimited, Err::<(), _>(error));
}

#[tokio::test]
async fn a_429_of_a_gateway_is_a_rate_limit() {
    let error = read_error(html(429), ErrorKind::RateLimited, 1).await;
    assert!(error.is_temporary());
    assert!(error.to_string().contains("429"), "{error}");
}

#[tokio::test]
async fn reports_the_retry_delay_of_aws() {
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
        let down = (refusal_with_status(503, "ServiceUnavailable", ""), ErrorKind::Unavailable);
        [slow, down].map(|(reply, kind)| async move {
            let add = |reply: Reply, (name, text): &(&str, &str)| reply.header(name, text);
            let error = read_error(headers.iter().fold(reply, add), kind, 3).await;
            assert_eq!(error.retry_after(), *delay, "{error}");
            assert!(error.is_temporary(), "{error}");
        })
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_permanent_error_has_no_retry_delay() {
    let reply = refusal("AccessDeniedException").header("Retry-After", "5");
    let error = read_error(reply, ErrorKind::Denied, 1).await;
    permanent(Operation::Get, ErrorKind::Denied, Err::<(), _>(error));
}

async fn assert_throttled(backend: &AwsBackend, operation: Operation) {
    transient(operation, ErrorKind::RateLimited, run_operation(backend, operation).await);
}

#[tokio::test]
async fn every_operation_makes_three_attempts() {
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
        assert_throttled(&backend, operation).await;
        assert_eq!(fake.count(action), 3, "{action} to {operation}");
        fake.reset();
        run_operation(&backend, operation).await.unwrap();
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_throttled_put_writes_one_version() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("PutSecretValue", vec![refusal(THROTTLED); 2]);
    let version = put(&backend, PutOptions::new()).await.unwrap();
    let given = fake.bodies("PutSecretValue");
    assert_eq!(given.len(), 3);
    assert!(given.iter().all(|body| body["ClientRequestToken"] == version.to_string()));
    backend.close().await.unwrap();
}
