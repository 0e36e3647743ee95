//! Sweeping old versions away, and giving room back.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, ErrorKind, PutOptions};
use support::{config, directory_in_memory, is_intact, open, path, put_next, raw, store_file};

async fn keeping(directory: &Path, versions: u64) -> NativeBackend {
    let mut config = config(directory);
    config.keep_versions = Some(versions);
    NativeBackend::open(config).await.unwrap()
}

async fn numbers(backend: &NativeBackend, name: &str) -> Vec<u64> {
    let versions = backend.versions(&path(name)).await.unwrap();
    versions.iter().map(|info| info.version.number().unwrap()).collect()
}

#[tokio::test]
async fn a_sweep_removes_old_versions_of_secrets_that_are_not_written() {
    let directory = directory_in_memory();
    let all = open(directory.path()).await;
    let names: Vec<_> = (0..450).map(|number| format!("many/{number:04}")).collect();
    for name in &names {
        put_next(&all, name, 1).await;
        put_next(&all, name, 2).await;
    }
    for version in 1..=5 {
        for name in ["plain", "back", "gone"] {
            put_next(&all, name, version).await;
        }
    }
    all.rollback(&path("back"), &2.into()).await.unwrap();
    all.delete(&path("gone")).await.unwrap();
    let described = all.describe(&path("plain")).await.unwrap();
    assert_eq!(all.sweep().await.unwrap().removed, 0, "without a limit, all are kept");

    let store = keeping(directory.path(), 1).await;
    let swept = store.sweep().await.unwrap();
    // One of each of the many, four of the plain and the deleted secret, and the one before the active one.
    assert_eq!((swept.secrets, swept.removed, swept.damaged), (453, 450 + 4 + 4 + 1, 0));
    assert_eq!(numbers(&store, "plain").await, [5]);
    assert_eq!(numbers(&store, "back").await, [5, 4, 3, 2], "the active version stays");
    assert!(is_intact(&store, "back", 2).await);
    store.undelete(&path("gone")).await.unwrap();
    assert_eq!(numbers(&store, "gone").await, [5]);
    for name in &names {
        assert!(is_intact(&store, name, 2).await && !is_intact(&store, name, 1).await);
    }
    let after = store.describe(&path("plain")).await.unwrap();
    assert_eq!(after.metadata.updated_at, described.metadata.updated_at, "it is no write");
    assert_eq!(store.sweep().await.unwrap().removed, 0);
    assert_eq!(store.verify().await.unwrap().damaged, 0);
    // The next write goes on where it was.
    put_next(&store, "plain", 6).await;
}

#[tokio::test]
async fn a_sweep_leaves_corrupt_secrets_alone() {
    let directory = directory_in_memory();
    let store = keeping(directory.path(), 5).await;
    for version in 1..=3 {
        put_next(&store, "a", version).await;
        put_next(&store, "b", version).await;
    }
    raw(directory.path()).execute("UPDATE secrets SET kind = 'x' WHERE path = 'a'", []).unwrap();
    let store = keeping(directory.path(), 1).await;
    let swept = store.sweep().await.unwrap();
    assert_eq!((swept.secrets, swept.removed, swept.damaged), (2, 2, 1));
    let left = "SELECT count(*) FROM versions";
    assert_eq!(raw(directory.path()).query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gives_room_back_while_others_read_and_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).await);
    // As an earlier release created it.
    let connection = raw(directory.path());
    connection.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    drop(connection);
    let large = "x".repeat(100_000);
    for number in 0..100 {
        let name = path(&format!("large/{number}"));
        store.put(&name, large.as_str().into(), PutOptions::new()).await.unwrap();
    }
    put_next(&store, "kept", 1).await;
    for number in 0..100 {
        store.destroy(&path(&format!("large/{number}"))).await.unwrap();
    }
    let size = || fs::metadata(store_file(directory.path())).unwrap().len();
    let before = size();
    assert!(before > 5_000_000, "{before}");
    let other = Arc::clone(&store);
    let writes = tokio::spawn(async move {
        for version in 1..=50 {
            put_next(&other, "busy", version).await;
            assert!(is_intact(&other, "kept", 1).await);
        }
    });
    store.vacuum().await.unwrap();
    writes.await.unwrap();
    store.vacuum().await.unwrap();
    store.close().await.unwrap();
    assert!(size() < 1_000_000, "{} of {before}", size());
    let store = open(directory.path()).await;
    assert!(is_intact(&store, "kept", 1).await && is_intact(&store, "busy", 50).await);
    let mode: i64 =
        raw(directory.path()).query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, 2, "room can be released from now on");
}

#[tokio::test]
async fn without_a_store_there_is_nothing_to_maintain() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.create = false;
    let store = NativeBackend::open(config).await.unwrap();
    let target = directory.path().join("backup");
    for error in [
        store.verify().await.unwrap_err(),
        store.backup(&target).await.unwrap_err(),
        store.vacuum().await.unwrap_err(),
        store.sweep().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert!(!target.exists());
    store.close().await.unwrap();
    assert_eq!(store.verify().await.unwrap_err().kind(), ErrorKind::Closed);
}
