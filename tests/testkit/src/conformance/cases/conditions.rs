//! Conditions on a write.

use strongroom_core::{ErrorKind, MetadataPatch, PutOptions, Version};

use crate::canary;
use crate::conformance::expect::{expect_error, expect_value};
use crate::conformance::{Case, Fixture, case};

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(must_not_exist_writes_once, [Put, Conditions]),
    case!(must_not_exist_conflicts_with_a_deleted_secret, [Put, Conditions, Delete, Undelete]),
    case!(must_not_exist_holds_after_destroy, [Put, Conditions, Delete]),
    case!(must_be_version_holds_for_the_active_version, [Put, Conditions]),
    case!(must_be_version_conflicts_with_an_older_version, [Put, Conditions]),
    case!(must_be_version_conflicts_where_nothing_is, [Put, Conditions]),
    case!(must_be_version_conflicts_after_destroy, [Put, Conditions, Delete]),
    case!(must_be_version_revives_a_deleted_secret, [Put, Conditions, Delete, Undelete]),
    case!(must_be_version_follows_a_rollback, [Put, Conditions, Versions, Rollback]),
    case!(a_conflict_leaves_metadata_as_it_is, [Put, Conditions, Metadata]),
    case!(a_conflict_leaves_a_deleted_secret_deleted, [Put, Conditions, Delete, Undelete]),
    case!(of_concurrent_conditional_puts_one_wins, [Put, Conditions]),
    case!(of_concurrent_first_puts_one_wins, [Put, Conditions]),
];

const KEY: &str = "conditions/key";

fn absent() -> PutOptions {
    PutOptions::new().must_not_exist()
}

fn at(version: &Version) -> PutOptions {
    PutOptions::new().must_be_version(version)
}

/// A write of `-new` that must conflict and change nothing.
async fn conflicts(store: &Fixture, options: PutOptions) {
    let before = store.state(KEY).await;
    expect_error(store.put_with(KEY, canary::text("-new"), options).await, ErrorKind::Conflict);
    before.assert_same(&store.state(KEY).await);
}

async fn must_not_exist_writes_once(store: &Fixture) {
    let version = store.put_with(KEY, canary::text("-1"), absent()).await.unwrap();
    conflicts(store, absent()).await;
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-1")).version(), &version);
}

async fn must_not_exist_conflicts_with_a_deleted_secret(store: &Fixture) {
    store.put(KEY, canary::text("-1")).await;
    store.delete(KEY).await;
    conflicts(store, absent()).await;
    store.undelete(KEY).await;
    expect_value(store.get(KEY).await, &canary::text("-1"));
}

async fn must_not_exist_holds_after_destroy(store: &Fixture) {
    store.put(KEY, canary::text("-1")).await;
    store.destroy(KEY).await;
    store.put_with(KEY, canary::text("-2"), absent()).await.unwrap();
    expect_value(store.get(KEY).await, &canary::text("-2"));
}

async fn must_be_version_holds_for_the_active_version(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    let second = store.put_with(KEY, canary::text("-2"), at(&first)).await.unwrap();
    let third = store.put_with(KEY, canary::text("-3"), at(&second)).await.unwrap();
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-3")).version(), &third);
}

async fn must_be_version_conflicts_with_an_older_version(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    store.put(KEY, canary::text("-2")).await;
    conflicts(store, at(&first)).await;
    conflicts(store, at(&Version::new("no-such-version"))).await;
}

async fn must_be_version_conflicts_where_nothing_is(store: &Fixture) {
    for version in [Version::from(0), Version::from(1), Version::new("no-such-version")] {
        conflicts(store, at(&version)).await;
    }
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}

async fn must_be_version_conflicts_after_destroy(store: &Fixture) {
    let version = store.put(KEY, canary::text("-1")).await;
    store.destroy(KEY).await;
    conflicts(store, at(&version)).await;
}

async fn must_be_version_revives_a_deleted_secret(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    store.delete(KEY).await;
    let second = store.put_with(KEY, canary::text("-2"), at(&first)).await.unwrap();
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-2")).version(), &second);
}

async fn must_be_version_follows_a_rollback(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    let second = store.put(KEY, canary::text("-2")).await;
    let active = store.rollback(KEY, &first).await;
    conflicts(store, at(&second)).await;
    store.put_with(KEY, canary::text("-3"), at(&active)).await.unwrap();
    expect_value(store.get(KEY).await, &canary::text("-3"));
}

async fn a_conflict_leaves_metadata_as_it_is(store: &Fixture) {
    store.put_described(KEY, canary::text("-1"), MetadataPatch::new().tag("team", "a")).await;
    let patch = MetadataPatch::new().tag("team", "b").description("not to be seen");
    conflicts(store, absent().metadata(patch)).await;
}

async fn a_conflict_leaves_a_deleted_secret_deleted(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    store.put(KEY, canary::text("-2")).await;
    store.delete(KEY).await;
    conflicts(store, at(&first)).await;
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}

async fn of_concurrent_conditional_puts_one_wins(store: &Fixture) {
    let mut active = store.put(KEY, canary::text("-0")).await;
    for _ in 0..4 {
        active = one_of_sixteen_wins(store, &at(&active)).await;
    }
}

async fn of_concurrent_first_puts_one_wins(store: &Fixture) {
    one_of_sixteen_wins(store, &absent()).await;
}

async fn one_of_sixteen_wins(store: &Fixture, options: &PutOptions) -> Version {
    let put = |i: usize| {
        let (backend, path, options) = (store.shared(), store.path(KEY), options.clone());
        let value = canary::text(&format!("-{i}"));
        tokio::spawn(async move { backend.put(&path, value, options).await })
    };
    let tasks: Vec<_> = (0..16).map(put).collect();
    let mut winners = Vec::new();
    for (i, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(version) => winners.push((i, version)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
    }
    let [(i, version)] = winners.as_slice() else {
        panic!("not exactly one put has won: {winners:?}");
    };
    let secret = expect_value(store.get(KEY).await, &canary::text(&format!("-{i}")));
    assert_eq!(secret.version(), version);
    version.clone()
}
