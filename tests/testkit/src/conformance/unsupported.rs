//! Operations of missing capabilities return `Unsupported` and change nothing.

use strongroom_core::{
    Capability, ErrorKind, ListOptions, MetadataPatch, PutOptions, SecretValue, Version,
    VersionSelector,
};

use super::expect::expect_error;
use super::{Case, Fixture, Seed, case};
use crate::canary;
use crate::planted;

const KEY: &str = "unsupported/key";
const SEEDS: &[Seed] = &[Seed { path: KEY, text: planted!("-there") }];

/// The cases for a target without `capability`.
pub(super) fn cases(capability: Capability) -> &'static [Case] {
    match capability {
        Capability::Put => &[case!(put_is_unsupported, [], SEEDS)],
        Capability::Conditions => &[case!(conditional_put_is_unsupported, [], SEEDS)],
        Capability::Binary => &[case!(put_of_binary_is_unsupported, [], SEEDS)],
        Capability::Versions => &[
            case!(versions_is_unsupported, [], SEEDS),
            case!(get_of_a_version_is_unsupported, [], SEEDS),
        ],
        Capability::Rollback => &[case!(rollback_is_unsupported, [], SEEDS)],
        Capability::Delete => {
            &[case!(delete_is_unsupported, [], SEEDS), case!(destroy_is_unsupported, [], SEEDS)]
        }
        Capability::Undelete => &[case!(undelete_is_unsupported, [], SEEDS)],
        Capability::List => &[case!(list_is_unsupported, [], SEEDS)],
        Capability::Metadata => &[
            case!(describe_is_unsupported, [], SEEDS),
            case!(annotate_is_unsupported, [], SEEDS),
            case!(put_with_metadata_is_unsupported, [], SEEDS),
        ],
        Capability::Rotate => &[case!(rotate_is_unsupported, [], SEEDS)],
        Capability::Stages => &[case!(get_of_a_stage_is_unsupported, [], SEEDS)],
        Capability::Scopes => &[case!(put_with_a_scope_is_unsupported, [], SEEDS)],
        other => panic!("no case for a target without {other:?}"),
    }
}

/// Asserts that `$call` returns `Unsupported` and does not change the secret.
macro_rules! expect_unsupported {
    ($store:ident, $call:expr) => {{
        let before = $store.state(KEY).await;
        expect_error($call.await, ErrorKind::Unsupported);
        before.assert_same(&$store.state(KEY).await);
    }};
}

async fn put_is_unsupported(store: &Fixture) {
    expect_unsupported!(store, store.put_with(KEY, canary::text("-new"), PutOptions::new()));
    let absent = store.put_with("unsupported/absent", canary::text(""), PutOptions::new());
    expect_error(absent.await, ErrorKind::Unsupported);
}

async fn conditional_put_is_unsupported(store: &Fixture) {
    let version = store.get(KEY).await.unwrap().version().clone();
    let matching = PutOptions::new().must_be_version(version);
    expect_unsupported!(store, store.put_with(KEY, canary::text("-new"), matching));
    let absent = PutOptions::new().must_not_exist();
    expect_error(
        store.put_with("unsupported/absent", canary::text(""), absent).await,
        ErrorKind::Unsupported,
    );
}

async fn put_of_binary_is_unsupported(store: &Fixture) {
    expect_unsupported!(
        store,
        store.put_with(KEY, SecretValue::binary(vec![0, 255]), PutOptions::new())
    );
}

async fn versions_is_unsupported(store: &Fixture) {
    expect_error(store.backend().versions(&store.path(KEY)).await, ErrorKind::Unsupported);
}

async fn get_of_a_version_is_unsupported(store: &Fixture) {
    let version = VersionSelector::Exact(Version::from(1));
    expect_error(store.backend().get(&store.path(KEY), &version).await, ErrorKind::Unsupported);
}

async fn get_of_a_stage_is_unsupported(store: &Fixture) {
    let stage = VersionSelector::Stage("AWSCURRENT".into());
    expect_error(store.backend().get(&store.path(KEY), &stage).await, ErrorKind::Unsupported);
}

async fn rollback_is_unsupported(store: &Fixture) {
    expect_unsupported!(store, store.backend().rollback(&store.path(KEY), &Version::from(1)));
}

async fn delete_is_unsupported(store: &Fixture) {
    expect_unsupported!(store, store.backend().delete(&store.path(KEY)));
}

async fn destroy_is_unsupported(store: &Fixture) {
    expect_unsupported!(store, store.backend().destroy(&store.path(KEY)));
}

async fn undelete_is_unsupported(store: &Fixture) {
    expect_unsupported!(store, store.backend().undelete(&store.path(KEY)));
}

async fn list_is_unsupported(store: &Fixture) {
    let options = ListOptions::new();
    expect_error(store.backend().list(None, &options).await, ErrorKind::Unsupported);
    expect_error(
        store.backend().list(Some(store.prefix()), &options).await,
        ErrorKind::Unsupported,
    );
}

async fn describe_is_unsupported(store: &Fixture) {
    expect_error(store.backend().describe(&store.path(KEY)).await, ErrorKind::Unsupported);
}

async fn annotate_is_unsupported(store: &Fixture) {
    let patch = MetadataPatch::new().tag("team", "payments");
    expect_unsupported!(store, store.backend().annotate(&store.path(KEY), &patch));
}

async fn put_with_metadata_is_unsupported(store: &Fixture) {
    let options = PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments"));
    expect_unsupported!(store, store.put_with(KEY, canary::text("-new"), options));
}

async fn put_with_a_scope_is_unsupported(store: &Fixture) {
    let scoped = || PutOptions::new().scope("researcher");
    expect_unsupported!(store, store.put_with(KEY, canary::text("-new"), scoped()));
    let absent = store.put_with("unsupported/absent", canary::text(""), scoped());
    expect_error(absent.await, ErrorKind::Unsupported);
}

async fn rotate_is_unsupported(store: &Fixture) {
    expect_unsupported!(store, store.backend().rotate(&store.path(KEY)));
}
