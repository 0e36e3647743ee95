//! Listing paths.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use strongroom_core::{
    Backend, ListOptions, MetadataPatch, PutOptions, SecretKind, SecretPath, Tier,
};

use crate::canary;
use crate::conformance::{Case, Fixture, case};

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(list_gives_what_lies_below_at_any_depth, [Put, List]),
    case!(list_takes_whole_segments, [Put, List]),
    case!(list_does_not_give_the_prefix_itself, [Put, List]),
    case!(list_without_a_prefix_gives_all, [Put, List]),
    case!(list_of_nothing_is_empty, [List]),
    case!(list_gives_every_page, [Put, List]),
    case!(list_gives_every_page_of_a_filter, [Put, List, Metadata]),
    case!(list_filters_by_tags, [Put, List, Metadata]),
    case!(list_filters_by_kind, [Put, List, Metadata]),
    case!(list_filters_by_tier, [Put, List, Metadata]),
    case!(list_follows_changes_of_metadata, [Put, List, Metadata]),
    case!(list_leaves_out_deleted_secrets, [Put, List, Delete]),
    case!(list_includes_deleted_secrets_on_request, [Put, List, Delete, Undelete]),
    case!(list_is_complete_under_concurrent_writes, [Put, List, Delete]),
];

async fn put_all(store: &Fixture, paths: &[&str]) {
    for path in paths {
        store.put(path, canary::text(path)).await;
    }
}

/// Writes `count` secrets, several at a time, and gives their paths, sorted.
async fn put_many(store: &Fixture, count: usize, options: PutOptions) -> Vec<String> {
    let mut paths: Vec<_> = (0..count).map(|i| format!("many/{:02}/key-{i:03}", i % 17)).collect();
    let put = |path| store.put_with(path, canary::text(path), options.clone());
    let puts = stream::iter(paths.iter().map(String::as_str).map(put).collect::<Vec<_>>());
    puts.buffer_unordered(16).for_each(async |put| drop(put.unwrap())).await;
    paths.sort();
    paths
}

async fn list_gives_what_lies_below_at_any_depth(store: &Fixture) {
    put_all(store, &["a/one", "a/b/two", "a/b/c/d/three", "z/other"]).await;
    let all = store.list(ListOptions::new()).await;
    assert_eq!(all, ["a/b/c/d/three", "a/b/two", "a/one", "z/other"]);
    let below = store.list_below("a/b", ListOptions::new()).await;
    assert_eq!(below, ["a/b/c/d/three", "a/b/two"]);
}

async fn list_takes_whole_segments(store: &Fixture) {
    put_all(store, &["prod/key", "production/key", "prod-2/key", "prod.x", "pro/key"]).await;
    assert_eq!(store.list_below("prod", ListOptions::new()).await, ["prod/key"]);
}

async fn list_does_not_give_the_prefix_itself(store: &Fixture) {
    put_all(store, &["app", "app/key", "app/key/old"]).await;
    assert_eq!(store.list_below("app", ListOptions::new()).await, ["app/key", "app/key/old"]);
    assert_eq!(store.list_below("app/key", ListOptions::new()).await, ["app/key/old"]);
    assert!(store.list_below("app/key/old", ListOptions::new()).await.is_empty());
}

async fn list_without_a_prefix_gives_all(store: &Fixture) {
    put_all(store, &["one", "two/three"]).await;
    let mut found = BTreeSet::new();
    let mut options = ListOptions::new();
    loop {
        let page = store.backend().list(None, &options).await.unwrap();
        found.extend(page.paths);
        match page.next {
            Some(next) => options = options.page(Some(next)),
            None => break,
        }
    }
    assert!(found.contains(&store.path("one")) && found.contains(&store.path("two/three")));
}

async fn list_of_nothing_is_empty(store: &Fixture) {
    assert!(store.list_below("nothing/here", ListOptions::new()).await.is_empty());
}

async fn list_gives_every_page(store: &Fixture) {
    store.put("unrelated", canary::text("")).await;
    let paths = put_many(store, 250, PutOptions::new()).await;
    assert_eq!(store.list_below("many", ListOptions::new()).await, paths);
    let some = store.list_below("many/03", ListOptions::new()).await;
    let expected: Vec<_> = paths.iter().filter(|path| path.starts_with("many/03/")).collect();
    assert_eq!(some.iter().collect::<Vec<_>>(), expected);
}

async fn list_gives_every_page_of_a_filter(store: &Fixture) {
    let tagged = PutOptions::new().metadata(MetadataPatch::new().tag("set", "a"));
    let paths = put_many(store, 230, tagged).await;
    for path in paths.iter().step_by(2) {
        store.annotate(path, MetadataPatch::new().tag("set", "b")).await;
    }
    let (even, odd): (Vec<_>, Vec<_>) = paths.iter().enumerate().partition(|(i, _)| i % 2 == 0);
    for (value, expected) in [("a", odd), ("b", even)] {
        let expected: Vec<_> = expected.into_iter().map(|(_, path)| path.clone()).collect();
        assert_eq!(store.list(ListOptions::new().tag("set", value)).await, expected);
    }
}

async fn list_filters_by_tags(store: &Fixture) {
    for (path, team, env) in [("k/1", "a", "prod"), ("k/2", "a", "dev"), ("k/3", "b", "prod")] {
        let patch = MetadataPatch::new().tag("team", team).tag("env", env);
        store.put_described(path, canary::text(path), patch).await;
    }
    store.put("k/4", canary::text("-untagged")).await;
    let list = async |options: ListOptions| store.list_below("k", options).await;
    assert_eq!(list(ListOptions::new().tag("team", "a")).await, ["k/1", "k/2"]);
    assert_eq!(list(ListOptions::new().tag("team", "a").tag("env", "prod")).await, ["k/1"]);
    assert!(list(ListOptions::new().tag("team", "A")).await.is_empty());
    assert!(list(ListOptions::new().tag("team", "")).await.is_empty());
    assert!(list(ListOptions::new().tag("other", "a")).await.is_empty());
}

async fn list_filters_by_kind(store: &Fixture) {
    let ssh = || MetadataPatch::new().kind(SecretKind::SshKey);
    store.put_described("k/1", canary::text(""), ssh().tag("team", "a")).await;
    store.put_described("k/2", canary::text(""), ssh()).await;
    store.put("k/3", canary::text("")).await;
    let list = async |options: ListOptions| store.list(options).await;
    assert_eq!(list(ListOptions::new().kind(SecretKind::SshKey)).await, ["k/1", "k/2"]);
    assert_eq!(list(ListOptions::new().kind(SecretKind::Custom)).await, ["k/3"]);
    assert!(list(ListOptions::new().kind(SecretKind::ApiKey)).await.is_empty());
    let both = ListOptions::new().kind(SecretKind::SshKey).tag("team", "a");
    assert_eq!(list(both).await, ["k/1"]);
}

async fn list_filters_by_tier(store: &Fixture) {
    let tier = |tier| MetadataPatch::new().tier(tier);
    store.put_described("k/1", canary::text(""), tier(Tier::Critical).tag("team", "a")).await;
    store.put_described("k/2", canary::text(""), tier(Tier::Critical)).await;
    store.put_described("k/3", canary::text(""), tier(Tier::Standard)).await;
    store.put("k/4", canary::text("")).await;
    let list = async |options: ListOptions| store.list(options).await;
    assert_eq!(list(ListOptions::new().tier(Tier::Critical)).await, ["k/1", "k/2"]);
    assert_eq!(list(ListOptions::new().tier(Tier::Standard)).await, ["k/3"]);
    assert_eq!(list(ListOptions::new().tier(Tier::default())).await, ["k/4"]);
    assert_eq!(list(ListOptions::new().tier(Tier::Critical).tag("team", "a")).await, ["k/1"]);
}

async fn list_follows_changes_of_metadata(store: &Fixture) {
    store.put_described("k/1", canary::text(""), MetadataPatch::new().tag("team", "a")).await;
    store.put("k/1", canary::text("-2")).await;
    assert_eq!(store.list(ListOptions::new().tag("team", "a")).await, ["k/1"]);
    store.annotate("k/1", MetadataPatch::new().remove_tag("team").kind(SecretKind::ApiKey)).await;
    assert!(store.list(ListOptions::new().tag("team", "a")).await.is_empty());
    assert_eq!(store.list(ListOptions::new().kind(SecretKind::ApiKey)).await, ["k/1"]);
}

async fn list_leaves_out_deleted_secrets(store: &Fixture) {
    put_all(store, &["k/live", "k/deleted", "k/destroyed", "k/revived"]).await;
    store.delete("k/deleted").await;
    store.delete("k/revived").await;
    store.destroy("k/destroyed").await;
    store.put("k/revived", canary::text("-2")).await;
    assert_eq!(store.list(ListOptions::new()).await, ["k/live", "k/revived"]);
}

async fn list_includes_deleted_secrets_on_request(store: &Fixture) {
    put_all(store, &["k/live", "k/deleted", "k/destroyed", "k/restored"]).await;
    store.delete("k/deleted").await;
    store.delete("k/restored").await;
    store.destroy("k/destroyed").await;
    store.undelete("k/restored").await;
    assert_eq!(store.list(ListOptions::new()).await, ["k/live", "k/restored"]);
    let with_deleted = store.list(ListOptions::new().include_deleted()).await;
    assert_eq!(with_deleted, ["k/deleted", "k/live", "k/restored"]);
}

/// Secrets come and go before, between and after those that stay, while pages are read.
async fn list_is_complete_under_concurrent_writes(store: &Fixture) {
    let stay: BTreeSet<_> = put_many(store, 250, PutOptions::new()).await.into_iter().collect();
    let guests = ["a", "many/00/a", "many/05/key-1", "many/09", "many/16/z", "z"];
    let changes = Arc::new(AtomicUsize::new(0));
    let writer = tokio::spawn(come_and_go(
        store.shared(),
        guests.map(|path| store.path(path)),
        Arc::clone(&changes),
    ));
    let begin = Instant::now();
    let mut passes = 0;
    while passes < 5 || changes.load(Ordering::Relaxed) < 20 {
        let found: BTreeSet<_> = store.list(ListOptions::new()).await.into_iter().collect();
        let lost: Vec<_> = stay.difference(&found).collect();
        assert!(lost.is_empty(), "pass {passes} lacks {lost:?}");
        let others = found.difference(&stay);
        assert!(others.clone().all(|path| guests.contains(&path.as_str())), "{others:?}");
        passes += 1;
        assert!(!writer.is_finished(), "the writer has failed");
        assert!(begin.elapsed() < Duration::from_secs(600), "the writer makes no progress");
    }
    writer.abort();
}

/// Writes and destroys secrets until it is aborted, counting.
async fn come_and_go<const N: usize>(
    backend: Arc<dyn Backend>,
    paths: [SecretPath; N],
    changes: Arc<AtomicUsize>,
) {
    loop {
        for path in &paths {
            backend.put(path, canary::text(""), PutOptions::new()).await.unwrap();
            changes.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
        for path in &paths {
            backend.destroy(path).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}
