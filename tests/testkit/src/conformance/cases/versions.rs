//! Earlier versions, and going back to them.

use strongroom_core::{ErrorKind, Version, VersionSelector};

use crate::canary;
use crate::conformance::expect::{active_version, expect_error, expect_value, ids};
use crate::conformance::{Case, Fixture, case};

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(versions_are_listed_newest_first, [Put, Versions]),
    case!(versions_of_nothing_is_not_found, [Versions]),
    case!(old_versions_stay_readable, [Put, Versions]),
    case!(get_of_a_missing_version_is_not_found, [Put, Versions]),
    case!(versions_belong_to_their_path, [Put, Versions]),
    case!(a_label_finds_the_version_that_carries_it, [Put, Versions, Rollback, Stages]),
    case!(rollback_makes_an_earlier_value_active, [Put, Versions, Rollback]),
    case!(rollback_can_go_forward_again, [Put, Versions, Rollback]),
    case!(rollback_to_the_active_version_keeps_the_value, [Put, Versions, Rollback]),
    case!(put_after_a_rollback_is_a_new_version, [Put, Versions, Rollback]),
    case!(rollback_to_a_missing_version_is_not_found, [Put, Versions, Rollback]),
    case!(rollback_of_nothing_is_not_found, [Versions, Rollback]),
    case!(rollback_of_a_deleted_secret_is_not_found, [Put, Versions, Rollback, Delete, Undelete]),
];

const KEY: &str = "versions/key";

/// Writes `count` values and gives their versions, oldest first.
async fn write_versions(store: &Fixture, count: usize) -> Vec<Version> {
    let mut versions = Vec::new();
    for i in 0..count {
        versions.push(store.put(KEY, canary::text(&format!("-{i}"))).await);
    }
    versions
}

/// Every version still has the value that was written as it.
async fn assert_unchanged(store: &Fixture, versions: &[Version]) {
    for (i, version) in versions.iter().enumerate() {
        let secret =
            expect_value(store.get_version(KEY, version).await, &canary::text(&format!("-{i}")));
        assert_eq!(secret.version(), version);
    }
}

async fn versions_are_listed_newest_first(store: &Fixture) {
    let written = write_versions(store, 5).await;
    let listed = store.versions(KEY).await;
    assert_eq!(ids(&listed), written.iter().rev().collect::<Vec<_>>());
    assert_eq!(active_version(&listed), written.last().unwrap());
    let times: Vec<_> = listed.iter().filter_map(|info| info.created_at).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
}

async fn versions_of_nothing_is_not_found(store: &Fixture) {
    expect_error(store.backend().versions(&store.path(KEY)).await, ErrorKind::NotFound);
}

async fn old_versions_stay_readable(store: &Fixture) {
    let versions = write_versions(store, 5).await;
    assert_unchanged(store, &versions).await;
}

async fn get_of_a_missing_version_is_not_found(store: &Fixture) {
    write_versions(store, 1).await;
    for missing in [Version::from(0), Version::from(999_999), Version::new("no-such-version")] {
        expect_error(store.get_version(KEY, &missing).await, ErrorKind::NotFound);
        expect_error(store.get_version("versions/nothing", &missing).await, ErrorKind::NotFound);
    }
}

async fn versions_belong_to_their_path(store: &Fixture) {
    let versions = write_versions(store, 2).await;
    store.put("versions/other", canary::text("-other")).await;
    assert_eq!(store.versions("versions/other").await.len(), 1);
    let last = versions.last().unwrap();
    expect_error(store.get_version("versions/other", last).await, ErrorKind::NotFound);
}

async fn a_label_finds_the_version_that_carries_it(store: &Fixture) {
    let versions = write_versions(store, 3).await;
    for _ in 0..2 {
        let labelled = store.versions(KEY).await;
        assert!(labelled.iter().any(|info| !info.stages.is_empty()), "{labelled:?}");
        for info in labelled {
            for stage in &info.stages {
                let selector = VersionSelector::Stage(stage.as_str().into());
                let secret = store.backend().get(&store.path(KEY), &selector).await.unwrap();
                assert_eq!(secret.version(), &info.version, "{stage}");
            }
        }
        store.rollback(KEY, &versions[0]).await;
    }
    for missing in ["no-such-label", ""] {
        let selector = VersionSelector::Stage(missing.into());
        expect_error(store.backend().get(&store.path(KEY), &selector).await, ErrorKind::NotFound);
    }
}

async fn rollback_makes_an_earlier_value_active(store: &Fixture) {
    let versions = write_versions(store, 3).await;
    let now_active = store.rollback(KEY, &versions[0]).await;
    let secret = expect_value(store.get(KEY).await, &canary::text("-0"));
    assert_eq!(secret.version(), &now_active);
    let listed = store.versions(KEY).await;
    assert_eq!(active_version(&listed), &now_active);
    let mut newest_first: Vec<_> = versions.iter().rev().collect();
    if now_active != versions[0] {
        newest_first.insert(0, &now_active);
    }
    assert_eq!(ids(&listed), newest_first);
    assert_unchanged(store, &versions).await;
}

async fn rollback_can_go_forward_again(store: &Fixture) {
    let versions = write_versions(store, 3).await;
    store.rollback(KEY, &versions[0]).await;
    let now_active = store.rollback(KEY, &versions[2]).await;
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-2")).version(), &now_active);
    assert_eq!(active_version(&store.versions(KEY).await), &now_active);
    assert_unchanged(store, &versions).await;
}

async fn rollback_to_the_active_version_keeps_the_value(store: &Fixture) {
    let versions = write_versions(store, 2).await;
    let now_active = store.rollback(KEY, &versions[1]).await;
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-1")).version(), &now_active);
}

async fn put_after_a_rollback_is_a_new_version(store: &Fixture) {
    let versions = write_versions(store, 3).await;
    store.rollback(KEY, &versions[0]).await;
    let before = store.versions(KEY).await;
    let new = store.put(KEY, canary::text("-new")).await;
    assert!(!ids(&before).contains(&&new), "{new} was given twice");
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-new")).version(), &new);
    let after = store.versions(KEY).await;
    assert_eq!(after.first().map(|info| &info.version), Some(&new));
    assert_eq!(active_version(&after), &new);
    assert_unchanged(store, &versions).await;
}

async fn rollback_to_a_missing_version_is_not_found(store: &Fixture) {
    write_versions(store, 2).await;
    let before = store.state(KEY).await;
    for missing in [Version::from(0), Version::from(999_999), Version::new("no-such-version")] {
        let answer = store.backend().rollback(&store.path(KEY), &missing).await;
        expect_error(answer, ErrorKind::NotFound);
    }
    before.assert_same(&store.state(KEY).await);
}

async fn rollback_of_nothing_is_not_found(store: &Fixture) {
    let answer = store.backend().rollback(&store.path(KEY), &Version::from(1)).await;
    expect_error(answer, ErrorKind::NotFound);
}

async fn rollback_of_a_deleted_secret_is_not_found(store: &Fixture) {
    let versions = write_versions(store, 2).await;
    store.delete(KEY).await;
    let answer = store.backend().rollback(&store.path(KEY), &versions[0]).await;
    expect_error(answer, ErrorKind::NotFound);
    store.undelete(KEY).await;
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-1")).version(), &versions[1]);
}
