//! Answers of AWS, or of a server in between, instead of a value.

use futures_util::future::join_all;
use serde_json::json;
use strongroom_core::{ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, described_with, html, ok, refusal, refusal_with_message, refusal_with_status,
    reply, value,
};
use crate::support::{permanent, transient};

/// The message of the error when a read gets `reply`; reads before and after it succeed.
async fn error_message(reply: Reply, kind: ErrorKind, is_transient: bool, calls: usize) -> String {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    fake.take_requests_sorted();
    fake.always("GetSecretValue", reply);
    let result = value(&backend).await;
    let error = if is_transient {
        transient(Operation::Get, kind, result)
    } else {
        permanent(Operation::Get, kind, result)
    };
    assert_eq!(fake.take_requests_sorted(), vec!["GetSecretValue"; calls], "{error}");
    fake.reset();
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    error.to_string()
}

#[tokio::test]
async fn does_not_retry_rejected_credentials() {
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
            let reply =
                refusal_with_status(status, code, "The security token included in the request");
            let error = error_message(reply, ErrorKind::Unauthenticated, false, 1).await;
            assert!(error.contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn tries_three_times_while_the_service_is_down() {
    let cases = [
        refusal_with_status(500, "InternalServiceError", "An error occurred on the server side."),
        refusal_with_status(500, "InternalFailure", ""),
        refusal_with_status(503, "ServiceUnavailable", ""),
        refusal_with_status(504, CANARY, ""),
        Reply::new(503, ""),
        html(500),
        html(502),
        html(504),
        Reply::new(500, CANARY),
        reply(500, &CANARY.into()),
    ];
    let cases = cases.map(|reply| async {
        let error = error_message(reply, ErrorKind::Unavailable, true, 3).await;
        assert!(error.contains("AWS Health Dashboard"), "{error}");
    });
    join_all(cases).await;
}

#[tokio::test]
async fn retries_a_request_timeout_of_the_service() {
    for code in ["RequestTimeout", "RequestTimeoutException"] {
        for status in [400, 408] {
            let error =
                error_message(refusal_with_status(status, code, ""), ErrorKind::Timeout, true, 3)
                    .await;
            assert!(error.contains("`SECRETS_AWS_TIMEOUT`"), "{error}");
        }
    }
    error_message(Reply::new(408, ""), ErrorKind::Unavailable, true, 1).await;
}

#[tokio::test]
async fn an_answer_not_from_aws_is_unavailable_and_never_not_found() {
    let redirect_target = Fake::new();
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
        Reply::new(301, "").header("Location", &redirect_target.url()),
        Reply::new(302, "").header("Location", &redirect_target.url()),
        Reply::new(307, "").header("Location", &redirect_target.url()),
        Reply::new(308, "").header("Location", &redirect_target.url()),
    ] {
        let error = error_message(reply, ErrorKind::Unavailable, true, 1).await;
        assert!(error.contains("`AWS_ENDPOINT_URL`"), "{error}");
    }
    assert!(redirect_target.take_requests_sorted().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn an_unknown_error_code_points_to_cloudtrail() {
    for code in ["UnknownException", CANARY] {
        let error = error_message(refusal(code), ErrorKind::InvalidInput, false, 1).await;
        assert!(error.contains("AWS CloudTrail"), "{error}");
        assert!(error.contains("400"), "{error}");
    }
}

#[tokio::test]
async fn reads_the_error_code_from_the_header() {
    for code in ["ResourceNotFoundException", "aws#ResourceNotFoundException:http://x/"] {
        let reply = Reply::new(400, "{}").header("x-amzn-ErrorType", code);
        error_message(reply, ErrorKind::NotFound, false, 1).await;
    }
}

#[tokio::test]
async fn classifies_errors_that_concern_the_secret() {
    for (reply, kind, words) in [
        (refusal("ResourceNotFoundException"), ErrorKind::NotFound, "check the path"),
        (refusal("InvalidParameterException"), ErrorKind::InvalidInput, "use another path"),
        (refusal("ValidationException"), ErrorKind::InvalidInput, "use another path"),
        (
            refusal_with_message("InvalidRequestException", "because it was marked for deletion."),
            ErrorKind::NotFound,
            "the secret is deleted",
        ),
        (
            refusal_with_message(
                "InvalidRequestException",
                "because it is scheduled for deletion.",
            ),
            ErrorKind::NotFound,
            "the secret is deleted",
        ),
        (
            refusal_with_message("InvalidRequestException", "because it was marked deleted."),
            ErrorKind::NotFound,
            "the secret is deleted",
        ),
    ] {
        let error = error_message(reply, kind, false, 1).await;
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn describes_a_secret_whose_state_forbids_reading() {
    let fake = Fake::new();
    let backend = fake.open_without_metadata().await;
    fake.always("GetSecretValue", refusal("InvalidRequestException"));
    let error = permanent(Operation::Get, ErrorKind::InvalidInput, value(&backend).await);
    assert!(error.to_string().contains("present state"), "{error}");
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret", "GetSecretValue"]);

    let deleted = described_with("key", FIRST, &json!({ "DeletedDate": 1.7e9 }));
    fake.always("DescribeSecret", ok(&deleted));
    permanent(Operation::Get, ErrorKind::NotFound, value(&backend).await);
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret", "GetSecretValue"]);
}
