//! The backend as a whole: closing it, printing it.

use strongroom_core::{
    Backend, Change, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions, SecretPath,
    SecretValue, Version, VersionSelector,
};

use crate::canary;
use crate::conformance::expect::expect_error;
use crate::conformance::{Case, Fixture, Seed, case};
use crate::planted;

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(after_close_reads_answer_closed, [], SEEDS),
    case!(after_close_writes_answer_closed, [Put], SEEDS),
    case!(after_close_deletes_answer_closed, [Delete], SEEDS),
    case!(after_close_undelete_answers_closed, [Undelete], SEEDS),
    case!(after_close_versions_answers_closed, [Versions], SEEDS),
    case!(after_close_rollback_answers_closed, [Rollback], SEEDS),
    case!(after_close_metadata_answers_closed, [Metadata], SEEDS),
    case!(after_close_list_answers_closed, [List], SEEDS),
    case!(after_close_rotate_answers_closed, [Rotate], SEEDS),
    case!(close_can_be_repeated, []),
    case!(a_feed_tells_of_each_change, [Put]),
    case!(a_feed_ends_with_the_store, [], SEEDS),
    case!(debug_is_masked, [], SEEDS),
    case!(debug_of_binary_and_fields_is_masked, [Put, Binary]),
    case!(rotate_of_nothing_is_not_found, [Rotate]),
];

const KEY: &str = "lifecycle/key";
const SEEDS: &[Seed] = &[Seed { path: KEY, text: planted!("-lifecycle") }];

/// The backend, closed, and the path of the seed.
async fn close_store(store: &Fixture) -> (&dyn Backend, SecretPath) {
    store.get(KEY).await.unwrap();
    store.backend().close().await.unwrap();
    (store.backend(), store.path(KEY))
}

async fn after_close_reads_answer_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    let error = expect_error(backend.get(&path, &VersionSelector::Active).await, ErrorKind::Closed);
    assert_eq!(error.operation(), Some(Operation::Get));
    for answer in backend.get_many(&[path.clone(), store.path("lifecycle/nothing")]).await {
        expect_error(answer, ErrorKind::Closed);
    }
    expect_error(backend.health().await, ErrorKind::Closed);
}

async fn after_close_writes_answer_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    let put = backend.put(&path, canary::text("-late"), PutOptions::new());
    expect_error(put.await, ErrorKind::Closed);
}

async fn after_close_deletes_answer_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    expect_error(backend.delete(&path).await, ErrorKind::Closed);
    expect_error(backend.destroy(&path).await, ErrorKind::Closed);
}

async fn after_close_undelete_answers_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    expect_error(backend.undelete(&path).await, ErrorKind::Closed);
}

async fn after_close_versions_answers_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    expect_error(backend.versions(&path).await, ErrorKind::Closed);
}

async fn after_close_rollback_answers_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    expect_error(backend.rollback(&path, &Version::from(1)).await, ErrorKind::Closed);
}

async fn after_close_metadata_answers_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    expect_error(backend.describe(&path).await, ErrorKind::Closed);
    let patch = MetadataPatch::new().tag("team", "a");
    expect_error(backend.annotate(&path, &patch).await, ErrorKind::Closed);
}

async fn after_close_list_answers_closed(store: &Fixture) {
    let (backend, _) = close_store(store).await;
    expect_error(backend.list(None, &ListOptions::new()).await, ErrorKind::Closed);
    expect_error(backend.list(Some(store.prefix()), &ListOptions::new()).await, ErrorKind::Closed);
}

async fn after_close_rotate_answers_closed(store: &Fixture) {
    let (backend, path) = close_store(store).await;
    expect_error(backend.rotate(&path).await, ErrorKind::Closed);
}

async fn close_can_be_repeated(store: &Fixture) {
    store.backend().close().await.unwrap();
    store.backend().close().await.unwrap();
}

/// Passes for a store without a feed.
async fn a_feed_tells_of_each_change(store: &Fixture) {
    let Some(mut feed) = store.backend().changes() else { return };
    for number in 0..3 {
        let changed = format!("changes/{number}");
        store.put(&changed, canary::text("-changed")).await;
        let changed = store.path(&changed);
        // The case has a limit of time.
        while match feed.next().await.expect("the store is open") {
            Change::Secrets(paths) => !paths.contains(&changed),
            _ => false,
        } {}
    }
}

/// Passes for a store without a feed.
async fn a_feed_ends_with_the_store(store: &Fixture) {
    let Some(mut feed) = store.backend().changes() else { return };
    close_store(store).await;
    while feed.next().await.is_some() {}
    assert_eq!(feed.next().await, None);
}

async fn debug_is_masked(store: &Fixture) {
    let secret = store.get(KEY).await.unwrap();
    assert!(canary::find(secret.expose_bytes()).is_some(), "the value is not the planted one");
    let printed = format!("{secret:?} {secret:#?} {:?} {:#?}", secret.value(), secret.value());
    assert_eq!(canary::find(printed.as_bytes()), None);
    let printed = format!("{:?} {:#?}", store.backend(), store.backend());
    assert_eq!(canary::find(printed.as_bytes()), None);
    let printed = format!("{:?}", store.backend().info());
    assert_eq!(canary::find(printed.as_bytes()), None);
}

async fn debug_of_binary_and_fields_is_masked(store: &Fixture) {
    let binary = SecretValue::binary(canary::CANARY.into());
    let fields = SecretValue::fields([("password", canary::CANARY)]);
    for value in [binary, fields] {
        store.put(KEY, value).await;
        let secret = store.get(KEY).await.unwrap();
        let printed = format!("{secret:?} {:#?} {:#?}", secret.value(), store.backend());
        assert_eq!(canary::find(printed.as_bytes()), None);
    }
}

async fn rotate_of_nothing_is_not_found(store: &Fixture) {
    expect_error(
        store.backend().rotate(&store.path("lifecycle/nothing")).await,
        ErrorKind::NotFound,
    );
}
