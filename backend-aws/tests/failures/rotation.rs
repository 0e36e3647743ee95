//! Rotation by the service.

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation};

use crate::fake::{
    FIRST, Fake, SECOND, described_with, key, ok, refusal, refusal_with_message, run_operation,
};
use crate::support::{permanent, transient};

const FUNCTION: &str = "arn:aws:lambda:eu-central-1:123456789012:function:rotate";
const NO_FUNCTION: &str = "No Lambda rotation function ARN is associated with this secret.";
const IN_PROGRESS: &str = "A previous rotation isn't complete. That rotation will be reattempted.";
const NOT_ALLOWED: &str = "Secrets Manager cannot invoke the specified Lambda function.";

fn with_rotation() -> Value {
    let members = json!({
        "RotationEnabled": true, "RotationLambdaARN": FUNCTION,
        "LastRotatedDate": 1.7e9, "NextRotationDate": 1.8e9,
    });
    described_with("key", FIRST, &members)
}

#[tokio::test]
async fn reports_the_new_version() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let rotated = backend.rotate(&key()).await.unwrap();
    assert_eq!(rotated.version.unwrap().to_string(), SECOND);
    assert_eq!(fake.take_requests_sorted(), ["RotateSecret"]);
    let given = fake.bodies("RotateSecret");
    assert_eq!(given[0]["RotateImmediately"], true);
    assert!(given[0]["ClientRequestToken"].as_str().is_some_and(|token| token.len() >= 32));
}

#[tokio::test]
async fn a_retried_rotation_keeps_its_token() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("RotateSecret", [refusal("ThrottlingException")]);
    backend.rotate(&key()).await.unwrap();
    let given = fake.bodies("RotateSecret");
    assert_eq!(given[0]["ClientRequestToken"], given[1]["ClientRequestToken"]);
}

#[tokio::test]
async fn a_rotation_without_a_function_is_a_config_error() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("RotateSecret", refusal_with_message("InvalidRequestException", NO_FUNCTION));
    let result = run_operation(&backend, Operation::Rotate).await;
    let error = permanent(Operation::Rotate, ErrorKind::Config, result);
    assert!(error.to_string().contains("no rotation is configured"), "{error}");
    assert!(error.advice().contains("Lambda function"), "{error}");
}

#[tokio::test]
async fn a_rotation_in_progress_is_a_transient_failure() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&with_rotation()));
    fake.always("RotateSecret", refusal_with_message("InvalidRequestException", IN_PROGRESS));
    let result = run_operation(&backend, Operation::Rotate).await;
    let error = transient(Operation::Rotate, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("a rotation of the secret is in progress"), "{error}");
    assert_eq!(fake.count("RotateSecret"), 1);
}

#[tokio::test]
async fn a_function_that_aws_may_not_call_is_a_config_error() {
    for code in ["ResourceNotFoundException", "InvalidParameterException"] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DescribeSecret", ok(&with_rotation()));
        fake.always("RotateSecret", refusal_with_message(code, NOT_ALLOWED));
        let result = run_operation(&backend, Operation::Rotate).await;
        let error = permanent(Operation::Rotate, ErrorKind::Config, result);
        assert!(error.advice().contains("rotation function"), "{error}");
    }
}

#[tokio::test]
async fn distinguishes_a_denied_rotation_from_a_denied_function_call() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("RotateSecret", refusal_with_message("AccessDeniedException", NOT_ALLOWED));
    let result = run_operation(&backend, Operation::Rotate).await;
    let error = permanent(Operation::Rotate, ErrorKind::Config, result);
    assert!(error.advice().contains("`secretsmanager.amazonaws.com`"), "{error}");
    assert_eq!(fake.take_requests_sorted(), ["RotateSecret"]);

    // Names of users and secrets may contain the words of messages about functions.
    for user in ["user/app", "assumed-role/lambda-reader/Lambda"] {
        let words = format!(
            "User: arn:aws:sts::123456789012:{user} is not authorized to perform: \
             secretsmanager:RotateSecret on resource: lambda/key"
        );
        fake.always("RotateSecret", refusal_with_message("AccessDeniedException", &words));
        let result = run_operation(&backend, Operation::Rotate).await;
        let error = permanent(Operation::Rotate, ErrorKind::Denied, result);
        assert!(error.advice().contains("`secretsmanager:RotateSecret`"), "{error}");
    }
}

#[tokio::test]
async fn rotating_a_missing_secret_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    fake.always("RotateSecret", refusal("ResourceNotFoundException"));
    permanent(
        Operation::Rotate,
        ErrorKind::NotFound,
        run_operation(&backend, Operation::Rotate).await,
    );
}

#[tokio::test]
async fn describes_the_rotation_function_and_its_dates() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&with_rotation()));
    let details = backend.describe(&key()).await.unwrap().details;
    assert_eq!(details["rotation_function"], FUNCTION);
    assert_eq!(details["last_rotated_at"], "2023-11-14T22:13:20Z");
    assert_eq!(details["next_rotation_at"], "2027-01-15T08:00:00Z");
}

#[tokio::test]
async fn a_denied_function_call_names_the_lambda_permission() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let words = "User: arn:aws:iam::1:user/app is not authorized to perform: lambda:InvokeFunction";
    fake.always("RotateSecret", refusal_with_message("AccessDeniedException", words));
    let error = permanent(Operation::Rotate, ErrorKind::Denied, backend.rotate(&key()).await);
    assert!(error.advice().contains("lambda:InvokeFunction"), "{error}");
}
