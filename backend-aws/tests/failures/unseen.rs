//! Writing without the right to look.

use strongroom_backend_aws::AwsBackend;
use strongroom_core::{ErrorKind, MetadataPatch, Operation, PutOptions, Version};

use crate::fake::{FIRST, Fake, put, refusal, saying};
use crate::support::{lasting, passing};

const DELETED: &str =
    "You can't perform this operation on the secret because it was marked for deletion.";

async fn blind(fake: &Fake) -> AwsBackend {
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    fake.open().await
}

#[tokio::test]
async fn a_version_is_added() {
    let fake = Fake::new();
    let backend = blind(&fake).await;
    let version = put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.asked_in_turn(), ["DescribeSecret", "PutSecretValue"]);
    let given = &fake.given("PutSecretValue")[0];
    assert_eq!(given["ClientRequestToken"], version.to_string());
    assert_eq!(given["VersionStages"], serde_json::json!(["AWSCURRENT"]));
}

#[tokio::test]
async fn a_secret_is_created() {
    let fake = Fake::new();
    let backend = blind(&fake).await;
    fake.always("PutSecretValue", refusal("ResourceNotFoundException"));
    let version = put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.asked_in_turn(), ["DescribeSecret", "PutSecretValue", "CreateSecret"]);
    assert_eq!(fake.given("CreateSecret")[0]["ClientRequestToken"], version.to_string());
}

#[tokio::test]
async fn one_that_somebody_else_creates_meanwhile_gets_a_version() {
    let fake = Fake::new();
    let backend = blind(&fake).await;
    fake.first("PutSecretValue", [refusal("ResourceNotFoundException")]);
    fake.always("CreateSecret", refusal("ResourceExistsException"));
    put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.count("PutSecretValue"), 2);
    assert_eq!(fake.count("CreateSecret"), 1);
}

#[tokio::test]
async fn a_deleted_secret_is_restored() {
    let fake = Fake::new();
    let backend = blind(&fake).await;
    fake.first("PutSecretValue", [saying("InvalidRequestException", DELETED)]);
    put(&backend, PutOptions::new()).await.unwrap();
    let asked = fake.asked_in_turn();
    let asked: Vec<_> = asked.iter().filter(|action| *action != "DescribeSecret").collect();
    assert_eq!(asked, ["PutSecretValue", "RestoreSecret", "PutSecretValue"]);
}

#[tokio::test]
async fn what_else_is_refused_is_named() {
    for (action, advice) in [
        ("PutSecretValue", "secretsmanager:PutSecretValue"),
        ("CreateSecret", "secretsmanager:CreateSecret"),
        ("RestoreSecret", "secretsmanager:RestoreSecret"),
    ] {
        let fake = Fake::new();
        let backend = blind(&fake).await;
        match action {
            "CreateSecret" => fake.always("PutSecretValue", refusal("ResourceNotFoundException")),
            _ => fake.always("PutSecretValue", saying("InvalidRequestException", DELETED)),
        }
        fake.always(action, refusal("AccessDeniedException"));
        let result = put(&backend, PutOptions::new()).await;
        let error = lasting(Operation::Put, ErrorKind::Denied, result);
        assert!(error.advice().contains(advice), "{error}");
        assert_eq!(fake.count(action), 1);
    }
}

#[tokio::test]
async fn a_failure_to_look_in_passing_is_no_reason_to_write_unseen() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", refusal("ThrottlingException"));
    passing(Operation::Put, ErrorKind::RateLimited, put(&backend, PutOptions::new()).await);
    assert_eq!(fake.asked(), ["DescribeSecret"; 3]);
}

#[tokio::test]
async fn metadata_and_conditions_take_a_look() {
    for options in [
        PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments")),
        PutOptions::new().must_not_exist(),
        PutOptions::new().must_be_version(Version::new(FIRST)),
    ] {
        let fake = Fake::new();
        let backend = blind(&fake).await;
        let error = lasting(Operation::Put, ErrorKind::Denied, put(&backend, options).await);
        assert!(error.advice().contains("`secretsmanager:DescribeSecret`"), "{error}");
        assert!(!error.advice().contains("SECRETS_AWS_READ_METADATA"), "{error}");
        assert_eq!(fake.asked(), ["DescribeSecret"]);
    }
}

#[tokio::test]
async fn a_name_that_is_still_being_freed_is_waited_for() {
    let fake = Fake::new();
    let backend = blind(&fake).await;
    fake.first("PutSecretValue", [saying("InvalidRequestException", DELETED)]);
    fake.first("RestoreSecret", [refusal("ResourceNotFoundException")]);
    put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.count("PutSecretValue"), 2);
}
