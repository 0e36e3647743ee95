//! The files that opening creates, and the accepted forms of a key.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs::{self, Permissions};
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend, ErrorKind};
use strongroom_testkit::log::Log;
use strongroom_testkit::process::{Role, role};
use support::opening::{KEY, PASSPHRASE, existing, key, mode, opens, passphrase, private, with};
use support::{
    DIRECTORY, child_directory, config, directory_in_memory, key_file, open, put_next, snapshot,
    store_file,
};

const LIMIT: Duration = Duration::from_secs(60);

/// What the children of the other tests do.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match role.as_str() {
        "default path" => runtime.block_on(async {
            let config = NativeConfig::new(KeySource::KeyFile(key_file(&child_directory())));
            assert_eq!(config.path, None);
            let backend = NativeBackend::open(config).await.unwrap();
            put_next(&backend, "a", 1).await;
            println!("\n{}", backend.info().instance);
        }),
        "creator" => {
            let mut log = Log::default();
            tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).init();
            runtime.block_on(async {
                open(&child_directory()).await.close().await.unwrap();
                log.write_all(b"opened again\n").unwrap();
                open(&child_directory()).await;
            });
            println!("\n{}", log.text());
        }
        unknown => panic!("{unknown}"),
    }
}

fn run_child(name: &str, directory: &Path, variables: &[(&str, &Path)]) -> String {
    let role = Role::in_test(name, "child").unwrap().env(DIRECTORY, directory).inherit_stderr();
    let role = variables.iter().fold(role, |role, (name, value)| role.env(name, value));
    let mut child = role.spawn().unwrap();
    let mut text = String::new();
    child.stdout().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait_within(LIMIT).unwrap().success(), "{text}");
    text
}

#[tokio::test]
async fn creates_a_private_store() {
    let directory = directory_in_memory();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    let names = ["secrets.db", "secrets.db-shm", "secrets.db-wal", "secrets.key"];
    let files = snapshot(directory.path());
    assert!(files.iter().map(|(path, _)| path.file_name().unwrap()).eq(names), "{names:?}");
    for (path, _) in files {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let text = fs::read_to_string(key_file(directory.path())).unwrap();
    assert_eq!(STANDARD.decode(text.trim_end()).unwrap().len(), 32);
}

#[test]
fn warns_to_back_up_a_new_key() {
    let directory = directory_in_memory();
    let log = run_child("creator", directory.path(), &[]);
    let (created, again) = log.split_once("opened again").unwrap();
    let warning = created.lines().find(|line| line.contains("back it up")).unwrap();
    assert!(warning.contains("WARN") && warning.contains("secrets.key"), "{warning}");
    assert!(created.lines().any(|line| line.contains("created a new store")), "{created}");
    let key = fs::read_to_string(key_file(directory.path())).unwrap();
    assert!(!log.contains(key.trim_end()));
    assert!(!again.contains("WARN"), "{again}");
}

#[test]
fn the_default_path_is_in_the_data_directory() {
    let directory = directory_in_memory();
    let data = directory.path().join("data");
    let variables = [("XDG_DATA_HOME", data.as_path()), ("HOME", directory.path())];
    let output = run_child("default path", directory.path(), &variables);
    let store = if cfg!(target_os = "macos") {
        directory.path().join("Library/Application Support/strongroom/secrets.db")
    } else {
        data.join("strongroom/secrets.db")
    };
    let shown = store.canonicalize().unwrap();
    assert!(output.contains(shown.to_str().unwrap()), "{output}");
    assert_eq!((mode(&store), mode(store.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let directory = directory_in_memory();
    private(&store_file(directory.path()), "");
    let backend = open(directory.path()).await;
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    opens(config(directory.path())).await;
}

#[tokio::test]
async fn accepts_a_key_in_every_form() {
    let directory = existing(|_| key()).await;
    let file = |name: &str, content: &[u8]| {
        KeySource::KeyFile(private(&directory.path().join(name), content))
    };
    let padded = STANDARD.encode(KEY);
    let unpadded = STANDARD_NO_PAD.encode(KEY);
    assert_ne!(padded, unpadded);
    for form in [
        KeySource::Key(padded.as_str().into()),
        KeySource::Key(unpadded.as_str().into()),
        file("padded", padded.as_bytes()),
        file("unpadded", unpadded.as_bytes()),
        file("with line break", format!("{padded}\r\n").as_bytes()),
        file("raw", &KEY),
    ] {
        opens(with(directory.path(), form)).await;
    }
}

#[tokio::test]
async fn ignores_a_line_break_at_the_end_of_a_passphrase_file() {
    let directory = existing(|_| passphrase()).await;
    for end in ["", "\n", "\r\n"] {
        let file = private(&directory.path().join("passphrase"), format!("{PASSPHRASE}{end}"));
        opens(with(directory.path(), KeySource::PassphraseFile(file))).await;
    }
    let two = private(&directory.path().join("passphrase"), format!("{PASSPHRASE}\n\n"));
    let two = with(directory.path(), KeySource::PassphraseFile(two));
    let error = NativeBackend::open(two).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}
