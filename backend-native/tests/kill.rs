//! A writer killed with `SIGKILL` at any moment loses no acknowledged write.
//!
//! `STRONGROOM_KILLS` sets how often the writer is killed; the default is 200.
//! `STRONGROOM_TEST_SEED` repeats the timestamps of an earlier run.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test reports a failure, standard output how a child reports"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::ChildStdout;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use strongroom_backend_native::{NativeBackend, NativeConfig};
use strongroom_core::{Backend, ErrorKind, MetadataPatch, PutOptions, VersionSelector};
use strongroom_testkit::process::{ChildProcess, Role, role};
use strongroom_testkit::report;
use support::{
    DIRECTORY, Random, all_paths, anchored_state, child_directory, config, directory_in_memory,
    is_intact, kek_count, open, path, put_next, raw, stored_state, value_of, wait_for_line,
    with_anchor,
};

const DEFAULT_KILLS: u64 = 200;
const ROTATION_KILLS: u64 = 30;
const CREATION_KILLS: u64 = 60;
const ANCHOR_KILLS: u64 = 60;
const WRITERS: u64 = 2;
/// How many paths each writer only puts to.
const KEPT: u64 = 4;
const ROTATED: u64 = 400;
/// What a child prints before the microseconds that it took to open the store.
const OPENED_AFTER: &str = "opened after ";

/// What the children of the other tests do.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    println!("\nstarted");
    runtime.block_on(async {
        let begin = Instant::now();
        let backend = match role.as_str() {
            "anchored" => NativeBackend::open(anchored(&child_directory())).await.unwrap(),
            _ => open(&child_directory()).await,
        };
        let backend = Arc::new(backend);
        println!("{OPENED_AFTER}{}", begin.elapsed().as_micros());
        println!("ready");
        if role == "rotator" {
            backend.rotate_kek().await.unwrap();
            println!("rotated");
            return;
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write_forever(Arc::clone(&backend), writer)))
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

fn anchor(directory: &Path) -> std::path::PathBuf {
    directory.join("anchors/anchor")
}

fn anchored(directory: &Path) -> NativeConfig {
    with_anchor(config(directory), &anchor(directory))
}

fn value_to_keep(writer: u64, number: u64) -> String {
    format!("kept/{writer}/{number}")
}

/// Only one writer writes these paths, so each next version is predictable.
async fn write_forever(backend: Arc<NativeBackend>, writer: u64) {
    let mut latest = BTreeMap::new();
    for number in 0..KEPT {
        let version = match backend.describe(&path(&value_to_keep(writer, number))).await {
            Ok(described) => described.version.number().unwrap(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => panic!("{error}"),
        };
        latest.insert(number, version);
    }
    for step in 0.. {
        let number = step % KEPT;
        let version = latest[&number] + 1;
        put_next(&backend, &value_to_keep(writer, number), version).await;
        println!("kept {writer} {number} {version}");
        if step == 0 {
            println!("writing");
        }
        latest.insert(number, version);
        if step % 3 == 0 {
            change(&backend, &format!("changed/{writer}"), step / 3 % 9).await;
        }
    }
}

/// One change of a secret, from any state that a kill may have left.
async fn change(backend: &NativeBackend, name: &str, step: u64) {
    let path = path(name);
    let outcome = match step {
        0 => backend.destroy(&path).await,
        2 => backend.rollback(&path, &1.into()).await.map(drop),
        4 => backend.delete(&path).await,
        5 => backend.undelete(&path).await,
        7 => backend.annotate(&path, &MetadataPatch::new().tag("step", "7")).await,
        _ => {
            let next = match backend.versions(&path).await {
                Ok(versions) => versions[0].version.number().unwrap() + 1,
                Err(error) if error.kind() == ErrorKind::NotFound => 1,
                Err(error) => panic!("{error}"),
            };
            let value = value_of(name, next);
            backend.put(&path, value.as_str().into(), PutOptions::new()).await.map(drop)
        }
    };
    if let Err(error) = outcome {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

fn spawn(role: &str, directory: &Path) -> (ChildProcess, BufReader<ChildStdout>) {
    let child = Role::in_test(role, "child").unwrap().env(DIRECTORY, directory).inherit_stderr();
    let mut child = child.spawn().unwrap();
    let output = BufReader::new(child.stdout().unwrap());
    (child, output)
}

/// The acknowledged writes in the output of a killed child, without an incomplete last line.
fn read_acknowledgements(output: &mut BufReader<ChildStdout>) -> Vec<(String, u64)> {
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        assert!(!line.contains("panicked"), "{line}");
        let words: Vec<_> = line.trim_end().split(' ').collect();
        if let ["kept", writer, number, version] = words.as_slice()
            && line.ends_with('\n')
        {
            let path = value_to_keep(writer.parse().unwrap(), number.parse().unwrap());
            acknowledged.push((path, version.parse().unwrap()));
        }
        line.clear();
    }
    acknowledged
}

#[derive(Default)]
struct Tally {
    acknowledged: u64,
    lost: u64,
    torn: u64,
    /// The newest version found intact of each path, all earlier ones included.
    intact: BTreeMap<String, u64>,
}

impl Tally {
    /// Looks at everything that was written since the last look.
    async fn look(&mut self, backend: &NativeBackend, acknowledged: &[(String, u64)]) {
        for writer in 0..WRITERS {
            for number in 0..KEPT {
                let name = value_to_keep(writer, number);
                let Ok(described) = backend.describe(&path(&name)).await else { continue };
                let latest = described.version.number().unwrap();
                let seen = self.intact.entry(name.clone()).or_default();
                for version in *seen + 1..=latest {
                    self.torn += u64::from(!is_intact(backend, &name, version).await);
                }
                *seen = latest;
            }
        }
        for (name, version) in acknowledged {
            self.acknowledged += 1;
            self.lost += u64::from(self.intact.get(name).is_none_or(|latest| latest < version));
        }
        for writer in 0..WRITERS {
            self.torn += count_torn_versions(backend, &format!("changed/{writer}")).await;
        }
    }

    async fn check_all(&mut self, backend: &NativeBackend) {
        for path in all_paths(backend).await {
            self.torn += count_torn_versions(backend, path.as_str()).await;
        }
    }
}

/// How many versions of a secret do not open to their value. A deleted one is undeleted first.
async fn count_torn_versions(backend: &NativeBackend, name: &str) -> u64 {
    let path = path(name);
    match backend.undelete(&path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return 0,
        outcome => outcome.unwrap(),
    }
    let Ok(versions) = backend.versions(&path).await else { return 1 };
    let numbers: Vec<_> = versions.iter().map(|info| info.version.number().unwrap()).collect();
    let newest = u64::try_from(numbers.len()).unwrap();
    assert!(numbers.iter().copied().eq((1..=newest).rev()), "{name} has gaps: {numbers:?}");
    let mut torn = u64::from(backend.get(&path, &VersionSelector::Active).await.is_err());
    for version in numbers {
        torn += u64::from(!is_intact(backend, name, version).await);
    }
    torn
}

#[tokio::test]
async fn loses_no_acknowledged_write() {
    let directory = directory_in_memory();
    let (mut random, seed) = Random::from_entropy();
    println!("seed: {seed}");
    let begin = Instant::now();
    let given = std::env::var("STRONGROOM_KILLS").ok();
    let kills = given.map_or(DEFAULT_KILLS, |number| number.parse().unwrap());
    let mut tally = Tally::default();
    for kill in 0..kills {
        let (mut child, mut output) = spawn("writer", directory.path());
        // Some are killed while they open the store, most in the middle of writing: the first write
        // of a process takes longer, since it seeds the random generator.
        if kill % 8 != 0 {
            wait_for_line(&mut output, "ready");
        }
        if kill % 8 > 1 {
            wait_for_line(&mut output, "writing");
        }
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        child.kill().unwrap();
        let backend = open(directory.path()).await;
        tally.look(&backend, &read_acknowledgements(&mut output)).await;
        if kill % 10 == 0 {
            backend.close().await.unwrap();
        }
    }
    let backend = open(directory.path()).await;
    tally.check_all(&backend).await;
    let Tally { acknowledged, lost, torn, .. } = tally;
    report(format_args!(
        "kills: {kills}, acknowledged writes: {acknowledged}, lost: {lost}, torn: {torn} ({:?})",
        begin.elapsed()
    ));
    assert!(acknowledged > kills, "too few writes for a result");
    assert_eq!((lost, torn), (0, 0));
}

/// The anchor is written after the commit, so it is never ahead of the file.
#[tokio::test]
async fn a_store_with_an_anchor_opens_after_every_kill() {
    let directory = directory_in_memory();
    let (mut random, seed) = Random::from_entropy();
    println!("seed: {seed}");
    let opening = time_to_open();
    let (mut tally, mut behind, mut created) = (Tally::default(), 0, 0);
    for kill in 0..ANCHOR_KILLS {
        let (mut child, mut output) = spawn("anchored", directory.path());
        // Opening writes the anchor; while it writes secrets, a process does so once a second.
        if kill % 2 == 0 {
            wait_for_line(&mut output, "started");
            std::thread::sleep(Duration::from_micros(random.below(opening)));
        } else {
            wait_for_line(&mut output, "writing");
            let longest = if kill % 10 == 1 { 1_100_000 } else { 30_000 };
            std::thread::sleep(Duration::from_micros(random.below(longest)));
        }
        child.kill().unwrap();
        if anchor(directory.path()).exists() {
            created += 1;
            let (file, seen) =
                (stored_state(directory.path()), anchored_state(&anchor(directory.path())));
            assert!(seen <= file, "the anchor is at state {seen}, the file at {file}");
            behind += u32::from(seen < file);
        }
        let backend = NativeBackend::open(anchored(directory.path())).await.unwrap();
        tally.look(&backend, &read_acknowledgements(&mut output)).await;
        assert_eq!(backend.verify().await.unwrap().damaged, 0);
        backend.close().await.unwrap();
    }
    report(format_args!(
        "kills: {ANCHOR_KILLS}, with an anchor: {created}, with one behind the file: {behind}"
    ));
    assert_eq!((tally.lost, tally.torn), (0, 0));
    assert!(behind > 0, "the kills came too early or too late");
}

#[tokio::test]
async fn a_store_whose_creator_was_killed_opens() {
    let (mut random, seed) = Random::from_entropy();
    println!("seed: {seed}");
    let opening = time_to_open();
    let (mut without_store, mut unfinished) = (0, 0);
    for _ in 0..CREATION_KILLS {
        let directory = directory_in_memory();
        let (mut child, mut output) = spawn("writer", directory.path());
        wait_for_line(&mut output, "started");
        std::thread::sleep(Duration::from_micros(random.below(opening)));
        child.kill().unwrap();
        without_store += u32::from(!support::store_file(directory.path()).exists());
        unfinished += u32::from(!output.lines().any(|line| line.unwrap() == "ready"));
        let backend = open(directory.path()).await;
        put_next(&backend, "after", 1).await;
        assert!(is_intact(&backend, "after", 1).await);
    }
    report(format_args!(
        "kills: {CREATION_KILLS}, before the store was open: {unfinished}, \
         before its file was there: {without_store}"
    ));
    assert!(unfinished > 0, "the kills came too late");
}

/// How many microseconds a child takes to create a store, by the child's own clock: this process may
/// come to read its lines long after they were written.
fn time_to_open() -> u64 {
    let directory = directory_in_memory();
    let (_child, output) = spawn("rotator", directory.path());
    let mut lines = output.lines().map(Result::unwrap);
    lines.find_map(|line| line.strip_prefix(OPENED_AFTER)?.parse().ok()).unwrap()
}

fn is_rotating(directory: &Path) -> bool {
    let retiring = "SELECT EXISTS (SELECT 1 FROM keyring WHERE purpose = 1 AND state = 3)";
    raw(directory).query_row(retiring, [], |row| row.get(0)).unwrap()
}

fn newest_key(connection: &Connection) -> u32 {
    connection.query_row("SELECT max(id) FROM keyring", [], |row| row.get(0)).unwrap()
}

/// Returns once a rotation has started or resumed.
fn wait_until_rotating(directory: &Path, newest_before: u32) {
    let connection = raw(directory);
    let begin = Instant::now();
    while newest_key(&connection) == newest_before && !is_rotating(directory) {
        assert!(begin.elapsed() < Duration::from_secs(60), "no rotation has started");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn the_next_rotation_finishes_an_interrupted_one() {
    let directory = directory_in_memory();
    let (mut random, seed) = Random::from_entropy();
    println!("seed: {seed}");
    let backend = open(directory.path()).await;
    for number in 0..ROTATED {
        put_next(&backend, &format!("rotated/{number}"), 1).await;
    }
    drop(backend);
    let (mut interrupted, mut resumed) = (0, 0);
    for kill in 0..ROTATION_KILLS {
        let newest_before = newest_key(&raw(directory.path()));
        let (mut child, mut output) = spawn("rotator", directory.path());
        wait_for_line(&mut output, "ready");
        // Most are killed in the middle, some anywhere from before the first write on.
        if kill % 5 == 0 {
            std::thread::sleep(Duration::from_micros(random.below(60_000)));
        } else {
            wait_until_rotating(directory.path(), newest_before);
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
        }
        child.kill().unwrap();
        let rotating = is_rotating(directory.path());
        interrupted += u32::from(rotating);
        let backend = open(directory.path()).await;
        for number in 0..ROTATED {
            assert!(is_intact(&backend, &format!("rotated/{number}"), 1).await, "{number}");
        }
        // Every other time the next child resumes it instead.
        if kill % 2 == 1 {
            let rotation = backend.rotate_kek().await.unwrap();
            assert_eq!((rotation.resumed, rotation.damaged), (rotating, 0));
            assert!(rotating || rotation.rewrapped == ROTATED, "{rotation:?}");
            resumed += u32::from(rotation.resumed);
            assert_eq!(kek_count(directory.path()), 1);
            assert!(!is_rotating(directory.path()));
        }
    }
    report(format_args!(
        "kills: {ROTATION_KILLS}, rotations interrupted: {interrupted}, resumed: {resumed}"
    ));
    assert!(interrupted > 3 && resumed > 0, "the kills came too early or too late");
    let backend = open(directory.path()).await;
    for number in 0..ROTATED {
        assert!(is_intact(&backend, &format!("rotated/{number}"), 1).await, "{number}");
    }
}
