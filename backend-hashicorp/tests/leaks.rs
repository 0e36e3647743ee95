//! Searches all output at the most verbose level for tokens, secret ids and values: that of this
//! backend, of its libraries, and of every error and type that can be printed.
//!
//! A child process runs through all failures; its parent searches the child's output.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "leaks/responses.rs"]
mod responses;
#[path = "leaks/store.rs"]
mod store;

use std::io::Read;
use std::thread;
use std::time::Duration;

use strongroom_backend_hashicorp::HashicorpConfig;
use strongroom_core::{
    Backend, Error, ListOptions, MetadataPatch, PutOptions, Result, SecretPath, SecretValue,
    VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::process::{self, Role};
use strongroom_testkit::report;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

const ROLE: &str = "leaks";
/// Names a leak to produce, for the proof that the search finds it.
const LEAK: &str = "STRONGROOM_LEAK";
/// How long the child may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);
/// The shortest random part of a token that the search finds; those of OpenBao have 24 characters.
const MIN_TOKEN_LEN: usize = 20;

/// The child process: runs through everything, or produces one leak.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    if process::role().as_deref() != Some(ROLE) {
        return;
    }
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match std::env::var(LEAK).as_deref() {
        Ok("value") => canary::witness(&CANARY),
        Ok("token") => tracing::trace!(target: "hyper", "x-vault-token: s.{}", "aB3".repeat(8)),
        Ok("vault token") => println!("hvs.short"),
        Ok("panic") => drop(tokio::spawn(async { panic!("{CANARY}") }).await),
        _ => {
            responses::run_all().await;
            store::run_all().await;
        }
    }
}

/// Runs the child; its output.
fn run(leak: &str) -> String {
    let role = Role::in_test(ROLE, "child").unwrap().env(LEAK, leak);
    let mut child = role.spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout().unwrap(), child.stderr().unwrap());
    let other = thread::spawn(move || read(&mut stderr));
    let output = read(&mut stdout) + &other.join().unwrap();
    let status = child.wait_within(LIMIT).unwrap();
    assert!(status.success(), "the child failed: {}", tail(&output));
    output
}

fn read(source: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines, cut short.
fn tail(output: &str) -> String {
    let lines: Vec<String> = output.lines().map(|line| line.chars().take(200).collect()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The line with a leak, if there is one.
fn find_leak(output: &str) -> Option<String> {
    let finding = canary::find(output.as_bytes()).map(|finding| finding.to_string());
    finding.or_else(|| output.lines().find(|line| has_token(line)).map(str::to_owned))
}

/// Whether a line contains a token in the format of OpenBao (`s.…`, `b.…`) or Vault (`hvs.…`).
fn has_token(line: &str) -> bool {
    let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let is_long =
        |rest: &str| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= MIN_TOKEN_LEN;
    let short = ["s.", "b."].iter().flat_map(|prefix| line.match_indices(prefix));
    line.contains("hvs.") || short.clone().any(|(at, _)| begins(at) && is_long(&line[at + 2..]))
}

#[test]
fn no_output_contains_a_secret() {
    let output = run("nothing");
    assert_eq!(find_leak(&output), None);
    for target in [
        "reqwest::connect: ",
        "hyper_util::client::legacy::pool: ",
        "rustls::client::hs: ",
        "strongroom_backend_hashicorp::session: ",
        "witness: ",
    ] {
        assert!(output.contains(target), "no output of `{target}` was searched");
    }
    assert!(output.contains("a task panics"), "panics were not captured");
    let errors = output.matches("witness: the error of").count();
    assert!(errors > 500, "only {errors} errors were printed");
    report(format!("searched {} KiB with {errors} errors", output.len() / 1024));
}

#[test]
fn the_search_finds_every_kind_of_leak() {
    for kind in ["value", "token", "vault token", "panic"] {
        assert!(
            find_leak(&run(kind)).is_some(),
            "the search does not find a leak of kind `{kind}`"
        );
    }
}

#[test]
fn recognises_tokens() {
    let random = "Yzqny8hx5Bf3K3ADsDMyZivj";
    for text in [format!("s.{random}"), format!("\"b.{random}\""), "hvs.x".to_owned()] {
        assert!(has_token(&text), "{text}");
    }
    for text in ["rustls.client", "s.short", &format!("tls.{random}"), &format!("s. {random}")] {
        assert!(!has_token(text), "{text}");
    }
}

/// Prints an error in every format.
fn witness_error(error: &Error) {
    canary::witness_error(error);
    tracing::trace!(target: "witness", "the error of {:?}", error.operation());
}

/// Calls every operation of a backend and prints the results.
async fn use_all(backend: &dyn Backend, path: &SecretPath) {
    fn print<T: std::fmt::Debug>(result: Result<T>) {
        match result {
            Ok(output) => canary::witness(&output),
            Err(error) => witness_error(&error),
        }
    }
    canary::witness(backend.info());
    print(backend.get(path, &VersionSelector::Active).await);
    print(backend.get(path, &VersionSelector::Exact(1.into())).await);
    for value in values() {
        print(backend.put(path, value, PutOptions::new()).await);
    }
    let options = PutOptions::new().must_be_version(7).metadata(MetadataPatch::new().tag("a", "b"));
    print(backend.put(path, canary::text(""), options).await);
    for read in backend.get_many(&[path.clone(), path.clone()]).await {
        print(read);
    }
    print(backend.describe(path).await);
    print(backend.annotate(path, &MetadataPatch::new().description("used")).await);
    print(backend.versions(path).await);
    print(backend.rollback(path, &1.into()).await);
    print(backend.delete(path).await);
    print(backend.get(path, &VersionSelector::Active).await);
    print(backend.undelete(path).await);
    print(backend.list(None, &ListOptions::new()).await);
    print(backend.list(Some(path), &ListOptions::new().include_deleted()).await);
    print(backend.rotate(path).await);
    print(backend.health().await);
    print(backend.destroy(path).await);
}

/// A value in each format, with the canary.
fn values() -> [SecretValue; 3] {
    let text = format!("{CANARY}text");
    [
        SecretValue::from(text.as_str()),
        SecretValue::fields([("user", "app"), ("password", text.as_str())]),
        SecretValue::binary([&[0, 255], text.as_bytes()].concat()),
    ]
}

/// Opens a backend, calls every operation and closes it.
async fn open_and_use(config: HashicorpConfig) {
    canary::witness(&config);
    let backend = match strongroom_backend_hashicorp::HashicorpBackend::open(config).await {
        Ok(backend) => backend,
        Err(error) => return witness_error(&error),
    };
    let path = SecretPath::parse("leaks/used").unwrap();
    use_all(&backend, &path).await;
    canary::witness(&backend);
    backend.close().await.unwrap();
    let late = backend.get(&path, &VersionSelector::Active).await;
    witness_error(&late.unwrap_err());
    canary::witness(&backend);
}
