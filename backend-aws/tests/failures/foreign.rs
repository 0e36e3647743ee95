//! Tags that others have written.

use serde_json::{Value, json};
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions, SecretKind,
};

use crate::fake::{FIRST, Fake, ask, described_with, key, listed, ok, put};
use crate::support::{lasting, path};

fn tag(name: &str, text: &str) -> Value {
    json!({ "Key": name, "Value": text })
}

/// What AWS takes, and takes more than AWS does once it is escaped.
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
async fn they_are_no_reason_to_refuse_what_does_not_concern_them() {
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
            let result = ask(&backend, operation).await;
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
async fn what_cannot_be_understood_is_corrupt_where_it_is_shown_or_changed() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&with_tags(&[malformed()], &json!({}))));
    for operation in [Operation::Describe, Operation::Get, Operation::Annotate] {
        let error = lasting(operation, ErrorKind::Corrupt, ask(&backend, operation).await);
        assert!(error.to_string().contains("`strongroom.kind`"), "{error}");
    }
    let options = PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments"));
    lasting(Operation::Put, ErrorKind::Corrupt, put(&backend, options).await);
    assert_eq!(fake.count("PutSecretValue"), 0);
    assert_eq!(fake.count("TagResource"), 0);
}

#[tokio::test]
async fn what_could_not_be_written_stays_as_it_is() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&with_tags(&[arabic()], &json!({}))));
    let description = backend.describe(&key()).await.unwrap();
    assert_eq!(description.metadata.tags["owner"], "ع".repeat(60));
    backend.annotate(&key(), &MetadataPatch::new().tag("team", "payments")).await.unwrap();
    assert_eq!(fake.given("TagResource")[0]["Tags"], json!([tag("team", "payments")]));
    assert_eq!(fake.count("UntagResource"), 0);
    backend.annotate(&key(), &MetadataPatch::new().remove_tag("owner")).await.unwrap();
    assert_eq!(fake.given("UntagResource")[0]["TagKeys"], json!(["owner"]));
}

#[tokio::test]
async fn one_that_cannot_be_understood_takes_no_other_from_a_list() {
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
async fn an_old_tag_goes_before_a_new_one_comes_where_there_is_no_room() {
    for (others, turn) in
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
            let asked = fake.asked_in_turn();
            assert_eq!(asked[asked.len() - 2..], turn, "{} tags", others + 1);
            assert_eq!(fake.given("TagResource")[0]["Tags"], json!([tag("new", "")]));
            assert_eq!(fake.given("UntagResource")[0]["TagKeys"], json!(["old"]));
        }
    }
}

#[tokio::test]
async fn one_tag_more_than_aws_keeps_is_refused_before_the_call() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags: Vec<_> = (0..50).map(|i| tag(&format!("aws:{i}"), "")).collect();
    fake.always("DescribeSecret", ok(&with_tags(&tags, &json!({}))));
    let patch = MetadataPatch::new().tag("new", "");
    let result = backend.annotate(&key(), &patch).await;
    lasting(Operation::Annotate, ErrorKind::InvalidInput, result);
    let result = put(&backend, PutOptions::new().metadata(patch)).await;
    lasting(Operation::Put, ErrorKind::InvalidInput, result);
    assert_eq!(fake.asked(), ["DescribeSecret"; 2]);
}
