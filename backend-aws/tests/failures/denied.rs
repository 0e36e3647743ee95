//! AWS knows who asks, and refuses.

use futures_util::future::join_all;
use serde_json::json;
use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, Operation, PutOptions};
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, ask, described_with, key, ok, put, refusal, saying, value, with_status,
};
use crate::support::lasting;

fn denied() -> Reply {
    let user =
        "User: arn:aws:sts::123456789012:assumed-role/reader/i-0 is not authorized to perform";
    saying("AccessDeniedException", user)
}

fn missing(fake: &Fake) {
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
}

fn deleted(fake: &Fake) {
    let deleted = json!({ "DeletedDate": 1.7e9 });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &deleted)));
}

fn tagged(fake: &Fake) {
    let tags = json!({ "Tags": [{ "Key": "gone", "Value": "" }] });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &tags)));
}

#[tokio::test]
async fn the_missing_action_and_the_secret_are_named() {
    let nothing: fn(&Fake) = |_| {};
    let cases = [
        ("GetSecretValue", Operation::Get, nothing),
        ("DescribeSecret", Operation::Get, nothing),
        ("CreateSecret", Operation::Put, missing),
        ("PutSecretValue", Operation::Put, nothing),
        ("RestoreSecret", Operation::Put, deleted),
        ("DeleteSecret", Operation::Delete, nothing),
        ("DeleteSecret", Operation::Destroy, nothing),
        ("DescribeSecret", Operation::Undelete, nothing),
        ("RestoreSecret", Operation::Undelete, deleted),
        ("ListSecrets", Operation::List, nothing),
        ("DescribeSecret", Operation::Versions, nothing),
        ("ListSecretVersionIds", Operation::Versions, nothing),
        ("DescribeSecret", Operation::Rollback, nothing),
        ("UpdateSecretVersionStage", Operation::Rollback, nothing),
        ("DescribeSecret", Operation::Describe, nothing),
        ("DescribeSecret", Operation::Annotate, nothing),
        ("TagResource", Operation::Annotate, nothing),
        ("UpdateSecret", Operation::Annotate, nothing),
        ("RotateSecret", Operation::Rotate, nothing),
    ];
    let cases = cases.map(|(action, operation, setting)| async move {
        let fake = Fake::new();
        let mut config = fake.config();
        config.prefix = Some("production".into());
        let backend = crate::support::open(config).await;
        setting(&fake);
        fake.always(action, denied());
        let error = lasting(operation, ErrorKind::Denied, ask(&backend, operation).await);
        assert_eq!(fake.count(action), 1, "{action} to {operation}");
        let place =
            if action == "ListSecrets" { "`*`" } else { "`…:secret:production/key-??????`" };
        let advice = error.advice();
        assert!(advice.contains(&format!("secretsmanager:{action}`")), "{error}");
        assert!(advice.contains(place), "{error}");
        let is_told_to_do_without = advice.contains("`SECRETS_AWS_READ_METADATA`");
        let is_read = (action, operation) == ("DescribeSecret", Operation::Get);
        assert_eq!(is_told_to_do_without, is_read, "{error}");
        fake.heal();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    });
    join_all(cases).await;
}

#[tokio::test]
async fn to_create_takes_the_right_to_tag_as_well() {
    let fake = Fake::new();
    let backend = fake.open().await;
    missing(&fake);
    fake.always("CreateSecret", denied());
    let error = lasting(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert!(error.advice().contains("`secretsmanager:TagResource`"), "{error}");
}

#[tokio::test]
async fn tags_that_may_not_be_removed_stay() {
    let fake = Fake::new();
    let backend = fake.open().await;
    tagged(&fake);
    fake.always("UntagResource", denied());
    let patch = MetadataPatch::new().remove_tag("gone").tag("new", "").clear_description();
    let result = backend.annotate(&key(), &patch).await;
    let error = lasting(Operation::Annotate, ErrorKind::Denied, result);
    assert!(error.advice().contains("secretsmanager:UntagResource"), "{error}");
    assert_eq!(fake.asked(), ["DescribeSecret", "TagResource", "UntagResource"]);
}

#[tokio::test]
async fn who_may_not_read_metadata_is_told_how_to_do_without() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", denied());
    let error = lasting(Operation::Get, ErrorKind::Denied, value(&backend).await);
    assert!(error.advice().contains("`SECRETS_AWS_READ_METADATA` to `false`"), "{error}");
    fake.asked();

    let bare = fake.open_bare().await;
    for _ in 0..2 {
        assert_eq!(value(&bare).await.unwrap(), FIRST);
        assert_eq!(fake.asked(), ["GetSecretValue"]);
    }
}

/// Names that look like what the service says of keys and functions.
#[tokio::test]
async fn what_others_are_called_does_not_count() {
    for words in [
        "User: arn:aws:iam::123456789012:user/KMS is not authorized to perform: \
         secretsmanager:GetSecretValue on resource: key",
        "User: arn:aws:sts::123456789012:assumed-role/kms-reader/i-0 is not authorized to perform: \
         secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-central-1:\
         123456789012:secret:kms:Decrypt/KMS-AbCdEf because no identity-based policy allows it",
    ] {
        let fake = Fake::new();
        let backend = fake.open_bare().await;
        fake.always("GetSecretValue", saying("AccessDeniedException", words));
        let error = lasting(Operation::Get, ErrorKind::Denied, value(&backend).await);
        assert!(error.advice().contains("secretsmanager:GetSecretValue"), "{error}");
        assert!(!error.to_string().contains("kms"), "{error}");
    }
}

#[tokio::test]
async fn the_code_counts_and_not_the_status() {
    for code in ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"]
    {
        for status in [400, 401, 403] {
            let fake = Fake::new();
            let backend = fake.open_bare().await;
            fake.always("GetSecretValue", with_status(status, code, ""));
            let error = lasting(Operation::Get, ErrorKind::Denied, value(&backend).await);
            assert!(error.advice().contains("secretsmanager:GetSecretValue"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_refusal_of_the_key_advises_on_the_key() {
    let in_words = [
        saying("AccessDeniedException", "Access to KMS is not allowed"),
        saying("AccessDeniedException", "User is not authorized to perform: kms:Decrypt on key"),
        refusal("DecryptionFailure"),
        refusal("EncryptionFailure"),
        refusal("DecryptionFailureException"),
        refusal("EncryptionFailureException"),
    ];
    for reply in in_words {
        let fake = Fake::new();
        let backend = fake.open().await;
        assert_eq!(value(&backend).await.unwrap(), FIRST);
        missing(&fake);
        for (action, operation) in
            [("GetSecretValue", Operation::Get), ("CreateSecret", Operation::Put)]
        {
            fake.always(action, reply.clone());
            let error = lasting(operation, ErrorKind::Denied, ask(&backend, operation).await);
            assert!(error.advice().contains("`kms:Decrypt`"), "{error}");
            assert!(error.advice().contains("`kms:GenerateDataKey`"), "{error}");
            assert!(!error.advice().contains("secretsmanager:"), "{error}");
        }
        assert_eq!(fake.count("GetSecretValue"), 2);
        assert_eq!(fake.count("CreateSecret"), 1);
        fake.heal();
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
}
