//! After a burst of writes, and once secrets are removed, the store gives room back.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, PutOptions, SecretValue};
use strongroom_testkit::report;
use support::{directory_in_memory, is_intact, open, path, put_next, raw, store_file};

const MEBI: u64 = 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(60);

fn size(directory: &Path, suffix: &str) -> u64 {
    let mut file = store_file(directory).into_os_string();
    file.push(suffix);
    fs::metadata(file).unwrap().len()
}

/// Waits until the idle writer has released what it can.
async fn wait_until(directory: &Path, suffix: &str, limit: u64) {
    let begin = Instant::now();
    while size(directory, suffix) > limit {
        assert!(begin.elapsed() < LIMIT, "`{suffix}` keeps {} bytes", size(directory, suffix));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn put_large(backend: &NativeBackend, number: u64) {
    let value = SecretValue::binary(vec![7; 4 * 1024 * 1024]);
    backend.put(&path(&format!("large/{number}")), value, PutOptions::new()).await.unwrap();
}

#[tokio::test]
async fn removed_secrets_give_their_room_back_and_the_others_stay() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    for number in 0..5 {
        put_large(&backend, number).await;
        put_next(&backend, &format!("small/{number}"), 1).await;
    }
    wait_until(directory.path(), "-wal", 8 * MEBI).await;
    let full = size(directory.path(), "");
    assert!(full > 18 * MEBI, "{full}");
    for number in 0..5 {
        backend.destroy(&path(&format!("large/{number}"))).await.unwrap();
    }
    wait_until(directory.path(), "", 8 * MEBI).await;
    wait_until(directory.path(), "-wal", 8 * MEBI).await;
    for number in 0..5 {
        assert!(is_intact(&backend, &format!("small/{number}"), 1).await);
    }
    let integrity: String =
        raw(directory.path()).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    report(format_args!("from {} to {} MiB", full / MEBI, size(directory.path(), "") / MEBI));
}

#[tokio::test]
async fn a_log_that_a_reader_kept_growing_is_truncated_once_the_reader_ends() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let connection = raw(directory.path());
    let snapshot = connection.unchecked_transaction().unwrap();
    let count = "SELECT count(*) FROM versions";
    let _seen: i64 = snapshot.query_row(count, [], |row| row.get(0)).unwrap();
    for number in 0..3 {
        put_large(&backend, number).await;
    }
    assert!(size(directory.path(), "-wal") > 10 * MEBI, "the reader does not keep the log");
    drop(snapshot);
    // Without a further write.
    wait_until(directory.path(), "-wal", 8 * MEBI).await;
    assert!(is_intact(&backend, "a", 1).await);
}

#[tokio::test]
async fn a_store_of_an_earlier_release_keeps_its_size_and_works() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    let connection = raw(directory.path());
    connection
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM")
        .unwrap();
    connection.close().unwrap();
    let backend = open(directory.path()).await;
    put_large(&backend, 1).await;
    put_large(&backend, 2).await;
    backend.destroy(&path("large/1")).await.unwrap();
    backend.destroy(&path("large/2")).await.unwrap();
    put_next(&backend, "a", 2).await;
    assert!(size(directory.path(), "") > 8 * MEBI);
    assert!(is_intact(&backend, "a", 1).await && is_intact(&backend, "a", 2).await);
}
