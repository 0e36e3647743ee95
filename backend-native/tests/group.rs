//! A group that the configuration names may access the files of a store.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::ErrorKind;
use support::opening::{PASSPHRASE, existing, mode, opens, private, with};
use support::{config, key_file, put_next, store_file};

fn with_group(directory: &Path, group: Option<u32>) -> NativeConfig {
    let mut config = config(directory);
    config.group = group;
    config
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn the_files_may_be_open_to_the_group_that_is_named_and_to_no_other() {
    let directory = existing(|directory| KeySource::KeyFile(key_file(directory))).await;
    let group = fs::metadata(store_file(directory.path())).unwrap().gid();
    for file in [store_file(directory.path()), key_file(directory.path())] {
        for open_to_group in [0o660, 0o640, 0o670] {
            set_mode(&file, open_to_group);
            opens(with_group(directory.path(), Some(group))).await;
            assert_eq!(mode(&file), open_to_group);
            for (other, words) in [
                (None, "its group or others can access it; `chmod 600` it".to_owned()),
                (
                    Some(group + 1),
                    format!(
                        "its group {group} can access it, but `NativeConfig::group` is {}",
                        group + 1
                    ),
                ),
            ] {
                let error =
                    NativeBackend::open(with_group(directory.path(), other)).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                assert!(error.to_string().contains(&words), "{error}");
            }
        }
        for open_to_others in [0o664, 0o606, 0o661] {
            set_mode(&file, open_to_others);
            let error = NativeBackend::open(with_group(directory.path(), Some(group))).await;
            assert!(error.unwrap_err().to_string().contains("group or others"));
        }
        set_mode(&file, 0o600);
    }
}

/// As Kubernetes leaves a volume with `fsGroup`: all files are of the group, and open to it.
#[tokio::test]
async fn a_volume_with_a_group_is_used_as_it_is_mounted() {
    let directory = existing(|directory| KeySource::KeyFile(key_file(directory))).await;
    let group = fs::metadata(store_file(directory.path())).unwrap().gid();
    set_mode(directory.path(), 0o2770);
    set_mode(&store_file(directory.path()), 0o660);
    set_mode(&key_file(directory.path()), 0o440);
    let backend = NativeBackend::open(with_group(directory.path(), Some(group))).await.unwrap();
    put_next(&backend, "a", 2).await;
    // Another process opens the store while its logs, which have the mode of the store, are there.
    opens(with_group(directory.path(), Some(group))).await;
    assert_eq!(mode(&directory.path().join("secrets.db-wal")), 0o660);
}

#[tokio::test]
async fn a_passphrase_file_may_be_open_to_the_group() {
    let directory = existing(|directory| {
        KeySource::PassphraseFile(private(&directory.join("passphrase"), PASSPHRASE))
    })
    .await;
    let file = directory.path().join("passphrase");
    let group = fs::metadata(&file).unwrap().gid();
    set_mode(&file, 0o440);
    let mut config = with(directory.path(), KeySource::PassphraseFile(file));
    assert_eq!(NativeBackend::open(config.clone()).await.unwrap_err().kind(), ErrorKind::Config);
    config.group = Some(group);
    opens(config).await;
}

/// Some orchestrators give each pod a user of its own, and the group of the volume.
#[tokio::test]
async fn a_store_of_another_user_is_used_by_members_of_the_group() {
    let directory = existing(|directory| KeySource::KeyFile(key_file(directory))).await;
    let group = fs::metadata(store_file(directory.path())).unwrap().gid();
    for file in [store_file(directory.path()), key_file(directory.path())] {
        set_mode(&file, 0o660);
        // Only root can give a file away.
        if chown(&file, Some(4321), None).is_err() {
            strongroom_testkit::report("not root: files of another user were not tried");
        }
    }
    opens(with_group(directory.path(), Some(group))).await;
}
