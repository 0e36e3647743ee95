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
    let given = fake.given("DescribeSecret");
    let name = given[0]["SecretId"].as_str().unwrap();
    assert!(name.starts_with("production/="), "{name}");
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
