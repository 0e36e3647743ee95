//! Rotation of the key-encryption key during reads and writes, and with corrupt records in the
//! store.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, Condition, ErrorKind, PutOptions, VersionSelector};
use strongroom_testkit::process::{Role, role};
use support::{
    DIRECTORY, child_directory, config, is_intact, kek_count, open, path, put_next, raw, value_of,
    wait_for_line,
};

const SECRETS: u64 = 450;
const VERSIONS: u64 = 2;
const LIMIT: Duration = Duration::from_secs(60);

fn name(number: u64) -> String {
    format!("rotated/{number}")
}

async fn fill_store(directory: &Path) -> NativeBackend {
    let backend = open(directory).await;
    for number in 0..SECRETS {
        for version in 1..=VERSIONS {
            put_next(&backend, &name(number), version).await;
        }
    }
    backend
}

async fn all_intact(backend: &NativeBackend) {
    for number in 0..SECRETS {
        for version in 1..=VERSIONS {
            assert!(is_intact(backend, &name(number), version).await, "{number} {version}");
        }
    }
}

type Blobs = BTreeMap<(Vec<u8>, i64), (Vec<u8>, Vec<u8>)>;

fn wraps_and_bodies(directory: &Path) -> Blobs {
    let connection = raw(directory);
    let mut all =
        connection.prepare("SELECT secret_id, version, wrap, body FROM versions").unwrap();
    let rows =
        all.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))));
    rows.unwrap().map(Result::unwrap).collect()
}

/// What the child of `reads_and_writes_continue_during_a_rotation` does: reads until its input
/// ends.
#[test]
fn child() {
    if role().as_deref() != Some("reader") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let input_ended = Arc::clone(&ended);
    runtime.block_on(async {
        let backend = open(&child_directory()).await;
        println!("\nready");
        std::thread::spawn(move || {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
            input_ended.store(true, Ordering::Relaxed);
        });
        let mut rounds = 0;
        while !ended.load(Ordering::Relaxed) || rounds == 0 {
            all_intact(&backend).await;
            rounds += 1;
        }
    });
}

/// Reads everything, again and again, and writes new secrets meanwhile.
async fn read_and_write(backend: Arc<NativeBackend>, done: Arc<AtomicBool>) -> u64 {
    let mut written = 0;
    while !done.load(Ordering::Relaxed) || written < 20 {
        put_next(&backend, &format!("meanwhile/{written}"), 1).await;
        let number = written % SECRETS;
        assert!(is_intact(&backend, &name(number), 1).await, "{number}");
        written += 1;
    }
    for number in 0..written {
        assert!(is_intact(&backend, &format!("meanwhile/{number}"), 1).await, "{number}");
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_continue_during_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Arc::new(fill_store(directory.path()).await);
    let before = wraps_and_bodies(directory.path());
    let mut child = Role::in_test("reader", "child")
        .unwrap()
        .env(DIRECTORY, directory.path())
        .inherit_stderr()
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout().unwrap());
    wait_for_line(&mut output, "ready");
    let done = Arc::new(AtomicBool::new(false));
    let other = Arc::new(open(directory.path()).await);
    let tasks = [
        tokio::spawn(read_and_write(Arc::clone(&backend), Arc::clone(&done))),
        tokio::spawn({
            let (other, done) = (Arc::clone(&other), Arc::clone(&done));
            async move {
                while !done.load(Ordering::Relaxed) {
                    all_intact(&other).await;
                }
                0
            }
        }),
    ];
    let rotation = backend.rotate_kek().await.unwrap();
    done.store(true, Ordering::Relaxed);
    let mut written = 0;
    for task in tasks {
        written += task.await.unwrap();
    }
    drop(child.stdin());
    assert!(child.wait_within(LIMIT).unwrap().success());

    assert!(!rotation.resumed);
    assert_eq!(rotation.damaged, 0);
    let expected = SECRETS * VERSIONS..=SECRETS * VERSIONS + written;
    assert!(expected.contains(&rotation.rewrapped), "{rotation:?}");
    assert_eq!(kek_count(directory.path()), 1);
    let after = wraps_and_bodies(directory.path());
    for (version, (wrap, body)) in &before {
        let (new_wrap, same_body) = &after[version];
        assert_ne!(wrap, new_wrap);
        assert_eq!(body, same_body);
    }
    all_intact(&backend).await;
    // An instance that was open before still writes, and its writes are readable.
    put_next(&other, &name(0), VERSIONS + 1).await;
    assert!(is_intact(&backend, &name(0), VERSIONS + 1).await);
    assert!(is_intact(&open(directory.path()).await, &name(0), VERSIONS + 1).await);
}

#[tokio::test]
async fn each_rotation_replaces_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let (backend, other) = (open(directory.path()).await, open(directory.path()).await);
    put_next(&backend, "a", 1).await;
    put_next(&other, "b", 1).await;
    let mut wraps = wraps_and_bodies(directory.path());
    let mut key_id = 0;
    for rotating in [&backend, &backend, &other, &backend, &other, &other] {
        let rotation = rotating.rotate_kek().await.unwrap();
        assert!(!rotation.resumed && rotation.key_id > key_id, "{rotation:?}");
        assert_eq!((rotation.rewrapped, rotation.damaged), (2, 0));
        key_id = rotation.key_id;
        let now = wraps_and_bodies(directory.path());
        assert!(wraps.iter().all(|(version, (wrap, _))| now[version].0 != *wrap));
        wraps = now;
        assert_eq!(kek_count(directory.path()), 1);
        for reading in [&backend, &other] {
            assert!(is_intact(reading, "a", 1).await && is_intact(reading, "b", 1).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_at_the_same_time_leave_one_key() {
    let directory = support::directory_in_memory();
    let (backend, other) = (open(directory.path()).await, open(directory.path()).await);
    for round in 1..=20 {
        put_next(&backend, "a", round).await;
        let (first, second, third) =
            tokio::join!(backend.rotate_kek(), backend.rotate_kek(), other.rotate_kek());
        let rotations = [first.unwrap(), second.unwrap(), third.unwrap()];
        assert!(rotations.iter().any(|rotation| !rotation.resumed), "{rotations:?}");
        assert_eq!(kek_count(directory.path()), 1, "{rotations:?}");
        assert!(is_intact(&backend, "a", round).await && is_intact(&other, "a", round).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_survive_successive_rotations() {
    let directory = support::directory_in_memory();
    let backend = Arc::new(open(directory.path()).await);
    put_next(&backend, "a", 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (other, done) = (open(directory.path()).await, Arc::clone(&done));
        async move {
            while !done.load(Ordering::Relaxed) {
                let secret = other.get(&path("a"), &VersionSelector::Active).await.unwrap();
                assert_eq!(secret.expose_bytes(), value_of("a", 1).as_bytes());
                assert_eq!(other.versions(&path("a")).await.unwrap().len(), 1);
            }
        }
    });
    for _ in 0..200 {
        backend.rotate_kek().await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    reader.await.unwrap();
}

#[tokio::test]
async fn a_damaged_record_keeps_the_old_key_and_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path()).await;
    for name in ["wrap", "row", "sound"] {
        put_next(&backend, name, 1).await;
        put_next(&backend, name, 2).await;
    }
    let connection = raw(directory.path());
    let flipped = connection.execute(
        "UPDATE versions SET wrap = CAST(substr(wrap, 1, 40) || x'0000' || substr(wrap, 43) AS BLOB) \
         WHERE version = 1 AND secret_id = (SELECT secret_id FROM secrets WHERE path = 'wrap')",
        [],
    );
    assert_eq!(flipped.unwrap(), 1);
    let edited = connection.execute("UPDATE secrets SET tier = 'standard' WHERE path = 'row'", []);
    assert_eq!(edited.unwrap(), 1);

    let rotation = backend.rotate_kek().await.unwrap();
    assert_eq!((rotation.rewrapped, rotation.damaged, rotation.resumed), (3, 2, false));
    assert_eq!(kek_count(directory.path()), 2, "the old key is still needed");
    for version in 1..=2 {
        assert!(is_intact(&backend, "sound", version).await);
        let refused = backend.get(&path("row"), &support::exact(version)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
    }
    assert!(is_intact(&backend, "wrap", 2).await);
    let refused = backend.get(&path("wrap"), &support::exact(1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);

    // Once the edit is undone, the old key still unwraps its data keys.
    connection.execute("UPDATE secrets SET tier = 'sensitive' WHERE path = 'row'", []).unwrap();
    assert!(is_intact(&backend, "row", 1).await && is_intact(&backend, "row", 2).await);
    backend.destroy(&path("wrap")).await.unwrap();
    let rotation = backend.rotate_kek().await.unwrap();
    assert_eq!((rotation.rewrapped, rotation.damaged, rotation.resumed), (4, 0, false));
    assert_eq!(kek_count(directory.path()), 1);
    assert!(is_intact(&open(directory.path()).await, "row", 2).await);
}

#[tokio::test]
async fn a_writer_with_the_old_ring_in_memory_uses_the_new_key() {
    let directory = tempfile::tempdir().unwrap();
    let (backend, other) = (open(directory.path()).await, open(directory.path()).await);
    put_next(&other, "a", 1).await;
    let rotation = backend.rotate_kek().await.unwrap();
    let options = PutOptions::new().must_be_version(1);
    assert_eq!(options.condition, Condition::MustBeVersion(1.into()));
    other.put(&path("a"), value_of("a", 2).as_str().into(), options).await.unwrap();
    other.rollback(&path("a"), &1.into()).await.unwrap();
    let named: Vec<Vec<u8>> = raw(directory.path())
        .prepare("SELECT DISTINCT substr(wrap, 6, 4) FROM versions")
        .and_then(|mut query| query.query_map([], |row| row.get(0))?.collect())
        .unwrap();
    assert_eq!(named, [rotation.key_id.to_be_bytes()]);
    let reopened = NativeBackend::open(config(directory.path())).await.unwrap();
    assert!(is_intact(&reopened, "a", 1).await && is_intact(&reopened, "a", 2).await);
}
