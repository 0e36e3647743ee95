//! How the service is.

use strongroom_core::{Backend as _, ErrorKind, HealthStatus, Operation};
use strongroom_testkit::canary;
use strongroom_testkit::stub::Reply;

use crate::fake::{Fake, ask, html, refusal, saying, with_status};
use crate::support::passing;

#[tokio::test]
async fn the_missing_secret_that_is_asked_for_is_good_news() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.prefix = Some("production".into());
    let backend = crate::support::open(config).await;
    for reply in [
        refusal("ResourceNotFoundException"),
        saying("InvalidRequestException", "because it was marked for deletion."),
    ] {
        fake.always("DescribeSecret", reply);
        let health = backend.health().await.unwrap();
        assert_eq!(health.status, HealthStatus::Ready);
        assert!(health.details["region"].starts_with("test-"));
        assert_eq!(health.details.len(), 1);
        assert_eq!(fake.asked(), ["DescribeSecret"]);
    }
    assert_eq!(fake.given("DescribeSecret")[0]["SecretId"], "production/strongroom/../health");
}

#[tokio::test]
async fn without_metadata_the_right_to_read_values_is_what_matters() {
    let fake = Fake::new();
    let backend = fake.open_bare().await;
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    fake.always("GetSecretValue", refusal("ResourceNotFoundException"));
    assert_eq!(backend.health().await.unwrap().status, HealthStatus::Ready);
    assert_eq!(fake.asked(), ["GetSecretValue"]);
    assert_eq!(fake.given("GetSecretValue")[0]["SecretId"], "strongroom/../health");

    fake.always("GetSecretValue", refusal("AccessDeniedException"));
    let health = backend.health().await.unwrap();
    assert_eq!(health.status, HealthStatus::Degraded);
    assert!(health.details["permission"].contains("secretsmanager:GetSecretValue"), "{health:?}");
    assert_eq!(fake.asked(), ["GetSecretValue"]);
}

#[tokio::test]
async fn permission_and_credentials_are_told_apart() {
    for (reply, name, words) in [
        (refusal("AccessDeniedException"), "permission", "secretsmanager:DescribeSecret"),
        (refusal("ExpiredTokenException"), "credentials", "expired"),
        (with_status(403, "UnrecognizedClientException", ""), "credentials", "does not know"),
        (with_status(403, "InvalidSignatureException", ""), "credentials", "clock"),
        (with_status(400, "RequestExpired", ""), "credentials", "clock"),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DescribeSecret", reply);
        let health = backend.health().await.unwrap();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert!(health.details[name].contains(words), "{health:?}");
        assert_eq!(health.details.len(), 2, "{health:?}");
        assert!(canary::find(format!("{health:?}").as_bytes()).is_none());
        assert_eq!(fake.asked(), ["DescribeSecret"]);
    }
}

#[tokio::test]
async fn trouble_with_the_network_or_the_service_is_an_error() {
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
        passing(Operation::Health, kind, ask(&backend, Operation::Health).await);
        assert_eq!(fake.asked().len(), calls);
    }
}
