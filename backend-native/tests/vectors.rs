//! The stored formats, read by a second implementation: `vectors/decode.py` opens the committed
//! records and the golden stores, down to the values, with nothing of this crate.

use std::path::Path;
use std::process::Command;

#[test]
fn a_second_implementation_reads_the_formats() {
    let python = std::env::var_os("STRONGROOM_TEST_PYTHON").expect(
        "STRONGROOM_TEST_PYTHON names no interpreter: run `cargo xtask test`, which installs one \
         with what this test needs",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/decode.py");
    let output = Command::new(&python).arg(&script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{} failed:\n{said}{}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "passphrases: 3",
            "records.json: 2 keys, 2 rows, 5 values",
            "store-v1.db: 2 keys, 5 rows, 7 values",
            "store-v1-passphrase.db: 2 keys, 5 rows, 7 values",
        ]
    );
}
