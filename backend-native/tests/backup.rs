//! Backup, restoration, and the check of a whole store.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend, ErrorKind, PutOptions, VersionSelector};
use support::{
    all_paths, config, is_intact, key_file, open, path, put_next, raw, snapshot, store_file,
};

/// The same store in another folder, with the key of the first.
fn config_in(folder: &Path, key_of: &Path) -> NativeConfig {
    let mut config = config(folder);
    config.keys = vec![KeySource::KeyFile(key_file(key_of))];
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_restores_everything_that_was_written_before_the_backup() {
    let (live, drill) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(open(live.path()).await);
    for version in 1..=3 {
        for name in ["a", "b/c", "gone"] {
            put_next(&store, name, version).await;
        }
    }
    store.delete(&path("gone")).await.unwrap();
    store.rollback(&path("a"), &2.into()).await.unwrap();
    store.rotate_kek().await.unwrap();

    // Writers go on meanwhile: each writes a pair, of which the backup has both or the older one.
    let ends = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (store, ends) = (Arc::clone(&store), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut version = 0;
                while !ends.load(Ordering::Relaxed) {
                    version += 1;
                    for half in ["first", "second"] {
                        put_next(&store, &format!("busy/{writer}/{half}"), version).await;
                    }
                }
                version
            })
        })
        .collect();
    let mut backups = Vec::new();
    for number in 0..5 {
        let target = live.path().join(format!("backup-{number}"));
        let found = store.backup(&target).await.unwrap();
        assert_eq!((found.damaged, found.secrets >= 3), (0, true), "{found:?}");
        backups.push(target);
    }
    ends.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    for (number, backup) in backups.iter().enumerate() {
        assert_is_private(backup);
        let folder = drill.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let config = config_in(&folder, live.path());
        let found = NativeBackend::restore(config.clone(), backup).await.unwrap();
        assert_eq!(found.damaged, 0);
        let restored = NativeBackend::open(config).await.unwrap();
        for version in 1..=3 {
            assert!(is_intact(&restored, "a", version).await);
            assert!(is_intact(&restored, "b/c", version).await);
        }
        let active = restored.get(&path("a"), &VersionSelector::Active).await.unwrap();
        assert_eq!(active.version(), &2.into());
        restored.undelete(&path("gone")).await.unwrap();
        assert!(is_intact(&restored, "gone", 3).await);
        for writer in 0..3 {
            let latest = async |half: &str| {
                let found = restored.versions(&path(&format!("busy/{writer}/{half}"))).await;
                found.map_or(0, |versions| versions.len())
            };
            let (first, second) = (latest("first").await, latest("second").await);
            assert!(first == second || first == second + 1, "{first} {second}");
        }
        // It is a store like any other, and the live one is not touched.
        put_next(&restored, "b/c", 4).await;
        assert_eq!(restored.verify().await.unwrap().damaged, 0);
    }
    assert_eq!(store.versions(&path("b/c")).await.unwrap().len(), 3);
}

#[cfg(unix)]
fn assert_is_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[cfg(not(unix))]
fn assert_is_private(_file: &Path) {}

#[tokio::test]
async fn a_backup_has_neither_the_key_nor_what_was_destroyed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let secret = "a-value-that-is-recognised";
    for name in ["kept", "destroyed-name"] {
        store.put(&path(name), secret.into(), PutOptions::new()).await.unwrap();
    }
    store.destroy(&path("destroyed-name")).await.unwrap();
    let target = folder.path().join("backup");
    store.backup(&target).await.unwrap();
    let content = fs::read(&target).unwrap();
    let contains = |text: &[u8]| content.windows(text.len()).any(|window| window == text);
    assert!(contains(b"kept") && !contains(b"destroyed-name") && !contains(secret.as_bytes()));
    let key = fs::read(key_file(folder.path())).unwrap();
    assert!(!contains(key.trim_ascii()));
    let left = snapshot(folder.path()).into_iter().map(|(path, _)| path);
    assert!(left.clone().all(|path| path.extension().is_none_or(|it| it != "new")), "{left:?}");
}

#[tokio::test]
async fn nothing_is_overwritten_by_a_backup_or_a_restoration() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    put_next(&store, "a", 1).await;
    let target = folder.path().join("backup");
    store.backup(&target).await.unwrap();
    let before = fs::read(&target).unwrap();
    let refused = store.backup(&target).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(fs::read(&target).unwrap(), before);
    let refused = store.backup(store_file(folder.path())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let nowhere = store.backup(folder.path().join("none/backup")).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::InvalidInput);

    let in_place = NativeBackend::restore(config(folder.path()), &target).await.unwrap_err();
    assert_eq!(in_place.kind(), ErrorKind::Conflict);
    store.close().await.unwrap();
    // A log that is left would become part of the restored store.
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("secrets.db-wal"), "left").unwrap();
    let config = config_in(other.path(), folder.path());
    let beside = NativeBackend::restore(config, &target).await.unwrap_err();
    assert_eq!(beside.kind(), ErrorKind::Conflict);
    assert!(beside.to_string().contains("secrets.db-wal"), "{beside}");
    assert!(!store_file(other.path()).exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_backup_may_be_below_a_link_and_have_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    put_next(&store, "a", 1).await;
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    // SQLite takes a name that begins so for a URI.
    for name in ["plain.db", "file:x.db", "it's; a \"name\"?mode=memory"] {
        assert_eq!(store.backup(link.join(name)).await.unwrap().versions, 1, "{name}");
        let fresh = tempfile::tempdir().unwrap();
        let config = config_in(fresh.path(), folder.path());
        NativeBackend::restore(config, real.join(name)).await.unwrap();
    }
    assert_eq!(fs::read_dir(&real).unwrap().count(), 3, "nothing else is left");
}

#[tokio::test]
async fn a_part_of_a_store_is_not_restored() {
    let (folder, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path()).await;
    put_next(&store, "a", 1).await;
    let config = config_in(fresh.path(), folder.path());
    let error = NativeBackend::restore(config, store_file(folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("secrets.db-wal"), "{error}");
    assert!(snapshot(fresh.path()).is_empty());
}

#[tokio::test]
async fn what_is_no_backup_or_has_another_key_is_not_restored() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path()).await;
    put_next(&store, "a", 1).await;
    let target = folder.path().join("backup");
    store.backup(&target).await.unwrap();
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, vec![b'x'; 8192]).unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    let cut = folder.path().join("cut");
    let content = fs::read(&target).unwrap();
    fs::write(&cut, &content[..content.len() / 2]).unwrap();
    open(other.path()).await.close().await.unwrap();
    let wrong_key = key_file(other.path());
    let fresh = tempfile::tempdir().unwrap();
    for (backup, key, expected) in [
        (&garbage, key_file(folder.path()), ErrorKind::Config),
        (&empty, key_file(folder.path()), ErrorKind::Corrupt),
        (&cut, key_file(folder.path()), ErrorKind::Corrupt),
        (&folder.path().join("none"), key_file(folder.path()), ErrorKind::InvalidInput),
        (&folder.path().to_owned(), key_file(folder.path()), ErrorKind::InvalidInput),
        (&target, wrong_key, ErrorKind::Unauthenticated),
        (&target, fresh.path().join("no-key"), ErrorKind::Config),
    ] {
        let mut config = config(fresh.path());
        config.keys = vec![KeySource::KeyFile(key)];
        let error = NativeBackend::restore(config, backup).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{backup:?}: {error}");
        assert!(snapshot(fresh.path()).is_empty(), "{backup:?}");
    }
    let restored = config_in(fresh.path(), folder.path());
    assert_eq!(NativeBackend::restore(restored, &target).await.unwrap().versions, 1);
}

#[tokio::test]
async fn a_passphrase_restores_what_it_has_sealed() {
    let (folder, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with_passphrase = |folder: &Path| {
        let mut config = config(folder);
        config.keys = vec![KeySource::Passphrase("a long passphrase of a test".into())];
        config
    };
    let store = NativeBackend::open(with_passphrase(folder.path())).await.unwrap();
    put_next(&store, "a", 1).await;
    let target = folder.path().join("backup");
    store.backup(&target).await.unwrap();
    NativeBackend::restore(with_passphrase(fresh.path()), &target).await.unwrap();
    let restored = NativeBackend::open(with_passphrase(fresh.path())).await.unwrap();
    assert!(is_intact(&restored, "a", 1).await);
    assert_eq!(all_paths(&restored).await, [path("a")]);
}

#[tokio::test]
async fn a_check_names_what_was_changed_from_outside() {
    let changes: [(&str, Option<&str>, Option<u64>); 8] = [
        ("UPDATE secrets SET tier = 'standard' WHERE path = 'b'", Some("b"), None),
        ("UPDATE secrets SET path = 'moved' WHERE path = 'b'", Some("moved"), None),
        ("UPDATE secrets SET path = '//' WHERE path = 'b'", None, None),
        (
            "UPDATE versions SET body = zeroblob(200) WHERE version = 2 AND secret_id = \
             (SELECT secret_id FROM secrets WHERE path = 'b')",
            Some("b"),
            Some(2),
        ),
        (
            "UPDATE versions SET wrap = zeroblob(69) WHERE version = 1 AND secret_id = \
             (SELECT secret_id FROM secrets WHERE path = 'b')",
            Some("b"),
            Some(1),
        ),
        (
            "DELETE FROM versions WHERE version = 1 AND secret_id = \
             (SELECT secret_id FROM secrets WHERE path = 'b')",
            Some("b"),
            Some(1),
        ),
        (
            "DELETE FROM versions WHERE version = 3 AND secret_id = \
             (SELECT secret_id FROM secrets WHERE path = 'b')",
            Some("b"),
            Some(3),
        ),
        ("DELETE FROM secrets WHERE path = 'b'", None, None),
    ];
    for (change, expected, version) in changes {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        for number in 1..=3 {
            put_next(&store, "a", number).await;
            put_next(&store, "b", number).await;
        }
        let whole = store.verify().await.unwrap();
        assert_eq!((whole.secrets, whole.versions, whole.damaged), (2, 6, 0));
        assert_eq!(raw(folder.path()).execute(change, []).unwrap(), 1, "{change}");
        let found = store.verify().await.unwrap();
        assert_eq!(found.damage.len() as u64, found.damaged);
        let is_named = found.damage.iter().any(|damage| {
            damage.path.as_ref().map(strongroom_core::SecretPath::as_str) == expected
                && damage.version == version
        });
        assert!(is_named, "{change}: {found:?}");
        let others = found
            .damage
            .iter()
            .filter(|damage| damage.path.as_ref().is_some_and(|path| path.as_str() == "a"));
        assert_eq!(others.count(), 0, "{change}: {found:?}");
        // A backup of it is made all the same, and says so.
        let backup = store.backup(folder.path().join("backup")).await.unwrap();
        assert_eq!(backup.damaged, found.damaged);
    }
}
