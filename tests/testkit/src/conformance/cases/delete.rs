//! Deleting, taking it back, and destroying.

use strongroom_core::{ErrorKind, MetadataPatch};

use crate::canary;
use crate::conformance::expect::{active_version, expect_error, expect_value, ids};
use crate::conformance::{Case, Fixture, case};

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(delete_makes_get_answer_not_found, [Put, Delete]),
    case!(delete_makes_get_by_version_answer_not_found, [Put, Delete, Versions]),
    case!(delete_makes_describe_answer_not_found, [Put, Delete, Metadata]),
    case!(delete_leaves_other_secrets_alone, [Put, Delete]),
    case!(delete_is_idempotent, [Put, Delete]),
    case!(destroy_is_idempotent, [Put, Delete]),
    case!(destroy_removes_a_deleted_secret, [Put, Delete, Undelete]),
    case!(destroy_removes_all_versions, [Put, Delete, Versions]),
    case!(destroy_removes_metadata, [Put, Delete, Metadata]),
    case!(put_revives_a_deleted_secret, [Put, Delete]),
    case!(put_on_a_deleted_secret_keeps_its_versions, [Put, Delete, Undelete, Versions]),
    case!(put_on_a_deleted_secret_keeps_its_metadata, [Put, Delete, Undelete, Metadata]),
    case!(undelete_brings_everything_back, [Put, Delete, Undelete]),
    case!(undelete_of_a_live_secret_changes_nothing, [Put, Undelete]),
    case!(undelete_of_nothing_is_not_found, [Undelete]),
    case!(undelete_of_a_destroyed_secret_is_not_found, [Put, Delete, Undelete]),
    case!(delete_and_undelete_can_be_repeated, [Put, Delete, Undelete]),
];

const KEY: &str = "delete/key";

async fn delete_makes_get_answer_not_found(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    store.delete(KEY).await;
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
    let many = store.backend().get_many(&[store.path(KEY)]).await;
    expect_error(many.into_iter().next().unwrap(), ErrorKind::NotFound);
}

async fn delete_makes_get_by_version_answer_not_found(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    let second = store.put(KEY, canary::text("-2")).await;
    store.delete(KEY).await;
    expect_error(store.get_version(KEY, &first).await, ErrorKind::NotFound);
    expect_error(store.get_version(KEY, &second).await, ErrorKind::NotFound);
    expect_error(store.backend().versions(&store.path(KEY)).await, ErrorKind::NotFound);
}

async fn delete_makes_describe_answer_not_found(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    store.delete(KEY).await;
    expect_error(store.backend().describe(&store.path(KEY)).await, ErrorKind::NotFound);
    let patch = MetadataPatch::new().tag("team", "a");
    expect_error(store.backend().annotate(&store.path(KEY), &patch).await, ErrorKind::NotFound);
}

async fn delete_leaves_other_secrets_alone(store: &Fixture) {
    for path in ["delete", KEY, "delete/key/below", "delete/key2"] {
        store.put(path, canary::text(path)).await;
    }
    store.delete(KEY).await;
    store.destroy("delete/key2").await;
    for path in ["delete", "delete/key/below"] {
        expect_value(store.get(path).await, &canary::text(path));
    }
}

async fn delete_is_idempotent(store: &Fixture) {
    store.delete("delete/never-written").await;
    expect_error(store.get("delete/never-written").await, ErrorKind::NotFound);
    store.put(KEY, canary::text("")).await;
    store.delete(KEY).await;
    store.delete(KEY).await;
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
    store.destroy(KEY).await;
    store.delete(KEY).await;
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}

async fn destroy_is_idempotent(store: &Fixture) {
    store.destroy("delete/never-written").await;
    store.put(KEY, canary::text("")).await;
    store.destroy(KEY).await;
    store.destroy(KEY).await;
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}

async fn destroy_removes_a_deleted_secret(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    store.delete(KEY).await;
    store.destroy(KEY).await;
    expect_error(store.backend().undelete(&store.path(KEY)).await, ErrorKind::NotFound);
}

async fn destroy_removes_all_versions(store: &Fixture) {
    for i in 0..3 {
        store.put(KEY, canary::text(&format!("-old-{i}"))).await;
    }
    let old = store.versions(KEY).await;
    store.destroy(KEY).await;
    expect_error(store.backend().versions(&store.path(KEY)).await, ErrorKind::NotFound);
    for version in ids(&old) {
        expect_error(store.get_version(KEY, version).await, ErrorKind::NotFound);
    }
    let new = store.put(KEY, canary::text("-new")).await;
    let versions = store.versions(KEY).await;
    assert_eq!(ids(&versions), [&new]);
    for version in ids(&old).into_iter().filter(|version| **version != new) {
        expect_error(store.get_version(KEY, version).await, ErrorKind::NotFound);
    }
}

async fn destroy_removes_metadata(store: &Fixture) {
    let patch = MetadataPatch::new().tag("team", "a").description("old");
    store.put_described(KEY, canary::text("-1"), patch).await;
    store.destroy(KEY).await;
    expect_error(store.backend().describe(&store.path(KEY)).await, ErrorKind::NotFound);
    store.put(KEY, canary::text("-2")).await;
    let metadata = store.describe(KEY).await.metadata;
    assert!(metadata.tags.is_empty());
    assert_eq!(metadata.description, None);
}

async fn put_revives_a_deleted_secret(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    store.delete(KEY).await;
    let second = store.put(KEY, canary::text("-2")).await;
    assert_ne!(first, second);
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-2")).version(), &second);
}

async fn put_on_a_deleted_secret_keeps_its_versions(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    store.delete(KEY).await;
    let second = store.put(KEY, canary::text("-2")).await;
    expect_value(store.get_version(KEY, &first).await, &canary::text("-1"));
    let versions = store.versions(KEY).await;
    assert_eq!(ids(&versions), [&second, &first]);
    assert_eq!(active_version(&versions), &second);
}

async fn put_on_a_deleted_secret_keeps_its_metadata(store: &Fixture) {
    store.put_described(KEY, canary::text("-1"), MetadataPatch::new().tag("team", "a")).await;
    let before = store.describe(KEY).await.metadata;
    store.delete(KEY).await;
    store.put(KEY, canary::text("-2")).await;
    let after = store.describe(KEY).await.metadata;
    assert_eq!(after.tags, before.tags);
    assert_eq!(after.created_at, before.created_at);
}

async fn undelete_brings_everything_back(store: &Fixture) {
    store.put(KEY, canary::text("-1")).await;
    store.put(KEY, canary::text("-2")).await;
    let (before, secret) = (store.state(KEY).await, store.get(KEY).await.unwrap());
    store.delete(KEY).await;
    store.undelete(KEY).await;
    let again = expect_value(store.get(KEY).await, &canary::text("-2"));
    assert_eq!(again.version(), secret.version());
    before.assert_same_versions(&store.state(KEY).await);
}

async fn undelete_of_a_live_secret_changes_nothing(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    let before = store.state(KEY).await;
    store.undelete(KEY).await;
    before.assert_same(&store.state(KEY).await);
}

async fn undelete_of_nothing_is_not_found(store: &Fixture) {
    expect_error(store.backend().undelete(&store.path(KEY)).await, ErrorKind::NotFound);
}

async fn undelete_of_a_destroyed_secret_is_not_found(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    store.destroy(KEY).await;
    expect_error(store.backend().undelete(&store.path(KEY)).await, ErrorKind::NotFound);
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}

async fn delete_and_undelete_can_be_repeated(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    for _ in 0..3 {
        store.delete(KEY).await;
        expect_error(store.get(KEY).await, ErrorKind::NotFound);
        store.undelete(KEY).await;
        expect_value(store.get(KEY).await, &canary::text(""));
    }
}
