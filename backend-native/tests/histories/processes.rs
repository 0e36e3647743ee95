//! The processes that write and read, and what is known of their progress.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::ChildStdout;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use strongroom_core::{Backend as _, ErrorKind, VersionSelector};
use strongroom_testkit::process::ChildProcess;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::history::{Operation, Value};
use crate::summary::Summary;
use crate::writer::{SECRETS, Task, open, path};

/// How long anything may take that does not depend on the number of operations.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
/// How many values are read at the same time at the end.
const READS: usize = 64;

/// How far a process is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) recorded: u64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    has_finished: bool,
    /// Also if it has failed.
    has_ended: bool,
}

/// The number of operations of all processes.
pub(crate) fn total(progress: &[Progress]) -> u64 {
    progress.iter().map(|process| process.recorded).sum()
}

/// The running processes, which end with this value.
pub(crate) struct Processes {
    children: Vec<ChildProcess>,
    readers: Vec<JoinHandle<()>>,
    progress: watch::Receiver<Vec<Progress>>,
    directory: TempDir,
    begun: Instant,
}

/// The operations on one secret, and the values of its versions at the end.
pub(crate) struct SecretHistory {
    pub(crate) operations: Vec<Operation>,
    pub(crate) last: Vec<Value>,
}

impl Processes {
    /// Starts processes, which run until [`finish`](Self::finish).
    pub(crate) fn start(url: &str, count: u32, seed: u64, directory: TempDir) -> Self {
        let (sender, progress) = watch::channel(vec![Progress::default(); count as usize]);
        let mut children = Vec::new();
        let mut readers = Vec::new();
        for process in 0..count {
            let task = Task {
                url: url.to_owned(),
                file: directory.path().join(process.to_string()),
                process,
                seed,
            };
            let mut child = task.role("writer", "child").spawn().unwrap();
            let output = child.stdout().unwrap();
            let sender = sender.clone();
            readers.push(thread::spawn(move || follow(output, process as usize, &sender)));
            children.push(child);
        }
        Self { children, readers, progress, directory, begun: Instant::now() }
    }

    /// How far each process is.
    pub(crate) fn progress(&self) -> Vec<Progress> {
        self.progress.borrow().clone()
    }

    /// The number of operations so far.
    pub(crate) fn recorded(&self) -> u64 {
        total(&self.progress())
    }

    /// Waits for a condition on the progress.
    ///
    /// # Panics
    /// If it does not come within the limit, or a process has failed.
    pub(crate) async fn wait_until(&self, what: &str, condition: impl Fn(&[Progress]) -> bool) {
        let begun = Instant::now();
        while !self.is_true_within(Duration::from_secs(1), &condition).await {
            assert!(begun.elapsed() < LIMIT, "{what}: {:?}", self.progress());
        }
    }

    /// Waits for a condition on the progress, for a while. Returns whether it is true.
    pub(crate) async fn is_true_within(
        &self,
        limit: Duration,
        condition: impl Fn(&[Progress]) -> bool,
    ) -> bool {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| {
            let has_failed = |process: &Progress| process.has_ended && !process.has_finished;
            assert!(!progress.iter().any(has_failed), "a process has failed: {progress:?}");
            condition(progress)
        });
        tokio::time::timeout(limit, reached).await.is_ok()
    }

    /// Stops all processes, reads all versions of all secrets, and returns the histories.
    pub(crate) async fn finish(mut self, url: &str) -> (Vec<SecretHistory>, Summary) {
        let duration = self.begun.elapsed();
        // The end of the input stops a process.
        self.children.iter_mut().for_each(|child| drop(child.stdin()));
        for child in &mut self.children {
            assert!(child.wait_within(LIMIT).unwrap().success(), "a process has failed");
        }
        let mut summary = Summary::new(duration);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let mut histories = Vec::new();
        for secret in 0..SECRETS {
            histories.push(SecretHistory { operations: Vec::new(), last: all(url, secret).await });
        }
        for process in 0..self.children.len() {
            let lines = fs::read_to_string(self.directory.path().join(process.to_string()));
            for line in lines.unwrap().lines() {
                let (secret, line) = line.split_once(' ').unwrap();
                let mut words = line.split(' ');
                let operation = Operation::parse(&mut words).unwrap();
                summary.add(&operation, &words.collect::<Vec<_>>().join(" "));
                histories[secret.parse::<usize>().unwrap()].operations.push(operation);
            }
        }
        (histories, summary)
    }
}

fn follow(output: ChildStdout, process: usize, sender: &watch::Sender<Vec<Progress>>) {
    for line in BufReader::new(output).lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        sender.send_modify(|progress| {
            let progress = &mut progress[process];
            match words.as_slice() {
                ["progress", numbers @ ..] => {
                    let numbers: Vec<_> =
                        numbers.iter().map(|number| number.parse().unwrap()).collect();
                    let [recorded, acknowledged, failed] = numbers.try_into().unwrap();
                    *progress = Progress { recorded, acknowledged, failed, ..*progress };
                }
                ["finished"] => progress.has_finished = true,
                _ => {}
            }
        });
    }
    sender.send_modify(|progress| progress[process].has_ended = true);
}

/// The values of all versions of a secret, in their order.
async fn all(url: &str, secret: u32) -> Vec<Value> {
    let backend = open(url).await;
    let (backend, path) = (&backend, &path(secret));
    let versions = match backend.versions(path).await {
        Ok(versions) => versions,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{error}"),
    };
    let mut numbers: Vec<_> = versions.into_iter().map(|info| info.version).collect();
    numbers.sort_unstable_by_key(strongroom_core::Version::number);
    for (number, version) in (1..).zip(&numbers) {
        assert_eq!(version.number(), Some(number), "a version of secret {secret} is missing");
    }
    let read = |version| async move {
        let found = backend.get(path, &VersionSelector::Exact(version)).await.unwrap();
        found.expose_text().unwrap().parse::<Value>().unwrap()
    };
    stream::iter(numbers).map(read).buffered(READS).collect().await
}
