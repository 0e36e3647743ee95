//! Searches all output at the most verbose level for keys, tokens and values: the output of this
//! backend, of the SDK and its libraries, and of every error and type that is printed.
//!
//! Child processes run everything that can fail; their parent searches their output.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "leaks/answers.rs"]
mod answers;
#[path = "leaks/endpoints.rs"]
mod endpoints;
#[path = "leaks/sources.rs"]
mod sources;
#[path = "leaks/store.rs"]
mod store;

use std::env;
use std::process::Command;
use std::time::Duration;

use strongroom_backend_aws::{AwsBackend, AwsConfig, SETTINGS};
use strongroom_core::{
    Backend, Error, ListOptions, MetadataPatch, PutOptions, Result, SecretPath, SecretValue,
    Settings, VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::report;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Tells a child what to do.
const WORK: &str = "LEAKS_WORK";
const LIMIT: Duration = Duration::from_mins(5);

/// The work of the child processes: one part of the cases, or one kind of leak.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(work) = env::var(WORK) else { return };
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let work = async move {
        match work.as_str() {
            "store" => store::everything().await,
            "answers" => answers::everything().await,
            "environment" => open_and_use_environment().await,
            "leak a value" => canary::witness(&CANARY),
            "leak a part" => tracing::trace!(target: "hyper", "{}", &CANARY[..16]),
            "leak in XML" => println!("<SessionToken>FQoGZXIvYXdzE"),
            "leak by a panic" => drop(tokio::spawn(async { panic!("{CANARY}") }).await),
            other => panic!("no such work: {other}"),
        }
    };
    tokio::time::timeout(LIMIT, work).await.unwrap();
}

/// Runs a child with these variables and few others; gives its output.
fn run(work: &str, variables: &[(&str, &str)]) -> String {
    let inherited = ["PATH", "STRONGROOM_TEST_PYTHON"];
    let inherited = inherited.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
    let child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env_clear()
        .envs(inherited)
        .env(WORK, work)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let output =
        [child.stdout, child.stderr].map(|output| String::from_utf8_lossy(&output).into_owned());
    let output = output.concat();
    assert!(child.status.success(), "the child failed: {}", tail(&output));
    output
}

/// The last lines, cut short.
fn tail(output: &str) -> String {
    let lines: Vec<String> = output.lines().map(|line| line.chars().take(200).collect()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A leak in the output, if there is one: the canary, or a credential in an answer of AWS STS.
fn leak(output: &str) -> Option<String> {
    let finding = canary::find(output.as_bytes()).map(|finding| finding.to_string());
    let elements = ["<SecretAccessKey>", "<SessionToken>"];
    let is_answer = |line: &&str| elements.iter().any(|element| line.contains(element));
    finding.or_else(|| output.lines().find(is_answer).map(str::to_owned))
}

/// Fails on a leak, and if one of `targets` logged nothing, because then there was nothing to search.
fn assert_clean(output: &str, targets: &[&str]) {
    assert_eq!(leak(output), None);
    for target in targets.iter().filter(|target| !target.starts_with("aws_")) {
        assert!(output.contains(&format!(" {target}")), "`{target}` logged nothing");
    }
}

/// The output without the lines of the SDK.
fn without_sdk(output: &str) -> String {
    let of_sdk = |line: &&str| SDK.iter().any(|target| line.contains(&format!(" {target}")));
    output.lines().filter(|line| !of_sdk(line)).collect::<Vec<_>>().join("\n")
}

/// Fails if the output leaks, also without the lines of the SDK.
fn assert_clean_despite_the_sdk(output: &str) {
    assert_eq!(leak(output), None);
    assert_eq!(leak(&without_sdk(output)), None);
}

/// The beginnings of the SDK's log targets.
const SDK: [&str; 3] = ["aws_config::", "aws_runtime::", "aws_smithy_runtime::"];
const OTHERS: [&str; 2] = ["hyper_util::client::legacy::connect::http: ", "witness: "];

#[test]
fn nothing_leaks_from_a_store() {
    let output = run("store", &[]);
    assert_clean(&output, &[&SDK[..], &OTHERS].concat());
    assert!(output.contains("a task panics"), "panics were not captured");
    report_errors("the store", &output, 20);
}

#[test]
fn nothing_leaks_from_bad_answers() {
    let output = run("answers", &[]);
    assert_clean(&output, &[&SDK[..], &OTHERS].concat());
    // The words stand in parts of an answer that hold no value.
    assert!(!output.contains(answers::WORDS), "the backend passes on words of an answer");
    report_errors("answers", &output, 500);
}

fn report_errors(of: &str, output: &str, least: usize) {
    let errors = output.matches("witness: the error of").count();
    assert!(errors > least, "only {errors} errors were met");
    report(format!("{of}: searched {} KiB with {errors} errors", output.len() / 1024));
}

#[test]
fn finds_every_kind_of_leak() {
    for way in ["leak a value", "leak a part", "leak in XML", "leak by a panic"] {
        assert!(leak(&run(way, &[])).is_some(), "{way}: it is not found");
    }
}

/// Prints an error in every format.
fn witness_error(error: &Error) {
    canary::witness_error(error);
    tracing::trace!(target: "witness", "the error of {:?}", error.operation());
}

fn note<T: std::fmt::Debug>(result: Result<T>) {
    match result {
        Ok(done) => canary::witness(&done),
        Err(error) => witness_error(&error),
    }
}

/// Runs every operation of a backend, and prints the results.
async fn use_all(backend: &dyn Backend, path: &SecretPath) {
    let other = SecretPath::parse("leaks/other").unwrap();
    let id = "0123456789abcdef0123456789abcdef".into();
    canary::witness(backend.info());
    for selector in [
        VersionSelector::Active,
        VersionSelector::Exact(id),
        VersionSelector::Stage("AWSPREVIOUS".into()),
    ] {
        note(backend.get(path, &selector).await);
    }
    for value in values() {
        note(backend.put(path, value, PutOptions::new()).await);
    }
    let options =
        PutOptions::new().must_be_version("7").metadata(MetadataPatch::new().tag("a", "b"));
    note(backend.put(path, canary::text(""), options).await);
    note(backend.put(&other, canary::text(""), PutOptions::new().must_not_exist()).await);
    for read in backend.get_many(&[path.clone(), other.clone(), path.clone()]).await {
        note(read);
    }
    note(backend.describe(path).await);
    note(backend.annotate(path, &MetadataPatch::new().description("used").tag("a", "c")).await);
    let versions = backend.versions(path).await;
    let first = versions.as_ref().ok().and_then(|versions| Some(versions.last()?.version.clone()));
    note(versions);
    note(backend.rollback(path, &first.unwrap_or_else(|| "none".into())).await);
    note(backend.delete(path).await);
    note(backend.get(path, &VersionSelector::Active).await);
    note(backend.undelete(path).await);
    note(backend.list(None, &ListOptions::new()).await);
    note(backend.list(Some(path), &ListOptions::new().include_deleted()).await);
    note(backend.rotate(path).await);
    note(backend.health().await);
    note(backend.destroy(path).await);
    note(backend.destroy(&other).await);
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
async fn open_and_use(config: AwsConfig) {
    canary::witness(&config);
    let backend = match AwsBackend::open(config).await {
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

/// Opens a backend from the child's environment, and uses it briefly.
async fn open_and_use_environment() {
    let settings = Settings::from_env(SETTINGS);
    canary::witness(&settings);
    let config = match AwsConfig::from_settings(&settings) {
        Ok(config) => config,
        Err(error) => return witness_error(&error),
    };
    let backend = match AwsBackend::open(config).await {
        Ok(backend) => backend,
        Err(error) => return witness_error(&error),
    };
    canary::witness(&backend);
    canary::witness(backend.info());
    let path = SecretPath::parse("leaks/used").unwrap();
    note(backend.get(&path, &VersionSelector::Active).await);
    note(backend.put(&path, canary::text(""), PutOptions::new()).await);
    note(backend.health().await);
}
