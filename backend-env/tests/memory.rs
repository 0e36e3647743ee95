//! Neither the parser nor the writer nor the reader of a `.env` file leaves a copy of a value behind.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::path::{Path, PathBuf};

use strongroom_backend_env::{EnvBackend, EnvConfig, dotenv};
use strongroom_core::{Backend, ErrorKind, SecretPath, SecretValue, VersionSelector};
use strongroom_testkit::memory::Planted;

fn write(directory: &Path, planted: &Planted, before: &str, after: &str) -> PathBuf {
    let file = directory.join(".env");
    std::fs::write(&file, planted.expose_in(before, after).as_bytes()).unwrap();
    file
}

fn with(file: PathBuf) -> EnvConfig {
    let mut config = EnvConfig::default();
    config.file = Some(file);
    config
}

/// One test, since another one's value would be searched for in the memory of both.
#[tokio::test]
async fn no_copy_of_a_value_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = SecretPath::parse("zz/planted").unwrap();
    for (before, after) in [
        ("ZZ_PLANTED=", "\n"),
        ("ZZ_PLANTED='", "\n' # comment"),
        ("ZZ_PLANTED=\"\\n", "\\\"\\t\"\r\n"),
        ("\u{feff}export ZZ_PLANTED = \"", "\r\nline\"\n"),
    ] {
        let planted = Planted::new();
        let file = write(directory.path(), &planted, before, after);
        let backend = EnvBackend::open(with(file)).await.unwrap();
        let secret = backend.get(&path, &VersionSelector::Active).await.unwrap();
        assert!(secret.expose_text().unwrap().contains(planted.expose().as_str()));
        assert_eq!(planted.count_in_own_memory(), 1, "{before:?}");
        backend.close().await.unwrap();
        drop(secret);
        assert_eq!(planted.count_in_own_memory(), 0, "{before:?}");
    }
    let planted = Planted::new();
    let file = write(directory.path(), &planted, "ZZ_PLANTED=\"\\n", "\"\nZZ_PLANTED=last\n");
    let backend = EnvBackend::open(with(file)).await.unwrap();
    assert_eq!(planted.count_in_own_memory(), 0, "a value that does not count");
    drop(backend);

    for (before, after) in
        [("", "\n"), ("A=\"\\n", "\n"), ("A=\"", "\\$\"\n"), ("A=1\nB='", "' x\n")]
    {
        let planted = Planted::new();
        let file = write(directory.path(), &planted, before, after);
        let error = EnvBackend::open(with(file)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(planted.count_in_own_memory(), 0, "{before:?}");
    }

    let planted = Planted::new();
    for (before, after) in [("", ""), ("two words ", ""), ("'\n", "\\"), ("C:\\", "'")] {
        let value = SecretValue::from(planted.expose_in(before, after));
        let others = SecretValue::from("x".repeat(5000));
        drop(dotenv::write([("A", &others), ("B", &value)]).unwrap());
    }
    assert_eq!(planted.count_in_own_memory(), 0, "the writer left a copy");
}
