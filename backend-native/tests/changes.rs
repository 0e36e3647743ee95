//! The feed of changes: what other processes write.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, Change, ChangeFeed, ErrorKind, MetadataPatch, VersionSelector};
use strongroom_testkit::process::{Role, role};
use support::{DIRECTORY, child_directory, config, directory_in_memory, open, path, put_next};
use tokio::time::timeout;

const VERSION: &str = "STRONGROOM_TEST_VERSION";
/// How long a test waits for what has to come.
const LIMIT: Duration = Duration::from_secs(30);
/// How long nothing must come.
const QUIET: Duration = Duration::from_millis(500);

/// Writes one version, as another process.
#[test]
fn child() {
    if role().is_none() {
        return;
    }
    let version = std::env::var(VERSION).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let backend = open(&child_directory()).await;
        put_next(&backend, "a", version).await;
        backend.close().await.unwrap();
    });
}

fn write_in_another_process(directory: &Path, version: u64) {
    let mut child = Role::in_test("writer", "child")
        .unwrap()
        .env(DIRECTORY, directory)
        .env(VERSION, version.to_string())
        .inherit_stderr()
        .spawn()
        .unwrap();
    assert!(child.wait_within(LIMIT).unwrap().success());
}

async fn next(feed: &mut Box<dyn ChangeFeed>) -> Option<Change> {
    timeout(LIMIT, feed.next()).await.unwrap()
}

async fn is_quiet(feed: &mut Box<dyn ChangeFeed>) -> bool {
    timeout(QUIET, feed.next()).await.is_err()
}

async fn version_of_a(backend: &NativeBackend) -> Option<u64> {
    let read = backend.get(&path("a"), &VersionSelector::Active).await;
    read.ok().and_then(|secret| secret.version().number())
}

#[tokio::test]
async fn tells_of_each_write_of_another_process() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    let mut feed = backend.changes().unwrap();
    for version in 1..=3 {
        assert!(is_quiet(&mut feed).await, "nothing has changed since version {}", version - 1);
        write_in_another_process(directory.path(), version);
        assert_eq!(next(&mut feed).await, Some(Change::Any));
        assert_eq!(version_of_a(&backend).await, Some(version));
        // What the other process has done when it closed the store.
        while !is_quiet(&mut feed).await {}
    }
}

#[tokio::test]
async fn tells_of_every_kind_of_change_and_of_own_ones() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    let mut feed = backend.changes().unwrap();
    put_next(&backend, "a", 1).await;
    assert_eq!(next(&mut feed).await, Some(Change::Any));
    backend.annotate(&path("a"), &MetadataPatch::new().tag("team", "ai")).await.unwrap();
    assert_eq!(next(&mut feed).await, Some(Change::Any));
    backend.delete(&path("a")).await.unwrap();
    assert_eq!(next(&mut feed).await, Some(Change::Any));
    backend.undelete(&path("a")).await.unwrap();
    assert_eq!(next(&mut feed).await, Some(Change::Any));
    backend.destroy(&path("a")).await.unwrap();
    assert_eq!(next(&mut feed).await, Some(Change::Any));
}

#[tokio::test]
async fn loses_nothing_between_two_calls_or_when_a_call_is_dropped() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    let mut feed = backend.changes().unwrap();
    let mut feed_of_another = backend.changes().unwrap();
    assert!(is_quiet(&mut feed).await);
    for version in 1..=5 {
        put_next(&backend, "a", version).await;
    }
    let mut found = None;
    while found.is_none() {
        found = timeout(Duration::from_millis(3), feed.next()).await.ok();
    }
    assert_eq!(found.unwrap(), Some(Change::Any));
    assert!(is_quiet(&mut feed).await, "five changes are one report");
    assert_eq!(next(&mut feed_of_another).await, Some(Change::Any));
}

#[tokio::test]
async fn tells_that_a_missing_store_has_appeared() {
    let directory = directory_in_memory();
    let mut config = config(directory.path());
    // The key is there; the store is not.
    NativeBackend::open(config.clone()).await.unwrap().close().await.unwrap();
    fs::remove_file(support::store_file(directory.path())).unwrap();
    config.create = false;
    let backend = NativeBackend::open(config).await.unwrap();
    let mut feed = backend.changes().unwrap();
    assert!(is_quiet(&mut feed).await, "there is nothing to tell of");
    let missing = backend.get(&path("a"), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    write_in_another_process(directory.path(), 1);
    while version_of_a(&backend).await.is_none() {
        assert_eq!(next(&mut feed).await, Some(Change::Any));
    }
    while !is_quiet(&mut feed).await {}
    // From now on it follows the store that the read has opened.
    write_in_another_process(directory.path(), 2);
    assert_eq!(next(&mut feed).await, Some(Change::Any));
}

#[cfg(unix)]
#[tokio::test]
async fn tells_once_that_the_file_was_replaced() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    let mut feed = backend.changes().unwrap();
    let file = support::store_file(directory.path());
    let aside = directory.path().join("aside.db");
    for (from, to) in [(&file, &aside), (&aside, &file)] {
        fs::rename(from, to).unwrap();
        assert_eq!(next(&mut feed).await, Some(Change::Any));
        assert!(is_quiet(&mut feed).await);
    }
    put_next(&backend, "a", 1).await;
    assert_eq!(next(&mut feed).await, Some(Change::Any));
}

#[tokio::test]
async fn close_ends_each_feed_and_its_connection() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let mut followed = backend.changes().unwrap();
    let mut idle = backend.changes().unwrap();
    let mut unused = backend.changes().unwrap();
    let waiting = tokio::spawn(async move { followed.next().await });
    tokio::task::yield_now().await;
    backend.close().await.unwrap();
    // The last connection to a store removes its log.
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.ends_with("-wal")), "{names:?}");
    assert_eq!(timeout(LIMIT, waiting).await.unwrap().unwrap(), None);
    let mut late = backend.changes().unwrap();
    for feed in [&mut idle, &mut unused, &mut late] {
        assert_eq!(next(feed).await, None);
        assert_eq!(next(feed).await, None);
    }
}

#[tokio::test]
async fn a_feed_does_not_keep_the_store_open() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    let mut feed = backend.changes().unwrap();
    drop(backend);
    assert_eq!(next(&mut feed).await, None);
}
