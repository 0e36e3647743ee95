//! A store on a mount that would separate it from its log, or that cannot be written, is refused with what
//! to do.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, Error, ErrorKind, PutOptions};
use strongroom_testkit::report;
use support::mounting::{ROLE, run, shell_that_mounts};
use support::opening::private;
use support::{
    DIRECTORY, child_directory, config, directory_in_memory, is_intact, key_file, open, path,
    put_next, snapshot, store_file,
};

/// What the children of the other tests do.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = child_directory().join("container");
        match role.as_str() {
            "alone" => refuse_file_mounted_alone(&directory).await,
            "folder" => use_mounted_folder(&directory).await,
            "unwritable" => refuse_unwritable_folder(&directory).await,
            "unwritable file" => read_unwritable_file(&directory).await,
            "fuse" => refuse_shared_file_system(&directory).await,
            "read-only" => refuse_read_only_folder(&directory).await,
            unknown => panic!("{unknown}"),
        }
    });
    println!("\ndone");
}

async fn refused(directory: &Path, kind: ErrorKind, words: &[&str]) -> Error {
    let before = snapshot(directory);
    let error = NativeBackend::open(config(directory)).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
    assert!(snapshot(directory) == before, "opening changed a file although: {error}");
    error
}

async fn refuse_file_mounted_alone(directory: &Path) {
    let folder = format!("mount the folder {}", directory.display());
    let words = ["`NativeConfig::path`", "mounted alone", "lost", &folder, "subPath"];
    refused(directory, ErrorKind::Config, &words).await;
    assert!(!key_file(directory).exists());
    // Also by way of a link in the path.
    let link = directory.with_file_name("link");
    std::os::unix::fs::symlink(directory, &link).unwrap();
    refused(&link, ErrorKind::Config, &words).await;
}

async fn use_mounted_folder(directory: &Path) {
    let backend = open(directory).await;
    put_next(&backend, "a", 1).await;
    // Its log is on the volume, too.
    let volume = directory.with_file_name("volume");
    assert!(volume.join("secrets.db-wal").metadata().unwrap().len() > 0);
    assert!(is_intact(&backend, "a", 1).await);
}

async fn refuse_shared_file_system(directory: &Path) {
    let words = [
        "`NativeConfig::path`",
        "on a FUSE file system (`fuse`)",
        "put the store on a local disk",
        "`NativeConfig::allow_network_file_system`",
    ];
    let error = NativeBackend::open(config(directory)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    // The setting lifts that; then the file system itself says that it can hold no files.
    let mut allowed = config(directory);
    allowed.allow_network_file_system = true;
    let error = NativeBackend::open(allowed).await.unwrap_err();
    assert!(!error.to_string().contains("FUSE"), "{error}");
}

async fn refuse_read_only_folder(directory: &Path) {
    let folder = format!("{} (`NativeConfig::path`) is mounted read-only", directory.display());
    let words = [folder.as_str(), "mount it writable", "VACUUM INTO"];
    refused(directory, ErrorKind::Denied, &words).await;
    let mut missing = config(directory);
    missing.path = Some(directory.join("other.db"));
    let error = NativeBackend::open(missing).await.unwrap_err();
    assert!(error.to_string().contains(&folder), "{error}");
}

async fn refuse_unwritable_folder(directory: &Path) {
    let folder = format!("not write to the folder {} (`NativeConfig::path`)", directory.display());
    refused(directory, ErrorKind::Denied, &[&folder, "`chown` the folder", "log"]).await;
}

async fn read_unwritable_file(directory: &Path) {
    let backend = open(directory).await;
    assert!(is_intact(&backend, "a", 1).await);
    let written = backend.put(&path("a"), "x".into(), PutOptions::new()).await;
    let error = written.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let store = format!("(the store is {})", store_file(directory).display());
    for words in ["read-only", "write access", &store] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Runs a child that is not root, in a folder whose files have `mode`.
async fn run_unprivileged(folder_mode: u32, file_mode: u32, role: &str) {
    const NOBODY: u32 = 65534;
    let directory = directory_in_memory();
    let folder = directory.path().join("container");
    fs::create_dir(&folder).unwrap();
    let backend = open(&folder).await;
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let set = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        if is_root {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    };
    set(&store_file(&folder), file_mode);
    set(&key_file(&folder), 0o400);
    set(directory.path(), 0o700);
    set(&folder, folder_mode);
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh"];
    let shell: &[&str] = if is_root { &as_nobody } else { &["sh"] };
    run(shell, "set -e", role, directory.path());
    set(&folder, 0o700);
}

#[tokio::test]
async fn a_folder_that_this_process_may_not_write_is_refused_with_the_next_step() {
    run_unprivileged(0o500, 0o600, "unwritable").await;
}

#[tokio::test]
async fn a_store_that_this_process_may_not_write_is_read_and_a_write_names_it() {
    run_unprivileged(0o700, 0o400, "unwritable file").await;
}

/// Runs a child that sees the folders `volume`, with a store, and `container`, after `mounts`.
async fn run_with(mounts: &str, role: &str) {
    let directory = directory_in_memory();
    let volume = directory.path().join("volume");
    for folder in [&volume, &directory.path().join("container")] {
        fs::create_dir(folder).unwrap();
    }
    open(&volume).await.close().await.unwrap();
    let preparation = format!("set -e; cd \"${DIRECTORY}\"; {mounts}");
    run(shell_that_mounts(), &preparation, role, directory.path());
}

#[tokio::test]
async fn a_file_that_is_mounted_without_its_folder_is_refused() {
    let mount = "touch container/secrets.db; mount --bind volume/secrets.db container/secrets.db";
    run_with(mount, "alone").await;
}

#[tokio::test]
async fn an_empty_file_that_is_mounted_without_its_folder_becomes_no_store() {
    let mount = "touch container/secrets.db empty; mount --bind empty container/secrets.db";
    run_with(mount, "alone").await;
}

#[tokio::test]
async fn a_log_that_is_mounted_alone_is_refused() {
    let mount = "touch container/secrets.db-wal volume/log; \
                 mount --bind volume/log container/secrets.db-wal";
    run_with(mount, "alone").await;
}

#[tokio::test]
async fn a_mounted_folder_keeps_the_log_with_the_store() {
    // Without its files, since the child makes its own.
    run_with("rm volume/*; mount --bind volume container", "folder").await;
}

#[tokio::test]
async fn a_folder_that_is_mounted_read_only_is_refused_with_the_next_step() {
    let mount = "mount --bind volume container; mount -o remount,ro,bind container";
    run_with(mount, "read-only").await;
}

#[tokio::test]
async fn a_file_system_that_machines_may_share_is_refused() {
    if !Path::new("/dev/fuse").exists() {
        report(
            "this machine has no /dev/fuse: the kinds of file systems were tested without a mount",
        );
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mounts/fuse.py");
    let mount = format!(
        "\"$STRONGROOM_TEST_PYTHON\" \"{}\" container >/dev/null 2>&1 & \
         until grep -q '/container .* fuse ' /proc/self/mountinfo; do kill -0 $!; sleep 0.05; done",
        script.display()
    );
    run_with(&mount, "fuse").await;
}

#[tokio::test]
async fn a_store_with_a_second_name_is_refused() {
    let directory = directory_in_memory();
    open(directory.path()).await.close().await.unwrap();
    let second = directory.path().join("second.db");
    fs::hard_link(store_file(directory.path()), &second).unwrap();
    let words = ["`NativeConfig::path`", "hard link", "another log"];
    refused(directory.path(), ErrorKind::Config, &words).await;
    fs::remove_file(second).unwrap();
    open(directory.path()).await;
}

#[tokio::test]
async fn a_folder_instead_of_the_file_is_refused() {
    let directory = directory_in_memory();
    // As Docker makes one if the file to mount does not exist.
    fs::create_dir(store_file(directory.path())).unwrap();
    private(&key_file(directory.path()), [0x99; 32]);
    refused(directory.path(), ErrorKind::Config, &["not a regular file"]).await;
}
