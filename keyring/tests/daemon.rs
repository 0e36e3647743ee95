//! Keys in a real GNOME Keyring, on a bus of its own. A child process has the address of the bus.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::env;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use strongroom_core::{ErrorKind, Operation, SecretValue, WrappingKey as _};
use strongroom_keyring::KeyringKey;
use strongroom_testkit::canary;
use strongroom_testkit::gnome_keyring::Keyring;
use strongroom_testkit::wrapping_key::{Keys, check_error, check_outage, check_wrapping, context};

/// Set in a child: what it does.
const CHILD: &str = "KEYRING_CHILD";
/// Set in a child: what an earlier one has wrapped, in bytes.
const WRAPPED: &str = "KEYRING_CHILD_WRAPPED";
const WRAPPED_LINE: &str = "wrapped: ";
const DONE: &str = "the work is done";
/// How a line begins that the parent repeats.
const REPORT: &str = "GNOME Keyring:";

fn command(keyring: &Keyring, part: &str, wrapped: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture"])
        .envs(keyring.variables())
        .env(CHILD, part)
        .env(WRAPPED, wrapped);
    command
}

/// Runs a part in a child that sees this keyring alone, and gives what it has wrapped.
fn run(keyring: &Keyring, part: &str, wrapped: &str) -> String {
    finish(part, &command(keyring, part, wrapped).output().unwrap())
}

fn finish(part: &str, child: &Output) -> String {
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains(DONE), "{part}: {output}{errors}");
    for line in errors.lines().filter(|line| line.starts_with(REPORT)) {
        strongroom_testkit::report(line);
    }
    let line = output.lines().find_map(|line| line.strip_prefix(WRAPPED_LINE));
    line.unwrap_or_default().to_owned()
}

/// The work of the children; does nothing in the test process itself.
#[tokio::test]
async fn child() {
    let Ok(part) = env::var(CHILD) else { return };
    canary::watch();
    let bytes = env::var(WRAPPED).unwrap();
    let bytes = bytes.split(' ').filter(|byte| !byte.is_empty());
    let wrapped: Vec<u8> = bytes.map(|byte| byte.parse().unwrap()).collect();
    let key = KeyringKey::new("one").unwrap();
    match part.as_str() {
        "contract" => contract(key).await,
        "wrap" => {
            let wrapped = key.wrap(&canary::text("key"), &context()).await.unwrap();
            let bytes: Vec<_> = wrapped.iter().map(u8::to_string).collect();
            println!("\n{WRAPPED_LINE}{}", bytes.join(" "));
        }
        "race" => {
            let wrapped = key.wrap(&canary::text("key"), &context()).await;
            match wrapped {
                Ok(wrapped) => {
                    let bytes: Vec<_> = wrapped.iter().map(u8::to_string).collect();
                    println!("\n{WRAPPED_LINE}{}", bytes.join(" "));
                }
                // Another process has created it, or is about to remove its own entry.
                Err(error) => {
                    let kinds = [ErrorKind::Conflict, ErrorKind::InvalidInput];
                    assert!(kinds.contains(&error.kind()), "{error}");
                }
            }
        }
        "unwrap" => {
            let unwrapped = key.unwrap(&wrapped, &context()).await.unwrap();
            assert_eq!(unwrapped.expose_bytes(), canary::text("key").expose_bytes());
        }
        "outage" => check_outage(&key, &wrapped).await,
        "locked" => {
            let begin = Instant::now();
            let unwrapped = key.unwrap(&wrapped, &context()).await;
            let error = unwrapped.unwrap_err();
            // No program can show the prompt here.
            let kinds = [ErrorKind::Unavailable, ErrorKind::Denied];
            assert!(kinds.contains(&error.kind()), "{error}");
            assert!(error.to_string().contains("unlock"), "{error}");
            assert!(begin.elapsed() < Duration::from_secs(50), "{error}");
            let new = KeyringKey::new("new").unwrap();
            let error = new.wrap(&canary::text("key"), &context()).await.unwrap_err();
            assert!(kinds.contains(&error.kind()), "{error}");
            assert!(error.to_string().contains("unlock"), "{error}");
            let waited = begin.elapsed();
            strongroom_testkit::report(format_args!("{REPORT} locked, after {waited:?}: {error}"));
        }
        other => panic!("{other}"),
    }
    println!("\n{DONE}");
}

async fn contract(key: KeyringKey) {
    let [other, missing] = ["two", "missing"].map(|name| KeyringKey::new(name).unwrap());
    let wrapped = key.wrap(&canary::text("key"), &context()).await.unwrap();
    for _ in 0..2 {
        let unwrapped = missing.unwrap(&wrapped, &context()).await;
        let error = check_error(&missing, ErrorKind::NotFound, Operation::Unwrap, unwrapped);
        assert!(!error.is_temporary(), "{error}");
    }
    other.wrap(&canary::text("key"), &context()).await.unwrap();
    let keys = Keys { key: Box::new(key.clone()), other: Box::new(other), missing: None };
    check_wrapping(&keys).await;

    let given = SecretValue::binary(vec![7; 32]);
    let wrapped = key.wrap(&given, &context()).await.unwrap();
    let (count, begin) = (20, Instant::now());
    for _ in 0..count {
        key.unwrap(&wrapped, &context()).await.unwrap();
    }
    let unwrap = begin.elapsed() / count;
    strongroom_testkit::report(format_args!("{REPORT} unwrap {unwrap:?}"));
}

#[test]
fn keeps_the_contract() {
    let keyring = Keyring::start();
    run(&keyring, "contract", "");
}

#[test]
fn a_key_outlives_the_keyring_and_is_not_replaced() {
    let mut keyring = Keyring::start();
    let wrapped = run(&keyring, "wrap", "");
    assert!(!wrapped.is_empty());
    keyring.restart();
    run(&keyring, "unwrap", &wrapped);
    // Another process wraps with the same key.
    let again = run(&keyring, "wrap", "");
    for wrapped in [&wrapped, &again] {
        run(&keyring, "unwrap", wrapped);
    }
}

#[test]
fn processes_that_create_the_key_at_once_agree_on_one() {
    for _ in 0..2 {
        let keyring = Keyring::start();
        let children: Vec<_> = (0..6)
            .map(|_| {
                let mut child = command(&keyring, "race", "");
                child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let wrapped: Vec<_> = children
            .into_iter()
            .map(|child| finish("race", &child.wait_with_output().unwrap()))
            .filter(|wrapped| !wrapped.is_empty())
            .collect();
        assert!(!wrapped.is_empty(), "one of them creates it");
        for wrapped in &wrapped {
            run(&keyring, "unwrap", wrapped);
        }
    }
}

#[test]
fn a_keyring_that_does_not_run_is_an_outage_and_a_locked_one_is_not_waited_for() {
    let mut keyring = Keyring::start();
    let wrapped = run(&keyring, "wrap", "");
    keyring.lock();
    run(&keyring, "locked", &wrapped);
    keyring.stop();
    run(&keyring, "outage", &wrapped);
    let gone = keyring.variables();
    drop(keyring);
    // No bus either.
    let child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .envs(gone)
        .env(CHILD, "outage")
        .env(WRAPPED, &wrapped)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}
