//! Rotation by AWS.

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation};

use crate::fake::{FIRST, Fake, SECOND, ask, described_with, key, ok, refusal, saying};
use crate::support::{lasting, passing};

const FUNCTION: &str = "arn:aws:lambda:eu-central-1:123456789012:function:rotate";
const NO_FUNCTION: &str = "No Lambda rotation function ARN is associated with this secret.";
const UNDER_WAY: &str = "A previous rotation isn't complete. That rotation will be reattempted.";
const NOT_ALLOWED: &str = "Secrets Manager cannot invoke the specified Lambda function.";

fn rotating() -> Value {
    let members = json!({
        "RotationEnabled": true, "RotationLambdaARN": FUNCTION,
        "LastRotatedDate": 1.7e9, "NextRotationDate": 1.8e9,
    });
    described_with("key", FIRST, &members)
}

#[tokio::test]
async fn the_new_version_is_named() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let rotated = backend.rotate(&key()).await.unwrap();
    assert_eq!(rotated.version.unwrap().to_string(), SECOND);
    assert_eq!(fake.asked(), ["RotateSecret"]);
    let given = fake.given("RotateSecret");
    assert_eq!(given[0]["RotateImmediately"], true);
    assert!(given[0]["ClientRequestToken"].as_str().is_some_and(|token| token.len() >= 32));
}

#[tokio::test]
async fn a_rotation_that_is_asked_for_twice_has_one_token() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("RotateSecret", [refusal("ThrottlingException")]);
    backend.rotate(&key()).await.unwrap();
    let given = fake.given("RotateSecret");
    assert_eq!(given[0]["ClientRequestToken"], given[1]["ClientRequestToken"]);
}

#[tokio::test]
async fn without_a_function_it_is_a_matter_of_configuration() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("RotateSecret", saying("InvalidRequestException", NO_FUNCTION));
    let result = ask(&backend, Operation::Rotate).await;
    let error = lasting(Operation::Rotate, ErrorKind::Config, result);
    assert!(error.to_string().contains("no rotation is configured"), "{error}");
    assert!(error.advice().contains("Lambda function"), "{error}");
}

#[tokio::test]
async fn one_under_way_is_passing() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&rotating()));
    fake.always("RotateSecret", saying("InvalidRequestException", UNDER_WAY));
    let result = ask(&backend, Operation::Rotate).await;
    let error = passing(Operation::Rotate, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("a rotation of the secret is under way"), "{error}");
    assert_eq!(fake.count("RotateSecret"), 1);
}

#[tokio::test]
async fn a_function_that_aws_may_not_call_is_a_matter_of_configuration() {
    for code in ["ResourceNotFoundException", "InvalidParameterException"] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DescribeSecret", ok(&rotating()));
        fake.always("RotateSecret", saying(code, NOT_ALLOWED));
        let result = ask(&backend, Operation::Rotate).await;
        let error = lasting(Operation::Rotate, ErrorKind::Config, result);
        assert!(error.advice().contains("rotation function"), "{error}");
    }
}

#[tokio::test]
async fn an_identity_that_may_not_rotate_is_told_apart_from_a_function_that_may_not_be_called() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("RotateSecret", saying("AccessDeniedException", NOT_ALLOWED));
    let result = ask(&backend, Operation::Rotate).await;
    let error = lasting(Operation::Rotate, ErrorKind::Config, result);
    assert!(error.advice().contains("`secretsmanager.amazonaws.com`"), "{error}");
    assert_eq!(fake.asked(), ["RotateSecret"]);

    // Names may be those of functions, too.
    for user in ["user/app", "assumed-role/lambda-reader/Lambda"] {
        let words = format!(
            "User: arn:aws:sts::123456789012:{user} is not authorized to perform: \
             secretsmanager:RotateSecret on resource: lambda/key"
        );
        fake.always("RotateSecret", saying("AccessDeniedException", &words));
        let result = ask(&backend, Operation::Rotate).await;
        let error = lasting(Operation::Rotate, ErrorKind::Denied, result);
        assert!(error.advice().contains("`secretsmanager:RotateSecret`"), "{error}");
    }
}

#[tokio::test]
async fn no_secret_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    fake.always("RotateSecret", refusal("ResourceNotFoundException"));
    lasting(Operation::Rotate, ErrorKind::NotFound, ask(&backend, Operation::Rotate).await);
}

#[tokio::test]
async fn its_function_and_dates_are_described() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&rotating()));
    let details = backend.describe(&key()).await.unwrap().details;
    assert_eq!(details["rotation_function"], FUNCTION);
    assert_eq!(details["last_rotated_at"], "2023-11-14T22:13:20Z");
    assert_eq!(details["next_rotation_at"], "2027-01-15T08:00:00Z");
}

#[tokio::test]
async fn an_identity_that_may_not_call_the_function_is_told_so() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let words = "User: arn:aws:iam::1:user/app is not authorized to perform: lambda:InvokeFunction";
    fake.always("RotateSecret", saying("AccessDeniedException", words));
    let error = lasting(Operation::Rotate, ErrorKind::Denied, backend.rotate(&key()).await);
    assert!(error.advice().contains("lambda:InvokeFunction"), "{error}");
}
