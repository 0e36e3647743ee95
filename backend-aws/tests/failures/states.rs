//! Secrets that are deleted, replicated, or managed by another service.

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;

use crate::fake::{FIRST, Fake, ask, described, described_with, key, ok, refusal, saying};
use crate::support::{lasting, passing};

const REPLICATED: &str = "You can't delete secret key that still has replica regions eu-west-1.";

fn replicated() -> Value {
    let replicas = json!([
        { "Region": "eu-west-1", "Status": "InSync", "KmsKeyId": "alias/aws/secretsmanager" },
        { "Region": "us-east-1", "Status": "Failed", "StatusMessage": "already exists" },
        { "Region": "us-west-2" },
    ]);
    let members = json!({ "PrimaryRegion": "eu-central-1", "ReplicationStatus": replicas });
    described_with("key", FIRST, &members)
}

fn deleted() -> Value {
    described_with("key", FIRST, &json!({ "DeletedDate": 1.7e9 }))
}

#[tokio::test]
async fn replicas_are_described() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&replicated()));
    let description = backend.describe(&key()).await.unwrap();
    assert_eq!(description.version.to_string(), FIRST);
    let details = description.details;
    assert_eq!(details["replicas"], "eu-west-1 (InSync), us-east-1 (Failed), us-west-2");
    assert_eq!(details["primary_region"], "eu-central-1");
    fake.heal();
    let details = backend.describe(&key()).await.unwrap().details;
    assert!(!details.contains_key("replicas"));
}

#[tokio::test]
async fn a_replicated_secret_is_not_deleted() {
    for operation in [Operation::Delete, Operation::Destroy] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DeleteSecret", saying("InvalidRequestException", REPLICATED));
        fake.always("DescribeSecret", ok(&replicated()));
        let result = ask(&backend, operation).await;
        let error = lasting(operation, ErrorKind::InvalidInput, result);
        assert!(error.to_string().contains("replicated to other regions"), "{error}");
        assert!(error.advice().contains("remove its replicas"), "{error}");
        assert_eq!(fake.count("DeleteSecret"), 1);
    }
}

#[tokio::test]
async fn a_secret_of_another_service_is_not_deleted() {
    for operation in [Operation::Delete, Operation::Destroy] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DeleteSecret", refusal("InvalidRequestException"));
        let result = ask(&backend, operation).await;
        let error = lasting(operation, ErrorKind::InvalidInput, result);
        assert!(error.advice().contains("managed by another service"), "{error}");
    }
}

#[tokio::test]
async fn what_is_gone_already_is_deleted() {
    for reply in [
        refusal("ResourceNotFoundException"),
        saying("InvalidRequestException", "because it was marked for deletion."),
        saying("InvalidRequestException", "because it was deleted."),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DeleteSecret", reply);
        fake.always("DescribeSecret", ok(&deleted()));
        backend.delete(&key()).await.unwrap();
    }
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DeleteSecret", refusal("ResourceNotFoundException"));
    backend.destroy(&key()).await.unwrap();
    assert_eq!(fake.given("DeleteSecret")[0]["ForceDeleteWithoutRecovery"], true);
}

#[tokio::test]
async fn a_deleted_secret_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&deleted()));
    let words =
        "You can't perform this operation on the secret because it was marked for deletion.";
    for action in ["GetSecretValue", "UpdateSecretVersionStage", "TagResource", "RotateSecret"] {
        fake.always(action, saying("InvalidRequestException", words));
    }
    for operation in [
        Operation::Get,
        Operation::Versions,
        Operation::Rollback,
        Operation::Describe,
        Operation::Annotate,
        Operation::Rotate,
    ] {
        lasting(operation, ErrorKind::NotFound, ask(&backend, operation).await);
    }
}

#[tokio::test]
async fn a_secret_that_never_had_a_value_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut empty = described("key", FIRST);
    empty.as_object_mut().unwrap().remove("VersionIdsToStages");
    fake.always("DescribeSecret", ok(&empty));
    fake.always("GetSecretValue", refusal("ResourceNotFoundException"));
    for operation in [Operation::Get, Operation::Describe, Operation::Versions] {
        lasting(operation, ErrorKind::NotFound, ask(&backend, operation).await);
    }
}

#[tokio::test]
async fn undelete_brings_back_what_is_deleted_alone() {
    let fake = Fake::new();
    let backend = fake.open().await;
    backend.undelete(&key()).await.unwrap();
    assert_eq!(fake.asked(), ["DescribeSecret"]);
    fake.always("DescribeSecret", ok(&deleted()));
    backend.undelete(&key()).await.unwrap();
    assert_eq!(fake.asked(), ["DescribeSecret", "RestoreSecret"]);
    fake.always("RestoreSecret", refusal("ResourceNotFoundException"));
    let result = ask(&backend, Operation::Undelete).await;
    lasting(Operation::Undelete, ErrorKind::NotFound, result);
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    let result = ask(&backend, Operation::Undelete).await;
    lasting(Operation::Undelete, ErrorKind::NotFound, result);
}

#[tokio::test]
async fn a_secret_that_somebody_else_has_just_restored_is_restored() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("DescribeSecret", [ok(&deleted())]);
    fake.always("RestoreSecret", refusal("InvalidRequestException"));
    backend.undelete(&key()).await.unwrap();
    fake.always("DescribeSecret", ok(&deleted()));
    let result = ask(&backend, Operation::Undelete).await;
    lasting(Operation::Undelete, ErrorKind::InvalidInput, result);
}

#[tokio::test]
async fn a_tag_of_ours_that_means_nothing_is_corrupt() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags = json!([{ "Key": "strongroom.expires_at", "Value": CANARY }]);
    let damaged = described_with("key", FIRST, &json!({ "Tags": tags }));
    fake.always("DescribeSecret", ok(&damaged));
    for operation in [Operation::Get, Operation::Describe] {
        let error = lasting(operation, ErrorKind::Corrupt, ask(&backend, operation).await);
        assert!(error.to_string().contains("`strongroom.expires_at`"), "{error}");
    }
    fake.heal();
    ask(&backend, Operation::Get).await.unwrap();
}

#[tokio::test]
async fn a_failed_look_does_not_hide_the_refusal() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DeleteSecret", refusal("InvalidRequestException"));
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    let result = ask(&backend, Operation::Delete).await;
    lasting(Operation::Delete, ErrorKind::InvalidInput, result);
    fake.always("DeleteSecret", refusal("ThrottlingException"));
    let result = ask(&backend, Operation::Delete).await;
    passing(Operation::Delete, ErrorKind::RateLimited, result);
}
