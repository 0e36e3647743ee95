//! The stored formats, read by a second implementation: `vectors/decode.py` opens the committed
//! records and the golden stores, down to the values, with nothing of this crate.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a panic is how a test reports a failure"
)]

mod support;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use strongroom_backend_native::NativeBackend;
use strongroom_core::Backend as _;
use support::{anchored_state, config, key_file, path, put_next, store_file, with_anchor};

/// The lines that the second implementation prints.
fn decode(arguments: &[&OsStr]) -> Vec<String> {
    let python = std::env::var_os("STRONGROOM_TEST_PYTHON").expect(
        "STRONGROOM_TEST_PYTHON names no interpreter: run `cargo xtask test`, which installs one \
         with what this test needs",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/decode.py");
    let output = Command::new(&python).arg(&script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{} failed:\n{said}{}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    said.lines().map(str::to_owned).collect()
}

#[test]
fn a_second_implementation_reads_the_formats() {
    assert_eq!(
        decode(&[]),
        [
            "passphrases: 3",
            "records.json: 2 keys, 2 rows, 5 values",
            "store-v1.db: 2 keys, 5 rows, 7 values",
            "store-v1-passphrase.db: 2 keys, 5 rows, 7 values",
            "store-v2.db: 2 keys, 5 rows, 7 values",
            "store-v2-shares.db: 2 keys, 5 rows, 7 values",
        ]
    );
}

#[tokio::test]
async fn a_second_implementation_computes_the_state_and_the_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchors/anchor");
    let config = with_anchor(config(folder.path()), &anchor);
    let backend = NativeBackend::open(config).await.unwrap();
    for (name, version) in [("a", 1), ("b", 1), ("a", 2), ("gone", 1), ("destroyed", 1)] {
        put_next(&backend, name, version).await;
    }
    backend.delete(&path("gone")).await.unwrap();
    backend.destroy(&path("destroyed")).await.unwrap();
    backend.close().await.unwrap();
    let state = anchored_state(&anchor);
    let (store, key) = (store_file(folder.path()), key_file(folder.path()));
    let said = decode(&["state".as_ref(), store.as_ref(), key.as_ref(), anchor.as_ref()]);
    assert_eq!(said, [format!("state {state}: 3 secrets, flags 1")]);
}
