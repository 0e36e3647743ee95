//! The limits of metadata: a call that exceeds one fails and changes nothing.

use std::time::{Duration, UNIX_EPOCH};

use strongroom_core::{ErrorKind, MetadataPatch, PutOptions};

use crate::canary;
use crate::conformance::expect::{expect_error, expect_value};
use crate::conformance::{Case, Fixture, case};

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(put_over_a_limit_changes_nothing, [Put, Metadata]),
    case!(put_over_a_limit_creates_nothing, [Put, Metadata]),
    case!(put_over_a_limit_revives_nothing, [Put, Metadata, Delete]),
    case!(annotate_over_a_limit_changes_nothing, [Put, Metadata]),
    case!(metadata_up_to_the_limits_is_kept, [Put, Metadata]),
    case!(the_number_of_tags_counts_those_there, [Put, Metadata]),
];

const KEY: &str = "limits/key";

fn over() -> Vec<MetadataPatch> {
    let tag = |name: &str, value: &str| MetadataPatch::new().tag(name, value);
    vec![
        tag("", "x"),
        tag("a b", "x"),
        tag("ž", "x"),
        tag("aws:x", "x"),
        tag("strongroom", "x"),
        tag("strongroom.kind", "x"),
        tag(&"x".repeat(MetadataPatch::MAX_TAG_NAME + 1), "x"),
        tag("a", &"x".repeat(MetadataPatch::MAX_TAG_VALUE + 1)),
        tag("a", "line\nbreak"),
        (0..=MetadataPatch::MAX_TAGS)
            .fold(MetadataPatch::new(), |patch, i| patch.tag(i.to_string(), "")),
        MetadataPatch::new().description(""),
        MetadataPatch::new().description("x".repeat(MetadataPatch::MAX_DESCRIPTION + 1)),
        MetadataPatch::new().description("line\nbreak"),
        MetadataPatch::new().expires_at(UNIX_EPOCH - Duration::from_secs(1)),
        MetadataPatch::new().expires_at(UNIX_EPOCH + Duration::from_secs(253_402_300_800)),
        MetadataPatch::new().rotation_interval(Duration::from_millis(999)),
        // Good and bad together: the good part is not applied either.
        tag("team", "changed").description("line\nbreak"),
    ]
}

async fn put_over_a_limit_changes_nothing(store: &Fixture) {
    store.put_described(KEY, canary::text("-1"), MetadataPatch::new().tag("team", "a")).await;
    let before = store.state(KEY).await;
    for patch in over() {
        let options = PutOptions::new().metadata(patch);
        let answer = store.put_with(KEY, canary::text("-2"), options).await;
        expect_error(answer, ErrorKind::InvalidInput);
    }
    before.assert_same(&store.state(KEY).await);
}

async fn put_over_a_limit_creates_nothing(store: &Fixture) {
    for patch in over() {
        let options = PutOptions::new().metadata(patch);
        let answer = store.put_with(KEY, canary::text(""), options).await;
        expect_error(answer, ErrorKind::InvalidInput);
    }
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
    expect_error(store.backend().describe(&store.path(KEY)).await, ErrorKind::NotFound);
}

async fn put_over_a_limit_revives_nothing(store: &Fixture) {
    store.put(KEY, canary::text("-1")).await;
    store.delete(KEY).await;
    for patch in over() {
        let options = PutOptions::new().metadata(patch);
        let answer = store.put_with(KEY, canary::text("-2"), options).await;
        expect_error(answer, ErrorKind::InvalidInput);
    }
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}

async fn annotate_over_a_limit_changes_nothing(store: &Fixture) {
    store.put_described(KEY, canary::text(""), MetadataPatch::new().tag("team", "a")).await;
    let before = store.state(KEY).await;
    for patch in over() {
        let answer = store.backend().annotate(&store.path(KEY), &patch).await;
        expect_error(answer, ErrorKind::InvalidInput);
    }
    before.assert_same(&store.state(KEY).await);
}

async fn metadata_up_to_the_limits_is_kept(store: &Fixture) {
    let long = |i: usize| format!("{i:0>width$}", width = MetadataPatch::MAX_TAG_NAME);
    let value = "ž".repeat(MetadataPatch::MAX_TAG_VALUE / 2);
    let patch = (0..MetadataPatch::MAX_TAGS)
        .fold(MetadataPatch::new(), |patch, i| patch.tag(long(i), value.clone()))
        .description("d".repeat(MetadataPatch::MAX_DESCRIPTION))
        .expires_at(UNIX_EPOCH + Duration::from_millis(253_402_300_799_999))
        .rotation_interval(Duration::from_secs(1));
    store.put_described(KEY, canary::text(""), patch.clone()).await;
    let metadata = store.describe(KEY).await.metadata;
    let mut expected = metadata.clone();
    patch.apply(&mut expected).unwrap();
    assert_eq!(metadata, expected);
    assert_eq!(metadata.tags.len(), MetadataPatch::MAX_TAGS);
    expect_value(store.get(KEY).await, &canary::text(""));
}

async fn the_number_of_tags_counts_those_there(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    for i in 0..MetadataPatch::MAX_TAGS {
        store.annotate(KEY, MetadataPatch::new().tag(format!("t{i}"), "")).await;
    }
    let before = store.state(KEY).await;
    let more = MetadataPatch::new().tag("one-more", "");
    expect_error(store.backend().annotate(&store.path(KEY), &more).await, ErrorKind::InvalidInput);
    let put = store.put_with(KEY, canary::text("-2"), PutOptions::new().metadata(more.clone()));
    expect_error(put.await, ErrorKind::InvalidInput);
    before.assert_same(&store.state(KEY).await);
    store.annotate(KEY, more.remove_tag("t0")).await;
    assert_eq!(store.describe(KEY).await.metadata.tags.len(), MetadataPatch::MAX_TAGS);
}
