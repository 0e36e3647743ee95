//! Secrets that are deleted, replicated, or managed by another service.

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;

use crate::fake::{
    FIRST, Fake, described, described_with, key, ok, refusal, refusal_with_message, run_operation,
};
use crate::support::{permanent, transient};

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
async fn describes_replicas() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&replicated()));
    let description = backend.describe(&key()).await.unwrap();
    assert_eq!(description.version.to_string(), FIRST);
    let details = description.details;
    assert_eq!(details["replicas"], "eu-west-1 (InSync), us-east-1 (Failed), us-west-2");
    assert_eq!(details["primary_region"], "eu-central-1");
    fake.reset();
    let details = backend.describe(&key()).await.unwrap().details;
    assert!(!details.contains_key("replicas"));
}

#[tokio::test]
async fn rejects_the_deletion_of_a_replicated_secret() {
    for operation in [Operation::Delete, Operation::Destroy] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DeleteSecret", refusal_with_message("InvalidRequestException", REPLICATED));
        fake.always("DescribeSecret", ok(&replicated()));
        let result = run_operation(&backend, operation).await;
        let error = permanent(operation, ErrorKind::InvalidInput, result);
        assert!(error.to_string().contains("replicated to other regions"), "{error}");
        assert!(error.advice().contains("remove its replicas"), "{error}");
        assert_eq!(fake.count("DeleteSecret"), 1);
    }
}

#[tokio::test]
async fn rejects_the_deletion_of_a_secret_managed_by_another_service() {
    for operation in [Operation::Delete, Operation::Destroy] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always("DeleteSecret", refusal("InvalidRequestException"));
        let result = run_operation(&backend, operation).await;
        let error = permanent(operation, ErrorKind::InvalidInput, result);
        assert!(error.advice().contains("managed by another service"), "{error}");
    }
}

#[tokio::test]
async fn deleting_a_deleted_or_missing_secret_succeeds() {
    for reply in [
        refusal("ResourceNotFoundException"),
        refusal_with_message("InvalidRequestException", "because it was marked for deletion."),
        refusal_with_message("InvalidRequestException", "because it was deleted."),
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
    assert_eq!(fake.bodies("DeleteSecret")[0]["ForceDeleteWithoutRecovery"], true);
}

#[tokio::test]
async fn a_deleted_secret_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&deleted()));
    let words =
        "You can't perform this operation on the secret because it was marked for deletion.";
    for action in ["GetSecretValue", "UpdateSecretVersionStage", "TagResource", "RotateSecret"] {
        fake.always(action, refusal_with_message("InvalidRequestException", words));
    }
    for operation in [
        Operation::Get,
        Operation::Versions,
        Operation::Rollback,
        Operation::Describe,
        Operation::Annotate,
        Operation::Rotate,
    ] {
        permanent(operation, ErrorKind::NotFound, run_operation(&backend, operation).await);
    }
}

#[tokio::test]
async fn a_secret_without_a_value_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut empty = described("key", FIRST);
    empty.as_object_mut().unwrap().remove("VersionIdsToStages");
    fake.always("DescribeSecret", ok(&empty));
    fake.always("GetSecretValue", refusal("ResourceNotFoundException"));
    for operation in [Operation::Get, Operation::Describe, Operation::Versions] {
        permanent(operation, ErrorKind::NotFound, run_operation(&backend, operation).await);
    }
}

#[tokio::test]
async fn undelete_restores_only_deleted_secrets() {
    let fake = Fake::new();
    let backend = fake.open().await;
    backend.undelete(&key()).await.unwrap();
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"]);
    fake.always("DescribeSecret", ok(&deleted()));
    backend.undelete(&key()).await.unwrap();
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret", "RestoreSecret"]);
    fake.always("RestoreSecret", refusal("ResourceNotFoundException"));
    let result = run_operation(&backend, Operation::Undelete).await;
    permanent(Operation::Undelete, ErrorKind::NotFound, result);
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    let result = run_operation(&backend, Operation::Undelete).await;
    permanent(Operation::Undelete, ErrorKind::NotFound, result);
}

#[tokio::test]
async fn undelete_succeeds_if_another_client_has_restored_the_secret() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("DescribeSecret", [ok(&deleted())]);
    fake.always("RestoreSecret", refusal("InvalidRequestException"));
    backend.undelete(&key()).await.unwrap();
    fake.always("DescribeSecret", ok(&deleted()));
    let result = run_operation(&backend, Operation::Undelete).await;
    permanent(Operation::Undelete, ErrorKind::InvalidInput, result);
}

#[tokio::test]
async fn a_malformed_tag_of_ours_is_corrupt() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags = json!([{ "Key": "strongroom.expires_at", "Value": CANARY }]);
    let damaged = described_with("key", FIRST, &json!({ "Tags": tags }));
    fake.always("DescribeSecret", ok(&damaged));
    for operation in [Operation::Get, Operation::Describe] {
        let error =
            permanent(operation, ErrorKind::Corrupt, run_operation(&backend, operation).await);
        assert!(error.to_string().contains("`strongroom.expires_at`"), "{error}");
    }
    fake.reset();
    run_operation(&backend, Operation::Get).await.unwrap();
}

#[tokio::test]
async fn a_failed_describe_does_not_hide_the_first_error() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DeleteSecret", refusal("InvalidRequestException"));
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    let result = run_operation(&backend, Operation::Delete).await;
    permanent(Operation::Delete, ErrorKind::InvalidInput, result);
    fake.always("DeleteSecret", refusal("ThrottlingException"));
    let result = run_operation(&backend, Operation::Delete).await;
    transient(Operation::Delete, ErrorKind::RateLimited, result);
}
