//! What AWS, or something before it, says in place of a value.

use futures_util::future::join_all;
use serde_json::json;
use strongroom_core::{ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, described_with, html, ok, refusal, reply, saying, value, with_status,
};
use crate::support::{lasting, passing};

/// Reads, is refused, and reads again: the refusal, in words.
async fn refused(reply: Reply, kind: ErrorKind, is_passing: bool, calls: usize) -> String {
    let fake = Fake::new();
    let backend = fake.open_bare().await;
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    fake.asked();
    fake.always("GetSecretValue", reply);
    let result = value(&backend).await;
    let error = if is_passing {
        passing(Operation::Get, kind, result)
    } else {
        lasting(Operation::Get, kind, result)
    };
    assert_eq!(fake.asked(), vec!["GetSecretValue"; calls], "{error}");
    fake.heal();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    error.to_string()
}

#[tokio::test]
async fn credentials_that_are_not_accepted_are_not_tried_again() {
    for (code, words) in [
        ("ExpiredTokenException", "have expired"),
        ("ExpiredToken", "aws sso login"),
        ("UnrecognizedClientException", "does not know the credentials"),
        ("InvalidClientTokenId", "does not know the credentials"),
        ("AuthFailure", "the region is enabled"),
        ("MissingAuthenticationToken", "does not know the credentials"),
        ("MissingAuthenticationTokenException", "does not know the credentials"),
        ("InvalidSignatureException", "check the secret access key"),
        ("SignatureDoesNotMatch", "check the secret access key"),
        ("IncompleteSignature", "check the secret access key"),
        ("RequestExpired", "clock"),
        ("RequestTimeTooSkewed", "clock"),
        ("RequestInTheFuture", "clock"),
        ("OptInRequired", "enable the region"),
        ("SubscriptionRequiredException", "enable the region"),
    ] {
        for status in [400, 403] {
            let reply = with_status(status, code, "The security token included in the request");
            let error = refused(reply, ErrorKind::Unauthenticated, false, 1).await;
            assert!(error.contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_asked_three_times() {
    let cases = [
        with_status(500, "InternalServiceError", "An error occurred on the server side."),
        with_status(500, "InternalFailure", ""),
        with_status(503, "ServiceUnavailable", ""),
        with_status(504, CANARY, ""),
        Reply::new(503, ""),
        html(500),
        html(502),
        html(504),
        Reply::new(500, CANARY),
        reply(500, &CANARY.into()),
    ];
    let cases = cases.map(|reply| async {
        let error = refused(reply, ErrorKind::Unavailable, true, 3).await;
        assert!(error.contains("AWS Health Dashboard"), "{error}");
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_request_that_came_too_slowly_is_sent_again() {
    for code in ["RequestTimeout", "RequestTimeoutException"] {
        for status in [400, 408] {
            let error = refused(with_status(status, code, ""), ErrorKind::Timeout, true, 3).await;
            assert!(error.contains("`SECRETS_AWS_TIMEOUT`"), "{error}");
        }
    }
    refused(Reply::new(408, ""), ErrorKind::Unavailable, true, 1).await;
}

#[tokio::test]
async fn what_no_aws_says_is_unavailable_and_never_a_missing_secret() {
    let elsewhere = Fake::new();
    for reply in [
        html(400),
        html(401),
        html(403),
        html(404),
        html(407),
        html(413),
        html(418),
        Reply::new(404, ""),
        Reply::new(400, ""),
        Reply::new(301, "").header("Location", &elsewhere.url()),
        Reply::new(302, "").header("Location", &elsewhere.url()),
        Reply::new(307, "").header("Location", &elsewhere.url()),
        Reply::new(308, "").header("Location", &elsewhere.url()),
    ] {
        let error = refused(reply, ErrorKind::Unavailable, true, 1).await;
        assert!(error.contains("`AWS_ENDPOINT_URL`"), "{error}");
    }
    assert!(elsewhere.asked().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn a_reason_that_is_not_known_is_looked_for_in_cloudtrail() {
    for code in ["NobodyKnowsException", CANARY] {
        let error = refused(refusal(code), ErrorKind::InvalidInput, false, 1).await;
        assert!(error.contains("AWS CloudTrail"), "{error}");
        assert!(error.contains("400"), "{error}");
    }
}

#[tokio::test]
async fn the_header_s_code_counts_as_well() {
    for code in ["ResourceNotFoundException", "aws#ResourceNotFoundException:http://x/"] {
        let reply = Reply::new(400, "{}").header("x-amzn-ErrorType", code);
        refused(reply, ErrorKind::NotFound, false, 1).await;
    }
}

#[tokio::test]
async fn what_the_secret_itself_is_the_reason_of() {
    for (reply, kind, words) in [
        (refusal("ResourceNotFoundException"), ErrorKind::NotFound, "check the path"),
        (refusal("InvalidParameterException"), ErrorKind::InvalidInput, "use another path"),
        (refusal("ValidationException"), ErrorKind::InvalidInput, "use another path"),
        (
            saying("InvalidRequestException", "because it was marked for deletion."),
            ErrorKind::NotFound,
            "check the path",
        ),
        (
            saying("InvalidRequestException", "because it is scheduled for deletion."),
            ErrorKind::NotFound,
            "check the path",
        ),
        (
            saying("InvalidRequestException", "because it was marked deleted."),
            ErrorKind::NotFound,
            "check the path",
        ),
    ] {
        let error = refused(reply, kind, false, 1).await;
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_state_that_forbids_reading_is_looked_at() {
    let fake = Fake::new();
    let backend = fake.open_bare().await;
    fake.always("GetSecretValue", refusal("InvalidRequestException"));
    let error = lasting(Operation::Get, ErrorKind::InvalidInput, value(&backend).await);
    assert!(error.to_string().contains("present state"), "{error}");
    assert_eq!(fake.asked(), ["DescribeSecret", "GetSecretValue"]);

    let deleted = described_with("key", FIRST, &json!({ "DeletedDate": 1.7e9 }));
    fake.always("DescribeSecret", ok(&deleted));
    lasting(Operation::Get, ErrorKind::NotFound, value(&backend).await);
    assert_eq!(fake.asked(), ["DescribeSecret", "GetSecretValue"]);
}
