//! An anchor that another store keeps: when it is created, advanced and refused, and what an outage of that store does.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_backend_native::{AnchorStore, NativeBackend, NativeConfig, SecretAnchor};
use strongroom_core::{
    Backend, Error, ErrorKind, MemoryBackend, PutOptions, Result, Version, VersionSelector,
    async_trait,
};
use support::{config, is_intact, path, put_next, stored_state};
use tokio::sync::Semaphore;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const ANCHOR: &str = "strongroom/anchor";

/// What the other store does.
#[derive(Clone, Debug)]
enum Answer {
    Right,
    Fail(ErrorKind),
    Never,
}

/// Another store, which counts its requests and fails on demand.
#[derive(Clone, Debug)]
struct Other(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    secrets: Arc<MemoryBackend>,
    interval: Duration,
    answer: Mutex<Answer>,
    requests: AtomicUsize,
    /// The numbers of the states that were written.
    written: Mutex<Vec<u64>>,
    /// A write waits for it.
    gate: Semaphore,
}

impl Other {
    fn new(interval: Duration) -> Self {
        Self(Arc::new(Shared {
            secrets: Arc::new(MemoryBackend::new()),
            interval,
            answer: Mutex::new(Answer::Right),
            requests: AtomicUsize::new(0),
            written: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        }))
    }

    fn answer(&self, answer: Answer) {
        *self.0.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    fn written(&self) -> Vec<u64> {
        self.0.written.lock().unwrap().clone()
    }

    async fn call(&self) -> Result<()> {
        // Needs the runtime, as requests do.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.answer.lock().unwrap().clone();
        match answer {
            Answer::Right => Ok(()),
            Answer::Fail(kind) => Err(Error::new(kind, "look at it").because("it is ill")),
            Answer::Never => std::future::pending().await,
        }
    }

    fn anchor(&self) -> SecretAnchor {
        SecretAnchor::new(Arc::clone(&self.0.secrets) as Arc<dyn Backend>, path(ANCHOR))
    }

    /// The bytes of the anchor.
    async fn bytes(&self) -> Vec<u8> {
        let secret = self.0.secrets.get(&path(ANCHOR), &VersionSelector::Active).await.unwrap();
        STANDARD.decode(secret.expose_bytes()).unwrap()
    }

    /// The number of the state that the anchor has.
    async fn state(&self) -> u64 {
        number(&self.bytes().await)
    }

    async fn set(&self, text: &str) {
        self.0.secrets.put(&path(ANCHOR), text.into(), PutOptions::new()).await.unwrap();
    }
}

fn number(anchor: &[u8]) -> u64 {
    u64::from_be_bytes(anchor.get(25..33).unwrap().try_into().unwrap())
}

#[async_trait]
impl AnchorStore for Other {
    fn name(&self) -> &'static str {
        "strongroom/anchor in memory"
    }

    fn interval(&self) -> Duration {
        self.0.interval
    }

    async fn read(&self) -> Result<Option<(Vec<u8>, Version)>> {
        self.call().await?;
        self.anchor().read().await
    }

    async fn write(&self, anchor: &[u8], over: Option<&Version>) -> Result<Option<Version>> {
        self.call().await?;
        self.0.gate.acquire().await.unwrap().forget();
        let written = self.anchor().write(anchor, over).await?;
        if written.is_some() {
            self.0.written.lock().unwrap().push(number(anchor));
        }
        Ok(written)
    }
}

/// A store whose anchor is updated only when it is opened and closed.
fn rare() -> Other {
    Other::new(Duration::from_secs(3600))
}

/// A store whose anchor is updated each second.
fn frequent() -> Other {
    Other::new(Duration::ZERO)
}

fn anchored(directory: &Path, other: &Other) -> NativeConfig {
    let mut config = config(directory);
    config.anchor_store = Some(Arc::new(other.clone()));
    config
}

async fn open(directory: &Path, other: &Other) -> NativeBackend {
    NativeBackend::open(anchored(directory, other)).await.unwrap()
}

async fn refuse(directory: &Path, other: &Other) -> Error {
    NativeBackend::open(anchored(directory, other)).await.unwrap_err()
}

fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

/// Waits until the anchor of a running process has the state of the file.
async fn wait_for_anchor(directory: &Path, other: &Other) {
    let begin = Instant::now();
    while other.state().await != stored_state(directory) {
        assert!(begin.elapsed() < PATIENCE, "the anchor was not advanced");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_anchor_is_created_together_with_the_store() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let mut config = anchored(folder.path(), &other);
    config.create = false;
    let backend = NativeBackend::open(config).await.unwrap();
    assert!(other.written().is_empty());
    put_next(&backend, "a", 1).await;
    let created = other.state().await;
    put_next(&backend, "a", 2).await;
    assert_eq!(other.state().await, created);
    backend.close().await.unwrap();
    assert_eq!(other.state().await, stored_state(folder.path()));
    let requests = other.requests();
    open(folder.path(), &other).await.close().await.unwrap();
    assert_eq!(other.requests(), requests + 1, "what is not behind is not written");
}

#[tokio::test]
async fn a_store_without_an_anchor_gets_one() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let backend = support::open(folder.path()).await;
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    let before = stored_state(folder.path());
    open(folder.path(), &other).await.close().await.unwrap();
    assert_eq!((other.state().await, stored_state(folder.path())), (before + 1, before + 1));
}

#[tokio::test]
async fn a_process_that_writes_advances_the_anchor_at_most_once_in_an_interval() {
    let (folder, other) = (tempfile::tempdir().unwrap(), frequent());
    let backend = open(folder.path(), &other).await;
    let (before, begin) = (other.written().len(), Instant::now());
    let mut version = 0;
    while begin.elapsed() < Duration::from_millis(2500) {
        version += 1;
        put_next(&backend, "busy", version).await;
    }
    let updates = other.written().len() - before;
    let most = usize::try_from(begin.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&updates), "{updates} updates within {most} s");
    wait_for_anchor(folder.path(), &other).await;
}

#[tokio::test]
async fn reads_and_writes_do_not_ask_the_other_store() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let backend = open(folder.path(), &other).await;
    put_next(&backend, "a", 1).await;
    let (requests, begin) = (other.requests(), Instant::now());
    let mut version = 1;
    // Reads compare the state once a second.
    while begin.elapsed() < Duration::from_millis(2500) {
        version += 1;
        put_next(&backend, "b", version - 1).await;
        assert!(is_intact(&backend, "a", 1).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(other.requests(), requests);
    let health = backend.health().await.unwrap();
    assert_eq!(health.details["state"], stored_state(folder.path()).to_string());
    assert_eq!(other.requests(), requests + 1);
    assert_eq!(backend.verify().await.unwrap().damaged, 0);
    assert_eq!(other.requests(), requests + 2);
}

#[tokio::test]
async fn an_earlier_copy_is_refused_until_it_is_accepted() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let backend = open(folder.path(), &other).await;
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    let yesterday = fs::read(support::store_file(folder.path())).unwrap();
    let earlier = stored_state(folder.path());
    let backend = open(folder.path(), &other).await;
    put_next(&backend, "a", 2).await;
    backend.close().await.unwrap();
    let newest = stored_state(folder.path());
    fs::write(support::store_file(folder.path()), yesterday).unwrap();

    let refused = refuse(folder.path(), &other).await;
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_says(&refused, &["earlier copy", "strongroom/anchor in memory", "store accept"]);
    let accepted = NativeBackend::accept_state(anchored(folder.path(), &other)).await.unwrap();
    assert_eq!((accepted.before, accepted.anchor), (Some(earlier), Some(newest)));
    assert_eq!((accepted.number, other.state().await), (newest + 1, newest + 1));
    let backend = open(folder.path(), &other).await;
    assert!(is_intact(&backend, "a", 1).await && !is_intact(&backend, "a", 2).await);
}

#[tokio::test]
async fn an_anchor_that_was_there_must_not_be_missing() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let backend = open(folder.path(), &other).await;
    put_next(&backend, "a", 1).await;
    other.0.secrets.delete(&path(ANCHOR)).await.unwrap();
    let error = backend.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    backend.close().await.unwrap();
    let error = refuse(folder.path(), &other).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_says(&error, &["`NativeConfig::anchor_store`", "missing", "store accept"]);
    // A deleted secret could be undeleted, so that no new one takes its place.
    let error = NativeBackend::accept_state(anchored(folder.path(), &other)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_says(&error, &["undelete it, or destroy it"]);
    other.0.secrets.destroy(&path(ANCHOR)).await.unwrap();
    NativeBackend::accept_state(anchored(folder.path(), &other)).await.unwrap();
    open(folder.path(), &other).await.close().await.unwrap();
    assert_eq!(other.state().await, stored_state(folder.path()));
}

#[tokio::test]
async fn the_anchor_of_another_store_is_refused_and_stays() {
    let (folder, second, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), rare());
    open(folder.path(), &other).await.close().await.unwrap();
    support::open(second.path()).await.close().await.unwrap();
    let before = other.bytes().await;
    let error = refuse(second.path(), &other).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_says(&error, &["`NativeConfig::anchor_store`", "another store"]);
    let error = NativeBackend::accept_state(anchored(second.path(), &other)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(other.bytes().await, before);
}

#[tokio::test]
async fn an_edited_anchor_is_refused() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let backend = open(folder.path(), &other).await;
    put_next(&backend, "a", 1).await;
    let anchor = other.bytes().await;
    assert_eq!(anchor.len(), 97);
    for byte in 0..anchor.len() {
        let mut edited = anchor.clone();
        edited[byte] ^= 1;
        other.set(&STANDARD.encode(edited)).await;
        let expected = match byte {
            // No anchor, or that of another store.
            0..5 | 9..25 => ErrorKind::Config,
            _ => ErrorKind::Corrupt,
        };
        assert_eq!(refuse(folder.path(), &other).await.kind(), expected, "byte {byte}");
    }
    let error = backend.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_says(&error, &["fails authentication"]);
    assert!(is_intact(&backend, "a", 1).await, "reads do not ask");
    for other_text in ["", "hunter2", "AAAA"] {
        other.set(other_text).await;
        let error = refuse(folder.path(), &other).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!error.to_string().contains("hunter2"));
        assert_says(&error, &["not the anchor of a store"]);
    }
    other.set(&STANDARD.encode(anchor)).await;
    open(folder.path(), &other).await.close().await.unwrap();
}

/// A process that has read the anchor, and then waits long before it writes, does not overwrite what another has written
/// meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn no_process_lowers_the_anchor() {
    let (folder, slow, fast) = (tempfile::tempdir().unwrap(), frequent(), rare());
    // Both see the same secrets; only writes of the first wait.
    let slow = Other(Arc::new(Shared {
        secrets: Arc::clone(&fast.0.secrets),
        ..Arc::into_inner(slow.0).unwrap()
    }));
    let first = open(folder.path(), &slow).await;
    let second = open(folder.path(), &fast).await;
    let (requests, held) = (slow.requests(), slow.0.gate.forget_permits(Semaphore::MAX_PERMITS));
    assert!(held > 0);
    put_next(&first, "a", 1).await;
    let begin = Instant::now();
    while slow.requests() < requests + 2 {
        assert!(begin.elapsed() < PATIENCE, "the first process does not write");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    put_next(&second, "a", 2).await;
    second.close().await.unwrap();
    let highest = stored_state(folder.path());
    assert_eq!(fast.state().await, highest);
    let written = slow.written();
    slow.0.gate.add_permits(1000);
    while slow.requests() < requests + 3 {
        assert!(begin.elapsed() < PATIENCE, "the first process does not try again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((slow.written(), slow.state().await), (written, highest));
    put_next(&first, "a", 3).await;
    first.close().await.unwrap();
    assert_eq!(slow.state().await, highest + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_open_a_store_at_once_create_one_anchor() {
    let (folder, other) = (tempfile::tempdir().unwrap(), frequent());
    support::open(folder.path()).await.close().await.unwrap();
    let openings: Vec<_> = (0..4)
        .map(|_| tokio::spawn(NativeBackend::open(anchored(folder.path(), &other))))
        .collect();
    for (number, opening) in openings.into_iter().enumerate() {
        let backend = opening.await.unwrap().unwrap();
        put_next(&backend, &format!("of/{number}"), 1).await;
        backend.close().await.unwrap();
    }
    let written = other.written();
    assert!(written.is_sorted(), "{written:?}");
    open(folder.path(), &other).await.close().await.unwrap();
    assert_eq!(other.state().await, stored_state(folder.path()));
}

#[tokio::test]
async fn without_the_other_store_nothing_is_created_or_opened() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    for kind in [ErrorKind::Unavailable, ErrorKind::Denied, ErrorKind::Unauthenticated] {
        other.answer(Answer::Fail(kind));
        let error = refuse(folder.path(), &other).await;
        assert_eq!(error.kind(), kind);
        assert_eq!(error.is_temporary(), kind == ErrorKind::Unavailable);
        assert_says(&error, &["strongroom/anchor in memory could not be read: it is ill"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    other.answer(Answer::Right);
    open(folder.path(), &other).await.close().await.unwrap();
    for kind in [ErrorKind::Unavailable, ErrorKind::Denied] {
        other.answer(Answer::Fail(kind));
        assert_eq!(refuse(folder.path(), &other).await.kind(), kind);
        let accepted = NativeBackend::accept_state(anchored(folder.path(), &other)).await;
        assert_eq!(accepted.unwrap_err().kind(), kind);
    }
    // The kind would say that the native store is missing.
    other.answer(Answer::Fail(ErrorKind::NotFound));
    assert_eq!(refuse(folder.path(), &other).await.kind(), ErrorKind::Config);
    other.answer(Answer::Right);
    open(folder.path(), &other).await;
}

#[tokio::test]
async fn a_running_process_serves_while_the_other_store_is_down() {
    let (folder, other) = (tempfile::tempdir().unwrap(), frequent());
    let backend = open(folder.path(), &other).await;
    put_next(&backend, "a", 1).await;
    wait_for_anchor(folder.path(), &other).await;
    let anchored = other.state().await;
    for answer in [Answer::Fail(ErrorKind::Unavailable), Answer::Never] {
        other.answer(answer);
        let (requests, begin) = (other.requests(), Instant::now());
        let mut slowest = Duration::ZERO;
        while begin.elapsed() < Duration::from_millis(2500) {
            let write = Instant::now();
            backend.put(&path("b"), "value".into(), PutOptions::new()).await.unwrap();
            assert!(is_intact(&backend, "a", 1).await);
            slowest = slowest.max(write.elapsed());
        }
        assert!(slowest < Duration::from_secs(1), "a write took {slowest:?}");
        assert!(other.requests() > requests, "the anchor was not tried");
    }
    // The other store never answers.
    let error = backend.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_says(&error, &["the anchor strongroom/anchor in memory could not be read", "10 s"]);
    other.answer(Answer::Fail(ErrorKind::Unavailable));
    assert_eq!(backend.health().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(backend.verify().await.unwrap().damaged, 0);
    assert_eq!(other.state().await, anchored);
    other.answer(Answer::Right);
    wait_for_anchor(folder.path(), &other).await;

    put_next(&backend, "a", 2).await;
    other.answer(Answer::Never);
    let begin = Instant::now();
    backend.close().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    other.answer(Answer::Right);
    open(folder.path(), &other).await.close().await.unwrap();
    assert_eq!(other.state().await, stored_state(folder.path()));
}

#[tokio::test]
async fn an_anchor_follows_a_rotation_of_the_root_key() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let backend = open(folder.path(), &other).await;
    let second = open(folder.path(), &other).await;
    put_next(&backend, "a", 1).await;
    for version in 2..4 {
        backend.rotate_root_key().await.unwrap();
        assert!(is_intact(&second, "a", version - 1).await);
        put_next(&second, "a", version).await;
        second.health().await.unwrap();
        backend.health().await.unwrap();
        assert!(is_intact(&backend, "a", version).await);
    }
    // Old keys are removed only once the anchor is signed with the new one.
    other.answer(Answer::Fail(ErrorKind::Unavailable));
    let error = backend.rotate_root_key().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    put_next(&second, "a", 4).await;
    other.answer(Answer::Right);
    backend.rotate_root_key().await.unwrap();
    second.close().await.unwrap();
    backend.close().await.unwrap();
    open(folder.path(), &other).await.close().await.unwrap();
    assert_eq!(other.state().await, stored_state(folder.path()));
}

#[tokio::test]
async fn a_store_has_one_anchor() {
    let (folder, other) = (tempfile::tempdir().unwrap(), rare());
    let mut config = anchored(folder.path(), &other);
    config.anchor_file = Some(folder.path().join("anchor"));
    let error = NativeBackend::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_says(&error, &["`NativeConfig::anchor_file`", "`NativeConfig::anchor_store`", "both"]);
    assert_eq!((other.requests(), fs::read_dir(folder.path()).unwrap().count()), (0, 0));
}

/// A native store can keep the anchor of another one.
#[tokio::test]
async fn a_backend_of_the_same_process_keeps_the_anchor() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keeper: Arc<dyn Backend> = Arc::new(support::open(elsewhere.path()).await);
    let mut config = config(folder.path());
    let anchor = SecretAnchor::new(Arc::clone(&keeper), path(ANCHOR));
    config.anchor_store = Some(Arc::new(anchor.with_interval(Duration::from_secs(1))));
    let backend = NativeBackend::open(config.clone()).await.unwrap();
    let first = keeper.describe(&path(ANCHOR)).await.unwrap().version;
    put_next(&backend, "a", 1).await;
    let begin = Instant::now();
    while keeper.describe(&path(ANCHOR)).await.unwrap().version == first {
        assert!(begin.elapsed() < PATIENCE, "the anchor was not advanced");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    backend.health().await.unwrap();
    backend.close().await.unwrap();
    keeper.close().await.unwrap();
    let error = NativeBackend::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}
