//! Tags that other tools have written.

use serde_json::{Value, json};
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions, SecretKind,
};

use crate::fake::{FIRST, Fake, described_with, key, listed, ok, put, run_operation};
use crate::support::{path, permanent};

fn tag(name: &str, text: &str) -> Value {
    json!({ "Key": name, "Value": text })
}

/// A value that AWS accepts, but that has more than 256 characters once this backend escapes it.
fn arabic() -> Value {
    tag("owner", &"ع".repeat(60))
}

fn malformed() -> Value {
    tag("strongroom.kind", "no such kind")
}

fn with_tags(tags: &[Value], members: &Value) -> Value {
    let mut described = described_with("key", FIRST, members);
    described["Tags"] = json!(tags);
    described
}

#[tokio::test]
async fn malformed_tags_fail_no_operation_that_does_not_use_them() {
    for tags in [[arabic()], [malformed()]] {
        for operation in [
            Operation::Put,
            Operation::Rollback,
            Operation::Undelete,
            Operation::Rotate,
            Operation::Delete,
            Operation::Destroy,
            Operation::Versions,
        ] {
            let fake = Fake::new();
            let backend = fake.open().await;
            let mut members = json!({});
            if operation == Operation::Undelete {
                members["DeletedDate"] = json!(1.7e9);
            }
            fake.always("DescribeSecret", ok(&with_tags(&tags, &members)));
            let result = run_operation(&backend, operation).await;
            assert!(result.is_ok(), "{operation} with {tags:?}: {result:?}");
            let action = match operation {
                Operation::Put => "PutSecretValue",
                Operation::Rollback => "UpdateSecretVersionStage",
                Operation::Undelete => "RestoreSecret",
                _ => continue,
            };
            assert_eq!(fake.count(action), 1, "{operation}");
        }
    }
}

#[tokio::test]
async fn malformed_tags_are_corrupt_where_metadata_is_read_or_changed() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&with_tags(&[malformed()], &json!({}))));
    for operation in [Operation::Describe, Operation::Get, Operation::Annotate] {
        let error =
            permanent(operation, ErrorKind::Corrupt, run_operation(&backend, operation).await);
        assert!(error.to_string().contains("`strongroom.kind`"), "{error}");
    }
    let options = PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments"));
    permanent(Operation::Put, ErrorKind::Corrupt, put(&backend, options).await);
    assert_eq!(fake.count("PutSecretValue"), 0);
    assert_eq!(fake.count("TagResource"), 0);
}

#[tokio::test]
async fn keeps_tags_that_this_backend_could_not_write() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&with_tags(&[arabic()], &json!({}))));
    let description = backend.describe(&key()).await.unwrap();
    assert_eq!(description.metadata.tags["owner"], "ع".repeat(60));
    backend.annotate(&key(), &MetadataPatch::new().tag("team", "payments")).await.unwrap();
    assert_eq!(fake.bodies("TagResource")[0]["Tags"], json!([tag("team", "payments")]));
    assert_eq!(fake.count("UntagResource"), 0);
    backend.annotate(&key(), &MetadataPatch::new().remove_tag("owner")).await.unwrap();
    assert_eq!(fake.bodies("UntagResource")[0]["TagKeys"], json!(["owner"]));
}

#[tokio::test]
async fn malformed_tags_do_not_hide_other_secrets_from_a_list() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let entry = |name: &str, tags: &[Value]| {
        let mut entry = listed(name);
        entry["Tags"] = json!(tags);
        entry
    };
    let team = tag("team", "payments");
    let entries = [
        entry("a", &[team.clone(), tag("strongroom.kind", "api_key")]),
        entry("b", &[team.clone(), malformed()]),
        entry("c", &[team.clone(), tag("strongroom.kind", "api_key"), arabic()]),
    ];
    fake.always("ListSecrets", ok(&json!({ "SecretList": entries, "NextToken": "more" })));
    let page = backend.list(None, &ListOptions::new().kind(SecretKind::ApiKey)).await.unwrap();
    assert_eq!(page.paths, [path("a"), path("c")]);
    assert!(page.next.is_some());
    let page = backend.list(None, &ListOptions::new().tag("team", "payments")).await.unwrap();
    assert_eq!(page.paths, [path("a"), path("c")]);
    let page = backend.list(None, &ListOptions::new()).await.unwrap();
    assert_eq!(page.paths, [path("a"), path("b"), path("c")]);
}

#[tokio::test]
async fn removes_an_old_tag_first_at_the_limit_of_tags() {
    for (others, order) in
        [(49, ["UntagResource", "TagResource"]), (48, ["TagResource", "UntagResource"])]
    {
        for is_put in [false, true] {
            let fake = Fake::new();
            let backend = fake.open().await;
            let mut tags: Vec<_> = (0..others).map(|i| tag(&format!("aws:{i}"), "")).collect();
            tags.push(tag("old", ""));
            fake.always("DescribeSecret", ok(&with_tags(&tags, &json!({}))));
            let patch = MetadataPatch::new().remove_tag("old").tag("new", "");
            if is_put {
                put(&backend, PutOptions::new().metadata(patch)).await.unwrap();
            } else {
                backend.annotate(&key(), &patch).await.unwrap();
            }
            let requests = fake.take_requests();
            assert_eq!(requests[requests.len() - 2..], order, "{} tags", others + 1);
            assert_eq!(fake.bodies("TagResource")[0]["Tags"], json!([tag("new", "")]));
            assert_eq!(fake.bodies("UntagResource")[0]["TagKeys"], json!(["old"]));
        }
    }
}

#[tokio::test]
async fn rejects_more_tags_than_aws_allows_before_a_request() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags: Vec<_> = (0..50).map(|i| tag(&format!("aws:{i}"), "")).collect();
    fake.always("DescribeSecret", ok(&with_tags(&tags, &json!({}))));
    let patch = MetadataPatch::new().tag("new", "");
    let result = backend.annotate(&key(), &patch).await;
    permanent(Operation::Annotate, ErrorKind::InvalidInput, result);
    let result = put(&backend, PutOptions::new().metadata(patch)).await;
    permanent(Operation::Put, ErrorKind::InvalidInput, result);
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"; 2]);
}
