//! Runs the real binary, and searches what it prints for planted values.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code reports a failure with a panic"
)]
#![allow(dead_code, reason = "not every suite uses all of it")]

#[cfg(feature = "server")]
pub(crate) mod serving;
pub(crate) mod terminal;

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use rustix::process::Signal;
use serde_json::Value;
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::{localstack, openbao};
use tempfile::TempDir;

/// Gives the programs that a test starts the default action of signals, also where this process began with some
/// ignored, as below `nohup` or in the background of a script: a program inherits what is ignored, and no handler.
fn stop_ignoring_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [Signal::HUP, Signal::INT, Signal::QUIT] {
            let always = Arc::new(AtomicBool::new(true));
            signal_hook::flag::register_conditional_default(signal.as_raw(), always).unwrap();
        }
    });
}

/// A store, and the environment that chooses it.
pub(crate) struct Store {
    pub(crate) name: &'static str,
    variables: Vec<(OsString, OsString)>,
    folder: TempDir,
    server: Option<Box<dyn Any + Send + Sync>>,
}

impl Store {
    fn new(name: &'static str) -> Self {
        Self { name, variables: Vec::new(), folder: tempfile::tempdir().unwrap(), server: None }
    }

    /// No store: the environment has no setting.
    pub(crate) fn none() -> Self {
        Self::new("none")
    }

    /// The variables of the environment that begin with `APP_`.
    pub(crate) fn env() -> Self {
        Self::new("env").with("SECRETS_BACKEND", "env").with("SECRETS_ENV_PREFIX", "APP_")
    }

    /// A native store in a folder of its own.
    pub(crate) fn native() -> Self {
        let store = Self::new("native");
        let (file, key) = (store.file("secrets.db"), store.file("strongroom.key"));
        store
            .with("SECRETS_BACKEND", "native")
            .with("SECRETS_NATIVE_PATH", file)
            .with("SECRETS_NATIVE_KEY_FILE", key)
    }

    /// A server of OpenBao.
    pub(crate) async fn openbao() -> Self {
        let server = openbao::Server::dev().await;
        let mut store = Self::new("hashicorp")
            .with("SECRETS_BACKEND", "openbao")
            .with("VAULT_ADDR", server.address())
            .with("VAULT_TOKEN", server.root_token());
        store.server = Some(Box::new(server));
        store
    }

    /// A server of LocalStack.
    pub(crate) async fn localstack() -> Self {
        let server = localstack::Server::start().await;
        let mut store = Self::new("aws")
            .with("SECRETS_BACKEND", "aws")
            .with("AWS_ENDPOINT_URL", server.endpoint())
            .with("AWS_REGION", server.region())
            .with("AWS_ACCESS_KEY_ID", server.access_key())
            .with("AWS_SECRET_ACCESS_KEY", server.secret_key())
            .with("AWS_EC2_METADATA_DISABLED", "true");
        store.server = Some(Box::new(server));
        store
    }

    /// The server behind it.
    pub(crate) fn server<T: 'static>(&self) -> &T {
        self.server.as_ref().and_then(|server| server.downcast_ref()).expect("it has such a server")
    }

    /// The same store with a variable more.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.remove(name);
        self.variables.push((name.into(), value.as_ref().to_owned()));
    }

    /// Removes a variable of the environment.
    pub(crate) fn remove(&mut self, name: &str) {
        self.variables.retain(|(other, _)| other != name);
    }

    /// A variable of the environment.
    pub(crate) fn variable(&self, name: &str) -> &OsStr {
        let mut variables = self.variables.iter().filter(|(other, _)| other == name);
        &variables.next().expect("it is set").1
    }

    /// The path of a file in a folder of this store.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the folder of this store.
    pub(crate) fn write_file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// The settings of this store as a configuration file, with `more` at its end.
    pub(crate) fn config_file(&self, more: &str) -> PathBuf {
        let mut text = String::new();
        for (name, value) in &self.variables {
            let (name, value) = (name.to_str().unwrap(), value.to_str().unwrap());
            // The SDK finds these in the environment.
            if !matches!(
                name,
                "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_EC2_METADATA_DISABLED"
            ) {
                writeln!(text, "{name} = {value:?}").unwrap();
            }
        }
        self.write_file("app.toml", text + more)
    }

    /// The binary with this environment and no other.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments);
        self.prepare(&mut command);
        command
    }

    /// Gives a command this environment and no other.
    pub(crate) fn prepare(&self, command: &mut Command) {
        stop_ignoring_signals();
        command.env_clear().env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path());
    }

    /// Runs the binary with nothing on standard input.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, b"")
    }

    /// Runs the binary with this on standard input. Neither the output nor the errors may have a planted
    /// value; [`value`](Self::value) and [`document`](Self::document) are for those that print one.
    pub(crate) fn run_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let ended = self.end(arguments, input.as_ref());
        ended.assert_no_value();
        ended
    }

    /// Runs a command that prints values. The errors may not have a planted one.
    pub(crate) fn printing(&self, arguments: &[&str]) -> Ended {
        let ended = self.end(arguments, b"");
        assert!(canary::find(ended.errors.as_bytes()).is_none(), "{}", ended.errors);
        ended
    }

    /// Stores a value.
    pub(crate) fn put(&self, path: &str, value: impl AsRef<[u8]>) {
        self.run_with(&["put", path, "--raw", "--allow-empty"], value).succeeds();
    }

    /// What `get` prints.
    pub(crate) fn value(&self, arguments: &[&str]) -> Vec<u8> {
        let ended = self.printing(&[&["get"], arguments].concat());
        assert_eq!(ended.code, 0, "{}", ended.errors);
        ended.output
    }

    /// The document that `get --format json` prints.
    pub(crate) fn document(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--format", "json"]].concat();
        serde_json::from_slice(&self.value(&arguments)).unwrap()
    }

    fn end(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read its input may have ended.
        let _ = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().expect("it ends by itself"),
            output: output.stdout,
            errors: String::from_utf8(output.stderr).expect("messages are text"),
        }
    }
}

/// The binary of this package.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_strongroom"))
}

/// A value with the canary in it.
pub(crate) fn planted(rest: &str) -> String {
    format!("{CANARY}{rest}")
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
}

impl Ended {
    /// Asserts that no planted value was printed.
    pub(crate) fn assert_no_value(&self) {
        for printed in [self.output.as_slice(), self.errors.as_bytes()] {
            if let Some(finding) = canary::find(printed) {
                panic!("a value was printed: {finding}");
            }
        }
    }

    /// Asserts that the command did what it was asked.
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.errors);
        self
    }

    /// Asserts the exit status, and that the errors have all of these texts.
    pub(crate) fn fails(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.errors);
        for text in texts {
            assert!(self.errors.contains(text), "no `{text}` in: {}", self.errors);
        }
        self
    }

    /// The output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }

    /// The output as JSON, one document per line, each with the version of its shape.
    pub(crate) fn documents(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let documents: Vec<_> = self.text().lines().map(parse).collect();
        for document in &documents {
            assert_eq!(document["schema_version"], 1, "{document}");
        }
        documents
    }

    /// The members of this name of all documents.
    pub(crate) fn texts(&self, member: &str) -> Vec<String> {
        let text = |document: &Value| document[member].as_str().unwrap_or_default().to_owned();
        self.documents().iter().map(text).collect()
    }
}
