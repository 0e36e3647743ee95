//! The anchor of a store: when it is created, advanced and refused, and what an operator accepts.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_backend_native::{NativeBackend, NativeConfig};
use strongroom_core::{Backend, ErrorKind, PutOptions};
use support::{anchored_state, config, is_intact, path, put_next, stored_state, with_anchor};

fn anchor(directory: &Path) -> PathBuf {
    directory.join("anchors/anchor")
}

/// The configuration of a store with an anchor in a folder that exists.
fn anchored(directory: &Path) -> NativeConfig {
    with_anchor(config(directory), &anchor(directory))
}

#[tokio::test]
async fn the_anchor_is_created_together_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = anchored(folder.path());
    config.create = false;
    let backend = NativeBackend::open(config).await.unwrap();
    assert!(!anchor(folder.path()).exists());
    put_next(&backend, "a", 1).await;
    assert!(anchor(folder.path()).exists());
    let health = backend.health().await.unwrap();
    let state = stored_state(folder.path()).to_string();
    assert_eq!(health.details["state"], state);
    backend.close().await.unwrap();
    assert_eq!(anchored_state(&anchor(folder.path())), stored_state(folder.path()));
    let names: Vec<_> = fs::read_dir(folder.path().join("anchors"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"anchor.lock".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_store_without_an_anchor_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let backend = support::open(folder.path()).await;
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    let before = stored_state(folder.path());
    let backend = NativeBackend::open(anchored(folder.path())).await.unwrap();
    assert_eq!(anchored_state(&anchor(folder.path())), before + 1);
    backend.close().await.unwrap();
    // Another opening changes neither.
    NativeBackend::open(anchored(folder.path())).await.unwrap().close().await.unwrap();
    assert_eq!(stored_state(folder.path()), before + 1);
    assert_eq!(anchored_state(&anchor(folder.path())), before + 1);
}

/// Waits until the anchor of a running process has a state.
async fn wait_for_anchor(directory: &Path, state: u64) -> Duration {
    let begin = Instant::now();
    while anchored_state(&anchor(directory)) != state {
        assert!(begin.elapsed() < Duration::from_secs(20), "the anchor was not advanced");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begin.elapsed()
}

#[tokio::test]
async fn a_process_that_writes_and_then_rests_advances_the_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let backend = NativeBackend::open(anchored(folder.path())).await.unwrap();
    let first = anchored_state(&anchor(folder.path()));
    let begin = Instant::now();
    let mut version = 0;
    while anchored_state(&anchor(folder.path())) == first {
        version += 1;
        put_next(&backend, "busy", version).await;
        assert!(begin.elapsed() < Duration::from_secs(20), "the anchor was not advanced");
    }
    put_next(&backend, "last", 1).await;
    wait_for_anchor(folder.path(), stored_state(folder.path())).await;
}

/// A process that holds the lock, because it was stopped for example, delays no write of another.
#[tokio::test]
async fn a_lock_that_is_held_delays_the_anchor_alone() {
    let folder = tempfile::tempdir().unwrap();
    let backend = NativeBackend::open(anchored(folder.path())).await.unwrap();
    let first = anchored_state(&anchor(folder.path()));
    let lock = fs::File::options().write(true).open(folder.path().join("anchors/anchor.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let begin = Instant::now();
    let mut version = 0;
    while begin.elapsed() < Duration::from_millis(1500) {
        version += 1;
        put_next(&backend, "a", version).await;
    }
    assert_eq!(anchored_state(&anchor(folder.path())), first);
    lock.unlock().unwrap();
    wait_for_anchor(folder.path(), stored_state(folder.path())).await;
}

#[tokio::test]
async fn a_backup_that_was_restored_is_refused_until_it_is_accepted() {
    let (folder, drill) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = anchored(folder.path());
    let backend = NativeBackend::open(config.clone()).await.unwrap();
    put_next(&backend, "a", 1).await;
    let copy = folder.path().join("backup");
    let found = backend.backup(&copy).await.unwrap();
    assert_eq!((found.damaged, found.state), (0, stored_state(folder.path())));
    put_next(&backend, "a", 2).await;
    backend.close().await.unwrap();
    let newest = stored_state(folder.path());
    fs::remove_file(support::store_file(folder.path())).unwrap();

    let restored = NativeBackend::restore(config.clone(), &copy).await.unwrap();
    assert_eq!((restored.damaged, restored.state), (0, found.state));
    let refused = NativeBackend::open(config.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    let accepted = NativeBackend::accept_state(config.clone()).await.unwrap();
    assert_eq!((accepted.before, accepted.anchor), (Some(found.state), Some(newest)));
    assert_eq!((accepted.number, accepted.secrets), (newest + 1, 1));
    let backend = NativeBackend::open(config).await.unwrap();
    assert!(is_intact(&backend, "a", 1).await);
    put_next(&backend, "a", 2).await;

    // Elsewhere, the store asks for its anchor only if one is configured.
    let mut elsewhere = support::config(drill.path());
    elsewhere.keys =
        vec![strongroom_backend_native::KeySource::KeyFile(support::key_file(folder.path()))];
    NativeBackend::restore(elsewhere.clone(), &copy).await.unwrap();
    NativeBackend::open(elsewhere.clone()).await.unwrap().close().await.unwrap();
    let with_new_anchor = with_anchor(elsewhere, &anchor(drill.path()));
    let refused = NativeBackend::open(with_new_anchor.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    NativeBackend::accept_state(with_new_anchor.clone()).await.unwrap();
    let backend = NativeBackend::open(with_new_anchor).await.unwrap();
    assert!(is_intact(&backend, "a", 1).await);
}

/// Accepting without an anchor makes the store forget that it had one.
#[tokio::test]
async fn a_store_can_be_kept_without_its_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let backend = NativeBackend::open(anchored(folder.path())).await.unwrap();
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    NativeBackend::accept_state(config(folder.path())).await.unwrap();
    fs::remove_file(anchor(folder.path())).unwrap();
    let backend = NativeBackend::open(anchored(folder.path())).await.unwrap();
    assert_eq!(anchored_state(&anchor(folder.path())), stored_state(folder.path()));
    put_next(&backend, "a", 2).await;
}

#[tokio::test]
async fn nothing_is_accepted_where_no_store_is() {
    let folder = tempfile::tempdir().unwrap();
    let error = NativeBackend::accept_state(anchored(folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!support::store_file(folder.path()).exists() && !anchor(folder.path()).exists());
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.anchor_file = Some(folder.path().join("none/anchor"));
    let error = NativeBackend::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains("`NativeConfig::anchor_file`") && text.contains("none/anchor"), "{text}");
    assert!(!support::store_file(folder.path()).exists());
}

#[tokio::test]
async fn another_file_is_no_anchor_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    support::open(folder.path()).await.close().await.unwrap();
    for file in [support::key_file(folder.path()), support::store_file(folder.path())] {
        let before = fs::read(&file).unwrap();
        let mut config = config(folder.path());
        config.anchor_file = Some(file.clone());
        let error = NativeBackend::open(config.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let error = NativeBackend::accept_state(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(fs::read(&file).unwrap() == before);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_or_the_configured_group_has_access() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let file = anchor(folder.path());
    let mut config = anchored(folder.path());
    NativeBackend::open(config.clone()).await.unwrap().close().await.unwrap();
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let lock = file.with_file_name("anchor.lock");
    assert_eq!((mode(), fs::metadata(lock).unwrap().permissions().mode() & 0o777), (0o600, 0o600));

    for open_to_others in [0o644, 0o660, 0o606] {
        fs::set_permissions(&file, fs::Permissions::from_mode(open_to_others)).unwrap();
        let error = NativeBackend::open(config.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{open_to_others:o}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o660)).unwrap();
    config.group = Some(fs::metadata(&file).unwrap().gid());
    let backend = NativeBackend::open(config).await.unwrap();
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    assert_eq!(anchored_state(&file), stored_state(folder.path()));
    assert_eq!(mode(), 0o660, "a new anchor must stay readable for the group");
}

#[tokio::test]
async fn a_write_that_fails_advances_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let backend = NativeBackend::open(anchored(folder.path())).await.unwrap();
    put_next(&backend, "a", 1).await;
    let before = stored_state(folder.path());
    let options = PutOptions::new().must_not_exist();
    backend.put(&path("a"), "x".into(), options).await.unwrap_err();
    backend.delete(&path("none")).await.unwrap();
    assert_eq!(stored_state(folder.path()), before);
    backend.rotate_kek().await.unwrap();
    assert!(stored_state(folder.path()) > before, "an earlier key ring could be put back");
    assert_eq!(backend.verify().await.unwrap().damaged, 0);
}
