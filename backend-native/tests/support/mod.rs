//! Shared by the tests of the native store: paths, connections, and values that follow from path
//! and version.

#![allow(dead_code, reason = "each test target uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

#[cfg(target_os = "linux")]
pub(crate) mod mounting;
#[cfg(unix)]
pub(crate) mod opening;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{Backend, ListOptions, PutOptions, SecretPath, Version, VersionSelector};
use tempfile::TempDir;

/// The environment variable that passes the directory of its store to a child process.
pub(crate) const DIRECTORY: &str = "STRONGROOM_TEST_DIRECTORY";

pub(crate) fn store_file(directory: &Path) -> PathBuf {
    directory.join("secrets.db")
}

pub(crate) fn key_file(directory: &Path) -> PathBuf {
    directory.join("secrets.key")
}

/// Opening with this creates the store.
pub(crate) fn config(directory: &Path) -> NativeConfig {
    let mut config = NativeConfig::new(KeySource::KeyFile(key_file(directory)));
    config.path = Some(store_file(directory));
    config.create = true;
    config
}

pub(crate) async fn open(directory: &Path) -> NativeBackend {
    NativeBackend::open(config(directory)).await.unwrap()
}

/// The directory that the parent passed to this child process.
pub(crate) fn child_directory() -> PathBuf {
    std::env::var_os(DIRECTORY).unwrap().into()
}

/// A directory in memory where there is one, so that syncing costs nothing.
pub(crate) fn directory_in_memory() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = in_memory.is_dir().then(|| tempfile::tempdir_in(in_memory).ok()).flatten();
    made.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// A connection beside the store's own, to look at the file or damage it.
pub(crate) fn raw(directory: &Path) -> Connection {
    Connection::open(store_file(directory)).unwrap()
}

/// The same store with an anchor, in a folder that this creates.
pub(crate) fn with_anchor(mut config: NativeConfig, anchor: &Path) -> NativeConfig {
    fs::create_dir_all(anchor.parent().unwrap()).unwrap();
    config.anchor_file = Some(anchor.to_owned());
    config
}

/// The number of the state that an anchor has.
pub(crate) fn anchored_state(anchor: &Path) -> u64 {
    let bytes = fs::read(anchor).unwrap();
    u64::from_be_bytes(bytes.get(25..33).unwrap().try_into().unwrap())
}

/// The number of the state that the file has.
pub(crate) fn stored_state(directory: &Path) -> u64 {
    raw(directory).query_row("SELECT number FROM state", [], |row| row.get(0)).unwrap()
}

/// Puts the store that release 1 has written, and its key, into a directory.
pub(crate) fn copy_golden_store(directory: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, copy) in
        [("store-v1.db", store_file(directory)), ("store-v1.key", key_file(directory))]
    {
        fs::copy(golden.join(name), &copy).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(copy, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// How many key-encryption keys the ring holds.
pub(crate) fn kek_count(directory: &Path) -> i64 {
    let count = "SELECT count(*) FROM keyring WHERE purpose = 1";
    raw(directory).query_row(count, [], |row| row.get(0)).unwrap()
}

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

/// The value that belongs to a version of a path: of 40 to about 3,000 bytes.
pub(crate) fn value_of(path: &str, version: u64) -> String {
    let length = 1 + usize::try_from(version * 37 % 101).unwrap();
    format!("{path}#{version};").repeat(length) + "end of the value, 40 bytes or longer"
}

pub(crate) fn exact(version: u64) -> VersionSelector {
    VersionSelector::Exact(Version::from(version))
}

/// Writes the value that belongs to the next version.
pub(crate) async fn put_next(backend: &NativeBackend, name: &str, version: u64) {
    let value = value_of(name, version);
    let written = backend.put(&path(name), value.as_str().into(), PutOptions::new()).await;
    assert_eq!(written.unwrap(), Version::from(version), "{name}");
}

/// Reads a version and says whether it holds the value that belongs to it.
pub(crate) async fn is_intact(backend: &NativeBackend, name: &str, version: u64) -> bool {
    match backend.get(&path(name), &exact(version)).await {
        Ok(secret) => secret.expose_bytes() == value_of(name, version).as_bytes(),
        Err(_) => false,
    }
}

/// Every path of the store, deleted ones included.
pub(crate) async fn all_paths(backend: &NativeBackend) -> Vec<SecretPath> {
    let mut options = ListOptions::new().include_deleted();
    let mut paths = Vec::new();
    loop {
        let page = backend.list(None, &options).await.unwrap();
        paths.extend(page.paths);
        if page.next.is_none() {
            return paths;
        }
        options = options.page(page.next);
    }
}

/// The names and bytes of all files below a directory, to see that nothing has changed. The
/// shared-memory index of a log carries no content and is left out.
pub(crate) fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Reads lines until one is `expected`; everything before it is the test harness's own.
pub(crate) fn wait_for_line(output: &mut BufReader<ChildStdout>, expected: &str) {
    let mut line = String::new();
    while line.trim_end() != expected {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended before `{expected}`");
    }
}

/// A small generator (`SplitMix64`), so that a run can be repeated from its printed seed.
pub(crate) struct Random(u64);

impl Random {
    /// Seeded from `STRONGROOM_TEST_SEED`, or from the clock.
    pub(crate) fn from_entropy() -> (Self, u64) {
        let given = std::env::var("STRONGROOM_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            since.as_secs() ^ u64::from(since.subsec_nanos())
        });
        (Self(seed), seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
