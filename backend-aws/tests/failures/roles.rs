//! A role that is assumed first, through AWS STS.

use std::time::{Duration, Instant};

use strongroom_backend_aws::{AssumedRole, AwsConfig};
use strongroom_core::{Backend as _, ErrorKind, HealthStatus, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::Reply;

use crate::fake::{FIRST, Fake, ask, html, value};
use crate::support::{lasting, open, passing};

const ASSUME: &str = "AssumeRole";
const ARN: &str = "arn:aws:sts::123456789012:assumed-role/reader/strongroom";

fn config(fake: &Fake) -> AwsConfig {
    let mut config = fake.config();
    config.read_metadata = false;
    config.role = Some(AssumedRole::new("arn:aws:iam::123456789012:role/reader"));
    config
}

/// An answer of STS that says no.
fn no(status: u16, code: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
         <Type>Sender</Type><Code>{code}</Code><Message>{CANARY}</Message></Error>\
         <RequestId>1</RequestId></ErrorResponse>"
    );
    Reply::new(status, body).header("Content-Type", "text/xml")
}

/// An answer of STS that says yes.
fn yes() -> Reply {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>A:s</AssumedRoleId><Arn>{ARN}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>{CANARY}</SecretAccessKey>\
         <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></AssumeRoleResult></AssumeRoleResponse>"
    );
    Reply::new(200, body).header("Content-Type", "text/xml")
}

#[tokio::test]
async fn it_is_assumed_once() {
    let fake = Fake::new();
    let backend = open(config(&fake)).await;
    fake.always(ASSUME, yes());
    for _ in 0..3 {
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
    assert_eq!(fake.count(ASSUME), 1);
    assert_eq!(fake.count("GetSecretValue"), 3);
}

#[tokio::test]
async fn what_passes_at_sts_passes() {
    for (reply, kind) in [
        (no(400, "Throttling"), ErrorKind::RateLimited),
        (no(400, "ThrottlingException"), ErrorKind::RateLimited),
        (no(503, "ServiceUnavailable"), ErrorKind::Unavailable),
        (no(500, "InternalFailure"), ErrorKind::Unavailable),
        (html(503), ErrorKind::Unavailable),
        (Reply::reset(), ErrorKind::Unavailable),
    ] {
        let fake = Fake::new();
        let backend = open(config(&fake)).await;
        fake.always(ASSUME, reply);
        for operation in [Operation::Get, Operation::Health] {
            fake.asked();
            passing(operation, kind, ask(&backend, operation).await);
            assert_eq!(fake.asked(), [ASSUME; 3]);
        }
        fake.always(ASSUME, yes());
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
}

#[tokio::test]
async fn silence_of_sts_ends_in_time() {
    let fake = Fake::new();
    let mut config = config(&fake);
    config.attempt_timeout = Duration::from_millis(400);
    config.timeout = Duration::from_secs(1);
    let allowed = config.timeout;
    let backend = open(config).await;
    fake.always(ASSUME, Reply::silence());
    let begin = Instant::now();
    passing(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    let took = begin.elapsed();
    assert!(took < allowed + Duration::from_secs(2), "{took:?}");
    assert!((1..=3).contains(&fake.count(ASSUME)));
    assert_eq!(fake.count("GetSecretValue"), 0);
    fake.always(ASSUME, yes());
    assert_eq!(value(&backend).await.unwrap(), FIRST);
}

#[tokio::test]
async fn what_lasts_at_sts_is_a_matter_of_credentials() {
    for (status, code) in [
        (403, "AccessDenied"),
        (403, "InvalidClientTokenId"),
        (403, "ExpiredToken"),
        (403, "SignatureDoesNotMatch"),
        (403, "RegionDisabledException"),
        (400, "ValidationError"),
    ] {
        let fake = Fake::new();
        let backend = open(config(&fake)).await;
        fake.always(ASSUME, no(status, code));
        let result = value(&backend).await;
        let error = lasting(Operation::Get, ErrorKind::Unauthenticated, result);
        let names_role = error.advice().contains("`SECRETS_AWS_ROLE_ARN`");
        assert!(names_role || code == "RegionDisabledException", "{code}: {error}");
        assert_eq!(fake.asked(), [ASSUME], "{code}");
        let health = backend.health().await.unwrap();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert!(health.details.contains_key("credentials"), "{health:?}");
    }
}
