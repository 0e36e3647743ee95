//! What an attacker, a backup tool or a wrong setting may do to a store, apart from edits of its
//! records.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend, Error, ErrorKind, PutOptions};
use support::{
    all_paths, config, directory_in_memory, is_intact, key_file, open, path, put_next, raw,
    store_file,
};

async fn open_error(config: NativeConfig) -> Error {
    NativeBackend::open(config).await.unwrap_err()
}

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = store_file(directory).into_os_string();
    name.push(suffix);
    name.into()
}

const TRIGGERS: &str = "
    CREATE TRIGGER t1 BEFORE INSERT ON secrets BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER t2 BEFORE INSERT ON versions BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER t3 BEFORE DELETE ON secrets BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER t4 BEFORE DELETE ON versions BEGIN SELECT RAISE(IGNORE); END;";

#[tokio::test]
async fn triggers_planted_in_an_open_store_do_not_run() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    raw(directory.path()).execute_batch(TRIGGERS).unwrap();
    put_next(&backend, "a", 2).await;
    assert!(is_intact(&backend, "a", 2).await);
    backend.destroy(&path("a")).await.unwrap();
    assert!(all_paths(&backend).await.is_empty());
    let left: i64 =
        raw(directory.path()).query_row("SELECT count(*) FROM versions", [], |r| r.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_store_with_an_edited_schema_is_corrupt() {
    for edit in [
        TRIGGERS,
        "CREATE INDEX planted ON secrets (kind)",
        "CREATE VIEW planted AS SELECT * FROM secrets",
        "CREATE TABLE planted (x)",
        "DROP TABLE versions",
        "ALTER TABLE secrets ADD COLUMN planted TEXT",
    ] {
        let directory = directory_in_memory();
        open(directory.path()).await.close().await.unwrap();
        raw(directory.path()).execute_batch(edit).unwrap();
        let error = open_error(config(directory.path())).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{edit}: {error}");
        assert!(error.advice().contains("backup"), "{error}");
    }
    let directory = directory_in_memory();
    open(directory.path()).await.close().await.unwrap();
    raw(directory.path()).execute_batch("CREATE TABLE _other_tool (x)").unwrap();
    let error = open_error(config(directory.path())).await;
    assert!(error.to_string().contains("table `_other_tool` is added"), "{error}");
}

#[tokio::test]
async fn a_store_without_its_log_is_still_that_store() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let copied = directory_in_memory();
    fs::copy(store_file(directory.path()), store_file(copied.path())).unwrap();
    let error = open_error(config(copied.path())).await;
    assert!(error.to_string().contains("missing"), "its key is another: {error}");
    fs::write(key_file(copied.path()), [0xaa; 32]).unwrap();
    fs::set_permissions(key_file(copied.path()), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open_error(config(copied.path())).await.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn accepts_a_path_of_the_length_of_a_key() {
    let directory = directory_in_memory();
    let mut folder = directory.path().to_str().unwrap().to_owned() + "/";
    while folder.len() < 38 {
        folder.push('k');
    }
    fs::create_dir_all(&folder).unwrap();
    let mut config = config(directory.path());
    let file = format!("{folder}/{}", "k".repeat(42 - folder.len()));
    assert_eq!(file.len(), 43);
    config.keys = vec![KeySource::KeyFile(file.into())];
    NativeBackend::open(config).await.unwrap();
}

#[tokio::test]
async fn accepts_a_vacuumed_and_analysed_database() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    for statement in ["ANALYZE", "PRAGMA optimize", "VACUUM", "REINDEX", "PRAGMA wal_checkpoint"] {
        raw(directory.path()).execute_batch(statement).unwrap();
        assert!(is_intact(&backend, "a", 1).await, "{statement}");
        let reopened = open(directory.path()).await;
        assert!(is_intact(&reopened, "a", 1).await, "{statement}");
    }
    put_next(&backend, "a", 2).await;
}

#[tokio::test]
async fn a_key_that_was_replaced_cannot_be_put_back() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let connection = raw(directory.path());
    connection
        .execute_batch("CREATE TABLE kept AS SELECT * FROM keyring WHERE purpose = 1")
        .unwrap();
    backend.rotate_kek().await.unwrap();
    backend.close().await.unwrap();
    connection.execute_batch("INSERT INTO keyring SELECT * FROM kept; DROP TABLE kept").unwrap();
    assert_eq!(open_error(config(directory.path())).await.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn does_not_show_a_key_set_as_the_path_of_its_file() {
    let directory = directory_in_memory();
    let mut config = config(directory.path());
    let hexadecimal = "a1b2c3d4".repeat(8);
    for text in ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", &hexadecimal] {
        config.keys = vec![KeySource::KeyFile(text.into())];
        let error = open_error(config.clone()).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`KeySource::Key`"), "{error}");
        assert!(!format!("{error:?}").contains(&text[..4]), "{error:?}");
        assert!(!Path::new(text).exists() && !store_file(directory.path()).exists());
    }

    config.keys = vec![KeySource::PassphraseFile("correct horse battery".into())];
    let error = open_error(config).await;
    assert!(error.to_string().contains("`KeySource::PassphraseFile`"), "{error}");
    assert!(!format!("{error:?}").contains("horse"), "{error:?}");
}

#[tokio::test]
async fn refuses_a_typed_text_of_32_bytes_as_a_key() {
    let directory = directory_in_memory();
    fs::write(key_file(directory.path()), "password-password-password-12345").unwrap();
    fs::set_permissions(key_file(directory.path()), Permissions::from_mode(0o600)).unwrap();
    let error = open_error(config(directory.path())).await;
    assert!(error.to_string().contains("is not a key"), "{error}");
    assert!(!error.to_string().contains("password"), "{error}");
}

#[tokio::test]
async fn a_long_read_delays_no_write_and_the_log_is_truncated_later() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    let other = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    put_next(&backend, "b", 1).await;
    let connection = raw(directory.path());
    let snapshot = connection.unchecked_transaction().unwrap();
    let seen: i64 = snapshot.query_row("SELECT count(*) FROM versions", [], |r| r.get(0)).unwrap();
    assert_eq!(seen, 2);

    let begin = Instant::now();
    backend.destroy(&path("a")).await.unwrap();
    put_next(&other, "b", 2).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "writes waited for a reader");
    let log = || fs::metadata(beside(directory.path(), "-wal")).unwrap().len();
    assert_ne!(log(), 0);

    drop(snapshot);
    put_next(&backend, "b", 3).await;
    assert_eq!(log(), 0, "the log still holds the destroyed secret");
}

#[tokio::test]
async fn opens_a_copy_made_by_a_backup_tool() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let restored = directory_in_memory();
    let copy = store_file(restored.path());
    raw(directory.path()).execute("VACUUM INTO ?", [copy.to_str().unwrap()]).unwrap();
    fs::copy(key_file(directory.path()), key_file(restored.path())).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();

    let backend = open(restored.path()).await;
    assert!(is_intact(&backend, "a", 1).await);
    let mode: String =
        raw(restored.path()).query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    put_next(&backend, "a", 2).await;
}

#[tokio::test]
async fn refuses_a_log_that_others_can_access() {
    let directory = directory_in_memory();
    open(directory.path()).await.close().await.unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        let log = beside(directory.path(), suffix);
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, Permissions::from_mode(0o666)).unwrap();
        let error = open_error(config(directory.path())).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(suffix), "{error}");
        fs::remove_file(log).unwrap();
    }
}

#[tokio::test]
async fn writes_nothing_to_a_file_that_was_removed_or_replaced() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let (file, moved) = (store_file(directory.path()), directory.path().join("moved.db"));
    fs::rename(&file, &moved).unwrap();
    for _ in 0..2 {
        let error = backend.put(&path("a"), "x".into(), PutOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.is_temporary() && error.advice().contains("open the store again"));
        fs::write(&file, "another program's").unwrap();
    }
    assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(fs::read(&file).unwrap(), b"another program's");
    fs::rename(&moved, &file).unwrap();
    put_next(&backend, "a", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_nothing_to_a_file_that_was_replaced_while_a_write_waited() {
    let directory = directory_in_memory();
    let backend = std::sync::Arc::new(open(directory.path()).await);
    put_next(&backend, "a", 1).await;
    let mut connection = raw(directory.path());
    let lock = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
    let lock = lock.unwrap();
    let waiting = tokio::spawn({
        let backend = std::sync::Arc::clone(&backend);
        async move { backend.put(&path("a"), "x".into(), PutOptions::new()).await }
    });
    // For the write to be waiting, as a rule; if it is not, it must end in the same way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::rename(store_file(directory.path()), directory.path().join("moved.db")).unwrap();
    drop(lock);
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    fs::rename(directory.path().join("moved.db"), store_file(directory.path())).unwrap();
    put_next(&backend, "a", 2).await;
}

#[tokio::test]
async fn writes_nothing_once_the_log_was_removed() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    fs::remove_file(beside(directory.path(), "-wal")).unwrap();
    let error = backend.put(&path("a"), "x".into(), PutOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn invalid_rows_stop_neither_listing_nor_rotation() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    for name in ["a", "b", "c"] {
        put_next(&backend, name, 1).await;
    }
    let connection = raw(directory.path());
    connection
        .execute_batch(
            "UPDATE secrets SET path = CAST(x'62ffff' AS TEXT) WHERE path = 'b';
             INSERT INTO versions SELECT v.secret_id, -5, v.created_at, v.wrap, v.body
                 FROM versions v JOIN secrets s ON s.secret_id = v.secret_id WHERE s.path = 'a'",
        )
        .unwrap();
    let listed: Vec<_> = all_paths(&backend).await.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["a", "c"]);
    let rotation = backend.rotate_kek().await.unwrap();
    assert_eq!((rotation.damaged, rotation.rewrapped), (2, 2));
    assert!(!rotation.old_keys_removed);
    for name in ["a", "c"] {
        assert!(is_intact(&backend, name, 1).await);
    }
}

#[tokio::test]
async fn keeps_old_keys_for_records_that_no_secret_refers_to() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    put_next(&backend, "b", 1).await;
    let rotation = backend.rotate_kek().await.unwrap();
    assert!(rotation.old_keys_removed);
    raw(directory.path()).execute("DELETE FROM secrets WHERE path = 'b'", []).unwrap();
    let rotation = backend.rotate_kek().await.unwrap();
    assert_eq!(rotation.rewrapped, 1);
    assert!(!rotation.old_keys_removed);
    assert!(is_intact(&backend, "a", 1).await);
}
