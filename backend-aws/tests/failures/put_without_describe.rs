//! Puts of an identity that may not describe secrets.

use strongroom_backend_aws::AwsBackend;
use strongroom_core::{ErrorKind, MetadataPatch, Operation, PutOptions, Version};

use crate::fake::{FIRST, Fake, put, refusal, refusal_with_message};
use crate::support::{permanent, transient};

const DELETED: &str =
    "You can't perform this operation on the secret because it was marked for deletion.";

async fn open_without_describe(fake: &Fake) -> AwsBackend {
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    fake.open().await
}

#[tokio::test]
async fn adds_a_version() {
    let fake = Fake::new();
    let backend = open_without_describe(&fake).await;
    let version = put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.take_requests(), ["DescribeSecret", "PutSecretValue"]);
    let given = &fake.bodies("PutSecretValue")[0];
    assert_eq!(given["ClientRequestToken"], version.to_string());
    assert_eq!(given["VersionStages"], serde_json::json!(["AWSCURRENT"]));
}

#[tokio::test]
async fn creates_a_missing_secret() {
    let fake = Fake::new();
    let backend = open_without_describe(&fake).await;
    fake.always("PutSecretValue", refusal("ResourceNotFoundException"));
    let version = put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.take_requests(), ["DescribeSecret", "PutSecretValue", "CreateSecret"]);
    assert_eq!(fake.bodies("CreateSecret")[0]["ClientRequestToken"], version.to_string());
}

#[tokio::test]
async fn adds_a_version_if_another_client_creates_the_secret_first() {
    let fake = Fake::new();
    let backend = open_without_describe(&fake).await;
    fake.first("PutSecretValue", [refusal("ResourceNotFoundException")]);
    fake.always("CreateSecret", refusal("ResourceExistsException"));
    put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.count("PutSecretValue"), 2);
    assert_eq!(fake.count("CreateSecret"), 1);
}

#[tokio::test]
async fn restores_a_deleted_secret() {
    let fake = Fake::new();
    let backend = open_without_describe(&fake).await;
    fake.first("PutSecretValue", [refusal_with_message("InvalidRequestException", DELETED)]);
    put(&backend, PutOptions::new()).await.unwrap();
    let requests = fake.take_requests();
    let requests: Vec<_> = requests.iter().filter(|action| *action != "DescribeSecret").collect();
    assert_eq!(requests, ["PutSecretValue", "RestoreSecret", "PutSecretValue"]);
}

#[tokio::test]
async fn a_denied_write_names_its_permission() {
    for (action, advice) in [
        ("PutSecretValue", "secretsmanager:PutSecretValue"),
        ("CreateSecret", "secretsmanager:CreateSecret"),
        ("RestoreSecret", "secretsmanager:RestoreSecret"),
    ] {
        let fake = Fake::new();
        let backend = open_without_describe(&fake).await;
        match action {
            "CreateSecret" => fake.always("PutSecretValue", refusal("ResourceNotFoundException")),
            _ => fake
                .always("PutSecretValue", refusal_with_message("InvalidRequestException", DELETED)),
        }
        fake.always(action, refusal("AccessDeniedException"));
        let result = put(&backend, PutOptions::new()).await;
        let error = permanent(Operation::Put, ErrorKind::Denied, result);
        assert!(error.advice().contains(advice), "{error}");
        assert_eq!(fake.count(action), 1);
    }
}

#[tokio::test]
async fn a_transient_failure_to_describe_fails_the_put() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", refusal("ThrottlingException"));
    transient(Operation::Put, ErrorKind::RateLimited, put(&backend, PutOptions::new()).await);
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"; 3]);
}

#[tokio::test]
async fn metadata_and_conditions_require_describe_permission() {
    for options in [
        PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments")),
        PutOptions::new().must_not_exist(),
        PutOptions::new().must_be_version(Version::new(FIRST)),
    ] {
        let fake = Fake::new();
        let backend = open_without_describe(&fake).await;
        let error = permanent(Operation::Put, ErrorKind::Denied, put(&backend, options).await);
        assert!(error.advice().contains("`secretsmanager:DescribeSecret`"), "{error}");
        assert!(!error.advice().contains("SECRETS_AWS_READ_METADATA"), "{error}");
        assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"]);
    }
}

#[tokio::test]
async fn waits_for_the_service_to_release_a_name() {
    let fake = Fake::new();
    let backend = open_without_describe(&fake).await;
    fake.first("PutSecretValue", [refusal_with_message("InvalidRequestException", DELETED)]);
    fake.first("RestoreSecret", [refusal("ResourceNotFoundException")]);
    put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.count("PutSecretValue"), 2);
}
