//! Health checks.

use strongroom_core::{Backend as _, ErrorKind, HealthStatus, Operation};
use strongroom_testkit::canary;
use strongroom_testkit::stub::Reply;

use crate::fake::{Fake, html, refusal, refusal_with_message, refusal_with_status, run_operation};
use crate::support::{permanent, transient};

#[tokio::test]
async fn not_found_means_that_the_service_is_ready() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.prefix = Some("production".into());
    let backend = crate::support::open(config).await;
    for reply in [
        refusal("ResourceNotFoundException"),
        refusal_with_message("InvalidRequestException", "because it was marked for deletion."),
    ] {
        fake.always("DescribeSecret", reply);
        let health = backend.health().await.unwrap();
        assert_eq!(health.status, HealthStatus::Ready);
        assert!(health.details["region"].starts_with("test-"));
        assert_eq!(health.details.len(), 1);
        assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"]);
    }
    assert_eq!(fake.bodies("DescribeSecret")[0]["SecretId"], "production/strongroom/../health");
}

#[tokio::test]
async fn without_metadata_the_permission_to_read_values_decides() {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    fake.always("GetSecretValue", refusal("ResourceNotFoundException"));
    assert_eq!(backend.health().await.unwrap().status, HealthStatus::Ready);
    assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
    assert_eq!(fake.bodies("GetSecretValue")[0]["SecretId"], "strongroom/../health");

    fake.always("GetSecretValue", refusal("AccessDeniedException"));
    let health = backend.health().await.unwrap();
    assert_eq!(health.status, HealthStatus::Degraded);
    assert!(health.details["permission"].contains("secretsmanager:GetSecretValue"), "{health:?}");
    assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
}

#[tokio::test]
async fn distinguishes_missing_permission_from_bad_credentials() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    let health = backend.health().await.unwrap();
    assert_eq!(health.status, HealthStatus::Degraded);
    let permission = "secretsmanager:DescribeSecret";
    assert!(health.details["permission"].contains(permission), "{health:?}");
    assert_eq!(health.details.len(), 2, "{health:?}");
    assert!(canary::find(format!("{health:?}").as_bytes()).is_none());
    for (reply, words) in [
        (refusal("ExpiredTokenException"), "expired"),
        (refusal_with_status(403, "UnrecognizedClientException", ""), "does not know"),
        (refusal_with_status(403, "InvalidSignatureException", ""), "clock"),
        (refusal_with_status(400, "RequestExpired", ""), "clock"),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DescribeSecret", reply);
        let health = backend.health().await;
        let error = permanent(Operation::Health, ErrorKind::Unauthenticated, health);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"]);
    }
}

#[tokio::test]
async fn failures_of_network_or_service_are_errors() {
    for (reply, kind, calls) in [
        (html(503), ErrorKind::Unavailable, 3),
        (html(403), ErrorKind::Unavailable, 1),
        (html(200), ErrorKind::Unavailable, 1),
        (Reply::reset(), ErrorKind::Unavailable, 3),
        (refusal("ThrottlingException"), ErrorKind::RateLimited, 3),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DescribeSecret", reply);
        transient(Operation::Health, kind, run_operation(&backend, Operation::Health).await);
        assert_eq!(fake.take_requests_sorted().len(), calls);
    }
}
