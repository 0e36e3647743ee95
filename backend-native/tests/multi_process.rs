//! Several processes on one store.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test reports a failure, standard output how a child reports"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use strongroom_backend_native::NativeBackend;
use strongroom_core::{Backend, ErrorKind, PutOptions, VersionSelector};
use strongroom_testkit::process::{ChildProcess, Role, role};
use strongroom_testkit::report;
use support::{
    DIRECTORY, anchored_state, child_directory, config, directory_in_memory, is_intact, key_file,
    open, path, put_next, stored_state, value_of, wait_for_line, with_anchor,
};

const WRITERS: u64 = 4;
const READERS: u64 = 2;
const STARTERS: u64 = 8;
const SHARED: u64 = 3;
const NUMBER: &str = "STRONGROOM_TEST_NUMBER";
const RUN: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(60);

/// What the children of the other tests do.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "writer" => write(number).await,
            "reader" => read().await,
            "starter" => start(number).await,
            "anchored" => write_with_anchor(number).await,
            "tool" => {
                println!();
                let backend = open(&child_directory()).await;
                put_next(&backend, "tool", number).await;
            }
            unknown => panic!("{unknown}"),
        }
    });
}

/// Reports that this child has reached a point, and waits for the signal to resume.
fn pause(at: &str) {
    println!("\n{at}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert_eq!(line, "resume\n");
}

/// A value that shows whether it is complete and who wrote it.
fn shared_value(writer: u64, sequence: u64) -> String {
    value_of(&format!("{writer},{sequence}"), sequence * 7 + writer)
}

fn assert_complete(value: &str) {
    let (name, _) = value.split_once('#').unwrap();
    let (writer, sequence) = name.split_once(',').unwrap();
    assert_eq!(value, shared_value(writer.parse().unwrap(), sequence.parse().unwrap()));
}

async fn write(writer: u64) {
    let backend = open(&child_directory()).await;
    let counter = path("counter");
    pause("ready");
    let (begin, mut worst) = (Instant::now(), Duration::ZERO);
    let (mut successes, mut written) = (0, 0);
    while begin.elapsed() < RUN {
        let read = backend.get(&counter, &VersionSelector::Active).await.unwrap();
        let next = read.expose_text().unwrap().parse::<u64>().unwrap() + 1;
        let options = PutOptions::new().must_be_version(read.version());
        let started = Instant::now();
        match backend.put(&counter, next.to_string().as_str().into(), options).await {
            Ok(version) => {
                assert_eq!(version.number(), Some(next));
                successes += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
        worst = worst.max(started.elapsed());
        let index = written % SHARED;
        let value = shared_value(writer, written);
        let started = Instant::now();
        let version = backend
            .put(&path(&format!("shared/{index}")), value.as_str().into(), PutOptions::new())
            .await
            .unwrap();
        worst = worst.max(started.elapsed());
        println!("wrote {index} {version}");
        written += 1;
    }
    println!("total {successes} {written} {}", worst.as_micros());
}

async fn read() {
    let backend = open(&child_directory()).await;
    pause("ready");
    let (begin, mut reads) = (Instant::now(), 0);
    let mut last: Vec<_> = (0..SHARED).map(|_| 0).collect();
    let mut last_count = 0;
    while begin.elapsed() < RUN {
        for (index, last) in last.iter_mut().enumerate() {
            let path = path(&format!("shared/{index}"));
            let secret = backend.get(&path, &VersionSelector::Active).await.unwrap();
            assert_complete(secret.expose_text().unwrap());
            let version = secret.version().number().unwrap();
            assert!(*last <= version, "version {version} after {last}");
            *last = version;
            reads += 1;
        }
        let count = backend.get(&path("counter"), &VersionSelector::Active).await.unwrap();
        assert_eq!(count.expose_text().unwrap(), count.version().to_string());
        let version = count.version().number().unwrap();
        assert!(last_count <= version, "version {version} after {last_count}");
        last_count = version;
        if reads % 50 == 0 {
            let versions = backend.versions(&path("shared/0")).await.unwrap();
            assert!(versions.len() >= usize::try_from(last[0]).unwrap());
        }
    }
    println!("total {reads}");
}

/// Opens a store that may not be there yet, at the same time as others.
async fn start(number: u64) {
    pause("ready");
    let backend = open(&child_directory()).await;
    put_next(&backend, &format!("started/{number}"), 1).await;
    pause("written");
    for other in 0..STARTERS {
        assert!(is_intact(&backend, &format!("started/{other}"), 1).await, "{other}");
    }
    println!("all read");
}

fn anchor(directory: &std::path::Path) -> std::path::PathBuf {
    directory.join("anchors/anchor")
}

/// Opens and closes a store with an anchor, and keeps it open for longer at the end.
async fn write_with_anchor(number: u64) {
    pause("ready");
    let config = with_anchor(config(&child_directory()), &anchor(&child_directory()));
    let (begin, mut version) = (Instant::now(), 0);
    while begin.elapsed() < RUN {
        let backend = NativeBackend::open(config.clone()).await.unwrap();
        let lasting = if begin.elapsed() < RUN / 3 { Duration::ZERO } else { RUN / 3 };
        let opened = Instant::now();
        loop {
            version += 1;
            put_next(&backend, &format!("anchored/{number}"), version).await;
            if opened.elapsed() >= lasting {
                break;
            }
        }
        backend.health().await.unwrap();
        backend.close().await.unwrap();
    }
    println!("total {version}");
}

struct Running {
    child: ChildProcess,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn spawn(role: &str, number: u64, directory: &std::path::Path) -> Self {
        let mut child = Role::in_test(role, "child")
            .unwrap()
            .env(DIRECTORY, directory)
            .env(NUMBER, number.to_string())
            .inherit_stderr()
            .spawn()
            .unwrap();
        let input = child.stdin().unwrap();
        let output = BufReader::new(child.stdout().unwrap());
        Self { child, input, output }
    }

    fn resume(&mut self) {
        self.input.write_all(b"resume\n").unwrap();
    }

    /// The words of its remaining lines, after it has ended well.
    fn finish(mut self) -> Vec<Vec<String>> {
        let lines: Vec<_> = self
            .output
            .lines()
            .map(|line| line.unwrap().split(' ').map(str::to_owned).collect())
            .collect();
        assert!(self.child.wait_within(LIMIT).unwrap().success());
        lines
    }
}

fn resume_all(children: &mut [Running], from: &str) {
    for child in &mut *children {
        wait_for_line(&mut child.output, from);
    }
    for child in children {
        child.resume();
    }
}

fn numbers_after(lines: &[Vec<String>], word: &str) -> Vec<Vec<u64>> {
    lines
        .iter()
        .filter(|words| words[0] == word)
        .map(|words| words[1..].iter().map(|number| number.parse().unwrap()).collect())
        .collect()
}

#[tokio::test]
async fn processes_write_and_read_one_store() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    backend.put(&path("counter"), "1".into(), PutOptions::new()).await.unwrap();
    for index in 0..SHARED {
        let value = shared_value(99, index);
        let path = path(&format!("shared/{index}"));
        backend.put(&path, value.as_str().into(), PutOptions::new()).await.unwrap();
    }
    let writers = (0..WRITERS).map(|number| Running::spawn("writer", number, directory.path()));
    let readers = (0..READERS).map(|number| Running::spawn("reader", number, directory.path()));
    let mut children: Vec<_> = writers.chain(readers).collect();
    resume_all(&mut children, "ready");

    let (mut increments, mut puts, mut reads, mut worst) = (0, 0, 0, 0);
    let mut versions = BTreeSet::new();
    for child in children {
        let lines = child.finish();
        for wrote in numbers_after(&lines, "wrote") {
            assert!(versions.insert(wrote.clone()), "given twice: {wrote:?}");
        }
        match numbers_after(&lines, "total")[0].as_slice() {
            [successes, written, wait] => {
                increments += successes;
                puts += written;
                worst = worst.max(*wait);
            }
            [count] => reads += count,
            other => panic!("{other:?}"),
        }
    }
    report(format_args!(
        "increments: {increments}, unconditional writes: {puts}, reads: {reads}, \
         worst write: {} ms",
        worst / 1000
    ));
    assert!(increments > 0 && reads > 0);
    assert_eq!(u64::try_from(versions.len()).unwrap(), puts);
    let counter = backend.get(&path("counter"), &VersionSelector::Active).await.unwrap();
    assert_eq!(counter.expose_text().unwrap(), (increments + 1).to_string());
    assert_eq!(counter.version().number(), Some(increments + 1));
    let mut left = 0;
    for index in 0..SHARED {
        let path = path(&format!("shared/{index}"));
        let versions = backend.versions(&path).await.unwrap();
        for info in &versions {
            let selector = VersionSelector::Exact(info.version.clone());
            assert_complete(backend.get(&path, &selector).await.unwrap().expose_text().unwrap());
        }
        left += u64::try_from(versions.len()).unwrap();
    }
    assert_eq!(left, puts + SHARED);
    assert!(worst < 10_000_000, "a write waited {worst} µs");
}

#[tokio::test]
async fn processes_share_one_anchor_and_none_lowers_it() {
    let directory = directory_in_memory();
    let mut children: Vec<_> =
        (0..WRITERS).map(|number| Running::spawn("anchored", number, directory.path())).collect();
    resume_all(&mut children, "ready");
    let file = anchor(directory.path());
    let (begin, mut highest, mut changes) = (Instant::now(), 0, 0);
    while begin.elapsed() < RUN {
        if file.exists() {
            let number = anchored_state(&file);
            assert!(highest <= number, "{number} after {highest}");
            changes += u32::from(highest < number);
            highest = number;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut written = 0;
    for child in children {
        written += numbers_after(&child.finish(), "total")[0][0];
    }
    let state = stored_state(directory.path());
    report(format_args!("writes: {written}, state: {state}, anchors seen: {changes}"));
    assert_eq!(anchored_state(&file), state, "a clean close leaves the anchor at the state");
    let config = with_anchor(config(directory.path()), &file);
    let found = NativeBackend::open(config).await.unwrap().verify().await.unwrap();
    assert_eq!((found.damaged, found.versions), (0, written));
}

#[tokio::test]
async fn processes_that_start_together_migrate_one_store() {
    for _ in 0..3 {
        let directory = directory_in_memory();
        support::copy_golden_store(directory.path());
        let mut children: Vec<_> = (0..STARTERS)
            .map(|number| Running::spawn("starter", number, directory.path()))
            .collect();
        resume_all(&mut children, "ready");
        resume_all(&mut children, "written");
        for child in children {
            assert!(child.finish().contains(&vec!["all".into(), "read".into()]));
        }
        let version = "SELECT user_version FROM pragma_user_version";
        let schema: u64 =
            support::raw(directory.path()).query_row(version, [], |row| row.get(0)).unwrap();
        assert_eq!(schema, 2);
        // The first state, and one for each process that wrote.
        assert_eq!(stored_state(directory.path()), 1 + STARTERS);
        let found = open(directory.path()).await.verify().await.unwrap();
        assert_eq!((found.damaged, found.secrets), (0, 5 + STARTERS));
    }
}

#[tokio::test]
async fn a_service_sees_what_a_tool_writes_at_its_next_read() {
    let directory = directory_in_memory();
    let backend = open(directory.path()).await;
    let missing = backend.get(&path("tool"), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    for version in 1..=3 {
        Running::spawn("tool", version, directory.path()).finish();
        let secret = backend.get(&path("tool"), &VersionSelector::Active).await.unwrap();
        assert_eq!(secret.version().number(), Some(version));
        assert_eq!(secret.expose_text().unwrap(), value_of("tool", version));
    }
}

#[test]
fn processes_that_start_together_create_one_store() {
    for _ in 0..5 {
        let directory = directory_in_memory();
        let mut children: Vec<_> = (0..STARTERS)
            .map(|number| Running::spawn("starter", number, directory.path()))
            .collect();
        resume_all(&mut children, "ready");
        resume_all(&mut children, "written");
        for child in children {
            assert!(child.finish().contains(&vec!["all".into(), "read".into()]));
        }
        let names: BTreeSet<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        assert_eq!(names, ["secrets.db", "secrets.key"].map(str::to_owned).into());
        assert_eq!(fs::read(key_file(directory.path())).unwrap().len(), 45);
        assert_eq!(support::kek_count(directory.path()), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_openings_in_one_process_create_one_store() {
    for _ in 0..20 {
        let directory = directory_in_memory();
        let opening: Vec<_> = (0..STARTERS)
            .map(|number| {
                let config = config(directory.path());
                tokio::spawn(async move {
                    let backend = NativeBackend::open(config).await.unwrap();
                    put_next(&backend, &format!("started/{number}"), 1).await;
                    backend
                })
            })
            .collect();
        let mut backends = Vec::new();
        for opened in opening {
            backends.push(opened.await.unwrap());
        }
        for backend in &backends {
            for number in 0..STARTERS {
                assert!(is_intact(backend, &format!("started/{number}"), 1).await, "{number}");
            }
        }
    }
}

/// The last to close removes the log, while the next may just be opening it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_opening_and_closing_loses_nothing() {
    const ROUNDS: u64 = 25;
    let directory = directory_in_memory();
    let tools: Vec<_> = (0..WRITERS)
        .map(|number| {
            let config = config(directory.path());
            tokio::spawn(async move {
                for round in 1..=ROUNDS {
                    let backend = NativeBackend::open(config.clone()).await.unwrap();
                    put_next(&backend, &format!("tool/{number}"), round).await;
                    backend.close().await.unwrap();
                }
            })
        })
        .collect();
    for tool in tools {
        tool.await.unwrap();
    }
    let backend = open(directory.path()).await;
    for number in 0..WRITERS {
        for round in 1..=ROUNDS {
            assert!(is_intact(&backend, &format!("tool/{number}"), round).await);
        }
    }
}
