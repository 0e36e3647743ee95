//! Denied requests: AWS knows the identity, which lacks a permission.

use futures_util::future::join_all;
use serde_json::json;
use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, Operation, PutOptions};
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, described_with, key, ok, put, refusal, refusal_with_message, refusal_with_status,
    run_operation, value,
};
use crate::support::permanent;

fn access_denied() -> Reply {
    let user =
        "User: arn:aws:sts::123456789012:assumed-role/reader/i-0 is not authorized to perform";
    refusal_with_message("AccessDeniedException", user)
}

fn missing(fake: &Fake) {
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
}

fn script_deletion(fake: &Fake) {
    let deleted = json!({ "DeletedDate": 1.7e9 });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &deleted)));
}

fn tagged(fake: &Fake) {
    let tags = json!({ "Tags": [{ "Key": "gone", "Value": "" }] });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &tags)));
}

#[tokio::test]
async fn a_denied_request_names_the_action_and_the_secret() {
    let unchanged: fn(&Fake) = |_| {};
    let cases = [
        ("GetSecretValue", Operation::Get, unchanged),
        ("DescribeSecret", Operation::Get, unchanged),
        ("CreateSecret", Operation::Put, missing),
        ("PutSecretValue", Operation::Put, unchanged),
        ("RestoreSecret", Operation::Put, script_deletion),
        ("DeleteSecret", Operation::Delete, unchanged),
        ("DeleteSecret", Operation::Destroy, unchanged),
        ("DescribeSecret", Operation::Undelete, unchanged),
        ("RestoreSecret", Operation::Undelete, script_deletion),
        ("ListSecrets", Operation::List, unchanged),
        ("DescribeSecret", Operation::Versions, unchanged),
        ("ListSecretVersionIds", Operation::Versions, unchanged),
        ("DescribeSecret", Operation::Rollback, unchanged),
        ("UpdateSecretVersionStage", Operation::Rollback, unchanged),
        ("DescribeSecret", Operation::Describe, unchanged),
        ("DescribeSecret", Operation::Annotate, unchanged),
        ("TagResource", Operation::Annotate, unchanged),
        ("UpdateSecret", Operation::Annotate, unchanged),
        ("RotateSecret", Operation::Rotate, unchanged),
    ];
    let cases = cases.map(|(action, operation, prepare)| async move {
        let fake = Fake::new();
        let mut config = fake.config();
        config.prefix = Some("production".into());
        let backend = crate::support::open(config).await;
        prepare(&fake);
        fake.always(action, access_denied());
        let error =
            permanent(operation, ErrorKind::Denied, run_operation(&backend, operation).await);
        assert_eq!(fake.count(action), 1, "{action} to {operation}");
        let resource =
            if action == "ListSecrets" { "`*`" } else { "`…:secret:production/key-??????`" };
        let advice = error.advice();
        assert!(advice.contains(&format!("secretsmanager:{action}`")), "{error}");
        assert!(advice.contains(resource), "{error}");
        let suggests_no_metadata = advice.contains("`SECRETS_AWS_READ_METADATA`");
        let is_read = (action, operation) == ("DescribeSecret", Operation::Get);
        assert_eq!(suggests_no_metadata, is_read, "{error}");
        fake.reset();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_denied_creation_names_the_permission_to_tag_as_well() {
    let fake = Fake::new();
    let backend = fake.open().await;
    missing(&fake);
    fake.always("CreateSecret", access_denied());
    let error =
        permanent(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert!(error.advice().contains("`secretsmanager:TagResource`"), "{error}");
}

#[tokio::test]
async fn a_denied_removal_of_tags_names_its_permission() {
    let fake = Fake::new();
    let backend = fake.open().await;
    tagged(&fake);
    fake.always("UntagResource", access_denied());
    let patch = MetadataPatch::new().remove_tag("gone").tag("new", "").clear_description();
    let result = backend.annotate(&key(), &patch).await;
    let error = permanent(Operation::Annotate, ErrorKind::Denied, result);
    assert!(error.advice().contains("secretsmanager:UntagResource"), "{error}");
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret", "TagResource", "UntagResource"]);
}

#[tokio::test]
async fn a_read_without_describe_permission_suggests_to_disable_metadata() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", access_denied());
    let error = permanent(Operation::Get, ErrorKind::Denied, value(&backend).await);
    assert!(error.advice().contains("`SECRETS_AWS_READ_METADATA` to `false`"), "{error}");
    fake.take_requests_sorted();

    let bare = fake.open_without_metadata().await;
    for _ in 0..2 {
        assert_eq!(value(&bare).await.unwrap(), FIRST);
        assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
    }
}

/// Names of users and secrets may contain the words by which messages name KMS keys.
#[tokio::test]
async fn names_in_a_message_do_not_change_the_reason() {
    for words in [
        "User: arn:aws:iam::123456789012:user/KMS is not authorized to perform: \
         secretsmanager:GetSecretValue on resource: key",
        "User: arn:aws:sts::123456789012:assumed-role/kms-reader/i-0 is not authorized to perform: \
         secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-central-1:\
         123456789012:secret:kms:Decrypt/KMS-AbCdEf because no identity-based policy allows it",
    ] {
        let fake = Fake::new();
        let backend = fake.open_without_metadata().await;
        fake.always("GetSecretValue", refusal_with_message("AccessDeniedException", words));
        let error = permanent(Operation::Get, ErrorKind::Denied, value(&backend).await);
        assert!(error.advice().contains("secretsmanager:GetSecretValue"), "{error}");
        assert!(!error.to_string().contains("kms"), "{error}");
    }
}

#[tokio::test]
async fn the_error_code_decides_and_not_the_status() {
    for code in ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"]
    {
        for status in [400, 401, 403] {
            let fake = Fake::new();
            let backend = fake.open_without_metadata().await;
            fake.always("GetSecretValue", refusal_with_status(status, code, ""));
            let error = permanent(Operation::Get, ErrorKind::Denied, value(&backend).await);
            assert!(error.advice().contains("secretsmanager:GetSecretValue"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_denied_kms_key_advises_on_kms_permissions() {
    let refusals = [
        refusal_with_message("AccessDeniedException", "Access to KMS is not allowed"),
        refusal_with_message(
            "AccessDeniedException",
            "User is not authorized to perform: kms:Decrypt on key",
        ),
        refusal("DecryptionFailure"),
        refusal("EncryptionFailure"),
        refusal("DecryptionFailureException"),
        refusal("EncryptionFailureException"),
    ];
    for reply in refusals {
        let fake = Fake::new();
        let backend = fake.open().await;
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        missing(&fake);
        for (action, operation) in
            [("GetSecretValue", Operation::Get), ("CreateSecret", Operation::Put)]
        {
            fake.always(action, reply.clone());
            let error =
                permanent(operation, ErrorKind::Denied, run_operation(&backend, operation).await);
            assert!(error.advice().contains("`kms:Decrypt`"), "{error}");
            assert!(error.advice().contains("`kms:GenerateDataKey`"), "{error}");
            assert!(!error.advice().contains("secretsmanager:"), "{error}");
        }
        assert_eq!(fake.count("GetSecretValue"), 2);
        assert_eq!(fake.count("CreateSecret"), 1);
        fake.reset();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
}
