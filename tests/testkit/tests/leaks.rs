//! A test of the conformance runner: a backend that leaks fails it.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a panic and what is printed are ways to leak"
)]

use std::fmt;
use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::{Arguments, Failed, Trial};
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Error, Health, MemoryBackend, Operation,
    PutOptions, Result, Secret, SecretPath, SecretValue, Version, VersionSelector, async_trait,
};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::conformance::{self, Fixture, Target};
use strongroom_testkit::process::Role;

/// The variable with the way to leak. With it, this program is the conformance suite of a leaking backend.
const LEAK: &str = "STRONGROOM_LEAK";
/// A case that writes and reads.
const READS: &str = "leaky::put_then_get_round_trips";
/// A case that receives an error.
const ERRS: &str = "leaky::get_of_nothing_is_not_found";
const SEARCH: &str = "canary::nothing_leaked";

/// The ways to leak, each with a case that passes nevertheless.
const LEAKS: &[(&str, &str)] = &[
    ("trace", READS),
    ("log", READS),
    ("span", READS),
    ("base64", READS),
    ("hex", READS),
    ("bytes", READS),
    ("stdout", READS),
    ("stderr", READS),
    ("debug", READS),
    ("error", ERRS),
];

fn main() -> ExitCode {
    if let Ok(leak) = std::env::var(LEAK) {
        return conformance::main(vec![Box::new(Leaky(leak))]);
    }
    let mut trials = vec![
        Trial::test("a_silent_backend_passes", || {
            run_suite("nothing", &[READS], true, &["1 passed", "nothing_leaked ... ok"])
        }),
        Trial::test("finds_a_value_in_a_panic", || {
            run_suite("panic", &[READS], false, &["nothing_leaked ... FAILED"])
        }),
        Trial::test("the_search_alone_covers_all_cases", || {
            run_suite("error", &[SEARCH, "--exact"], false, &[ERRS, "nothing_leaked ... FAILED"])
        }),
        Trial::test("the_search_is_listed", || {
            run_suite("nothing", &["--list"], true, &["canary::nothing_leaked: test", READS])
        }),
    ];
    trials.extend(LEAKS.iter().map(|(leak, case)| {
        Trial::test(format!("finds_a_value_leaked_by_{leak}"), move || {
            let passed = format!("test {case} ... ok");
            run_suite(leak, &[case, "--exact"], false, &[&passed, "nothing_leaked ... FAILED"])
        })
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs the suite of a backend that leaks in this way.
fn run_suite(
    leak: &str,
    arguments: &[&str],
    success: bool,
    expected: &[&str],
) -> Result<(), Failed> {
    let role = Role::new("suite")?.env(LEAK, leak).inherit_stderr();
    let mut child = arguments.iter().fold(role, Role::arg).spawn()?;
    let mut output = String::new();
    child.stdout().ok_or("not piped")?.read_to_string(&mut output)?;
    let passed = child.wait_within(Duration::from_secs(120))?.success();
    // libtest-mimic pads the names of cases.
    let spaced = output.split_whitespace().collect::<Vec<_>>().join(" ");
    if passed == success && expected.iter().all(|part| spaced.contains(part)) {
        return Ok(());
    }
    Err(format!("expected success: {success}, and {expected:?} in:\n{output}").into())
}

struct Leaky(String);

#[async_trait]
impl Target for Leaky {
    fn name(&self) -> &'static str {
        "leaky"
    }

    fn expected_capabilities(&self) -> Capabilities {
        Capabilities::none().with(Capability::Put)
    }

    async fn open(&self) -> Fixture {
        let info = BackendInfo::new("leaky", "this process", self.expected_capabilities());
        let leak = self.0.clone();
        Fixture::new(LeakyBackend { info, leak, store: MemoryBackend::new() })
    }
}

/// A backend that writes and reads, and leaks.
struct LeakyBackend {
    info: BackendInfo,
    leak: String,
    store: MemoryBackend,
}

impl LeakyBackend {
    fn leak(&self, value: &str) {
        let bytes = value.as_bytes();
        match self.leak.as_str() {
            "trace" => tracing::trace!(target: "some_http_client", "body: {value}"),
            "log" => log::trace!(target: "some_http_client", "body: {value}"),
            "span" => drop(tracing::trace_span!(target: "some_http_client", "request", value)),
            "base64" => tracing::trace!("authorization: basic {}", STANDARD.encode(bytes)),
            "hex" => tracing::trace!("received {}", hex::encode(bytes)),
            "bytes" => tracing::trace!("received {bytes:?}"),
            "stdout" => println!("{value}"),
            "stderr" => eprintln!("{value}"),
            "panic" => panic!("cannot parse {value}"),
            _ => {}
        }
    }
}

impl fmt::Debug for LeakyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.leak == "debug" { CANARY } else { "LeakyBackend" })
    }
}

#[async_trait]
impl Backend for LeakyBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let answer = self.store.get(path, version).await;
        answer.map_err(|error| {
            let cause = if self.leak == "error" { CANARY } else { "" };
            Error::new(error.kind(), "check the path")
                .because(cause)
                .during(Operation::Get)
                .at(path)
                .from_backend(self.info.kind)
        })
    }

    async fn health(&self) -> Result<Health> {
        self.store.health().await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.leak(value.expose_text()?);
        self.store.put(path, value, options).await
    }
}
