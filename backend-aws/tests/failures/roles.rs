//! Assuming a role through AWS STS.

use std::time::{Duration, Instant};

use strongroom_backend_aws::{AssumedRole, AwsConfig};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::Reply;

use crate::fake::{FIRST, Fake, html, run_operation, value};
use crate::support::{open, permanent, transient};

const ASSUME: &str = "AssumeRole";
const ARN: &str = "arn:aws:sts::123456789012:assumed-role/reader/strongroom";

fn config(fake: &Fake) -> AwsConfig {
    let mut config = fake.config();
    config.read_metadata = false;
    config.role = Some(AssumedRole::new("arn:aws:iam::123456789012:role/reader"));
    config
}

/// An error of STS.
fn sts_error(status: u16, code: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
         <Type>Sender</Type><Code>{code}</Code><Message>{CANARY}</Message></Error>\
         <RequestId>1</RequestId></ErrorResponse>"
    );
    Reply::new(status, body).header("Content-Type", "text/xml")
}

/// An answer of STS with credentials.
fn sts_credentials() -> Reply {
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
async fn assumes_the_role_once() {
    let fake = Fake::new();
    let backend = open(config(&fake)).await;
    fake.always(ASSUME, sts_credentials());
    for _ in 0..3 {
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
    assert_eq!(fake.count(ASSUME), 1);
    assert_eq!(fake.count("GetSecretValue"), 3);
}

#[tokio::test]
async fn transient_failures_of_sts_are_transient() {
    for (reply, kind) in [
        (sts_error(400, "Throttling"), ErrorKind::RateLimited),
        (sts_error(400, "ThrottlingException"), ErrorKind::RateLimited),
        (sts_error(503, "ServiceUnavailable"), ErrorKind::Unavailable),
        (sts_error(500, "InternalFailure"), ErrorKind::Unavailable),
        (html(503), ErrorKind::Unavailable),
        (Reply::reset(), ErrorKind::Unavailable),
    ] {
        let fake = Fake::new();
        let backend = open(config(&fake)).await;
        fake.always(ASSUME, reply);
        for operation in [Operation::Get, Operation::Health] {
            fake.take_requests_sorted();
            transient(operation, kind, run_operation(&backend, operation).await);
            assert_eq!(fake.take_requests_sorted(), [ASSUME; 3]);
        }
        fake.always(ASSUME, sts_credentials());
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
}

#[tokio::test]
async fn a_silent_sts_times_out() {
    let fake = Fake::new();
    let mut config = config(&fake);
    config.attempt_timeout = Duration::from_secs(2);
    config.timeout = Duration::from_secs(5);
    let allowed = config.timeout;
    let backend = open(config).await;
    fake.always(ASSUME, Reply::silence());
    let begin = Instant::now();
    transient(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    let took = begin.elapsed();
    assert!(took < allowed + Duration::from_secs(30), "{took:?}");
    assert!((1..=3).contains(&fake.count(ASSUME)));
    assert_eq!(fake.count("GetSecretValue"), 0);
    fake.always(ASSUME, sts_credentials());
    assert_eq!(value(&backend).await.unwrap(), FIRST);
}

#[tokio::test]
async fn permanent_failures_of_sts_are_unauthenticated() {
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
        fake.always(ASSUME, sts_error(status, code));
        let result = value(&backend).await;
        let error = permanent(Operation::Get, ErrorKind::Unauthenticated, result);
        let names_role = error.advice().contains("`SECRETS_AWS_ROLE_ARN`");
        assert!(names_role || code == "RegionDisabledException", "{code}: {error}");
        assert_eq!(fake.take_requests_sorted(), [ASSUME], "{code}");
        permanent(Operation::Health, ErrorKind::Unauthenticated, backend.health().await);
    }
}
