//! Key slots, and the rotation of the root key that they open.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend as _, Error, ErrorKind, ListOptions, MetadataPatch, PutOptions};
use support::{
    all_paths, config, directory_in_memory, exact, is_intact, kek_count, key_file, open, path,
    put_next, raw, store_file, value_of,
};

const PASSPHRASE: &str = "correct horse battery";

fn passphrase() -> KeySource {
    KeySource::Passphrase(PASSPHRASE.into())
}

fn other_key(directory: &Path) -> KeySource {
    KeySource::KeyFile(directory.join("other.key"))
}

fn with(directory: &Path, keys: Vec<KeySource>) -> NativeConfig {
    let mut config = config(directory);
    config.create = false;
    config.keys = keys;
    config
}

async fn open_with(directory: &Path, key: KeySource) -> Result<NativeBackend, Error> {
    NativeBackend::open(with(directory, vec![key])).await
}

fn ids(slots: &[strongroom_backend_native::Slot]) -> Vec<u32> {
    slots.iter().map(|slot| slot.id).collect()
}

#[tokio::test]
async fn each_slot_opens_the_store_until_it_is_removed() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    let label = Some("the vault of the office".to_owned());
    assert_eq!(backend.add_slot(passphrase(), label.clone()).await.unwrap(), 2);
    assert_eq!(backend.add_slot(other_key(directory), None).await.unwrap(), 3);
    let slots = backend.slots().await.unwrap();
    assert_eq!(ids(&slots), [1, 2, 3]);
    let kinds: Vec<&str> = slots.iter().map(|slot| slot.kind.as_str()).collect();
    assert_eq!(kinds, ["key", "passphrase", "key"]);
    assert_eq!(slots[1].label, label);
    assert_eq!(slots.iter().map(|slot| slot.is_current).collect::<Vec<_>>(), [true, false, false]);
    let opened = |slot: usize| slots[slot].opened_at.is_some();
    assert_eq!([opened(0), opened(1), opened(2)], [true, false, false]);
    assert_eq!(backend.remove_slot(1).await.unwrap_err().kind(), ErrorKind::Conflict);
    backend.close().await.unwrap();

    for (key, id) in [(passphrase(), 2), (other_key(directory), 3)] {
        let backend = open_with(directory, key).await.unwrap();
        assert!(is_intact(&backend, "a", 1).await);
        let slots = backend.slots().await.unwrap();
        let current: Vec<_> = slots.iter().filter(|slot| slot.is_current).collect();
        assert_eq!((current.len(), current[0].id), (1, id));
        assert!(current[0].opened_at.is_some());
        backend.close().await.unwrap();
    }
    let backend = open_with(directory, passphrase()).await.unwrap();
    backend.remove_slot(1).await.unwrap();
    backend.remove_slot(3).await.unwrap();
    assert_eq!(backend.remove_slot(3).await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = backend.remove_slot(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("slot 2 has opened the store"), "{error}");
    put_next(&backend, "a", 2).await;
    backend.close().await.unwrap();
    for key in [KeySource::KeyFile(key_file(directory)), other_key(directory)] {
        let error = open_with(directory, key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("with a passphrase, not a key"), "{error}");
    }
    let backend = open_with(directory, passphrase()).await.unwrap();
    assert!(is_intact(&backend, "a", 2).await);
}

#[tokio::test]
async fn a_process_whose_slot_is_removed_goes_on_until_the_root_key_is_replaced() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let first = open(directory).await;
    put_next(&first, "a", 1).await;
    first.add_slot(other_key(directory), None).await.unwrap();
    let second = open_with(directory, other_key(directory)).await.unwrap();
    second.remove_slot(1).await.unwrap();
    assert!(is_intact(&first, "a", 1).await);
    second.rotate_root_key().await.unwrap();
    put_next(&second, "a", 2).await;
    let error = first.get(&path("a"), &exact(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.to_string().contains("was removed"), "{error}");
    let written = first.put(&path("a"), "x".into(), PutOptions::new()).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(is_intact(&second, "a", 2).await);
    assert_eq!(second.verify().await.unwrap().damaged, 0);
}

#[tokio::test]
async fn the_last_slot_stays_also_if_another_process_has_removed_the_one_in_use() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let first = open(directory).await;
    first.add_slot(other_key(directory), None).await.unwrap();
    let second = open_with(directory, other_key(directory)).await.unwrap();
    first.remove_slot(2).await.unwrap();
    let error = second.remove_slot(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert_eq!(ids(&first.slots().await.unwrap()), [1]);
    // A slot that gets the number of a removed one is not the one in use.
    assert_eq!(first.add_slot(passphrase(), None).await.unwrap(), 2);
    assert!(second.slots().await.unwrap().iter().all(|slot| !slot.is_current));
}

#[tokio::test]
async fn more_slots_than_a_store_has_are_not_tried() {
    let directory = directory_in_memory();
    let directory = directory.path();
    open(directory).await.close().await.unwrap();
    let copies = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 9) \
                  INSERT INTO slots SELECT i, kind, label, created_at, opened_at, parameters, private_key, root_key, \
                  public_key, mac FROM slots, n";
    raw(directory).execute_batch(copies).unwrap();
    let error = NativeBackend::open(config(directory)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_of_several_openings_lose_no_key() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backends = [open(directory).await, open(directory).await, open(directory).await];
    for number in 0..450 {
        put_next(&backends[0], &format!("s{number}"), 1).await;
    }
    let [a, b, c] = &backends;
    for _ in 0..4 {
        // One may find that the others begin again and again.
        let (roots, kek, other) =
            tokio::join!(a.rotate_root_key(), b.rotate_kek(), c.rotate_root_key());
        kek.unwrap();
        for root in [roots, other] {
            match root {
                Ok(root) => assert_eq!(root.kek.damaged, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
        for backend in &backends {
            assert_eq!(backend.verify().await.unwrap().damaged, 0);
            assert!(is_intact(backend, "s0", 1).await && is_intact(backend, "s449", 1).await);
            backend.health().await.unwrap();
        }
    }
    a.rotate_kek().await.unwrap();
    assert_eq!((kek_count(directory), row_key_count(directory)), (1, 1));
    assert_eq!(open(directory).await.verify().await.unwrap().damaged, 0);
}

#[tokio::test]
async fn slots_that_cannot_be_added_are_refused() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let missing = NativeBackend::open(with(directory, vec![passphrase()])).await.unwrap();
    let error = missing.add_slot(passphrase(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    missing.close().await.unwrap();
    let backend = open(directory).await;
    let same = KeySource::KeyFile(key_file(directory));
    let error = backend.add_slot(same, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("opens slot 1 already"), "{error}");
    for label in ["", "a\nb", &"x".repeat(65)] {
        let error = backend.add_slot(passphrase(), Some(label.into())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    for key in [
        KeySource::Key("hunter2-hunter2".into()),
        KeySource::Passphrase("hunter2".into()),
        KeySource::KeyFile("hunter2-hunter2-hunter2-hunter2-".into()),
        KeySource::PassphraseFile(directory.join("none")),
    ] {
        let error = backend.add_slot(key, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    for number in 2..=8 {
        let key = KeySource::KeyFile(directory.join(format!("{number}.key")));
        assert_eq!(backend.add_slot(key, None).await.unwrap(), number);
    }
    let error = backend.add_slot(other_key(directory), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("8 slots"), "{error}");
    assert!(!directory.join("other.key").exists(), "a key file for no slot");
    backend.remove_slot(5).await.unwrap();
    assert_eq!(backend.add_slot(passphrase(), None).await.unwrap(), 9);
    assert_eq!(ids(&backend.slots().await.unwrap()), [1, 2, 3, 4, 6, 7, 8, 9]);
}

#[tokio::test]
async fn the_second_key_opens_the_store_if_the_first_does_not() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    backend.add_slot(passphrase(), None).await.unwrap();
    backend.close().await.unwrap();
    let wrong = || KeySource::Passphrase("hunter2-hunter2".into());
    let missing = || KeySource::KeyFile(directory.join("none"));
    for keys in [vec![wrong(), passphrase()], vec![missing(), wrong(), passphrase()]] {
        let backend = NativeBackend::open(with(directory, keys)).await.unwrap();
        assert!(is_intact(&backend, "a", 1).await);
        backend.close().await.unwrap();
    }
    assert!(!directory.join("none").exists(), "a key file of an existing store is not created");
    let error = NativeBackend::open(with(directory, vec![wrong(), missing()])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    let shown = error.to_string();
    assert!(shown.contains("`KeySource::Passphrase` does not open"), "{error}");
    assert!(shown.contains("the key file is missing"), "{error}");
    assert!(!shown.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_new_store_is_opened_by_the_first_key_alone() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let mut config = with(directory, vec![other_key(directory), passphrase()]);
    config.create = true;
    NativeBackend::open(config).await.unwrap().close().await.unwrap();
    let error = open_with(directory, passphrase()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    open_with(directory, other_key(directory)).await.unwrap().close().await.unwrap();
}

/// How many keys of the row MACs the ring holds.
fn row_key_count(directory: &Path) -> i64 {
    let count = "SELECT count(*) FROM keyring WHERE purpose = 2";
    raw(directory).query_row(count, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_rotation_of_the_root_key_replaces_every_key() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    for version in 1..=3 {
        put_next(&backend, "a", version).await;
    }
    put_next(&backend, "b", 1).await;
    backend.delete(&path("b")).await.unwrap();
    backend.annotate(&path("a"), &MetadataPatch::new().tag("env", "test")).await.unwrap();
    backend.add_slot(passphrase(), Some("spare".into())).await.unwrap();
    let before = directory.join("before.db");
    backend.backup(&before).await.unwrap();
    let rotation = backend.rotate_root_key().await.unwrap();
    assert_eq!((rotation.slots, rotation.kek.rewrapped, rotation.kek.damaged), (2, 4, 0));
    assert!(rotation.kek.old_keys_removed && !rotation.kek.resumed);
    assert_eq!((kek_count(directory), row_key_count(directory)), (1, 1));
    put_next(&backend, "a", 4).await;
    let found = backend.verify().await.unwrap();
    assert_eq!((found.secrets, found.versions, found.damaged), (2, 5, 0));
    assert_eq!(ids(&backend.slots().await.unwrap()), [1, 2]);
    backend.close().await.unwrap();

    // No key of the ring is what it was, and no row is signed as it was.
    let (new, old) = (raw(directory), Connection::open(&before).unwrap());
    let column = |connection: &Connection, sql: &str| -> Vec<Vec<u8>> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for sql in [
        "SELECT sealed FROM keyring",
        "SELECT mac FROM secrets",
        "SELECT wrap FROM versions",
        "SELECT root_key FROM slots",
        "SELECT public_key FROM slots",
        "SELECT root_check FROM store",
    ] {
        let (now, then) = (column(&new, sql), column(&old, sql));
        assert!(!now.is_empty() && now.iter().all(|cell| !then.contains(cell)), "{sql}");
    }
    drop((new, old));
    // What the slots or the ring held before does not belong to the store.
    let mix = |name: &str, tables: &[&str]| {
        let mut config = config(directory);
        let target = directory.join(name);
        fs::copy(store_file(directory), &target).unwrap();
        let connection = Connection::open(&target).unwrap();
        config.path = Some(target);
        let attach = format!("ATTACH '{}' AS other", before.display());
        connection.execute_batch(&attach).unwrap();
        for table in tables {
            let replace = format!(
                "DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM other.{table}"
            );
            connection.execute_batch(&replace).unwrap();
        }
        NativeBackend::open(config)
    };
    for tables in
        [&["slots"][..], &["keyring"], &["store"], &["slots", "store"], &["keyring", "slots"]]
    {
        let error = mix(&tables.concat(), tables).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{tables:?}: {error}");
    }
    // With all of these, the ring opens, and no record belongs to it.
    let backend = mix("all", &["slots", "store", "keyring", "state"]).await.unwrap();
    assert_eq!(backend.get(&path("a"), &exact(1)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    backend.close().await.unwrap();
    for key in [KeySource::KeyFile(key_file(directory)), passphrase()] {
        let backend = open_with(directory, key).await.unwrap();
        for version in 1..=4 {
            assert!(is_intact(&backend, "a", version).await);
        }
        assert_eq!(backend.describe(&path("a")).await.unwrap().metadata.tags["env"], "test");
        backend.undelete(&path("b")).await.unwrap();
        assert!(is_intact(&backend, "b", 1).await);
        backend.delete(&path("b")).await.unwrap();
        backend.close().await.unwrap();
    }
}

/// Waits for the writes that were submitted before.
async fn finish_queued_writes(backend: &NativeBackend) {
    backend.delete(&path("none")).await.unwrap();
}

fn root_check(directory: &Path) -> Vec<u8> {
    raw(directory).query_row("SELECT root_check FROM store", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn an_interrupted_rotation_of_the_root_key_is_finished_before_a_new_one() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    for number in 0..500 {
        put_next(&backend, &format!("s{number}"), 1).await;
    }
    // The first transaction happens, although the caller drops the future.
    let abandoned = tokio::time::timeout(Duration::ZERO, backend.rotate_root_key()).await;
    assert!(abandoned.is_err(), "a rotation takes several transactions");
    put_next(&backend, "s0", 2).await;
    assert_eq!((kek_count(directory), row_key_count(directory)), (2, 2));
    assert_eq!(backend.verify().await.unwrap().damaged, 0);
    let other = open(directory).await;
    assert_eq!(all_paths(&other).await.len(), 500);
    // The interrupted one is finished, and then a new one begins.
    let begun = root_check(directory);
    let rotation = other.rotate_root_key().await.unwrap();
    assert_eq!((rotation.slots, rotation.kek.rewrapped, rotation.kek.damaged), (1, 501, 0));
    assert_ne!(root_check(directory), begun);
    assert_eq!((kek_count(directory), row_key_count(directory)), (1, 1));
    assert!(is_intact(&backend, "s0", 2).await && is_intact(&backend, "s499", 1).await);
    // The rotation of the key-encryption key alone finishes one of both as well.
    let abandoned = tokio::time::timeout(Duration::ZERO, backend.rotate_root_key()).await;
    assert!(abandoned.is_err());
    finish_queued_writes(&backend).await;
    assert!(other.rotate_kek().await.unwrap().resumed);
    assert_eq!((kek_count(directory), row_key_count(directory)), (1, 1));
    // One of the key-encryption key alone is finished first.
    let abandoned = tokio::time::timeout(Duration::ZERO, backend.rotate_kek()).await;
    assert!(abandoned.is_err());
    finish_queued_writes(&backend).await;
    let rotation = other.rotate_root_key().await.unwrap();
    assert_eq!((rotation.slots, rotation.kek.resumed), (1, false));
    assert_eq!(backend.verify().await.unwrap().damaged, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_openings_read_and_write_during_rotations_of_the_root_key() {
    const SECRETS: usize = 450;
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    for number in 0..SECRETS {
        put_next(&backend, &format!("s/{number:03}"), 1).await;
    }
    backend.delete(&path("s/449")).await.unwrap();
    let is_done = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for task in 0..2_usize {
        let other = open(directory).await;
        let is_done = Arc::clone(&is_done);
        tasks.push(tokio::spawn(async move {
            let mut rounds = 0;
            while !is_done.load(Ordering::SeqCst) || rounds < 3 {
                rounds += 1;
                let listed = other.list(Some(&path("s")), &ListOptions::new()).await.unwrap();
                assert_eq!(listed.paths.len(), SECRETS - 1);
                for number in (task..SECRETS - 1).step_by(50) {
                    let name = format!("s/{number:03}");
                    assert!(is_intact(&other, &name, 1).await, "{name}");
                    other.describe(&path(&name)).await.unwrap();
                    other.versions(&path(&name)).await.unwrap();
                }
                let own = format!("own/{task}");
                let value = value_of(&own, rounds);
                other.put(&path(&own), value.as_str().into(), PutOptions::new()).await.unwrap();
                other.destroy(&path(&own)).await.unwrap();
            }
            other.close().await.unwrap();
        }));
    }
    for _ in 0..4 {
        let rotation = backend.rotate_root_key().await.unwrap();
        assert_eq!((rotation.slots, rotation.kek.damaged), (1, 0));
    }
    is_done.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let found = backend.verify().await.unwrap();
    assert_eq!((found.secrets, found.damaged), (SECRETS as u64, 0));
}

#[tokio::test]
async fn an_anchor_follows_a_rotation_of_the_root_key() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let anchors = directory.join("anchors");
    fs::create_dir(&anchors).unwrap();
    let with_anchor = |directory: &Path| {
        let mut config = config(directory);
        config.anchor_file = Some(directory.join("anchors").join("anchor"));
        config
    };
    let backend = NativeBackend::open(with_anchor(directory)).await.unwrap();
    let other = NativeBackend::open(with_anchor(directory)).await.unwrap();
    put_next(&backend, "a", 1).await;
    for version in 2..5 {
        let rotation = backend.rotate_root_key().await.unwrap();
        assert_eq!(rotation.kek.damaged, 0);
        // As a kill would leave the files at this moment.
        let killed = directory_in_memory();
        fs::create_dir(killed.path().join("anchors")).unwrap();
        for name in ["secrets.db", "secrets.db-wal", "secrets.key", "anchors/anchor"] {
            fs::copy(directory.join(name), killed.path().join(name)).unwrap();
        }
        let survivor = NativeBackend::open(with_anchor(killed.path())).await.unwrap();
        assert!(is_intact(&survivor, "a", version - 1).await);
        survivor.close().await.unwrap();
        put_next(&other, "a", version).await;
        assert!(is_intact(&backend, "a", version).await);
        backend.health().await.unwrap();
    }
    assert_eq!(other.verify().await.unwrap().damaged, 0);
    other.close().await.unwrap();
    backend.close().await.unwrap();
    let backend = NativeBackend::open(with_anchor(directory)).await.unwrap();
    assert!(is_intact(&backend, "a", 4).await);
}

#[tokio::test]
async fn an_edited_slot_is_not_given_the_new_root_key() {
    let directory = directory_in_memory();
    let directory = directory.path();
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    backend.add_slot(passphrase(), None).await.unwrap();
    let edit = "UPDATE slots SET private_key = zeroblob(length(private_key)) WHERE id = 2";
    raw(directory).execute_batch(edit).unwrap();
    assert_eq!(backend.slots().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(backend.rotate_root_key().await.unwrap_err().kind(), ErrorKind::Corrupt);
    put_next(&backend, "a", 2).await;
    backend.remove_slot(2).await.unwrap();
    assert_eq!(backend.rotate_root_key().await.unwrap().slots, 1);
    assert!(is_intact(&backend, "a", 2).await);
}
