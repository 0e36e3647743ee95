//! The cache and the handles of one process see what another process writes to the same native store, in a file or in
//! PostgreSQL. No entry ends and
//! no handle reads at its interval meanwhile: only the feed of changes can be the reason.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{ErrorKind, ReadPolicy, SecretsManager};
use strongroom_testkit::postgres::Server;
use strongroom_testkit::process::{ChildProcess, Role, role};
use strongroom_testkit::report;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

const DIRECTORY: &str = "STRONGROOM_TEST_DIRECTORY";
const URL: &str = "STRONGROOM_TEST_URL";
const HOUR: Duration = Duration::from_secs(3_600);
/// How long a test waits for what has to come.
const LIMIT: Duration = Duration::from_secs(30);
/// How many delays the test measures.
const SAMPLES: usize = 25;

/// Where a store is.
struct Place {
    /// Of the key, and of the file.
    directory: PathBuf,
    /// Of the database, if the store is in one.
    url: Option<String>,
    _kept: Option<(TempDir, Option<Server>)>,
}

impl Place {
    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { directory: folder.path().to_owned(), url: None, _kept: Some((folder, None)) }
    }

    async fn database() -> Self {
        let (folder, server) = (tempfile::tempdir().unwrap(), Server::start().await);
        let (user, password, address) = (server.user(), server.password(), server.address());
        let url = Some(format!("postgresql://{user}:{password}@{address}/postgres"));
        Self { directory: folder.path().to_owned(), url, _kept: Some((folder, Some(server))) }
    }

    /// That of the process that has started this one.
    fn of_parent() -> Self {
        let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
        let url = std::env::var(URL).ok().filter(|url| !url.is_empty());
        Self { directory, url, _kept: None }
    }
}

async fn open(place: &Place) -> SecretsManager {
    open_or_create(place, true).await
}

async fn open_or_create(place: &Place, create: bool) -> SecretsManager {
    let mut config = NativeConfig::new(KeySource::KeyFile(place.directory.join("store.key")));
    match &place.url {
        Some(url) => config.url = Some(url.as_str().into()),
        None => config.path = Some(place.directory.join("store.db")),
    }
    config.create = create;
    let backend = NativeBackend::open(config).await.unwrap();
    let policy = ReadPolicy::new().cache_ttl(HOUR).negative_ttl(HOUR).watch_interval(HOUR);
    SecretsManager::with_policy(backend, policy)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Another process: it does what each line of its input says, and tells when it was done.
#[test]
fn child() {
    if role().is_none() {
        return;
    }
    let place = Place::of_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let secrets = open(&place).await;
        for line in std::io::stdin().lines() {
            let line = line.unwrap();
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["put", path, value] => drop(secrets.put(path, *value).await.unwrap()),
                ["delete", path] => secrets.delete(path).await.unwrap(),
                unknown => panic!("{unknown:?}"),
            }
            println!("\ndone {}", now().as_micros());
        }
    });
}

struct Other {
    _child: ChildProcess,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(place: &Place) -> Self {
        let child = Role::in_test("other", "child").unwrap().env(DIRECTORY, &place.directory);
        let child = child.env(URL, place.url.as_deref().unwrap_or_default());
        let mut child = child.inherit_stderr().spawn().unwrap();
        let input = child.stdin().unwrap();
        let output = BufReader::new(child.stdout().unwrap());
        Self { _child: child, input, output }
    }

    /// Returns once the change is made, with the time at which it was.
    fn run(&mut self, command: &str) -> Duration {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the other process has ended");
            if let Some(micros) = line.trim_end().strip_prefix("done ") {
                return Duration::from_micros(micros.parse().unwrap());
            }
        }
    }
}

/// What a read gives; `None` if there is no such secret.
async fn read(secrets: &SecretsManager, path: &str) -> Option<String> {
    match secrets.get(path).await {
        Ok(secret) => Some(secret.expose_text().unwrap().to_owned()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            None
        }
    }
}

/// Waits until reads give `expected`.
async fn wait_for(secrets: &SecretsManager, path: &str, expected: Option<&str>) {
    let end = Instant::now() + LIMIT;
    loop {
        let found = read(secrets, path).await;
        if found.as_deref() == expected {
            return;
        }
        assert!(Instant::now() < end, "{path}: {found:?} instead of {expected:?}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until a secret is served from the cache. The first report of a feed, and those of writes that have just been
/// made, let it be read again.
async fn wait_until_cached(secrets: &SecretsManager, path: &str) {
    let end = Instant::now() + LIMIT;
    loop {
        let first = secrets.get(path).await.unwrap().read_at();
        sleep(Duration::from_millis(150)).await;
        if secrets.get(path).await.unwrap().read_at() == first {
            return;
        }
        assert!(Instant::now() < end, "{path} is not cached");
    }
}

#[tokio::test]
async fn caches_and_handles_see_the_writes_of_another_process() {
    see_the_writes_of_another_process(&Place::file()).await;
}

#[tokio::test]
async fn caches_and_handles_see_the_writes_of_another_host() {
    see_the_writes_of_another_process(&Place::database().await).await;
}

async fn see_the_writes_of_another_process(place: &Place) {
    let secrets = open(place).await;
    secrets.put("cached", "1").await.unwrap();
    secrets.put("watched", "1").await.unwrap();
    // A second manager in this process.
    let neighbour = open(place).await;
    let mut other = Other::start(place);
    let mut handles =
        [secrets.watch("watched").await.unwrap(), neighbour.watch("watched").await.unwrap()];
    for manager in [&secrets, &neighbour] {
        wait_until_cached(manager, "cached").await;
        assert_eq!(read(manager, "cached").await.as_deref(), Some("1"));
        assert_eq!(read(manager, "missing").await, None);
    }

    other.run("put cached 2");
    other.run("put missing new");
    other.run("put watched 2");
    for manager in [&secrets, &neighbour] {
        wait_for(manager, "cached", Some("2")).await;
        wait_for(manager, "missing", Some("new")).await;
    }
    for handle in &mut handles {
        let changed = timeout(LIMIT, handle.changed()).await.unwrap().unwrap();
        assert_eq!(changed.expose_text().unwrap(), "2");
    }

    for manager in [&secrets, &neighbour] {
        wait_until_cached(manager, "cached").await;
    }
    other.run("delete cached");
    for manager in [&secrets, &neighbour] {
        wait_for(manager, "cached", None).await;
    }

    // A write of this process reaches the other manager.
    secrets.put("watched", "3").await.unwrap();
    for handle in &mut handles {
        let changed = timeout(LIMIT, handle.changed()).await.unwrap().unwrap();
        assert_eq!(changed.expose_text().unwrap(), "3");
    }
    drop(other);
    for manager in [secrets, neighbour] {
        manager.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_another_process_creates_is_seen() {
    let place = Place::file();
    let secrets = open_or_create(&place, false).await;
    assert_eq!(read(&secrets, "a").await, None);
    let mut other = Other::start(&place);
    other.run("put a 1");
    wait_for(&secrets, "a", Some("1")).await;
    wait_until_cached(&secrets, "a").await;
    other.run("put a 2");
    wait_for(&secrets, "a", Some("2")).await;
}

/// The delay is reported, not asserted: it is that of the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measures_how_late_a_change_is_seen() {
    measure("file", &Place::file()).await;
    measure("PostgreSQL", &Place::database().await).await;
}

async fn measure(what: &str, place: &Place) {
    let secrets = open(place).await;
    secrets.put("a", "none").await.unwrap();
    let mut other = Other::start(place);
    let mut handle = secrets.watch("a").await.unwrap();
    let (mut of_cache, mut of_handle) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        wait_until_cached(&secrets, "a").await;
        sleep(Duration::from_millis(u64::try_from(number * 7 % 50).unwrap())).await;
        let written = other.run(&format!("put a {number}"));
        let value = number.to_string();
        let seen_by_cache = async {
            wait_for(&secrets, "a", Some(&value)).await;
            now()
        };
        let seen_by_handle = async {
            timeout(LIMIT, handle.changed()).await.unwrap().unwrap();
            now()
        };
        let (by_cache, by_handle) = tokio::join!(seen_by_cache, seen_by_handle);
        of_cache.push(by_cache.saturating_sub(written));
        of_handle.push(by_handle.saturating_sub(written));
    }
    for (name, mut delays) in [("cache", of_cache), ("handle", of_handle)] {
        delays.sort();
        let [median, late] = [50, 99].map(|percent| delays.get(SAMPLES * percent / 100));
        report(format_args!("{what}, {name}: p50 {median:?}, p99 {late:?}, of {SAMPLES}"));
    }
}
