//! Expiry: an expired secret is kept, but not handed out.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strongroom_core::{ErrorKind, ListOptions, MetadataPatch};

use crate::canary;
use crate::conformance::expect::{expect_error, expect_value};
use crate::conformance::{Case, Fixture, case};

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(an_expired_secret_answers_expired, [Put, Metadata]),
    case!(all_versions_of_an_expired_secret_answer_expired, [Put, Metadata, Versions]),
    case!(a_secret_expires_at_its_moment, [Put, Metadata]),
    case!(an_expired_secret_is_described, [Put, Metadata]),
    case!(an_expired_secret_is_listed, [Put, Metadata, List]),
    case!(put_keeps_the_expiry, [Put, Metadata]),
    case!(put_with_a_later_expiry_revives, [Put, Metadata]),
    case!(annotate_revives_an_expired_secret, [Put, Metadata]),
    case!(annotate_expires_a_live_secret, [Put, Metadata]),
    case!(the_expiry_is_kept_to_the_millisecond, [Put, Metadata]),
    case!(a_deleted_expired_secret_is_not_found, [Put, Metadata, Delete]),
];

const KEY: &str = "expiry/key";
const HOUR: Duration = Duration::from_secs(3600);

fn expired() -> MetadataPatch {
    MetadataPatch::new().expires_at(SystemTime::now() - HOUR)
}

async fn an_expired_secret_answers_expired(store: &Fixture) {
    store.put_described(KEY, canary::text(""), expired()).await;
    expect_error(store.get(KEY).await, ErrorKind::Expired);
    let many = store.backend().get_many(&[store.path(KEY), store.path("expiry/nothing")]).await;
    let kinds: Vec<_> = many.into_iter().map(|answer| answer.unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Expired, ErrorKind::NotFound]);
}

async fn all_versions_of_an_expired_secret_answer_expired(store: &Fixture) {
    let first = store.put(KEY, canary::text("-1")).await;
    let second = store.put_described(KEY, canary::text("-2"), expired()).await;
    expect_error(store.get_version(KEY, &first).await, ErrorKind::Expired);
    expect_error(store.get_version(KEY, &second).await, ErrorKind::Expired);
    assert_eq!(store.versions(KEY).await.len(), 2);
}

async fn a_secret_expires_at_its_moment(store: &Fixture) {
    let moment = SystemTime::now() + Duration::from_millis(300);
    let patch = MetadataPatch::new().expires_at(moment);
    store.put_described(KEY, canary::text(""), patch).await;
    let begin = Instant::now();
    loop {
        let asked = SystemTime::now();
        match store.get(KEY).await {
            // The expiry is kept to the millisecond below.
            Ok(_) => assert!(asked < moment, "handed out after its expiry"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
                assert!(SystemTime::now() + Duration::from_millis(1) >= moment, "expired early");
                return;
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "it never expires");
        tokio::task::yield_now().await;
    }
}

async fn an_expired_secret_is_described(store: &Fixture) {
    let version = store.put_described(KEY, canary::text(""), expired().tag("team", "a")).await;
    let description = store.describe(KEY).await;
    assert_eq!(description.version, version);
    assert_eq!(description.metadata.tags["team"], "a");
    assert!(description.metadata.expires_at.unwrap() < SystemTime::now());
}

async fn an_expired_secret_is_listed(store: &Fixture) {
    store.put_described(KEY, canary::text(""), expired()).await;
    assert_eq!(store.list(ListOptions::new()).await, [KEY]);
}

async fn put_keeps_the_expiry(store: &Fixture) {
    store.put_described(KEY, canary::text("-1"), expired()).await;
    let before = store.describe(KEY).await.metadata.expires_at;
    store.put(KEY, canary::text("-2")).await;
    assert_eq!(store.describe(KEY).await.metadata.expires_at, before);
    expect_error(store.get(KEY).await, ErrorKind::Expired);
}

async fn put_with_a_later_expiry_revives(store: &Fixture) {
    store.put_described(KEY, canary::text("-1"), expired()).await;
    let later = MetadataPatch::new().expires_at(SystemTime::now() + HOUR);
    store.put_described(KEY, canary::text("-2"), later).await;
    expect_value(store.get(KEY).await, &canary::text("-2"));
}

async fn annotate_revives_an_expired_secret(store: &Fixture) {
    let version = store.put_described(KEY, canary::text(""), expired()).await;
    store.annotate(KEY, MetadataPatch::new().tag("team", "a")).await;
    expect_error(store.get(KEY).await, ErrorKind::Expired);
    store.annotate(KEY, MetadataPatch::new().clear_expires_at()).await;
    let secret = expect_value(store.get(KEY).await, &canary::text(""));
    assert_eq!(secret.version(), &version);
    assert_eq!(secret.metadata().expires_at, None);
    assert_eq!(secret.metadata().tags["team"], "a");
}

async fn annotate_expires_a_live_secret(store: &Fixture) {
    store.put(KEY, canary::text("")).await;
    store.annotate(KEY, MetadataPatch::new().expires_at(SystemTime::now() + HOUR)).await;
    expect_value(store.get(KEY).await, &canary::text(""));
    store.annotate(KEY, expired()).await;
    expect_error(store.get(KEY).await, ErrorKind::Expired);
}

async fn the_expiry_is_kept_to_the_millisecond(store: &Fixture) {
    for (given, kept) in [
        (Duration::new(4_000_000_000, 123_456_789), Duration::from_millis(4_000_000_000_123)),
        (Duration::new(4_000_000_000, 999_999_999), Duration::from_millis(4_000_000_000_999)),
        (Duration::new(253_402_300_799, 1_000_000), Duration::from_millis(253_402_300_799_001)),
    ] {
        let patch = MetadataPatch::new().expires_at(UNIX_EPOCH + given);
        store.put_described(KEY, canary::text(""), patch).await;
        assert_eq!(store.describe(KEY).await.metadata.expires_at, Some(UNIX_EPOCH + kept));
    }
}

async fn a_deleted_expired_secret_is_not_found(store: &Fixture) {
    store.put_described(KEY, canary::text(""), expired()).await;
    store.delete(KEY).await;
    expect_error(store.get(KEY).await, ErrorKind::NotFound);
}
