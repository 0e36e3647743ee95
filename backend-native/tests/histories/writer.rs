//! A process that writes and reads secrets through all failures, and records what it learns.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend as _, Error, ErrorKind, PutOptions, SecretPath, VersionSelector};
use strongroom_testkit::process::Role;
use tokio::sync::Notify;

use crate::history::{Action, Condition, Operation, Outcome, Value};

/// The number of secrets that all processes share.
pub(crate) const SECRETS: u32 = 8;
const WRITERS: u32 = 2;
/// After how many operations a process reports.
const REPORT: u64 = 50;
/// The pause after an error. An application does not try again at once, either.
const PAUSE: Duration = Duration::from_millis(20);
/// The error of a write whose outcome is unknown says so. For all others, `docs/src/stores/postgres.md` promises that
/// nothing was written.
const MAY_BE_WRITTEN: &str = "the write may be there or not";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const URL: &str = "STRONGROOM_TEST_URL";
const FILE: &str = "STRONGROOM_TEST_FILE";
const PROCESS: &str = "STRONGROOM_TEST_PROCESS";
const SEED: &str = "STRONGROOM_TEST_SEED";

/// What a process is told.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) url: String,
    pub(crate) file: PathBuf,
    pub(crate) process: u32,
    pub(crate) seed: u64,
}

impl Task {
    pub(crate) fn role(&self, role: &str, test: &str) -> Role {
        Role::in_test(role, test)
            .unwrap()
            .env(URL, &self.url)
            .env(FILE, &self.file)
            .env(PROCESS, self.process.to_string())
            .env(SEED, self.seed.to_string())
            .inherit_stderr()
    }

    /// The task of this process.
    pub(crate) fn of_process() -> Self {
        let text = |name| std::env::var(name).unwrap();
        Self {
            url: text(URL),
            file: text(FILE).into(),
            process: text(PROCESS).parse().unwrap(),
            seed: text(SEED).parse().unwrap(),
        }
    }
}

pub(crate) fn path(secret: u32) -> SecretPath {
    SecretPath::parse(&format!("shared/{secret}")).unwrap()
}

pub(crate) async fn open(url: &str) -> NativeBackend {
    let mut config = NativeConfig::new(KeySource::Key(KEY.into()));
    config.url = Some(url.into());
    NativeBackend::open(config).await.unwrap()
}

/// A small generator of random numbers (`SplitMix64`).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Nanoseconds of a clock that all processes of a machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Where a process records its operations.
struct Recorder {
    file: RefCell<File>,
    recorded: Cell<u64>,
    acknowledged: Cell<u64>,
    failed: Cell<u64>,
    /// Set when the parent has had enough.
    is_stopped: Arc<AtomicBool>,
}

impl Recorder {
    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Records an operation at once, with the words of its error, and reports progress.
    fn record(&self, secret: u32, operation: Operation, error: Option<&Error>) {
        let cause = error.map(|error| format!(" {:?}: {}", error.kind(), error.cause()));
        let line = format!("{secret} {operation}{}\n", cause.unwrap_or_default());
        self.file.borrow_mut().write_all(line.as_bytes()).unwrap();
        let count = |cell: &Cell<u64>| cell.set(cell.get() + 1);
        count(&self.recorded);
        match operation.outcome {
            Outcome::Written(_) => count(&self.acknowledged),
            Outcome::Failed | Outcome::Unknown => count(&self.failed),
            _ => {}
        }
        let is_failed = matches!(operation.outcome, Outcome::Failed | Outcome::Unknown);
        if self.recorded.get().is_multiple_of(REPORT) || is_failed {
            self.report();
        }
    }

    fn report(&self) {
        let (recorded, acknowledged) = (self.recorded.get(), self.acknowledged.get());
        println!("progress {recorded} {acknowledged} {}", self.failed.get());
    }
}

/// What an error says about a write.
fn outcome_of(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::Conflict => Outcome::Conflict,
        _ if error.cause().contains(MAY_BE_WRITTEN) => Outcome::Unknown,
        ErrorKind::Unavailable | ErrorKind::Timeout => Outcome::Failed,
        _ => panic!("a failure of the server is reported as {error}"),
    }
}

/// What a failed read has learnt.
fn read_failure(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::NotFound => Outcome::NotFound,
        ErrorKind::Unavailable | ErrorKind::Timeout => Outcome::Failed,
        _ => panic!("a failure of the server is reported as {error}"),
    }
}

async fn read(backend: &NativeBackend, recorder: &Recorder, secret: u32) -> Option<u64> {
    let begin = now();
    let read = backend.get(&path(secret), &VersionSelector::Active).await;
    let end = now();
    let (outcome, error) = match read {
        Ok(found) => {
            let value = found.expose_text().unwrap().parse().unwrap();
            (Outcome::Read(found.version().number().unwrap(), value), None)
        }
        Err(error) => (read_failure(&error), Some(error)),
    };
    let error = error.filter(|error| error.kind() != ErrorKind::NotFound);
    let operation = Operation { begin, end, action: Action::Get, outcome };
    recorder.record(secret, operation, error.as_ref());
    if error.is_some() {
        tokio::time::sleep(PAUSE).await;
    }
    match outcome {
        Outcome::Read(version, _) => Some(version),
        _ => None,
    }
}

async fn write(
    backend: &NativeBackend,
    recorder: &Recorder,
    secret: u32,
    value: Value,
    condition: Condition,
) -> Option<u64> {
    let options = match condition {
        Condition::None => PutOptions::new(),
        Condition::MustNotExist => PutOptions::new().must_not_exist(),
        Condition::MustBeVersion(version) => PutOptions::new().must_be_version(version),
    };
    let text = value.to_string();
    let begin = now();
    let written = backend.put(&path(secret), text.as_str().into(), options).await;
    let end = now();
    let (outcome, error) = match written {
        Ok(version) => (Outcome::Written(version.number().unwrap()), None),
        Err(error) => (outcome_of(&error), Some(error)),
    };
    let error = error.filter(|error| error.kind() != ErrorKind::Conflict);
    let operation = Operation { begin, end, action: Action::Put(value, condition), outcome };
    recorder.record(secret, operation, error.as_ref());
    if error.is_some() {
        tokio::time::sleep(PAUSE).await;
    }
    match outcome {
        Outcome::Written(version) => Some(version),
        _ => None,
    }
}

/// Writes, half of the time under the condition that the version it has last seen is active.
async fn run_writer(
    backend: &NativeBackend,
    recorder: &Recorder,
    task: &Task,
    writer: u32,
    on_write: &Notify,
) {
    let mut random = Random(task.seed ^ u64::from(task.process * WRITERS + writer));
    let mut seen = vec![None; SECRETS as usize];
    let mut sequence = 0;
    while !recorder.is_stopped() {
        let secret = u32::try_from(random.below(SECRETS.into())).unwrap();
        let known = &mut seen[secret as usize];
        let condition = match (random.below(8), *known) {
            (0..=2, _) => Condition::None,
            (3, _) => {
                *known = read(backend, recorder, secret).await;
                continue;
            }
            (_, None) => Condition::MustNotExist,
            (_, Some(version)) => Condition::MustBeVersion(version),
        };
        sequence += 1;
        let value = Value { process: task.process, writer, sequence };
        let written = write(backend, recorder, secret, value, condition).await;
        // After a conflict, it looks.
        *known = match written {
            Some(version) => Some(version),
            None => read(backend, recorder, secret).await,
        };
        on_write.notify_one();
    }
    on_write.notify_one();
}

/// Reads once for each write, so that reads and writes overlap as long as the process runs.
async fn run_reader(backend: &NativeBackend, recorder: &Recorder, task: &Task, on_write: &Notify) {
    let mut random = Random(!task.seed ^ u64::from(task.process));
    while !recorder.is_stopped() {
        on_write.notified().await;
        read(backend, recorder, u32::try_from(random.below(SECRETS.into())).unwrap()).await;
    }
}

/// What the process does until its input ends, however long the store fails.
pub(crate) async fn run(task: &Task) {
    let backend = open(&task.url).await;
    let file = File::options().create(true).append(true).open(&task.file).unwrap();
    let is_stopped = Arc::new(AtomicBool::new(false));
    let input_ended = Arc::clone(&is_stopped);
    thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        input_ended.store(true, Ordering::Relaxed);
    });
    let recorder = Recorder {
        file: RefCell::new(file),
        recorded: Cell::new(0),
        acknowledged: Cell::new(0),
        failed: Cell::new(0),
        is_stopped,
    };
    let on_write = Notify::new();
    println!();
    tokio::join!(
        run_writer(&backend, &recorder, task, 0, &on_write),
        run_writer(&backend, &recorder, task, 1, &on_write),
        run_reader(&backend, &recorder, task, &on_write),
    );
    recorder.report();
    println!("finished");
}
