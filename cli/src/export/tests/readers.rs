//! Real readers. Each reads many variables at once, in a folder of its own, and must leave nothing there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// What Python takes for the end of a line when it reads text.
pub(super) const PYTHON_LINE_BREAKS: [char; 2] = ['\n', '\r'];

/// A shell reads the file as its own commands.
pub(super) fn source() -> &'static str {
    ". ./output"
}

/// A shell takes the output of a command for commands.
pub(super) fn eval() -> &'static str {
    "eval \"$(cat output)\""
}

pub(super) fn shell(
    shell: &str,
    how: fn() -> &'static str,
    output: &[u8],
    count: usize,
) -> Vec<String> {
    let mut script = format!("set -eu\n{}\nprintf '%s\\0'", how());
    for index in 0..count {
        write!(script, " \"$V{index}\"").unwrap();
    }
    run(Command::new(shell).args(["-c", &script]), output)
}

pub(super) fn pyyaml(output: &[u8], count: usize) -> Vec<String> {
    python("import yaml\nfound = yaml.safe_load(open('output', newline=''))", output, count)
}

pub(super) fn manifest(output: &[u8], count: usize) -> Vec<String> {
    python(
        "import base64, yaml\nmanifest = yaml.safe_load(open('output', newline=''))\n\
         assert (manifest['kind'], manifest['metadata']['name']) == ('Secret', 'app')\n\
         found = {k: base64.b64decode(v, validate=True).decode() for k, v in manifest['data'].items()}",
        output,
        count,
    )
}

pub(super) fn json(output: &[u8], count: usize) -> Vec<String> {
    python("import json\nfound = json.load(open('output', newline=''))", output, count)
}

pub(super) fn docker_py(output: &[u8], count: usize) -> Vec<String> {
    python("import docker.utils\nfound = docker.utils.parse_env_file('output')", output, count)
}

/// Without its substitution of `${NAME}`.
pub(super) fn python_dotenv(output: &[u8], count: usize) -> Vec<String> {
    python(
        "import dotenv\nfound = dotenv.dotenv_values('output', interpolate=False)",
        output,
        count,
    )
}

/// The values of `V0`, `V1` and so on.
pub(super) fn in_order(found: &BTreeMap<String, Vec<u8>>, count: usize) -> Vec<String> {
    assert_eq!(found.len(), count);
    (0..count)
        .map(|index| String::from_utf8(found[&format!("V{index}")].clone()).unwrap())
        .collect()
}

fn python(read: &str, output: &[u8], count: usize) -> Vec<String> {
    let python = std::env::var("STRONGROOM_TEST_PYTHON").expect(
        "STRONGROOM_TEST_PYTHON names no interpreter: run `cargo xtask test`, which installs one with what \
         this test needs",
    );
    let script = format!(
        "import sys\n{read}\nassert len(found) == {count}, len(found)\n\
         for i in range({count}): sys.stdout.buffer.write(found[f'V{{i}}'].encode() + b'\\0')"
    );
    run(Command::new(python).args(["-c", &script]).env("PYTHONUTF8", "1"), output)
}

/// Runs a reader over the file `output`. It prints each value with a NUL behind it.
fn run(command: &mut Command, output: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("output"), output).unwrap();
    let ended = command.current_dir(folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{errors}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a value was run as a command");
    let mut values: Vec<_> = ended.stdout.split(|byte| *byte == 0).collect();
    assert_eq!(values.pop(), Some(b"".as_slice()));
    values.into_iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}
