//! A native store in PostgreSQL compared with bare statements on as many connections to the same server: a prepared point
//! read of the same rows, and a plain insert of as many bytes. 200-byte values among 10,000 secrets; the server syncs each
//! commit to disk.

use std::cell::Cell;

use anyhow::Result;
use futures_util::future::try_join_all;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_benches::measure::{Sampling, Subject, compare_alike};
use strongroom_benches::report::{Report, Target};
use strongroom_core::{Backend, PutOptions, SecretValue, VersionSelector};
use strongroom_testkit::postgres::Server;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, Statement};

use super::native::{PathCycle, fill, paths};

const SECRETS: usize = 10_000;
const VALUE: [u8; 200] = [b'v'; 200];
/// As many connections as the store reads on.
const READERS: usize = 4;
/// As many as calls are under way.
const WRITERS: usize = 64;
/// A sample of single reads has some hundreds of them, one of writes some tens.
const SAMPLING: Sampling =
    Sampling { rounds: 15, sample_time: std::time::Duration::from_millis(100) };

const POINT_READ: &str = "SELECT s.mac, v.wrap, v.body FROM strongroom_native.secrets s \
    JOIN strongroom_native.versions v ON v.secret_id = s.secret_id AND v.version = s.active WHERE s.path = $1";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(Server::start_durable());
    let url = url_of(&server, "postgres");
    let open = || open_database(&runtime, &server, "postgres");
    let store = open()?;
    fill(&runtime, &store, SECRETS)?;
    server.sql(
        "CREATE TABLE record (path text COLLATE \"C\", version bigint, body bytea, PRIMARY KEY (path, version))",
    );
    server.sql("VACUUM ANALYZE");
    for (concurrency, suffix) in [(1, ""), (WRITERS, "_64")] {
        gets(report, &runtime, &store, &url, (concurrency, suffix))?;
        puts(report, &runtime, &store, &url, (concurrency, suffix))?;
    }
    let stores = (0..4).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
    by_hosts(report, &runtime, &stores)
}

pub(crate) fn url_of(server: &Server, database: &str) -> String {
    format!("postgresql://{}:{}@{}/{database}", server.user(), server.password(), server.address())
}

/// Opens the store in a database, over a connection without TLS.
pub(crate) fn open_database(
    runtime: &Runtime,
    server: &Server,
    database: &str,
) -> Result<NativeBackend> {
    let key = KeySource::Key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into());
    let mut config = NativeConfig::new(key);
    config.url = Some(url_of(server, database).into());
    Ok(runtime.block_on(NativeBackend::open(config))?)
}

/// Connections with a prepared statement, which take turns.
struct Bare {
    clients: Vec<(Client, Statement)>,
    next: Cell<usize>,
}

impl Bare {
    fn connect(runtime: &Runtime, url: &str, count: usize, sql: &'static str) -> Result<Self> {
        let connect = |_| async move {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            let statement = client.prepare(sql).await?;
            Ok::<_, tokio_postgres::Error>((client, statement))
        };
        let clients = runtime.block_on(try_join_all((0..count).map(connect)))?;
        Ok(Self { clients, next: Cell::new(0) })
    }

    fn next(&self) -> Option<&(Client, Statement)> {
        let index = self.next.get();
        self.next.set(index + 1);
        self.clients.get(index % self.clients.len())
    }
}

fn gets(
    report: &mut Report,
    runtime: &Runtime,
    store: &NativeBackend,
    url: &str,
    (concurrency, suffix): (usize, &str),
) -> Result<()> {
    let bare = Bare::connect(runtime, url, READERS, POINT_READ)?;
    let paths = paths()?;
    let (ours, theirs) = (PathCycle::new(&paths), PathCycle::new(&paths));
    let [get, select] = compare_alike(
        SAMPLING,
        [
            Subject::concurrent(runtime, concurrency, || async {
                store.get(ours.next_path()?, &VersionSelector::Active).await.ok()
            }),
            Subject::concurrent(runtime, concurrency, || async {
                let (client, statement) = bare.next()?;
                let row = client.query_opt(statement, &[&theirs.next_path()?.as_str()]).await;
                row.ok()?.map(|row| row.get::<_, &[u8]>(2).to_vec())
            }),
        ],
    );
    let name = format!("pg_get_over_bare{suffix}");
    report.add(&name, get.over(&select), "x", Target::Max(1.2))?;
    report.add(&format!("pg_get_us{suffix}"), get.median() / 1e3, "us", None)
}

fn puts(
    report: &mut Report,
    runtime: &Runtime,
    store: &NativeBackend,
    url: &str,
    (concurrency, suffix): (usize, &str),
) -> Result<()> {
    let insert = "INSERT INTO record VALUES ($1, $2, $3)";
    let bare = Bare::connect(runtime, url, concurrency, insert)?;
    let paths = paths()?;
    let (ours, theirs) = (PathCycle::new(&paths), PathCycle::new(&paths));
    let version = Cell::new(i64::try_from(concurrency)? << 32);
    let [put, insert] = compare_alike(
        SAMPLING,
        [
            Subject::concurrent(runtime, concurrency, || async {
                let value = SecretValue::from(&VALUE[..]);
                store.put(ours.next_path()?, value, PutOptions::new()).await.ok()
            }),
            Subject::concurrent(runtime, concurrency, || async {
                version.set(version.get() + 1);
                let (client, statement) = bare.next()?;
                let path = theirs.next_path()?.as_str();
                client.execute(statement, &[&path, &version.get(), &&VALUE[..]]).await.ok()
            }),
        ],
    );
    let name = format!("pg_put_over_bare{suffix}");
    report.add(&name, put.over(&insert), "x", Target::Max(1.3))?;
    report.add(&format!("pg_put_us{suffix}"), put.median() / 1e3, "us", None)
}

/// How many requests per second one, two and four hosts make together, each with 16 under way.
fn by_hosts(report: &mut Report, runtime: &Runtime, stores: &[NativeBackend]) -> Result<()> {
    let paths = paths()?;
    let cycle = PathCycle::new(&paths);
    for hosts in [1, 2, 4] {
        let turn = Cell::new(0);
        let next_store = || {
            turn.set(turn.get() + 1);
            stores.get(turn.get() % hosts)
        };
        let concurrency = 16 * hosts;
        let [get, put] = compare_alike(
            SAMPLING,
            [
                Subject::concurrent(runtime, concurrency, || async {
                    next_store()?.get(cycle.next_path()?, &VersionSelector::Active).await.ok()
                }),
                Subject::concurrent(runtime, concurrency, || async {
                    let value = SecretValue::from(&VALUE[..]);
                    next_store()?.put(cycle.next_path()?, value, PutOptions::new()).await.ok()
                }),
            ],
        );
        let per_second = 1e9 / get.median();
        report.add(&format!("pg_gets_per_s_{hosts}_hosts"), per_second, "1/s", None)?;
        report.add(&format!("pg_puts_per_s_{hosts}_hosts"), 1e9 / put.median(), "1/s", None)?;
    }
    Ok(())
}
