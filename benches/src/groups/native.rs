//! The native store compared with its parts: a prepared point read of SQLite, the cryptography of
//! one record, and a plain insert with the same durability. 200-byte values among 10,000 secrets.

use std::cell::Cell;
use std::path::Path;

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hmac, rand};
use futures_util::{StreamExt, TryStreamExt, stream};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_benches::measure::{Subject, compare};
use strongroom_benches::report::{Report, Target};
use strongroom_core::{Backend, PutOptions, SecretPath, SecretValue, VersionSelector};
use tokio::runtime::{Builder, Runtime};

const SECRETS: usize = 10_000;
const VALUE: [u8; 200] = [b'v'; 200];

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = Builder::new_current_thread().build()?;
    let store = open(&runtime, folder.path())?;
    fill(&runtime, &store, SECRETS)?;
    let bare = bare_sqlite(&folder.path().join("secrets.db"))?;
    get_over_parts(report, &runtime, &store, &bare)?;
    put_over_sqlite(report, &runtime, &store, folder.path())?;
    sealing_overhead(report, &bare)
}

pub(crate) fn open(runtime: &Runtime, folder: &Path) -> Result<NativeBackend> {
    let mut config = NativeConfig::new(KeySource::KeyFile(folder.join("key")));
    config.path = Some(folder.join("secrets.db"));
    Ok(runtime.block_on(NativeBackend::open(config))?)
}

/// Writes secrets, 128 at a time, so that they share transactions.
pub(crate) fn fill(runtime: &Runtime, store: &NativeBackend, count: usize) -> Result<()> {
    let puts = stream::iter(0..count).map(|number| async move {
        let path = SecretPath::parse(&path_of(number))?;
        store.put(&path, SecretValue::from(&VALUE[..]), PutOptions::new()).await
    });
    runtime.block_on(puts.buffer_unordered(128).try_for_each(|_| async { Ok(()) }))?;
    Ok(())
}

pub(crate) fn path_of(number: usize) -> String {
    format!("production/service-{}/key-{number:06}", number % 100)
}

/// All paths, in an order in which each read touches another page than the previous one.
pub(crate) fn paths() -> Result<Vec<SecretPath>> {
    let scattered = (0..SECRETS).map(|index| index * 7919 % SECRETS);
    Ok(scattered.map(|number| SecretPath::parse(&path_of(number))).collect::<Result<_, _>>()?)
}

pub(crate) struct PathCycle<'a> {
    paths: &'a [SecretPath],
    next: Cell<usize>,
}

impl<'a> PathCycle<'a> {
    pub(crate) fn new(paths: &'a [SecretPath]) -> Self {
        Self { paths, next: Cell::new(0) }
    }

    pub(crate) fn next_path(&self) -> Option<&'a SecretPath> {
        let index = self.next.get();
        self.next.set((index + 1) % self.paths.len());
        self.paths.get(index)
    }
}

/// A connection configured like those of the store.
fn bare_sqlite(file: &Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -16 * 1024)?;
    Ok(connection)
}

const POINT_READ: &str = "SELECT s.mac, v.wrap, v.body FROM secrets s JOIN versions v \
    ON v.secret_id = s.secret_id AND v.version = s.active WHERE s.path = ?";

fn get_over_parts(
    report: &mut Report,
    runtime: &Runtime,
    store: &NativeBackend,
    bare: &Connection,
) -> Result<()> {
    let paths = paths()?;
    let (ours, theirs) = (PathCycle::new(&paths), PathCycle::new(&paths));
    let mut read = bare.prepare(POINT_READ)?;
    let parts = Parts::new()?;
    let [get, point_read, unwrap, commit, open] = compare([
        Subject::awaiting(runtime, || async {
            store.get(ours.next_path()?, &VersionSelector::Active).await.ok()
        }),
        Subject::new(|| {
            let path = theirs.next_path()?.as_str();
            read.query_row([path], |row| Ok(row.get_ref(2)?.as_blob()?.len())).ok()
        }),
        Subject::new(|| parts.unwrap()),
        Subject::new(|| parts.commitment()),
        Subject::new(|| parts.open()),
    ]);
    let sum = strongroom_benches::measure::Timing::sum(&[&point_read, &unwrap, &commit, &open]);
    report.add("native_get_over_parts", get.over(&sum), "x", Target::Max(1.5))?;
    report.add("native_get_us", get.median() / 1e3, "us", None)?;
    report.add("native_get_parts_sqlite_us", point_read.median() / 1e3, "us", None)?;
    let crypto = unwrap.median() + commit.median() + open.median();
    report.add("native_get_parts_crypto_us", crypto / 1e3, "us", None)
}

/// The cryptography of one read, with `aws-lc-rs` alone: 100 bytes of associated data throughout.
struct Parts {
    kek: LessSafeKey,
    wrapped: Vec<u8>,
    data_key: [u8; 32],
    body_key: [u8; 32],
    commitment: [u8; 32],
    sealed: Vec<u8>,
}

const AAD: [u8; 100] = [7; 100];

impl Parts {
    fn new() -> Result<Self> {
        let mut data_key = [0; 32];
        rand::fill(&mut data_key)?;
        let kek = aead_key(&[9; 32])?;
        let mut wrapped = data_key.to_vec();
        kek.seal_in_place_append_tag(nonce(), Aad::from(AAD), &mut wrapped)?;
        let (body_key, commitment) = derive(&data_key);
        let mut sealed = VALUE.to_vec();
        aead_key(&body_key)?.seal_in_place_append_tag(nonce(), Aad::from(AAD), &mut sealed)?;
        Ok(Self { kek, wrapped, data_key, body_key, commitment, sealed })
    }

    fn unwrap(&self) -> Option<[u8; 32]> {
        let mut key = [0; 32];
        let (ciphertext, tag) = self.wrapped.split_at_checked(32)?;
        let aad = Aad::from(AAD);
        self.kek.open_separate_gather(nonce(), aad, ciphertext, tag, &mut key).ok()?;
        Some(key)
    }

    fn commitment(&self) -> bool {
        let (_, commitment) = derive(&self.data_key);
        constant_time::verify_slices_are_equal(&commitment, &self.commitment).is_ok()
    }

    fn open(&self) -> Option<Vec<u8>> {
        let key = aead_key(&self.body_key).ok()?;
        let mut plaintext = vec![0; VALUE.len()];
        let (ciphertext, tag) = self.sealed.split_at_checked(VALUE.len())?;
        key.open_separate_gather(nonce(), Aad::from(AAD), ciphertext, tag, &mut plaintext).ok()?;
        Some(plaintext)
    }
}

fn aead_key(key: &[u8; 32]) -> Result<LessSafeKey> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([3; 12])
}

/// The key of the body and the commitment to the data key.
fn derive(data_key: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, data_key);
    let derived = |purpose: &[u8]| {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&key, purpose).as_ref());
        out
    };
    (derived(b"strongroom v1 body key\x01"), derived(b"strongroom v1 body commitment\x01"))
}

fn put_over_sqlite(
    report: &mut Report,
    runtime: &Runtime,
    store: &NativeBackend,
    folder: &Path,
) -> Result<()> {
    let bare = bare_sqlite(&folder.join("bare.db"))?;
    bare.execute_batch(
        "CREATE TABLE record (path TEXT, version INTEGER, body BLOB, PRIMARY KEY (path, version)) \
         STRICT, WITHOUT ROWID",
    )?;
    let paths = paths()?;
    let (ours, theirs) = (PathCycle::new(&paths), PathCycle::new(&paths));
    let mut insert = bare.prepare("INSERT INTO record VALUES (?, ?, ?)")?;
    let version = Cell::new(0_i64);
    let [put, sqlite] = compare([
        Subject::awaiting(runtime, || async {
            store
                .put(ours.next_path()?, SecretValue::from(&VALUE[..]), PutOptions::new())
                .await
                .ok()
        }),
        Subject::new(|| {
            version.set(version.get() + 1);
            insert.execute((theirs.next_path()?.as_str(), version.get(), &VALUE[..])).ok()
        }),
    ]);
    report.add("native_put_over_sqlite", put.over(&sqlite), "x", Target::Max(1.5))?;
    report.add("native_put_us", put.median() / 1e3, "us", None)
}

/// How many bytes sealing adds to a record, and how long the cryptography of sealing takes.
fn sealing_overhead(report: &mut Report, bare: &Connection) -> Result<()> {
    let stored: i64 =
        bare.query_row("SELECT max(length(body) + length(wrap)) FROM versions", [], |row| {
            row.get(0)
        })?;
    let added = stored - i64::try_from(VALUE.len())?;
    report.add("native_seal_overhead_bytes", i32::try_from(added)?.into(), "B", None)?;
    let kek = aead_key(&[9; 32])?;
    let [plain, sealing] = compare([
        Subject::new(|| VALUE.to_vec()),
        Subject::new(|| seal(&kek).map_err(|_| anyhow!("sealing failed"))),
    ]);
    report.add("native_seal_ns", sealing.median() - plain.median(), "ns", None)
}

fn seal(kek: &LessSafeKey) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut random = [0; 56];
    rand::fill(&mut random)?;
    let (data_key, _) = random.split_first_chunk::<32>().ok_or_else(|| anyhow!("too short"))?;
    let (key, _) = derive(data_key);
    let mut body = VALUE.to_vec();
    aead_key(&key)?.seal_in_place_append_tag(nonce(), Aad::from(AAD), &mut body)?;
    let mut wrap = data_key.to_vec();
    kek.seal_in_place_append_tag(nonce(), Aad::from(AAD), &mut wrap)?;
    Ok((body, wrap))
}
