//! Opening a store distinguishes every failure, and changes nothing when it fails.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend, Error, ErrorKind, VersionSelector};
use support::opening::{KEY, PASSPHRASE, existing, key, mode, opens, passphrase, private, with};
use support::{config, directory_in_memory, key_file, path, raw, snapshot, store_file, value_of};
use tempfile::TempDir;

async fn existing_with_key_file() -> TempDir {
    existing(|directory| KeySource::KeyFile(key_file(directory))).await
}

/// Opening fails in this way and leaves every file of the directory as it was.
async fn open_error(
    directory: &Path,
    config: NativeConfig,
    kind: ErrorKind,
    words: &[&str],
) -> Error {
    let before = snapshot(directory);
    let error = NativeBackend::open(config).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(text.starts_with("open native: ") || text.contains(": open native: "), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
    }
    assert!(snapshot(directory) == before, "opening changed a file although: {error}");
    error
}

#[tokio::test]
async fn refuses_files_that_are_not_a_store() {
    let directory = directory_in_memory();
    let key = private(&key_file(directory.path()), STANDARD.encode(KEY));
    let store = store_file(directory.path());
    let words = ["`NativeConfig::path`", "not a Strongroom store", "Nothing was changed"];

    let foreign = raw(directory.path());
    foreign.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    foreign.close().unwrap();
    fs::set_permissions(&store, Permissions::from_mode(0o600)).unwrap();
    open_error(directory.path(), config(directory.path()), ErrorKind::Config, &words).await;

    for text in ["x", "API_KEY=hunter2\n", &"no store at all\n".repeat(1000)] {
        private(&store, text);
        let error =
            open_error(directory.path(), config(directory.path()), ErrorKind::Config, &words).await;
        assert!(!error.to_string().contains("hunter2"));
    }
    // Not that the key is missing, which has nothing to do with such a file.
    fs::remove_file(key).unwrap();
    open_error(directory.path(), config(directory.path()), ErrorKind::Config, &words).await;
}

#[tokio::test]
async fn refuses_a_newer_schema_without_changing_it() {
    let directory = existing_with_key_file().await;
    let connection = raw(directory.path());
    connection.pragma_update(None, "user_version", 99).unwrap();
    connection.close().unwrap();
    let words = ["schema 99", "supports up to 2", "newer"];
    open_error(directory.path(), config(directory.path()), ErrorKind::Unsupported, &words).await;
}

#[tokio::test]
async fn distinguishes_a_wrong_key_from_damage() {
    let words = ["does not open", "secrets.db", "nothing was changed"];
    let unauthenticated = ErrorKind::Unauthenticated;
    let directory = existing_with_key_file().await;
    let other = private(&directory.path().join("other.key"), STANDARD.encode(KEY));
    let wrong = with(directory.path(), KeySource::KeyFile(other));
    open_error(directory.path(), wrong, unauthenticated, &words).await;
    let wrong = with(directory.path(), key());
    let error = open_error(directory.path(), wrong, unauthenticated, &words).await;
    assert!(!error.to_string().contains(&STANDARD.encode(KEY)));

    let directory = existing(|_| passphrase()).await;
    let wrong = with(directory.path(), KeySource::Passphrase("correct horse".into()));
    open_error(directory.path(), wrong, unauthenticated, &words).await;
    let file = private(&directory.path().join("passphrase"), format!(" {PASSPHRASE}"));
    let wrong = with(directory.path(), KeySource::PassphraseFile(file));
    open_error(directory.path(), wrong, unauthenticated, &words).await;
    opens(with(directory.path(), passphrase())).await;
}

#[tokio::test]
async fn distinguishes_a_key_from_a_passphrase() {
    let directory = existing(|_| key()).await;
    let words = ["a key, not a passphrase", "`KeySource::KeyFile`", "`KeySource::Key`"];
    let other = with(directory.path(), passphrase());
    open_error(directory.path(), other, ErrorKind::Config, &words).await;

    let directory = existing(|_| passphrase()).await;
    let words = ["a passphrase, not a key", "`KeySource::Passphrase`"];
    open_error(directory.path(), with(directory.path(), key()), ErrorKind::Config, &words).await;
    let file = private(&key_file(directory.path()), STANDARD.encode(KEY));
    let other = with(directory.path(), KeySource::KeyFile(file));
    open_error(directory.path(), other, ErrorKind::Config, &words).await;
}

#[tokio::test]
async fn refuses_files_that_others_can_access() {
    let directory = existing_with_key_file().await;
    for (path, setting) in [
        (store_file(directory.path()), "`NativeConfig::path`"),
        (key_file(directory.path()), "`KeySource::KeyFile`"),
    ] {
        for exposed in [0o640, 0o604, 0o620, 0o601, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(exposed)).unwrap();
            let words = [setting, "group or others", "chmod 600", path.to_str().unwrap()];
            open_error(directory.path(), config(directory.path()), ErrorKind::Config, &words).await;
            assert_eq!(mode(&path), exposed);
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    opens(config(directory.path())).await;

    let directory = existing(|_| passphrase()).await;
    let file = private(&directory.path().join("passphrase"), PASSPHRASE);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let exposed = with(directory.path(), KeySource::PassphraseFile(file));
    let words = ["`KeySource::PassphraseFile`", "group or others"];
    open_error(directory.path(), exposed, ErrorKind::Config, &words).await;
}

#[tokio::test]
async fn creates_no_new_key_for_an_existing_store() {
    let directory = existing_with_key_file().await;
    let key = key_file(directory.path());
    let content = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let words = ["`KeySource::KeyFile`", "is missing", "restore", "secrets.db"];
    open_error(directory.path(), config(directory.path()), ErrorKind::Config, &words).await;
    private(&key, content);
    opens(config(directory.path())).await;
}

#[tokio::test]
async fn refuses_paths_that_cannot_hold_a_store() {
    let directory = directory_in_memory();
    let at = |path: PathBuf, key: KeySource| {
        let mut config = NativeConfig::new(key);
        config.path = Some(path);
        config
    };
    let words = |complaint| ["`NativeConfig::path`", complaint];
    let file = private(&directory.path().join("file"), "");
    let cases = [
        (directory.path().join("missing/secrets.db"), "does not exist"),
        (file.join("secrets.db"), "not a directory"),
        (directory.path().join(".."), "does not name a file"),
        (directory.path().to_owned(), "not a regular file"),
    ];
    for (path, complaint) in cases {
        let config = at(path, key());
        open_error(directory.path(), config, ErrorKind::Config, &words(complaint)).await;
    }
    // Nor is a key left behind for a store that cannot be there.
    let config = at(directory.path().join("missing/secrets.db"), {
        KeySource::KeyFile(key_file(directory.path()))
    });
    let complaint = words("does not exist");
    open_error(directory.path(), config, ErrorKind::Config, &complaint).await;
    let key = KeySource::KeyFile(directory.path().join("missing/secrets.key"));
    let config = with(directory.path(), key);
    let complaint = ["`KeySource::KeyFile`", "does not exist"];
    open_error(directory.path(), config, ErrorKind::Config, &complaint).await;
}

#[tokio::test]
async fn refuses_a_link_to_the_store_but_follows_links_in_its_directory() {
    let directory = existing_with_key_file().await;
    let key = || KeySource::KeyFile(key_file(directory.path()));
    let elsewhere = directory_in_memory();
    symlink(store_file(directory.path()), store_file(elsewhere.path())).unwrap();
    let words = ["`NativeConfig::path`", "not a link"];
    let linked = with(elsewhere.path(), key());
    open_error(directory.path(), linked, ErrorKind::Config, &words).await;

    let way = elsewhere.path().join("way");
    symlink(directory.path(), &way).unwrap();
    opens(with(&way, key())).await;
    // Orchestrators mount keys behind links.
    let linked_key = elsewhere.path().join("linked.key");
    symlink(key_file(directory.path()), &linked_key).unwrap();
    opens(with(directory.path(), KeySource::KeyFile(linked_key))).await;
    let dangling = elsewhere.path().join("dangling.key");
    symlink("/nowhere/at/all", &dangling).unwrap();
    let config = with(directory.path(), KeySource::KeyFile(dangling));
    let words = ["`KeySource::KeyFile`", "does not exist"];
    open_error(directory.path(), config, ErrorKind::Config, &words).await;
}

#[tokio::test]
async fn refuses_a_truncated_store() {
    let directory = existing_with_key_file().await;
    let store = store_file(directory.path());
    let whole = fs::read(&store).unwrap();
    for length in [1, 100, 511, 512, 4095] {
        private(&store, &whole[..length]);
        let error = NativeBackend::open(config(directory.path())).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Corrupt), "{error}");
        assert_eq!(fs::read(&store).unwrap(), &whole[..length]);
    }
    for length in [4096, 4097, whole.len() / 2, whole.len() - 4096] {
        private(&store, &whole[..length]);
        let words = ["corrupt", "backup"];
        open_error(directory.path(), config(directory.path()), ErrorKind::Corrupt, &words).await;
    }
    // Part of the last page is missing, which only a read of that page detects.
    private(&store, &whole[..whole.len() - 1]);
    let read = async {
        let backend = NativeBackend::open(config(directory.path())).await?;
        let secret = backend.get(&path("a"), &VersionSelector::Active).await;
        backend.close().await.unwrap();
        secret
    };
    match read.await {
        Ok(secret) => assert_eq!(secret.expose_text().unwrap(), value_of("a", 1)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
    }

    private(&store, whole);
    opens(config(directory.path())).await;
}

#[tokio::test]
async fn refuses_an_invalid_key_without_showing_it() {
    let directory = directory_in_memory();
    let words = ["`KeySource::KeyFile`", "not a key", "openssl rand -base64 32"];
    let not_keys = ["", "\n", "hunter2", &"hunter2/".repeat(6), &STANDARD.encode([7; 31])];
    for content in not_keys {
        private(&key_file(directory.path()), content);
        let config = config(directory.path());
        let error = open_error(directory.path(), config, ErrorKind::Config, &words).await;
        assert!(!error.to_string().contains("hunter2"), "{error}");

        let given = with(directory.path(), KeySource::Key(content.into()));
        let words = ["`KeySource::Key`", "not a key"];
        let error = open_error(directory.path(), given, ErrorKind::Config, &words).await;
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    private(&key_file(directory.path()), [b'A'; 5000]);
    let words = ["`KeySource::KeyFile`", "larger than 4 KiB"];
    open_error(directory.path(), config(directory.path()), ErrorKind::Config, &words).await;
    let directory_as_key = with(directory.path(), KeySource::KeyFile(directory.path().into()));
    let words = ["`KeySource::KeyFile`", "not a regular file"];
    open_error(directory.path(), directory_as_key, ErrorKind::Config, &words).await;
}

#[tokio::test]
async fn refuses_a_short_passphrase() {
    let directory = directory_in_memory();
    let words = ["`KeySource::Passphrase`", "shorter than 8 bytes"];
    let short = with(directory.path(), KeySource::Passphrase("hunter2".into()));
    let error = open_error(directory.path(), short, ErrorKind::Config, &words).await;
    assert!(!error.to_string().contains("hunter2"));
    let file = private(&directory.path().join("passphrase"), "hunter2\n");
    let short = with(directory.path(), KeySource::PassphraseFile(file));
    let words = ["`KeySource::PassphraseFile`", "shorter than 8 bytes"];
    open_error(directory.path(), short, ErrorKind::Config, &words).await;
}

#[tokio::test]
async fn reports_files_that_this_process_may_not_read() {
    let directory = existing_with_key_file().await;
    for (path, setting) in [
        (store_file(directory.path()), "NativeConfig::path"),
        (key_file(directory.path()), "KeySource::KeyFile"),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        // Permissions do not bind root; they must not keep it from opening either.
        if fs::read(&path).is_ok() {
            opens(config(directory.path())).await;
        } else {
            let error = NativeBackend::open(config(directory.path())).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Unavailable), "{error}");
            assert!(error.to_string().contains(setting) || error.to_string().contains("opened"));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    opens(config(directory.path())).await;
}
