//! Native stores of 10,000 to 1,000,000 secrets of 200 bytes: the cost of filling, opening, listing and memory, and how
//! much longer a read takes than in a store of 1,000.

use std::cell::Cell;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use strongroom_backend_native::NativeBackend;
use strongroom_benches::measure::{Subject, compare};
use strongroom_benches::report::{Report, Target};
use strongroom_core::{Backend, ListOptions, SecretPath, VersionSelector};
use strongroom_testkit::postgres::Server;
use tokio::runtime::{Builder, Runtime};

use super::native::{fill, open, path_of};
use super::postgres::open_database;

/// Each size with its name in the report.
const SIZES: [(u32, &str); 3] = [(10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")];
/// The store with which reads are compared.
const SMALL: u32 = 1_000;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().build()?;
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let small = open(&runtime, folders.0.path())?;
    fill(&runtime, &small, SMALL.try_into()?)?;
    for (secrets, name) in SIZES {
        let folder = folders.1.path().join(name);
        fs::create_dir(&folder)?;
        let bytes = || Ok(fs::metadata(folder.join("secrets.db"))?.len());
        let scale = Scale { runtime: &runtime, secrets, name: format!("native_{name}") };
        scale.run(report, &small, &|| open(&runtime, &folder), &bytes)?;
    }
    Ok(())
}

/// The same with stores in databases of one PostgreSQL server.
pub(crate) fn run_postgres(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(Server::start_durable());
    let create = |name: &str| server.sql(&format!("CREATE DATABASE \"{name}\""));
    create("small");
    let small = open_database(&runtime, &server, "small")?;
    fill(&runtime, &small, SMALL.try_into()?)?;
    for (secrets, name) in SIZES {
        create(name);
        let bytes = || {
            // As the server does by itself in time.
            server.sql_in(name, "VACUUM ANALYZE");
            Ok(server.sql(&format!("SELECT pg_database_size('{name}')")).trim().parse()?)
        };
        let scale = Scale { runtime: &runtime, secrets, name: format!("pg_{name}") };
        scale.run(report, &small, &|| open_database(&runtime, &server, name), &bytes)?;
    }
    Ok(())
}

struct Scale<'a> {
    runtime: &'a Runtime,
    secrets: u32,
    name: String,
}

impl Scale<'_> {
    fn run(
        &self,
        report: &mut Report,
        small: &NativeBackend,
        open: &dyn Fn() -> Result<NativeBackend>,
        bytes: &dyn Fn() -> Result<u64>,
    ) -> Result<()> {
        let Self { runtime, secrets, .. } = self;
        let count = f64::from(*secrets);
        let store = open()?;
        let started = Instant::now();
        fill(runtime, &store, (*secrets).try_into()?)?;
        let rate = count / started.elapsed().as_secs_f64();
        report.add(&self.named("grouped_puts_per_s"), rate, "1/s", None)?;
        runtime.block_on(store.close())?;
        drop(store);

        let per_secret = kib(bytes()?) * 1024.0 / count;
        report.add(&self.named("bytes_per_secret"), per_secret, "B", None)?;

        let before = resident_kib()?;
        let started = Instant::now();
        let store = open()?;
        let path = SecretPath::parse(&path_of(7_777))?;
        runtime.block_on(store.get(&path, &VersionSelector::Active))?;
        let opened = started.elapsed().as_secs_f64() * 1e3;
        report.add(&self.named("open_ms"), opened, "ms", Target::Max(50.0))?;

        let started = Instant::now();
        let listed = runtime.block_on(list_all(&store))?;
        ensure!(listed == *secrets, "{listed} listed");
        let per_thousand = started.elapsed().as_secs_f64() * 1e3 / (count / 1e3);
        report.add(&self.named("list_ms_per_1000"), per_thousand, "ms", Target::Max(5.0))?;
        self.get_over_small(report, &store, small)?;
        let resident = (resident_kib()? - before) / 1024.0;
        report.add(&self.named("resident_mib"), resident, "MiB", None)
    }

    fn named(&self, figure: &str) -> String {
        format!("{}_{figure}", self.name)
    }

    /// Reads all over both stores, one after the other.
    fn get_over_small(
        &self,
        report: &mut Report,
        store: &NativeBackend,
        small: &NativeBackend,
    ) -> Result<()> {
        let (large, few) = (Scattered::new(self.secrets), Scattered::new(SMALL));
        let get = |store: &NativeBackend, path: Option<SecretPath>| {
            self.runtime.block_on(store.get(&path?, &VersionSelector::Active)).ok()
        };
        let [ours, theirs] = compare([
            Subject::new(|| get(store, large.next_path())),
            Subject::new(|| get(small, few.next_path())),
        ]);
        report.add(&self.named("get_us"), ours.median() / 1e3, "us", None)?;
        report.add(&self.named("get_over_1k"), ours.over(&theirs), "x", Target::Max(1.15))
    }
}

/// Paths of a store in an order in which each read touches another page than the previous one.
struct Scattered {
    secrets: u32,
    next: Cell<u32>,
}

impl Scattered {
    fn new(secrets: u32) -> Self {
        Self { secrets, next: Cell::new(0) }
    }

    fn next_path(&self) -> Option<SecretPath> {
        let number = self.next.get();
        self.next.set((number + 7_919) % self.secrets);
        SecretPath::parse(&path_of(number.try_into().ok()?)).ok()
    }
}

async fn list_all(store: &impl Backend) -> Result<u32> {
    let (mut count, mut token) = (0, None);
    loop {
        let page = store.list(None, &ListOptions::new().page(token)).await?;
        count += u32::try_from(page.paths.len())?;
        token = page.next;
        if token.is_none() {
            return Ok(count);
        }
    }
}

/// Memory of this process that is resident now (Linux, `/proc/self/status`).
fn resident_kib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

fn kib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX))
}
