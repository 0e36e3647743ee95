//! What is remembered of metadata, and when it is asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, Operation, PutOptions};

use crate::fake::{
    FIRST, Fake, SECOND, ask, described, described_with, key, ok, put, read, refusal, right,
    saying, secret, value,
};
use crate::support::{lasting, open, path};

const BOTH: [&str; 2] = ["DescribeSecret", "GetSecretValue"];

fn expiring(at: SystemTime) -> Value {
    let at = humantime::format_rfc3339_millis(at).to_string();
    let tags = json!({ "Tags": [{ "Key": "strongroom.expires_at", "Value": at }] });
    described_with("key", FIRST, &tags)
}

#[tokio::test]
async fn a_second_read_is_one_request() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags = json!({ "Tags": [{ "Key": "team", "Value": "payments" }], "Description": "d" });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &tags)));
    for asked in [&BOTH[..], &["GetSecretValue"], &["GetSecretValue"]] {
        let secret = secret(&backend).await.unwrap();
        assert_eq!(secret.metadata().tags["team"], "payments");
        assert_eq!(secret.metadata().description.as_deref(), Some("d"));
        assert_eq!(fake.asked(), asked);
    }
}

#[tokio::test]
async fn a_change_by_this_backend_is_forgotten_at_once() {
    for operation in [
        Operation::Put,
        Operation::Annotate,
        Operation::Delete,
        Operation::Undelete,
        Operation::Destroy,
        Operation::Rollback,
        Operation::Rotate,
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        value(&backend).await.unwrap();
        ask(&backend, operation).await.unwrap();
        fake.asked();
        value(&backend).await.unwrap();
        assert_eq!(fake.asked(), BOTH, "{operation}");
    }
}

#[tokio::test]
async fn a_change_that_fails_is_forgotten_as_well() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    fake.always("PutSecretValue", refusal("AccessDeniedException"));
    put(&backend, PutOptions::new()).await.unwrap_err();
    fake.asked();
    value(&backend).await.unwrap();
    assert_eq!(fake.asked(), BOTH);
}

#[tokio::test]
async fn another_active_version_makes_metadata_be_asked_for_again() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    fake.always("GetSecretValue", ok(&read("key", SECOND)));
    let tags = json!({ "Tags": [{ "Key": "team", "Value": "new" }] });
    fake.always("DescribeSecret", ok(&described_with("key", SECOND, &tags)));
    fake.asked();
    let changed = secret(&backend).await.unwrap();
    assert_eq!(changed.version().to_string(), SECOND);
    assert_eq!(changed.metadata().tags["team"], "new");
    assert_eq!(fake.asked(), BOTH);
    assert_eq!(value(&backend).await.unwrap(), SECOND);
    assert_eq!(fake.asked(), ["GetSecretValue"]);
}

#[tokio::test]
async fn a_value_that_is_newer_than_its_description_is_given_all_the_same() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("GetSecretValue", ok(&read("key", SECOND)));
    assert_eq!(value(&backend).await.unwrap(), SECOND);
    assert_eq!(fake.count("DescribeSecret"), 4);
    assert_eq!(fake.count("GetSecretValue"), 3);
}

#[tokio::test]
async fn a_value_is_read_again_until_it_has_its_own_description() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags = json!({ "Tags": [{ "Key": "team", "Value": "new" }] });
    fake.always("DescribeSecret", ok(&described_with("key", SECOND, &tags)));
    fake.first("GetSecretValue", [ok(&read("key", FIRST)), ok(&read("key", SECOND))]);
    let changed = secret(&backend).await.unwrap();
    assert_eq!(changed.version().to_string(), SECOND);
    assert_eq!(changed.metadata().tags["team"], "new");
    assert_eq!(fake.count("GetSecretValue"), 2);
    assert_eq!(fake.count("DescribeSecret"), 3);
}

#[tokio::test]
async fn nothing_is_remembered_without_a_time() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.metadata_ttl = Duration::ZERO;
    let backend = open(config).await;
    for _ in 0..3 {
        value(&backend).await.unwrap();
        assert_eq!(fake.asked(), BOTH);
    }
}

#[tokio::test]
async fn what_is_remembered_ends_with_its_time() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.metadata_ttl = Duration::from_nanos(1);
    let backend = open(config).await;
    for _ in 0..2 {
        value(&backend).await.unwrap();
        assert_eq!(fake.asked(), BOTH);
    }
}

#[tokio::test]
async fn an_expiry_is_looked_up_again_before_it_is_believed() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let soon = SystemTime::now() + Duration::from_secs(1);
    fake.always("DescribeSecret", ok(&expiring(soon)));
    value(&backend).await.unwrap();
    fake.asked();
    while SystemTime::now() <= soon {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lasting(Operation::Get, ErrorKind::Expired, value(&backend).await);
    assert_eq!(fake.asked(), BOTH);

    fake.always("DescribeSecret", ok(&expiring(soon + Duration::from_hours(1))));
    value(&backend).await.unwrap();
    assert_eq!(fake.asked(), BOTH);
    value(&backend).await.unwrap();
    assert_eq!(fake.asked(), ["GetSecretValue"]);
}

#[tokio::test]
async fn a_secret_that_expired_long_ago_is_expired_at_once() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&expiring(UNIX_EPOCH + Duration::from_secs(1))));
    lasting(Operation::Get, ErrorKind::Expired, value(&backend).await);
    assert_eq!(value(&fake.open_bare().await).await.unwrap(), FIRST);
}

#[tokio::test]
async fn a_secret_that_is_gone_is_forgotten() {
    for gone in [
        refusal("ResourceNotFoundException"),
        saying("InvalidRequestException", "because it was marked for deletion."),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        value(&backend).await.unwrap();
        fake.always("GetSecretValue", gone);
        fake.asked();
        lasting(Operation::Get, ErrorKind::NotFound, value(&backend).await);
        assert_eq!(fake.asked(), ["GetSecretValue"]);
        fake.heal();
        value(&backend).await.unwrap();
        assert_eq!(fake.asked(), BOTH);
    }
}

#[tokio::test]
async fn a_change_of_another_secret_makes_nothing_be_forgotten() {
    let fake = Fake::new();
    let backend = Arc::new(fake.open().await);
    fake.on("DescribeSecret", move |body| {
        let answer = right("DescribeSecret", body);
        if body["SecretId"] == "key" {
            answer.in_pieces(1_000, Duration::from_millis(300))
        } else {
            answer
        }
    });
    let reader = Arc::clone(&backend);
    let reading = tokio::spawn(async move { value(&reader).await });
    fake.comes("DescribeSecret", 1).await;
    backend.annotate(&path("other"), &MetadataPatch::new().tag("a", "")).await.unwrap();
    assert!(!reading.is_finished(), "the description came too early to tell");
    reading.await.unwrap().unwrap();
    fake.asked();
    value(&backend).await.unwrap();
    assert_eq!(fake.asked(), ["GetSecretValue"]);
}

#[tokio::test]
async fn a_description_from_before_a_change_is_not_learnt_after_it() {
    let fake = Fake::new();
    let backend = Arc::new(fake.open().await);
    let is_first = AtomicBool::new(true);
    fake.on("DescribeSecret", move |_| {
        let answer = ok(&described("key", FIRST));
        if is_first.swap(false, Ordering::SeqCst) {
            answer.in_pieces(1_000, Duration::from_millis(300))
        } else {
            answer
        }
    });
    let reader = Arc::clone(&backend);
    let reading = tokio::spawn(async move { value(&reader).await });
    fake.comes("DescribeSecret", 1).await;
    backend.annotate(&key(), &MetadataPatch::new().tag("a", "")).await.unwrap();
    reading.await.unwrap().unwrap();
    fake.asked();
    value(&backend).await.unwrap();
    assert_eq!(fake.asked(), BOTH);
}

#[tokio::test]
async fn a_read_that_fails_in_passing_forgets_nothing() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    fake.always("GetSecretValue", refusal("ThrottlingException"));
    value(&backend).await.unwrap_err();
    fake.heal();
    fake.asked();
    value(&backend).await.unwrap();
    assert_eq!(fake.asked(), ["GetSecretValue"]);
}
