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
use tokio::runtime::{Builder, Runtime};

use super::native::{fill, open, path_of};

/// Each size with its name in the report.
const SIZES: [(u32, &str); 3] = [(10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")];
/// The store with which reads are compared.
const SMALL: u32 = 1_000;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().build()?;
    let folder = tempfile::tempdir()?;
    let small = open(&runtime, folder.path())?;
    fill(&runtime, &small, SMALL.try_into()?)?;
    for (secrets, name) in SIZES {
        Scale { runtime: &runtime, secrets, name }.run(report, &small)?;
    }
    Ok(())
}

struct Scale<'a> {
    runtime: &'a Runtime,
    secrets: u32,
    name: &'a str,
}

impl Scale<'_> {
    fn run(&self, report: &mut Report, small: &NativeBackend) -> Result<()> {
        let Self { runtime, secrets, .. } = self;
        let count = f64::from(*secrets);
        let folder = tempfile::tempdir()?;
        let store = open(runtime, folder.path())?;
        let started = Instant::now();
        fill(runtime, &store, (*secrets).try_into()?)?;
        let rate = count / started.elapsed().as_secs_f64();
        report.add(&self.named("grouped_puts_per_s"), rate, "1/s", None)?;
        runtime.block_on(store.close())?;
        drop(store);

        let size = fs::metadata(folder.path().join("secrets.db"))?.len();
        let per_secret = kib(size) * 1024.0 / count;
        report.add(&self.named("bytes_per_secret"), per_secret, "B", None)?;

        let before = resident_kib()?;
        let started = Instant::now();
        let store = open(runtime, folder.path())?;
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
        format!("native_{}_{figure}", self.name)
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
