//! What is known about a secret besides its value.

use std::time::{Duration, Instant, SystemTime};

use strongroom_core::{ErrorKind, Metadata, MetadataPatch, SecretKind, Tier};

use crate::canary;
use crate::conformance::expect::{expect_error, expect_value};
use crate::conformance::{Case, Fixture, case};

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(put_sets_metadata_in_the_same_write, [Put, Metadata]),
    case!(metadata_of_a_plain_put_is_the_default, [Put, Metadata]),
    case!(every_kind_and_tier_is_kept, [Put, Metadata]),
    case!(put_keeps_what_it_does_not_mention, [Put, Metadata]),
    case!(put_and_annotate_keep_who_made_them, [Put, Metadata]),
    case!(a_new_secret_has_a_new_creator, [Put, Metadata, Delete]),
    case!(get_and_describe_agree, [Put, Metadata]),
    case!(get_of_an_old_version_has_the_secrets_metadata, [Put, Metadata, Versions]),
    case!(annotate_merges, [Put, Metadata]),
    case!(annotate_removes, [Put, Metadata]),
    case!(annotate_changes_no_version, [Put, Metadata, Versions]),
    case!(annotate_of_nothing_is_not_found, [Metadata]),
    case!(describe_of_nothing_is_not_found, [Metadata]),
    case!(created_stays_and_updated_advances, [Put, Metadata]),
    case!(rollback_advances_updated, [Put, Metadata, Versions, Rollback]),
    case!(delete_and_undelete_advance_updated, [Put, Metadata, Delete, Undelete]),
    case!(rollback_keeps_metadata, [Put, Metadata, Versions, Rollback]),
    case!(undelete_keeps_metadata, [Put, Metadata, Delete, Undelete]),
];

const KEY: &str = "metadata/key";

fn full() -> MetadataPatch {
    MetadataPatch::new()
        .kind(SecretKind::ApiKey)
        .tier(Tier::Critical)
        .tag("team", "payments")
        .tag("cost-centre:x/y=z+@.", "Žluť 鍵 = \"4711\"")
        .tag("empty", "")
        .description("the key of – a \"service\"")
        .rotation_interval(Duration::from_secs(90 * 86_400))
}

fn assert_full(store: &Fixture, metadata: &Metadata) {
    assert_metadata(store, metadata, full().for_new_secret().unwrap());
}

/// The metadata of a secret that no write has named a principal for.
fn assert_metadata(store: &Fixture, metadata: &Metadata, mut expected: Metadata) {
    (expected.created_at, expected.updated_at) = (metadata.created_at, metadata.updated_at);
    expected.created_by = store.principal(None).map(str::to_owned);
    expected.updated_by.clone_from(&expected.created_by);
    assert_eq!(metadata, &expected);
}

async fn assert_principals(store: &Fixture, created_by: Option<&str>, updated_by: Option<&str>) {
    let principals = (store.principal(created_by), store.principal(updated_by));
    let described = store.describe(KEY).await.metadata;
    assert_eq!((described.created_by.as_deref(), described.updated_by.as_deref()), principals);
    let read = store.get(KEY).await.unwrap();
    let read = read.metadata();
    assert_eq!((read.created_by.as_deref(), read.updated_by.as_deref()), principals);
}

const AGENT: &str = "spiffe://hexr.cloud/agent/acme/my-agent/researcher";
const PERSON: &str = "person:acme/eve@example.com";

async fn put_and_annotate_keep_who_made_them(store: &Fixture) {
    let by = |principal: &str| MetadataPatch::new().updated_by(principal);
    store.put_described(KEY, canary::text("-1"), by(AGENT).tag("team", "a")).await;
    assert_principals(store, Some(AGENT), Some(AGENT)).await;
    store.put_described(KEY, canary::text("-2"), by(PERSON)).await;
    assert_principals(store, Some(AGENT), Some(PERSON)).await;
    // They name nobody.
    store.put(KEY, canary::text("-3")).await;
    store.annotate(KEY, MetadataPatch::new().tier(Tier::Standard)).await;
    assert_principals(store, Some(AGENT), Some(PERSON)).await;
    store.annotate(KEY, by(AGENT).description("d")).await;
    assert_principals(store, Some(AGENT), Some(AGENT)).await;
    let tags = store.describe(KEY).await.metadata.tags;
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), [("team".to_owned(), "a".to_owned())]);
}

async fn a_new_secret_has_a_new_creator(store: &Fixture) {
    let by = |principal: &str| MetadataPatch::new().updated_by(principal);
    store.put_described(KEY, canary::text("-1"), by(AGENT)).await;
    store.destroy(KEY).await;
    store.put_described(KEY, canary::text("-2"), by(PERSON)).await;
    assert_principals(store, Some(PERSON), Some(PERSON)).await;
    store.destroy(KEY).await;
    store.put(KEY, canary::text("-3")).await;
    assert_principals(store, None, None).await;
    store.annotate(KEY, by(PERSON)).await;
    assert_principals(store, None, Some(PERSON)).await;
}

async fn put_sets_metadata_in_the_same_write(store: &Fixture) {
    store.put_described(KEY, canary::text(""), full()).await;
    assert_full(store, &store.describe(KEY).await.metadata);
    assert_full(store, store.get(KEY).await.unwrap().metadata());
}

async fn metadata_of_a_plain_put_is_the_default(store: &Fixture) {
    let version = store.put(KEY, canary::text("")).await;
    let description = store.describe(KEY).await;
    assert_eq!(description.version, version);
    assert_eq!(description.path, store.path(KEY));
    let metadata = description.metadata;
    let (created_at, updated_at) = (metadata.created_at, metadata.updated_at);
    assert!(created_at.is_some() && updated_at >= created_at, "{metadata:?}");
    assert_eq!(metadata.tier, Tier::Sensitive);
    assert_metadata(store, &metadata, Metadata::default());
}

async fn every_kind_and_tier_is_kept(store: &Fixture) {
    for kind in SecretKind::ALL {
        store.put_described(KEY, canary::text(""), MetadataPatch::new().kind(*kind)).await;
        assert_eq!(store.describe(KEY).await.metadata.kind, *kind);
    }
    for tier in Tier::ALL {
        store.annotate(KEY, MetadataPatch::new().tier(*tier)).await;
        assert_eq!(store.describe(KEY).await.metadata.tier, *tier);
    }
}

async fn put_keeps_what_it_does_not_mention(store: &Fixture) {
    store.put_described(KEY, canary::text("-1"), full()).await;
    store.put(KEY, canary::text("-2")).await;
    assert_full(store, &store.describe(KEY).await.metadata);
    let patch = MetadataPatch::new().tag("team", "search").remove_tag("empty").tag("new", "1");
    store.put_described(KEY, canary::text("-3"), patch).await;
    let metadata = store.describe(KEY).await.metadata;
    let tags: Vec<_> = metadata.tags.keys().map(String::as_str).collect();
    assert_eq!(tags, ["cost-centre:x/y=z+@.", "new", "team"]);
    assert_eq!(metadata.tags["team"], "search");
    assert_eq!(metadata.tier, Tier::Critical);
}

async fn get_and_describe_agree(store: &Fixture) {
    store.put_described(KEY, canary::text("-1"), full()).await;
    store.put(KEY, canary::text("-2")).await;
    store.annotate(KEY, MetadataPatch::new().tag("team", "search")).await;
    let (secret, mut description) = (store.get(KEY).await.unwrap(), store.describe(KEY).await);
    // Times that would cost a read a second request are left out.
    let told = secret.metadata();
    let known = &mut description.metadata;
    known.created_at = known.created_at.filter(|_| told.created_at.is_some());
    known.updated_at = known.updated_at.filter(|_| told.updated_at.is_some());
    assert_eq!(told, known);
    assert_eq!(secret.version(), &description.version);
    assert_eq!(secret.path(), &description.path);
}

async fn get_of_an_old_version_has_the_secrets_metadata(store: &Fixture) {
    let first = store.put_described(KEY, canary::text("-1"), full()).await;
    store.put_described(KEY, canary::text("-2"), MetadataPatch::new().tag("team", "new")).await;
    let old = store.get_version(KEY, &first).await.unwrap();
    assert_eq!(old.metadata().tags["team"], "new");
}

async fn annotate_merges(store: &Fixture) {
    store.put_described(KEY, canary::text(""), full()).await;
    let mut expected = store.describe(KEY).await.metadata;
    let patch = MetadataPatch::new().tag("team", "search").tag("more", "x").tier(Tier::Standard);
    patch.apply(&mut expected).unwrap();
    store.annotate(KEY, patch).await;
    let metadata = store.describe(KEY).await.metadata;
    expected.updated_at = metadata.updated_at;
    assert_eq!(metadata, expected);
}

async fn annotate_removes(store: &Fixture) {
    store.put_described(KEY, canary::text(""), full()).await;
    let patch = MetadataPatch::new()
        .remove_tag("team")
        .remove_tag("never")
        .clear_description()
        .clear_rotation_interval();
    store.annotate(KEY, patch).await;
    let metadata = store.describe(KEY).await.metadata;
    assert!(!metadata.tags.contains_key("team") && metadata.tags.contains_key("empty"));
    assert_eq!(metadata.description, None);
    assert_eq!(metadata.rotation_interval, None);
    assert_eq!(metadata.kind, SecretKind::ApiKey);
}

async fn annotate_changes_no_version(store: &Fixture) {
    store.put(KEY, canary::text("-1")).await;
    let version = store.put(KEY, canary::text("-2")).await;
    let before = store.versions(KEY).await;
    store.annotate(KEY, full()).await;
    store.annotate(KEY, MetadataPatch::new()).await;
    assert_eq!(store.versions(KEY).await, before);
    assert_eq!(expect_value(store.get(KEY).await, &canary::text("-2")).version(), &version);
    assert_full(store, &store.describe(KEY).await.metadata);
}

async fn annotate_of_nothing_is_not_found(store: &Fixture) {
    expect_error(store.backend().annotate(&store.path(KEY), &full()).await, ErrorKind::NotFound);
    expect_error(store.backend().describe(&store.path(KEY)).await, ErrorKind::NotFound);
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}

async fn describe_of_nothing_is_not_found(store: &Fixture) {
    expect_error(store.backend().describe(&store.path(KEY)).await, ErrorKind::NotFound);
}

async fn created_stays_and_updated_advances(store: &Fixture) {
    store.put(KEY, canary::text("-1")).await;
    let first = store.describe(KEY).await.metadata;
    let put = later(store, &first, async || drop(store.put(KEY, canary::text("-2")).await));
    let put = put.await;
    let patch = MetadataPatch::new().tag("team", "a");
    let annotated = later(store, &put, async || store.annotate(KEY, patch.clone()).await).await;
    assert_eq!(first.created_at, annotated.created_at);
}

async fn rollback_advances_updated(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    let second = store.put(KEY, canary::text("-2")).await;
    let before = store.describe(KEY).await.metadata;
    let there_and_back = async || {
        store.rollback(KEY, &first).await;
        store.rollback(KEY, &second).await;
    };
    later(store, &before, there_and_back).await;
}

async fn delete_and_undelete_advance_updated(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    let before = store.describe(KEY).await.metadata;
    let there_and_back = async || {
        store.delete(KEY).await;
        store.undelete(KEY).await;
    };
    later(store, &before, there_and_back).await;
}

/// Repeats `change` until the store's clock shows a later moment than in `before`.
async fn later(store: &Fixture, before: &Metadata, change: impl AsyncFn()) -> Metadata {
    let begin = Instant::now();
    loop {
        change().await;
        let metadata = store.describe(KEY).await.metadata;
        assert_eq!(metadata.created_at, before.created_at);
        assert!(metadata.updated_at >= before.updated_at, "{metadata:?}");
        if metadata.updated_at > before.updated_at {
            return metadata;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "it never advances: {metadata:?}");
        assert!(metadata.updated_at <= Some(SystemTime::now() + Duration::from_secs(60)));
    }
}

async fn rollback_keeps_metadata(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    store.put_described(KEY, canary::text("-2"), full()).await;
    store.rollback(KEY, &first).await;
    assert_full(store, &store.describe(KEY).await.metadata);
}

async fn undelete_keeps_metadata(store: &Fixture) {
    store.put_described(KEY, canary::text(""), full()).await;
    store.delete(KEY).await;
    store.undelete(KEY).await;
    assert_full(store, &store.describe(KEY).await.metadata);
}
