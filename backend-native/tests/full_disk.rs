//! A write without disk space fails whole, and all earlier writes stay readable.
#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test reports a failure"
)]

mod support;

use std::fs;
use std::path::Path;

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, ErrorKind, PutOptions};
use strongroom_testkit::report;
use support::mounting::{ROLE, run, shell_that_mounts};
use support::{
    DIRECTORY, all_paths, child_directory, directory_in_memory, exact, is_intact, key_file, open,
    path, put_next, store_file, value_of,
};

/// The largest file that the limited child may write, in the 512-byte units of `ulimit`.
const FILE_LIMIT: &str = "1024";
/// Frees this much once the disk was full.
const BALLAST: usize = 512 * 1024;

/// What the children of the other tests do.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = child_directory();
        match role.as_str() {
            "limited" => {
                let backend = open(&directory).await;
                let written = fill(&backend, &["the file system failed", "the disk is full"]).await;
                println!("\nwritten {written}");
            }
            "full" => fill_and_resume(&directory).await,
            "full at creation" => create_on_full_disk(&directory).await,
            unknown => panic!("{unknown}"),
        }
    });
    println!("\ndone");
}

fn name(number: u64) -> String {
    format!("filled/{number}")
}

/// Writes until there is no room, then checks that every write that succeeded is there and no
/// other. Says how many those are.
async fn fill(backend: &NativeBackend, causes: &[&str]) -> u64 {
    put_next(backend, "often", 1).await;
    let mut written = 0;
    loop {
        let value = value_of(&name(written), 1).repeat(20);
        let outcome =
            backend.put(&path(&name(written)), value.as_str().into(), PutOptions::new()).await;
        let Err(error) = outcome else {
            written += 1;
            assert!(written < 100_000, "there is room for ever");
            continue;
        };
        assert_unavailable(&error, causes);
        break;
    }
    // Others of the same transaction fail likewise, also with values larger than the cache of
    // pages, which are written out before the commit.
    let large = vec![7; 12 * 1024 * 1024];
    let put = |number: u64| {
        let value = strongroom_core::SecretValue::binary(large.clone());
        async move { backend.put(&path(&format!("large/{number}")), value, PutOptions::new()).await }
    };
    let (first, second, third) = tokio::join!(put(1), put(2), put(3));
    for outcome in [first, second, third] {
        assert_unavailable(&outcome.unwrap_err(), causes);
    }
    assert_no_partial_write(backend, written).await;
    written
}

fn assert_unavailable(error: &strongroom_core::Error, causes: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(causes.iter().any(|cause| error.to_string().contains(cause)), "{error}");
}

async fn assert_no_partial_write(backend: &NativeBackend, written: u64) {
    for number in 0..written {
        let secret = backend.get(&path(&name(number)), &exact(1)).await.unwrap();
        assert_eq!(secret.expose_text().unwrap(), value_of(&name(number), 1).repeat(20));
    }
    assert!(is_intact(backend, "often", 1).await);
    assert_eq!(u64::try_from(all_paths(backend).await.len()).unwrap(), written + 1);
}

async fn fill_and_resume(directory: &Path) {
    let ballast = directory.join("ballast");
    fs::write(&ballast, vec![0; BALLAST]).unwrap();
    let backend = open(directory).await;
    let written = fill(&backend, &["the disk is full"]).await;
    // Opened again on the full disk, the store reads; with free space, both instances write.
    let reopened = open(directory).await;
    assert_no_partial_write(&reopened, written).await;
    fs::remove_file(ballast).unwrap();
    put_next(&backend, "often", 2).await;
    put_next(&reopened, "often", 3).await;
    backend.destroy(&path(&name(0))).await.unwrap();
    for version in 1..=3 {
        assert!(is_intact(&backend, "often", version).await);
        assert!(is_intact(&reopened, "often", version).await);
    }
    println!("\nwritten {written}");
}

async fn create_on_full_disk(directory: &Path) {
    let ballast = directory.join("ballast");
    fs::write(&ballast, vec![0; 64 * 1024 * 1024]).expect_err("the disk is not small");
    let error = NativeBackend::open(support::config(directory)).await.unwrap_err();
    assert_unavailable(&error, &["the disk is full"]);
    fs::remove_file(ballast).unwrap();
    let backend = open(directory).await;
    put_next(&backend, "often", 1).await;
    assert!(is_intact(&backend, "often", 1).await);
}

fn number_written(output: &str) -> u64 {
    let line = output.lines().find_map(|line| line.strip_prefix("written ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn a_write_beyond_the_largest_file_fails_whole() {
    let directory = directory_in_memory();
    // The signal ignored, a write beyond the limit is an error.
    let preparation = format!("set -e; trap '' XFSZ; ulimit -f {FILE_LIMIT}");
    let output = run(&["sh"], &preparation, "limited", directory.path());
    let written = number_written(&output);
    report(format_args!("written before the limit: {written}"));
    assert!(written > 0);
    assert!(fs::metadata(store_file(directory.path())).unwrap().len() <= 1024 * 512);
    // Without the limit, writes succeed again.
    let backend = open(directory.path()).await;
    assert_no_partial_write(&backend, written).await;
    put_next(&backend, "often", 2).await;
    assert!(is_intact(&backend, "often", 2).await);
}

fn run_on_small_disk(role: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let preparation = format!("set -e; mount -t tmpfs -o size=2m,mode=0700 none \"${DIRECTORY}\"");
    let output = run(shell_that_mounts(), &preparation, role, directory.path());
    assert!(!key_file(directory.path()).exists(), "it was not on its own disk");
    output
}

#[test]
fn a_write_on_a_full_disk_fails_whole_and_succeeds_once_there_is_space() {
    let written = number_written(&run_on_small_disk("full"));
    report(format_args!("written before the disk was full: {written}"));
    assert!(written > 0);
}

#[test]
fn a_store_that_found_no_space_can_be_created_later() {
    run_on_small_disk("full at creation");
}
