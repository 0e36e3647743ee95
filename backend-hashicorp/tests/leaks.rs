//! A search for tokens, secret ids and values in everything that is said at the most verbose level:
//! by this backend, by the libraries that it drives, and by every error and type that is printed.
//!
//! A child process goes through everything that can fail; its parent searches what it said.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "leaks/answers.rs"]
mod answers;
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
/// Names the way to leak, for the proof that it would be found.
const LEAK: &str = "STRONGROOM_LEAK";
const LIMIT: Duration = Duration::from_secs(300);
/// The least length of the random part of a token of OpenBao; they have 24 characters there.
const TOKEN: usize = 20;

/// What the child does: everything, or leak in one way.
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
            answers::everything().await;
            store::everything().await;
        }
    }
}

/// Runs the child; all that it said.
fn run(leak: &str) -> String {
    let role = Role::in_test(ROLE, "child").unwrap().env(LEAK, leak);
    let mut child = role.spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout().unwrap(), child.stderr().unwrap());
    let other = thread::spawn(move || read(&mut stderr));
    let said = read(&mut stdout) + &other.join().unwrap();
    let status = child.wait_within(LIMIT).unwrap();
    assert!(status.success(), "the child failed: {}", tail(&said));
    said
}

fn read(source: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines, cut short.
fn tail(said: &str) -> String {
    let lines: Vec<String> = said.lines().map(|line| line.chars().take(200).collect()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The line with a leak, if there is one.
fn leak(said: &str) -> Option<String> {
    let finding = canary::find(said.as_bytes()).map(|finding| finding.to_string());
    finding.or_else(|| said.lines().find(|line| has_token(line)).map(str::to_owned))
}

/// Whether there is a token, such as OpenBao (`s.…`, `b.…`) or Vault (`hvs.…`) make them.
fn has_token(line: &str) -> bool {
    let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let is_long = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= TOKEN;
    let short = ["s.", "b."].iter().flat_map(|prefix| line.match_indices(prefix));
    line.contains("hvs.") || short.clone().any(|(at, _)| begins(at) && is_long(&line[at + 2..]))
}

#[test]
fn nothing_leaks() {
    let said = run("nothing");
    assert_eq!(leak(&said), None);
    for target in [
        "reqwest::connect: ",
        "hyper_util::client::legacy::pool: ",
        "rustls::client::hs: ",
        "strongroom_backend_hashicorp::session: ",
        "witness: ",
    ] {
        assert!(said.contains(target), "`{target}` said nothing, so nothing was searched");
    }
    assert!(said.contains("a task panics"), "panics were not captured");
    let errors = said.matches("witness: the error of").count();
    assert!(errors > 500, "only {errors} errors were met");
    report(format!("searched {} KiB with {errors} errors", said.len() / 1024));
}

#[test]
fn every_kind_of_leak_is_found() {
    for way in ["value", "token", "vault token", "panic"] {
        assert!(leak(&run(way)).is_some(), "a leak by way of a {way} is not found");
    }
}

#[test]
fn tokens_are_told_from_other_words() {
    let random = "Yzqny8hx5Bf3K3ADsDMyZivj";
    for said in [format!("s.{random}"), format!("\"b.{random}\""), "hvs.x".to_owned()] {
        assert!(has_token(&said), "{said}");
    }
    for said in ["rustls.client", "s.short", &format!("tls.{random}"), &format!("s. {random}")] {
        assert!(!has_token(said), "{said}");
    }
}

/// Says all that can be said about an error.
fn witness_error(error: &Error) {
    canary::witness_error(error);
    tracing::trace!(target: "witness", "the error of {:?}", error.operation());
}

/// Does with a backend all that can be done, and says what came of it.
async fn use_all(backend: &dyn Backend, path: &SecretPath) {
    fn note<T: std::fmt::Debug>(result: Result<T>) {
        match result {
            Ok(done) => canary::witness(&done),
            Err(error) => witness_error(&error),
        }
    }
    canary::witness(backend.info());
    note(backend.get(path, &VersionSelector::Active).await);
    note(backend.get(path, &VersionSelector::Exact(1.into())).await);
    for value in values() {
        note(backend.put(path, value, PutOptions::new()).await);
    }
    let options = PutOptions::new().must_be_version(7).metadata(MetadataPatch::new().tag("a", "b"));
    note(backend.put(path, canary::text(""), options).await);
    for read in backend.get_many(&[path.clone(), path.clone()]).await {
        note(read);
    }
    note(backend.describe(path).await);
    note(backend.annotate(path, &MetadataPatch::new().description("used")).await);
    note(backend.versions(path).await);
    note(backend.rollback(path, &1.into()).await);
    note(backend.delete(path).await);
    note(backend.get(path, &VersionSelector::Active).await);
    note(backend.undelete(path).await);
    note(backend.list(None, &ListOptions::new()).await);
    note(backend.list(Some(path), &ListOptions::new().include_deleted()).await);
    note(backend.rotate(path).await);
    note(backend.health().await);
    note(backend.destroy(path).await);
}

/// A value in each format, with the canary in it.
fn values() -> [SecretValue; 3] {
    let text = format!("{CANARY}text");
    [
        SecretValue::from(text.as_str()),
        SecretValue::fields([("user", "app"), ("password", text.as_str())]),
        SecretValue::binary([&[0, 255], text.as_bytes()].concat()),
    ]
}

/// Opens a backend, uses all of it and closes it.
async fn open_and_use(config: HashicorpConfig) {
    canary::witness(&config);
    let backend = match strongroom_backend_hashicorp::HashicorpBackend::open(config) {
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
